//! What people see and call over HTTP. The pages stand on their own: pure functions from state to HTML.

pub mod pages;
pub mod render;
