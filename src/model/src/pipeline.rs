//! Pipelines and their runs: which there are, how a run is made, and what it does next, as a pure function.
//!
//! ```text
//! registry ── draft ──→ Run { record, hosts } ──┬── plan(run, facts, now) ──→ the run as it is then, whom to begin,
//!   built in, and of       decisions of people ─┘                            what it waits for, when to look again
//!   the configuration                           └── view ──→ what everyone sees
//! ```
//!
//! The run's actor gives ids to what begins, makes the run durable, and only then asks the hosts: so who takes its
//! place finds in the record what was begun. Invariants (`tests/properties.rs`): a plan made twice is the same; every
//! run ends, whatever the facts; nothing is begun twice; within a try no cell leaves a final state; there are never
//! more at once than `parallel`; a host that failed gets no later stage; no wave begins before the soak is over; what a
//! wave switches is what a group before it has tried, or what a person took.

mod decide;
mod draft;
mod merge;
mod outcome;
mod plan;
mod record;
mod registry;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub use self::decide::NotNow;
pub use self::draft::{BadRun, MOST_HOSTS, Wanted, draft};
pub use self::plan::{Begin, Facts, HostFact, Planned, Said, plan};
pub use self::record::{Baseline, Cell, Moved, Run, RunHost, RunRecord, Soak, Stage, Stop, Tried};
pub use self::registry::{Known, Registry};
