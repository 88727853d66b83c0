//! Accepts agents. Here only the shape of a link; the rest is built elsewhere.

pub mod link;
