//! The tabs: starts a session actor for each socket, and ends those whose login or token ended.
//!
//! When a session dies its neighbours do not notice: its tab reconnects by itself. When this actor dies its
//! sessions end with it, and the tabs reconnect.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::browser::Resume;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::Semaphore;

use super::host::log::index::Indexes;
use super::hosts::HostsHandle;
use super::links::link::{Socket, close};
use super::session::{self, Session};
use super::slot::{Slot, Unanswered, answer};
use super::store::{SecretHash, StoreHandle};
use super::sync::{Render, SyncHandle, View};

/// Log files that are read at one time, for all tabs together.
const TURNS: usize = 4;

/// On whose behalf a socket is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// A logged-in browser's.
    Session(SecretHash),
    /// An API token's.
    Token(SecretHash),
}

/// What the sessions actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// A tab's socket, after the handshake and the check of its login.
    Open {
        /// The socket.
        socket: Box<Socket>,
        /// What it wants to be sent.
        view: View,
        /// What it has already.
        resume: Option<Resume>,
        /// On whose behalf.
        who: Viewer,
    },
    /// A login or a token ended: its sockets are closed with 4001.
    Close(Viewer),
    /// Sync was restarted: every session subscribes anew.
    SyncRestarted,
    /// The daemon stops: all are closed with 1012.
    Drain {
        /// Told when the close frames are on their way.
        reply: RpcReplyPort<()>,
    },
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What it needs.
#[derive(Clone)]
pub struct Args {
    /// Where the state comes from.
    pub sync: SyncHandle,
    /// Where logs that grow are told of.
    pub hosts: HostsHandle,
    /// Where commands are found.
    pub store: StoreHandle,
    /// Where the logs lie.
    pub data_dir: PathBuf,
    /// What stands above a log.
    pub render: Arc<dyn Render>,
}

/// What it remembers.
pub struct State {
    args: Args,
    /// Where the lines of the logs are that are followed.
    indexes: Indexes,
    /// Turns at reading logs: a tab's reading must not slow those who write, however many tabs there are.
    turns: Arc<Semaphore>,
    next: u64,
    sessions: HashMap<ActorId, (ActorRef<session::Msg>, Viewer)>,
    failed: u64,
}

/// The sessions, for those who use them.
#[derive(Clone, Debug)]
pub struct SessionsHandle {
    slot: Slot<Msg>,
}

impl SessionsHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Hands over a tab's socket. `false`: nobody is there to take it; drop it, the tab comes again.
    pub fn open(&self, socket: Socket, view: View, resume: Option<Resume>, who: Viewer) -> bool {
        self.slot.cast(Msg::Open { socket: Box::new(socket), view, resume, who })
    }

    /// Ends the sockets of a login or a token.
    pub fn close(&self, who: Viewer) -> bool {
        self.slot.cast(Msg::Close(who))
    }

    /// Closes all because the daemon stops.
    pub async fn drain(&self) -> Result<(), Unanswered> {
        self.slot.call(|reply| Msg::Drain { reply }, Duration::from_secs(2)).await
    }
}

/// The actor.
pub struct Sessions;

impl Actor for Sessions {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, _myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        // Numbers are never given twice to sync, also not by the one who sat here before.
        let next = u64::try_from(nixfleet_protocol::Time::now().millis()).unwrap_or_default() << 16;
        Ok(State {
            args,
            indexes: Indexes::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
            next,
            sessions: HashMap::new(),
            failed: 0,
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Open { socket, view, resume, who } => {
                state.next += 1;
                let args = session::Args {
                    id: state.next,
                    socket: *socket,
                    view,
                    resume,
                    sync: state.args.sync.clone(),
                    hosts: state.args.hosts.clone(),
                    store: state.args.store.clone(),
                    data_dir: state.args.data_dir.clone(),
                    turns: Arc::clone(&state.turns),
                    render: Arc::clone(&state.args.render),
                    indexes: state.indexes.clone(),
                };
                match Actor::spawn_linked(None, Session, args, myself.get_cell()).await {
                    Ok((actor, _)) => {
                        state.sessions.insert(actor.get_id(), (actor, who));
                    }
                    Err(error) => tracing::warn!(%error, "session not started"),
                }
            }
            Msg::Close(viewer) => {
                for (session, _) in state.sessions.values().filter(|(_, who)| *who == viewer) {
                    tell(session, session::Msg::Close { code: close::NOT_ALLOWED, reason: "the login ended" });
                }
            }
            Msg::SyncRestarted => {
                for (session, _) in state.sessions.values() {
                    tell(session, session::Msg::SyncRestarted);
                }
            }
            Msg::Drain { reply } => {
                for (session, _) in state.sessions.values() {
                    tell(session, session::Msg::Close { code: close::RESTART, reason: "the dashboard restarts" });
                }
                answer(reply, ());
            }
            Msg::Inspect { reply } => {
                answer(reply, serde_json::json!({ "sessions": state.sessions.len(), "failed": state.failed }));
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, _, _) => {
                state.sessions.remove(&who.get_id());
            }
            SupervisionEvent::ActorFailed(who, error) => {
                // The tab reconnects by itself; there is nothing to bring back.
                state.failed += 1;
                state.sessions.remove(&who.get_id());
                tracing::error!(%error, "a session failed, its tab will come back");
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

fn tell(session: &ActorRef<session::Msg>, message: session::Msg) {
    if session.cast(message).is_err() {
        tracing::debug!("session is gone");
    }
}
