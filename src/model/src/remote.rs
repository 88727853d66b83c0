//! The remote's desired state, how old an answer may be, and how a commit stands to the head.

pub mod code;
pub mod interest;
pub mod limit;
pub mod polling;
pub mod refusals;
pub mod revert;
pub mod updates;
pub mod wish;

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_protocol::api::{Merged, PullRequest};
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
    /// Not the same; more can't be told (yet).
    Differs,
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
    /// The pull request that was merged from here last and can be reverted.
    pub merged: Option<Merged>,
    /// Why nobody can say whether an update waits, as a sentence without its full stop.
    pub pull_request_error: Option<String>,
}

/// A failure that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: Time,
    /// Why, in git's own words where it has some.
    pub why: String,
}

/// Whether the desired state can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readability<'a> {
    /// No remote is configured.
    NotConfigured,
    /// It was not read yet, and nothing says that it can't be.
    NotYet,
    /// This is the desired state.
    Readable(&'a Desired),
    /// It can't be read, after its retries, and what was read last is too old.
    Unreadable(&'a Failing),
}

/// After how many poll intervals without a good answer the last one is too old.
const TOO_OLD: u32 = 3;

impl RemoteState {
    /// A remote of which nothing is known yet.
    pub fn new(source: Option<String>, branch: impl Into<String>, interval: Duration) -> Self {
        Self {
            source,
            branch: branch.into(),
            interval,
            desired: None,
            read_at: None,
            failing: None,
            pull_request: None,
            relations: BTreeMap::new(),
            merged: None,
            pull_request_error: None,
        }
    }

    /// Whether the desired state can be told: a good answer counts until it is older than three poll intervals
    /// *and* the retries failed. One failed poll is no red fleet.
    pub fn readability(&self, now: Time) -> Readability<'_> {
        if self.source.is_none() {
            return Readability::NotConfigured;
        }
        match (&self.desired, &self.failing) {
            (Some(desired), None) => Readability::Readable(desired),
            (Some(desired), Some(failing)) => {
                if now < self.too_old_at() {
                    Readability::Readable(desired)
                } else {
                    Readability::Unreadable(failing)
                }
            }
            (None, Some(failing)) => Readability::Unreadable(failing),
            (None, None) => Readability::NotYet,
        }
    }

    /// When [`RemoteState::readability`] will say something else if no poll changes anything; none: never.
    pub fn next_change(&self, now: Time) -> Option<Time> {
        let at = self.too_old_at();
        (self.source.is_some() && self.desired.is_some() && self.failing.is_some() && now < at).then_some(at)
    }

    /// From when on the last good answer is too old.
    fn too_old_at(&self) -> Time {
        let span = self.interval.saturating_mul(TOO_OLD).saturating_add(Duration::from_millis(1));
        self.read_at.unwrap_or_default().plus(span)
    }

    /// How a commit stands to the head. Commits may be abbreviated on either side. Without a head nothing is equal.
    pub fn relation(&self, commit: &Commit) -> Relation {
        if self.desired.as_ref().is_some_and(|desired| desired.commit.is(commit)) {
            return Relation::Equal;
        }
        // Whoever stands between a commit and an abbreviation of it in the map's order begins with that abbreviation,
        // so both neighbourhoods are short however many commits are known.
        let abbreviates = |(key, _): &(&Commit, &Relation)| key.is(commit);
        let longer = self.relations.range(commit.clone()..).next().filter(abbreviates);
        let shorter = || {
            let before = self.relations.range(..commit.clone()).rev();
            before.take_while(|(key, _)| key.short() == commit.short()).find(abbreviates)
        };
        let known = longer.or_else(shorter).map(|(_, relation)| relation);
        match known {
            None | Some(Relation::Equal) => Relation::Differs,
            Some(relation) => *relation,
        }
    }

    /// A good answer. What was known of other heads is forgotten.
    pub fn read(&mut self, desired: Desired, now: Time) {
        if self.desired.as_ref().is_none_or(|before| before.commit != desired.commit) {
            self.relations.clear();
        }
        self.desired = Some(desired);
        self.read_at = Some(now);
        self.failing = None;
    }

    /// A poll failed, its retries included. The first failure's time stays; the reason is the last one's.
    pub fn failed(&mut self, why: impl Into<String>, now: Time) {
        let since = self.failing.take().map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, why: why.into() });
    }
}

#[cfg(test)]
mod tests;
