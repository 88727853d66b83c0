//! What agents are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::CommandId;
use crate::lenient::{self, or_default};

/// Answer to `register`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registered {
    /// The host's folded name.
    pub host_id: String,
    /// v3: 3. Absent: the dashboard is of the old kind.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// v3: the dashboard's version.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// v3: for each command that `register` named: how much of its log the dashboard has on disk, in bytes.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<CommandId, u64>,
}

/// Run this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The op, or a word of the old generation.
    pub command: String,
    /// v3: its id. Absent from an old dashboard.
    #[serde(default, deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// v3: what the op takes.
    #[serde(default, deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// v3: the hard limit in seconds, for display only.
    #[serde(default, deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub hard_limit_s: Option<u64>,
}

/// Which signal a stop begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Signal {
    /// Ask; SIGKILL follows 3 s later.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// End at once.
    #[serde(rename = "SIGKILL")]
    Kill,
}

/// Stop this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KillCommand {
    /// How.
    #[serde(deserialize_with = "or_default")]
    pub signal: Signal,
    /// v2: the process, 0 for the running one.
    #[serde(deserialize_with = "or_default")]
    pub pid: i64,
    /// v3: which command.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
}

/// v3: output up to `offset` is on disk at the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputAck {
    /// Which command.
    pub command_id: CommandId,
    /// Bytes of its log.
    pub offset: u64,
}

/// v3: the result is on disk at the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAck {
    /// Which command.
    pub command_id: CommandId,
}
