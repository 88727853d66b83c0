//! One link, for those who send to it.

use nixfleet_protocol::agent::DashboardMessage;
use tokio::sync::{mpsc, oneshot};

/// Close codes of ours.
pub mod close {
    /// The token is bound to another host, was removed, or the host was.
    pub const NOT_ALLOWED: u16 = 4001;
    /// The dashboard restarts, or the host's actor does: come back at once.
    pub const RESTART: u16 = 1012;
}

/// What goes to an agent.
#[derive(Debug)]
pub enum Outgoing {
    /// A message.
    Frame(DashboardMessage),
    /// A ping; the sender is told when the pong (or anything else) comes.
    Ping(oneshot::Sender<()>),
    /// The end.
    Close {
        /// WebSocket close code.
        code: u16,
        /// For people.
        reason: String,
    },
}

/// One link, for those who send to it.
#[derive(Clone, Debug)]
pub struct LinkRef {
    id: u64,
    outbox: mpsc::Sender<Outgoing>,
}

impl LinkRef {
    /// Over a bounded outbox.
    pub fn new(id: u64, outbox: mpsc::Sender<Outgoing>) -> Self {
        Self { id, outbox }
    }

    /// Its number: no two links of a daemon's life share one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sends. `false`: the link is gone, or its agent does not read; the host will hear of its end.
    pub fn send(&self, message: DashboardMessage) -> bool {
        self.outbox.try_send(Outgoing::Frame(message)).is_ok()
    }

    /// Ends the link.
    pub fn close(&self, code: u16, reason: &str) {
        if self.outbox.try_send(Outgoing::Close { code, reason: reason.to_owned() }).is_err() {
            tracing::debug!(link = self.id, code, "link is gone or does not read");
        }
    }
}
