//! All hosts: one actor for each, spawned from its record.

use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::remote::RemoteState;
use nixfleet_protocol::agent::Register;
use nixfleet_protocol::{CommandId, HostId, api};
use ractor::RpcReplyPort;
use tokio::sync::watch;

use super::host::log::LogEnd;
use super::host::{Act, ActRefused, HostRef, Submit, Submitted};
use super::links::link::LinkRef;
use super::slot::{Slot, Unanswered};

/// What the hosts actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// An agent may speak for a host. A host that is not known is made.
    LinkUp {
        /// Which host.
        host: HostId,
        /// The agent's link.
        link: LinkRef,
        /// What it said.
        register: Box<Register>,
        /// Where the host's actor is put. Dropped when the host can't take an agent now.
        attach: RpcReplyPort<HostRef>,
    },
    /// The remote's desired state changed.
    RemoteChanged(Arc<RemoteState>),
    /// The remote was asked for this host, with or without success.
    RemoteAsked {
        /// Who asked.
        host: HostId,
    },
    /// Somebody wants an op on a host.
    Submit {
        /// Which host.
        host: HostId,
        /// Which op, and how.
        request: Submit,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Submitted>,
    },
    /// Somebody wants something of a running command.
    Act {
        /// Which command.
        command: CommandId,
        /// Of which host.
        host: HostId,
        /// What.
        action: Act,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Result<api::Command, ActRefused>>,
    },
    /// Somebody reads along.
    FollowLog {
        /// Of which host.
        host: HostId,
        /// Which command's log.
        command: CommandId,
        /// Nothing: the command is over or unknown to its host's actor, the file is all there is.
        reply: RpcReplyPort<Option<watch::Receiver<LogEnd>>>,
    },
    /// Make a host of which nothing but its name is known.
    Create {
        /// Its name.
        host: HostId,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Created>,
    },
    /// The sync actor was restarted: publish everything.
    Republish,
    /// Whether every host's actor answers within a second.
    Health {
        /// Where to.
        reply: RpcReplyPort<Health>,
    },
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
    /// A snapshot of every host's actor, by name; those that don't answer within a second are null.
    InspectAll {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What became of a [`Msg::Create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Made,
    /// It was there already.
    Existed,
}

/// How the hosts are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// How many there are.
    pub hosts: usize,
    /// Their actors do not answer.
    pub silent: Vec<HostId>,
    /// Their actors keep failing; why. No reason for the fleet to be unready.
    pub quarantined: Vec<(HostId, String)>,
}

/// How long an answer to a person's wish may take: a pull asks the remote first, and the disk may be slow.
const WISH: Duration = Duration::from_secs(20);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(3);

/// The hosts, for those who use them.
#[derive(Clone, Debug)]
pub struct HostsHandle {
    slot: Slot<Msg>,
}

impl HostsHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// An op on a host.
    pub async fn submit(&self, host: HostId, request: Submit) -> Submitted {
        let asked = self.slot.call(|reply| Msg::Submit { host, request, reply }, WISH).await;
        asked.unwrap_or_else(|error| Submitted::Unavailable(error.to_string()))
    }

    /// Something of a running command.
    pub async fn act(
        &self,
        host: HostId,
        command: CommandId,
        action: Act,
        actor: String,
    ) -> Result<api::Command, ActRefused> {
        let asked = self.slot.call(|reply| Msg::Act { command, host, action, actor, reply }, WISH).await;
        asked.unwrap_or_else(|error| Err(ActRefused::Unavailable(error.to_string())))
    }

    /// How far a command's log has come, while it grows.
    pub async fn follow_log(
        &self,
        host: HostId,
        command: CommandId,
    ) -> Result<Option<watch::Receiver<LogEnd>>, Unanswered> {
        self.slot.call(|reply| Msg::FollowLog { host, command, reply }, LOOK).await
    }

    /// Makes a host of which nothing but its name is known.
    pub async fn create(&self, host: HostId, actor: String) -> Result<Created, Unanswered> {
        self.slot.call(|reply| Msg::Create { host, actor, reply }, WISH).await
    }

    /// Tells all hosts what the remote is now.
    pub fn remote_changed(&self, remote: Arc<RemoteState>) -> bool {
        self.slot.cast(Msg::RemoteChanged(remote))
    }

    /// Has everything published again.
    pub fn republish(&self) -> bool {
        self.slot.cast(Msg::Republish)
    }

    /// How the hosts are; answers within little more than a second.
    pub async fn health(&self) -> Result<Health, Unanswered> {
        self.slot.call(|reply| Msg::Health { reply }, LOOK).await
    }

    /// Snapshots of all hosts' actors.
    pub async fn inspect_all(&self) -> Result<serde_json::Value, Unanswered> {
        self.slot.call(|reply| Msg::InspectAll { reply }, LOOK).await
    }
}
