//! What the actor needs of a place that has pull requests, whatever stands behind it: GitHub today.
//!
//! Both changes may be asked for again after a crash: each looks first whether it is done already.

use std::time::Duration;

use nixfleet_model::remote::code::Code;
use nixfleet_model::remote::updates::Found;
use nixfleet_model::remote::wish::{Merge, Revert};
use nixfleet_protocol::{Commit, Time};

use super::source::{Later, Unreadable};

/// A pull request that is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Where to look.
    pub url: String,
    /// The commit that it made on the tracked branch.
    pub commit: Commit,
    /// The commit alone holds all of it, so that reverting this commit reverts the pull request.
    pub revertible: bool,
    /// It was merged before it was asked for.
    pub already: bool,
    /// When it was merged, by the forge's clock; none: now.
    pub at: Option<Time>,
}

/// How a revert ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverted {
    /// It is on the branch, with this commit.
    OnBranch(Commit),
    /// The branch takes pull requests alone: this one waits for somebody to merge it.
    Waits {
        /// Its number.
        number: u64,
        /// Where to look.
        url: String,
    },
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotDone {
    /// The reason as a word.
    pub code: Code,
    /// What happened and what to do, without secrets.
    pub message: String,
}

/// A place that has pull requests. What is dropped while it is under way may have happened or not.
pub trait Forge: Send + Sync + 'static {
    /// The update that waits, if one does; `before`: the number of the one that waited at the last look.
    fn waiting(&self, before: Option<u64>) -> Later<'_, Result<Found, Unreadable>>;

    /// For how long nothing should be asked by itself, because the forge said so.
    fn rest(&self) -> Option<Duration> {
        None
    }

    /// Merges a pull request into the tracked branch; one that is merged already is as good.
    fn merge(&self, wish: Merge) -> Later<'_, Result<Landed, NotDone>>;

    /// Puts a revert on the tracked branch; one that is there already is as good.
    fn revert(&self, wish: Revert) -> Later<'_, Result<Reverted, NotDone>>;
}
