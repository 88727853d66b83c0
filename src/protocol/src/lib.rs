//! Everything that crosses a socket, and nothing else: ids, the messages of agents and browsers, the
//! shapes of the API, and the record format of a command's log.
//!
//! Who uses it: the model, the actors, the web server, the agent and the command line. It decides
//! nothing and does no I/O. Whatever bytes it is given it answers with a value or an error, never
//! with a panic (`tests/junk.rs`).

#![warn(missing_docs)]

pub mod agent;
pub mod api;
pub mod browser;
pub mod codec;
pub mod ids;
pub mod lenient;
pub mod log;
pub mod op;
pub mod sgr;
pub mod text;
pub mod time;

pub use ids::{BootId, CommandId, Commit, Epoch, EventId, HostId, InstanceId, JournalId, LockHash, RunId, Version};
pub use op::Op;
pub use time::Time;

/// The protocol that this crate speaks. Agents that name none speak 2.
pub const PROTOCOL: u32 = 3;

/// The largest WebSocket message either side accepts, in bytes.
pub const MAX_MESSAGE: usize = 512 * 1024;
