//! The agent of NixFleet: a small program on each host that carries out ops and never loses their output.
//!
//! ```text
//! cli ─→ config ─→ agent ──── link (WebSocket) ──── dashboard
//!   │                │ journal, facts, deliveries
//!   └─→ runner ←─────┘ launch: a process of its own for each command
//!          └─ ops (plans) → programs → output.log, result.json
//! ```
//!
//! One thread, no shared state, everything that matters on disk. The agent may die at any moment; the runner of a
//! command, its log and its result do not depend on it.

pub mod agent;
pub mod cli;
pub mod config;
pub mod durable;
pub mod facts;
pub mod journal;
pub mod launch;
pub mod link;
pub mod ops;
pub mod record;
pub mod runner;
pub mod service;
pub mod transcript;

/// An error with its sources, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
