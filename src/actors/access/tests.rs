//! The actor over a real store.
