//! What a tab (or an API client) and the dashboard say to each other on `/ws`.
//!
//! Frames are `{"type", "version", "epoch", "payload"}`. A client applies a delta only if its version is its
//! own plus one; else it asks. With `?view=html` deltas carry fragments, ready to be put in place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::api::{Command, Event, Host, LogLine, Remote, Run, Server};
use crate::ids::{CommandId, Epoch, HostId, Version};

/// One change of the fleet's state, with the whole object that changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A host is new.
    HostAdded(Arc<Host>),
    /// A host changed.
    HostUpdated(Arc<Host>),
    /// A host is gone.
    HostRemoved(HostId),
    /// A command was accepted.
    CommandStarted(Arc<Command>),
    /// A command changed.
    CommandProgress(Arc<Command>),
    /// A command is over.
    CommandFinished(Arc<Command>),
    /// A run began.
    RunStarted(Arc<Run>),
    /// A run changed.
    RunUpdated(Arc<Run>),
    /// A run is over.
    RunFinished(Arc<Run>),
    /// The remote's desired state changed.
    RemoteUpdated(Arc<Remote>),
    /// Something was written to the audit log.
    Event(Arc<Event>),
    /// Something about the daemon changed.
    ServerUpdated(Arc<Server>),
}

impl Serialize for Change {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("type", self.kind())?;
        match self {
            Self::HostAdded(host) | Self::HostUpdated(host) => {
                map.serialize_entry("id", &host.id)?;
                map.serialize_entry("host", host)?;
            }
            Self::HostRemoved(id) => map.serialize_entry("id", id)?,
            Self::CommandStarted(command) | Self::CommandProgress(command) | Self::CommandFinished(command) => {
                map.serialize_entry("id", &command.id)?;
                map.serialize_entry("command", command)?;
            }
            Self::RunStarted(run) | Self::RunUpdated(run) | Self::RunFinished(run) => {
                map.serialize_entry("id", &run.id)?;
                map.serialize_entry("run", run)?;
            }
            Self::RemoteUpdated(remote) => {
                map.serialize_entry("id", "remote")?;
                map.serialize_entry("remote", remote)?;
            }
            Self::Event(event) => {
                map.serialize_entry("id", &event.id)?;
                map.serialize_entry("event", event)?;
            }
            Self::ServerUpdated(server) => {
                map.serialize_entry("id", "server")?;
                map.serialize_entry("server", server)?;
            }
        }
        map.end()
    }
}

impl Change {
    /// Its type on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HostAdded(_) => "host_added",
            Self::HostUpdated(_) => "host_updated",
            Self::HostRemoved(_) => "host_removed",
            Self::CommandStarted(_) => "command_started",
            Self::CommandProgress(_) => "command_progress",
            Self::CommandFinished(_) => "command_finished",
            Self::RunStarted(_) => "run_started",
            Self::RunUpdated(_) => "run_updated",
            Self::RunFinished(_) => "run_finished",
            Self::RemoteUpdated(_) => "remote_updated",
            Self::Event(_) => "event",
            Self::ServerUpdated(_) => "server_updated",
        }
    }
}

/// The whole state: `payload.state` of `init` and `full_state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// All hosts.
    pub hosts: Vec<Arc<Host>>,
    /// Open and recent commands, newest first.
    pub commands: Vec<Arc<Command>>,
    /// Open and recent runs, newest first.
    pub runs: Vec<Arc<Run>>,
    /// The last events, newest first.
    pub events: Vec<Arc<Event>>,
    /// The desired state.
    pub remote: Arc<Remote>,
    /// The daemon.
    pub server: Arc<Server>,
}

/// A piece of the page, ready to be put in place of the element with this id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Id of the element.
    pub id: String,
    /// What to do with it.
    pub place: Place,
    /// The element's HTML; empty where it is removed.
    pub html: String,
}

/// How a fragment is put in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Morph the element with this id into the fragment.
    Morph,
    /// Add the fragment as the first child of the element named in `into`.
    Prepend {
        /// Id of the parent.
        into: String,
        /// At most this many children stay; the last ones go.
        keep: u32,
    },
    /// Insert the fragment into the list `into` before the child whose id is `before`, or at its end.
    Insert {
        /// Id of the parent.
        into: String,
        /// Id of the child that follows.
        before: Option<String>,
    },
    /// Remove the element.
    Remove,
    /// Ask for the element again, at the address in its `data-src`: it shows more than the state has.
    Ask,
}

/// From a client to the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Send everything.
    GetState,
    /// Send what came after this version.
    Resume(Resume),
    /// Send this log from here on.
    FollowLog(FollowLog),
    /// Send no more of it.
    UnfollowLog(UnfollowLog),
}

/// `resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The epoch that the client's state is of.
    pub epoch: Epoch,
    /// The client's version.
    pub version: Version,
}

/// `follow_log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowLog {
    /// Which command.
    pub command_id: CommandId,
    /// From which byte on; 0 for all.
    #[serde(default)]
    pub offset: u64,
    /// From the beginning of this line on, instead.
    #[serde(default)]
    pub line: Option<u64>,
    /// No more than so many lines of what is there already, the last ones; all, where nothing is said.
    #[serde(default)]
    pub last: Option<u64>,
}

/// `unfollow_log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfollowLog {
    /// Which command.
    pub command_id: CommandId,
}

/// `log`: lines for those who follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFrame {
    /// Which command.
    pub command_id: CommandId,
    /// Number of the line that the first of the lines is, or goes on with; where there are none, of the next one.
    pub line: u64,
    /// The lines, in order. None for a page.
    pub lines: Vec<LogLine>,
    /// For a page: the lines, ready to be put in place. The last one may come again when it has gone on.
    pub html: Option<String>,
    /// For a page: how the command stands, ready to be put in place. Comes first, and when it changes.
    pub head: Option<String>,
    /// The command is over and this was the last of it.
    pub over: bool,
}
