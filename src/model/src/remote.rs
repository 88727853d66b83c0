//! The remote's desired state, how old an answer may be, and when to ask again.

pub mod polling;

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_protocol::api::PullRequest;
use nixfleet_protocol::{Commit, LockHash, Time};
use serde::{Deserialize, Serialize};

/// The head of the tracked branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The commit.
    pub commit: Commit,
    /// Its subject line.
    pub subject: String,
    /// Its author.
    pub author: String,
    /// When it was committed.
    pub committed_at: Time,
    /// SHA-256 of its `flake.lock`; none when it has none.
    pub lock_hash: Option<LockHash>,
}

/// How a host's commit stands to the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// The same.
    Equal,
    /// The head has this many commits that the host lacks.
    Behind(u32),
    /// The host has this many commits that the head lacks.
    Ahead(u32),
    /// Both have commits that the other lacks.
    Diverged {
        /// The host's own.
        ahead: u32,
        /// The head's own.
        behind: u32,
    },
    /// The remote does not know the host's commit.
    Foreign,
}

/// What is known of the remote. Published as a whole by the remote actor; everyone else holds an `Arc` of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteState {
    /// Where it is read from, without credentials; none: no remote is configured.
    pub source: Option<String>,
    /// The tracked branch.
    pub branch: String,
    /// How often it is asked.
    pub interval: Duration,
    /// The last good answer.
    pub desired: Option<Desired>,
    /// When that was.
    pub read_at: Option<Time>,
    /// The failure that goes on, after its retries: since when, and why.
    pub failing: Option<Failing>,
    /// The update PR that waits.
    pub pull_request: Option<PullRequest>,
    /// How the commits that hosts reported stand to the head.
    pub relations: BTreeMap<Commit, Relation>,
}

/// A failure that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: Time,
    /// Why, in git's own words where it has some.
    pub why: String,
}
