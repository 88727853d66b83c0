//! The pure core: what the product decides. No I/O, no clock, no randomness, no runtime: time, ids and
//! random numbers are arguments, and purity is a compile error (see `Cargo.toml`).
//!
//! ```text
//! ops ─── checks ─┐
//! remote ─────────┼─ compartments ── view ── fleet_state      what is seen and what is checked is one thing
//! liveness ───────┘
//! command ── host (the core of the host actor: input → step → effects)
//! restart, takeover, retention, notify                       the policies of the other actors
//! ```

#![warn(missing_docs)]

pub mod access;
pub mod checks;
pub mod command;
pub mod compartments;
pub mod event;
pub mod first_error;
pub mod fleet_state;
pub mod glob;
pub mod host;
pub mod host_core;
pub mod liveness;
pub mod load;
pub mod next;
pub mod notify;
pub mod ops;
pub mod pipeline;
pub mod remote;
pub mod restart;
pub mod retention;
pub mod takeover;
pub mod view;
pub mod wake;
