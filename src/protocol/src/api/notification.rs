//! How people are told: the channels, without anything secret.

use serde::{Deserialize, Serialize};

use super::Level;
use crate::time::Time;

/// A way to reach people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationChannel {
    /// Its name.
    pub name: String,
    /// `ntfy`, `discord`, `webhook` or `mail`.
    pub kind: String,
    /// Where it goes, as far as that is no secret: a server, or addresses.
    pub to: String,
    /// The kinds of notices that it takes; empty: all.
    pub events: Vec<String>,
    /// The levels that it takes; empty: all.
    pub levels: Vec<Level>,
    /// The names of the hosts that it is about, with `*` and `?`; empty: all.
    pub hosts: Vec<String>,
    /// The tags of the hosts that it is about; empty: all.
    pub tags: Vec<String>,
    /// The hours in which it takes nothing, in words.
    pub quiet: Option<String>,
    /// Until when it takes nothing, while it is in these hours.
    pub quiet_until: Option<Time>,
    /// Notices that it has not taken yet.
    pub waiting: u64,
    /// When the next attempt is made, after one that failed.
    pub retry_at: Option<Time>,
    /// When it last took something, since the daemon's start.
    pub last_success: Option<Time>,
    /// Why the last attempt failed; null after one that did not.
    pub last_error: Option<NotificationError>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationError {
    /// When.
    pub at: Time,
    /// Why.
    pub message: String,
}

/// `GET /api/v1/notifications`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationList {
    /// All channels, in the order of the configuration.
    pub channels: Vec<NotificationChannel>,
}

/// `POST /api/v1/notifications/{channel}/test`, where the receiver took it. Where it did not, the answer is a problem
/// with the code `notification_failed` and the receiver's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationTested {
    /// The channel.
    pub channel: String,
    /// One sentence.
    pub message: String,
}
