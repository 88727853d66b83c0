//! What people are told of, by which channel, and when: the core of the notifier.
//!
//! ```text
//! the fleet's state, events ── news.rs ──→ Notice ── rules.rs ──→ one waiting notice for each channel that takes it
//!                                                                        │ on disk
//!   Sent ←── the channel's task ←── Letter ←── desk.rs: a minute between two of a kind, quiet hours, retries
//!                                      └── words.rs: title and text
//! ```
//!
//! A notice is on disk before anything is sent, and is removed when its receiver has taken it: it arrives at least
//! once, and a second time only where nobody knows whether the first one arrived; that one has the same id. What is
//! held back is counted in a later letter.
//! Invariants (`tests/`): of one kind a channel is sent at most one letter a minute; nothing goes out in quiet hours;
//! every notice is in exactly one letter that was taken, or is counted in one; what was told is not told again after a
//! restart.

mod desk;
mod news;
mod quiet;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use nixfleet_protocol::api::{Level, RunState};
use nixfleet_protocol::{EventId, HostId, RunId, Time};
use serde::{Deserialize, Serialize};

pub use self::desk::{A_MINUTE, Desk, Failure, Input, KEPT, LaneView, Step, Taken};
pub use self::news::{News, SETTLED, Sight};
pub use self::quiet::{BadQuiet, Quiet};
pub use self::rules::Rules;
pub use self::words::test_letter;

/// What people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A command ended, and not as it should.
    CommandFailed,
    /// A run of a pipeline is over.
    RunFinished,
    /// A run waits for a person.
    RunHalted,
    /// A host is offline.
    HostGone,
    /// A host that was told to be gone is online.
    HostBack,
    /// An update pull request waits.
    UpdateWaiting,
    /// The configuration repository can't be read.
    RemoteUnreadable,
    /// It can be read again, after it was told that it can't.
    RemoteReadable,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::CommandFailed,
        Self::RunFinished,
        Self::RunHalted,
        Self::HostGone,
        Self::HostBack,
        Self::UpdateWaiting,
        Self::RemoteUnreadable,
        Self::RemoteReadable,
    ];

    /// Its word, in the configuration and in what is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CommandFailed => "command_failed",
            Self::RunFinished => "run_finished",
            Self::RunHalted => "run_halted",
            Self::HostGone => "host_gone",
            Self::HostBack => "host_back",
            Self::UpdateWaiting => "update_waiting",
            Self::RemoteUnreadable => "remote_unreadable",
            Self::RemoteReadable => "remote_readable",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word names no kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoKind;

impl FromStr for Kind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NoKind)
    }
}

/// One thing that happened, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing.
    pub kind: Kind,
    /// How it is meant.
    pub level: Level,
    /// On which host, where it is about one.
    pub host: Option<HostId>,
    /// What it is about, in a word or two: for lists.
    pub subject: String,
    /// One line.
    pub title: String,
    /// A sentence or two more; may be empty.
    pub text: String,
    /// The page that shows more, from the dashboard's root on.
    pub path: String,
    /// When it was noticed.
    pub at: Time,
}

/// A notice that a channel has not taken yet, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The channel's name.
    pub channel: String,
    /// What happened.
    pub notice: Notice,
    /// The letter that it goes with, by the number of that letter's first notice, once an attempt was made: it is tried
    /// again with the same ones, and with the same id.
    pub letter: Option<u64>,
}

/// What is sent to a channel in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The same in every attempt; a receiver that knows it has this letter already.
    pub id: String,
    /// The kind of all its notices; none: what was held back in quiet hours, of any kind.
    pub kind: Option<Kind>,
    /// That of its worst notice.
    pub level: Level,
    /// One line.
    pub title: String,
    /// Lines; may be empty.
    pub text: String,
    /// The page that shows more, where the dashboard knows its own address.
    pub url: Option<String>,
    /// When the newest of its notices was noticed.
    pub at: Time,
    /// What it tells, oldest first. More than these may be counted.
    pub notices: Vec<Notice>,
    /// How much it tells of: the notices, and those that were only counted.
    pub count: u64,
    /// How often it was tried before, since the daemon's start.
    pub tries: u32,
}

/// One way to reach people, as far as the core is concerned.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name, unique.
    pub name: String,
    /// What it takes.
    pub rules: Rules,
    /// When it takes nothing.
    pub quiet: Option<Quiet>,
}

/// Counts by kind.
pub type Counts = BTreeMap<Kind, u64>;

/// What the notifier must not forget, stored in the commits that put notices into the outbox. JSON in the settings of
/// the store: what is missing there has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Made with the first memory, and part of every letter's id.
    pub origin: String,
    /// The last number that was given to a notice.
    pub last: u64,
    /// The last event that was looked at; none: nothing was ever looked at.
    pub event: Option<EventId>,
    /// Hosts that are gone, and whether that was told.
    pub gone: BTreeMap<HostId, bool>,
    /// The update pull requests that were told last, by number.
    pub updates: VecDeque<u64>,
    /// Since when the remote is told to be unreadable.
    pub unreadable: Option<Time>,
    /// The runs' states that were looked at last.
    pub runs: BTreeMap<RunId, RunState>,
    /// When each channel was last sent a letter of a kind.
    pub sent: BTreeMap<String, BTreeMap<Kind, Time>>,
    /// What is too much to be kept one by one, by channel.
    pub beyond: BTreeMap<String, Counts>,
    /// The part of that which the letter under way tells, by channel.
    pub told: BTreeMap<String, Counts>,
}
