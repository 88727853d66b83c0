//! A fake GitHub for the stories, in their own process. For others it is a program: `program.rs`.

mod changes;
mod control;
mod git;
mod pulls;
pub(crate) mod server;
mod steer;
mod wire;
