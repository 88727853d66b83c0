//! What happened, for the audit log.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{EventId, HostId, Version};
use crate::time::Time;

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Somebody did something.
    Audit,
    /// Something happened.
    System,
    /// Something went wrong.
    Error,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 3] = [Self::Audit, Self::System, Self::Error];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::System => "system",
            Self::Error => "error",
        }
    }
}

/// How an event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl Level {
    /// Every level.
    pub const ALL: [Self; 4] = [Self::Info, Self::Success, Self::Warn, Self::Error];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Success => "success",
        }
    }
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
