//! One host: its facts, its running command, its lights.

pub mod log;

use std::sync::Arc;

pub use nixfleet_model::host_core::{Act, ActRefused, Submit, Submitted};
use nixfleet_model::remote::RemoteState;
use nixfleet_protocol::agent::{AgentMessage, Register};
use nixfleet_protocol::{CommandId, api};
use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, watch};

use self::log::LogEnd;
use super::links::link::LinkRef;

/// A host's actor.
pub type HostRef = ActorRef<Msg>;

/// What a host's actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// An agent registered, and may speak for this host.
    LinkUp {
        /// Its link.
        link: LinkRef,
        /// What it said.
        register: Box<Register>,
    },
    /// The agent says something.
    FromAgent {
        /// On which link; what comes on another than the current one is dropped.
        link: u64,
        /// What.
        message: AgentMessage,
        /// Held until the message is handled: the reader of the link stops reading when all permits are out.
        permit: OwnedSemaphorePermit,
    },
    /// A link is over.
    LinkDown {
        /// Which.
        link: u64,
    },
    /// The remote's desired state changed.
    RemoteChanged(Arc<RemoteState>),
    /// The remote was asked again, with or without success; what it said came before this.
    RemoteAsked,
    /// Somebody wants an op.
    Submit {
        /// Which, and how.
        request: Submit,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Submitted>,
    },
    /// Somebody wants something of a running command.
    Act {
        /// Which.
        command: CommandId,
        /// What.
        action: Act,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Result<api::Command, ActRefused>>,
    },
    /// Somebody reads along.
    FollowLog {
        /// Which command's log.
        command: CommandId,
        /// Nothing: the command is over or unknown here, the file is all there is.
        reply: RpcReplyPort<Option<watch::Receiver<LogEnd>>>,
    },
    /// The sync actor was restarted: publish everything of this host.
    Republish,
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}
