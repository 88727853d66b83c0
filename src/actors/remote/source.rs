//! What the actor needs of a remote, whatever stands behind it: a git mirror today.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use nixfleet_model::remote::{Desired, Relation};
use nixfleet_protocol::Commit;

/// An answer that takes its time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A good answer of the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The head of the tracked branch.
    pub desired: Desired,
    /// How each commit of the question stands to it.
    pub relations: BTreeMap<Commit, Relation>,
}

/// How commits stand to a head, as far as it is known without asking the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Related {
    /// Those that are known.
    pub relations: BTreeMap<Commit, Relation>,
    /// Those that are not: perhaps they were pushed since.
    pub unknown: Vec<Commit>,
}

/// Why the remote can't be read: a sentence for people, with git's own words and without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// A remote. Both questions may be asked at the same time; dropping one ends it.
pub trait Source: Send + Sync + 'static {
    /// Asks the remote now; relates the commits to its head.
    fn read(&self, interest: Vec<Commit>) -> Later<'_, Result<Answer, Unreadable>>;

    /// For how long nothing should be asked by itself, because the other side said so.
    fn rest(&self) -> Option<Duration> {
        None
    }

    /// Relates commits to a head from what is here, without asking the remote.
    fn relate(&self, head: Commit, commits: Vec<Commit>) -> Later<'_, Related>;
}
