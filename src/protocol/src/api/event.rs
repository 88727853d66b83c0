//! What happened, for the audit log.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{EventId, HostId, Version};
use crate::time::Time;

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Somebody did something.
    Audit,
    /// Something happened.
    System,
    /// Something went wrong.
    Error,
}

/// How an event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// A problem.
    Error,
    /// Something ended well.
    Success,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// When.
    pub time: Time,
    /// What it tells of.
    pub category: Category,
    /// How it is meant.
    pub level: Level,
    /// Who.
    pub actor: String,
    /// On which host.
    pub host: Option<HostId>,
    /// What, as a word: `command_finished`, `login_failed` …
    pub action: String,
    /// One sentence.
    pub message: String,
    /// More; an object, or null.
    pub details: Value,
}

/// `GET /api/v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// The state version that this is.
    pub version: Version,
    /// Newest first.
    pub events: Vec<Event>,
}
