//! An op as it is offered, asked for, and answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Command};
use crate::ids::{CommandId, HostId};
use crate::op::Op;

/// An op as the API lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpEntry {
    /// Its id.
    pub id: Op,
    /// What a button says.
    pub label: String,
    /// What it does.
    pub description: String,
    /// `agent` or `dashboard`.
    pub runs_on: String,
    /// Seconds until the warning; null where none applies.
    pub warn_s: Option<u64>,
    /// Seconds until the hard limit; null where none applies.
    pub hard_s: Option<u64>,
    /// May it be retried.
    pub retry: bool,
    /// Does it need a TOTP code.
    pub totp: bool,
    /// Does it interrupt the agent's link.
    pub interrupts_link: bool,
    /// Is it confirmed first, and with which words.
    pub confirm: Option<String>,
    /// What it takes; a form asks for it.
    #[serde(default)]
    pub args: Vec<OpArg>,
}

/// An argument of an op, as a form asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpArg {
    /// Its name in `args`.
    pub name: String,
    /// What it is called on the page.
    pub label: String,
    /// What to write, in a sentence.
    pub hint: String,
    /// What it is.
    pub kind: ArgKind,
    /// Whether it must be given.
    pub required: bool,
    /// What stands in the form at first; empty: nothing.
    pub default: String,
    /// A regular expression that a text matches as a whole; empty: any text.
    pub pattern: String,
    /// The largest number; null: none.
    pub max: Option<u64>,
    /// What there is to choose from: the value and what it is called.
    pub choices: Vec<(String, String)>,
}

/// What an argument is, and how it is written in `args`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgKind {
    /// A text; left out when it is empty.
    Text,
    /// A list of texts; null when it is empty.
    Words,
    /// A whole number.
    Number,
    /// True or false.
    Switch,
    /// One of the choices.
    Choice,
    /// `#rrggbb`; null when it is empty.
    Color,
}

/// A body of `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`, or a word of ours as a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// The reason as a word, e.g. `host_busy`.
    pub code: Option<String>,
    /// The same sentence as `detail`, for clients that read commands.
    pub message: Option<String>,
    /// What could be done instead.
    pub offer: Option<Action>,
    /// The refused command, or the one that is in the way.
    pub command_id: Option<CommandId>,
    /// The hosts that are in the way of a run.
    #[serde(default)]
    pub hosts: Vec<HostId>,
}

/// Outcome of an op for one of several hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The host; null for a dashboard op that concerns none.
    pub host: Option<HostId>,
    /// The command, when it was accepted.
    pub command: Option<Command>,
    /// Why not, when it was not.
    pub problem: Option<Problem>,
}

/// Body of `POST …/ops/{op}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpRequest {
    /// What the op takes; an object.
    pub args: Option<Value>,
    /// Skip `already_current` and `lock_behind`.
    pub force: bool,
    /// A TOTP code, where the op needs one.
    pub totp: Option<String>,
    /// For `POST /api/v1/ops/{op}`: on which hosts.
    pub hosts: Option<Vec<String>>,
}
