//! The web from outside.
