//! The remote and the daemon itself.

use serde::{Deserialize, Serialize};

use crate::ids::{Commit, LockHash};
use crate::time::Time;

/// A waiting update pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Where to look.
    pub url: String,
    /// Whether it can be merged; null while the remote does not know.
    pub mergeable: Option<bool>,
    /// Why it can't be merged, or what speaks against it where it can (its checks have failed, say), as a sentence; null
    /// where there is nothing to say, or where nobody knows yet.
    pub why_not: Option<String>,
    /// Who opened it.
    pub author: String,
    /// The commit that would be merged: `merge-pr` merges this one and no other.
    pub head: Commit,
    /// Its labels.
    pub labels: Vec<String>,
    /// How many commits it has; null where nobody said.
    pub commits: Option<u32>,
    /// How many files it changes; null where nobody said.
    pub changed_files: Option<u32>,
    /// When it was opened.
    pub created_at: Time,
}

/// A pull request that was merged from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Where to look.
    pub url: String,
    /// The commit that it made on the tracked branch.
    pub commit: Commit,
    /// When.
    pub at: Time,
    /// Who wanted it: `user`, `api:<token name>`, `pipeline:<run>`.
    pub by: String,
}

/// The fleet's desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Where it is read from, without credentials; null when none is configured.
    pub source: Option<String>,
    /// The tracked branch.
    pub branch: String,
    /// Its head.
    pub commit: Option<Commit>,
    /// The head's subject line.
    pub subject: Option<String>,
    /// The head's author.
    pub author: Option<String>,
    /// When the head was committed.
    pub committed_at: Option<Time>,
    /// SHA-256 of the head's `flake.lock`; null when it has none.
    pub lock_hash: Option<LockHash>,
    /// When it was last read.
    pub read_at: Option<Time>,
    /// Why it can't be read, and since when, while it can't.
    pub error: Option<String>,
    /// The update PR that waits.
    pub pull_request: Option<PullRequest>,
    /// Why nobody can say whether an update waits, as a sentence; null where it can be said.
    #[serde(default)]
    pub pull_request_error: Option<String>,
    /// What was merged from here last and can be reverted.
    #[serde(default)]
    pub merged: Option<Merged>,
}

/// About the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Time,
    /// What is wrong with the store, while something is: the page says so, nothing is acknowledged.
    pub store_error: Option<String>,
    /// The shared agent token is in use.
    pub shared_agent_token: bool,
}
