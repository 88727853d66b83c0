//! Events: lines of the audit log, before the store numbers them.

use nixfleet_protocol::api::{Category, Event, Level};
use nixfleet_protocol::{EventId, HostId, Time};
use serde::{Deserialize, Serialize};

mod filter;

pub use filter::EventFilter;

/// An event that has no number yet. It belongs into the same commit as the change that it tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// When.
    pub time: Time,
    /// What it tells of.
    pub category: Category,
    /// How it is meant.
    pub level: Level,
    /// Who: `user`, `api:<name>`, `agent`, `system`.
    pub actor: String,
    /// On which host.
    pub host: Option<HostId>,
    /// What, as a word.
    pub action: String,
    /// One sentence.
    pub message: String,
    /// More: JSON, as text.
    pub details: Option<String>,
}

impl NewEvent {
    /// An event without host and details.
    pub fn new(
        time: Time,
        category: Category,
        level: Level,
        actor: impl Into<String>,
        action: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            time,
            category,
            level,
            actor: actor.into(),
            host: None,
            action: action.into(),
            message: message.into(),
            details: None,
        }
    }

    /// The same, on a host.
    #[must_use]
    pub fn on(mut self, host: HostId) -> Self {
        self.host = Some(host);
        self
    }

    /// As everyone sees it, with its number.
    pub fn numbered(&self, id: EventId) -> Event {
        Event {
            id,
            time: self.time,
            category: self.category,
            level: self.level,
            actor: self.actor.clone(),
            host: self.host.clone(),
            action: self.action.clone(),
            message: self.message.clone(),
            details: self.details.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        }
    }
}
