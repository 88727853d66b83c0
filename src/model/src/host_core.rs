//! The pure core of the host actor. Its door: what is asked of a host, and what is answered.

use nixfleet_protocol::{Op, RunId, api};
use serde_json::{Map, Value};

use crate::checks::{Refusal, TotpProof};

/// An op that somebody wants on a host.
#[derive(Clone, Debug)]
pub struct Submit {
    /// Which.
    pub op: Op,
    /// With what.
    pub args: Map<String, Value>,
    /// Skip `already_current` and `lock_behind`.
    pub force: bool,
    /// Who: `user`, `api:<token name>`, `pipeline:<run>`.
    pub actor: String,
    /// The run that it belongs to.
    pub run_id: Option<RunId>,
    /// What became of the TOTP code that came with it.
    pub totp: TotpProof,
}

/// What became of a [`Submit`]. By the time of the answer it is on disk and in the state that everyone sees.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It begins.
    Accepted(Box<api::Command>),
    /// A check refused it.
    Blocked(Box<api::Command>, Refusal),
    /// There is no such host.
    NoSuchHost,
    /// Not now: the store can't write, or the host's actor is being restarted.
    Unavailable(String),
}

/// What is asked of a command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// End it.
    Stop,
    /// Give it this many minutes more, from now.
    Extend {
        /// How many, at least 1.
        minutes: u32,
    },
    /// Let it take as long as it likes.
    Ignore,
    /// Nobody will ever say how it ended.
    GiveUp,
}

/// Why an [`Act`] was refused.
#[derive(Clone, Debug)]
pub enum ActRefused {
    /// The host has no such command that is not over. Perhaps the store knows it.
    NotOpen,
    /// Not in this state: code and sentence.
    NotNow {
        /// A word: `not_timed_out`, `already_ended` …
        code: &'static str,
        /// For people.
        message: String,
    },
    /// Not now: the store can't write, or the host's actor is being restarted.
    Unavailable(String),
}
