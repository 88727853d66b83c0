//! One tab (or API client): its subscription to the state, and the logs that it follows.
//!
//! Owns the two tasks of its socket (`session/socket.rs`) and a task for each log that it follows
//! (`session/follow.rs`). State comes from sync straight into the outbox; log lines come by a channel of their
//! own, so that a flood of output never pushes a delta out. Ends with its socket.

mod follow;
mod socket;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use nixfleet_protocol::CommandId;
use nixfleet_protocol::browser::{ClientFrame, Resume};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use self::follow::Follow;
use super::host::log::index::Indexes;
use super::hosts::HostsHandle;
use super::links::link::Socket;
use super::slot::answer;
use super::store::StoreHandle;
use super::sync::{self, Outbox, Render, SyncHandle, View, outbox};

/// Logs that one tab may follow at a time; the oldest is left when it asks for more.
const FOLLOWS: usize = 32;

/// What a session answers to.
#[derive(Debug)]
pub enum Msg {
    /// The client said something.
    FromClient(ClientFrame),
    /// The outbox had been full and is read now: send the full state.
    CaughtUp,
    /// Sync was restarted: subscribe anew.
    SyncRestarted,
    /// Close the socket.
    Close {
        /// WebSocket close code.
        code: u16,
        /// For people.
        reason: &'static str,
    },
    /// The socket is over.
    Ended,
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What it needs.
pub struct Args {
    /// Its number.
    pub id: u64,
    /// The socket.
    pub socket: Socket,
    /// What it wants to be sent.
    pub view: View,
    /// What it has already.
    pub resume: Option<Resume>,
    /// Where the state comes from.
    pub sync: SyncHandle,
    /// Where logs that grow are told of.
    pub hosts: HostsHandle,
    /// Where commands are found.
    pub store: StoreHandle,
    /// Where the logs lie.
    pub data_dir: PathBuf,
    /// Turns at reading logs, shared by all sessions.
    pub turns: Arc<Semaphore>,
    /// What stands above a log.
    pub render: Arc<dyn Render>,
    /// Where the lines of the logs are, shared by all sessions.
    pub indexes: Indexes,
}

/// What it remembers.
pub struct State {
    id: u64,
    view: View,
    sync: SyncHandle,
    outbox: Outbox,
    control: mpsc::Sender<socket::Control>,
    follow: Follow,
    following: HashMap<CommandId, AbortHandle>,
    order: Vec<CommandId>,
    tasks: Vec<AbortHandle>,
}

impl Drop for State {
    fn drop(&mut self) {
        for task in self.tasks.iter().chain(self.following.values()) {
            task.abort();
        }
    }
}

/// The actor.
pub struct Session;

impl Actor for Session {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let (outbox, frames) = outbox();
        // A few log frames: the followers wait, so the socket sets the pace.
        let (lines, log) = mpsc::channel(2);
        let (control, controls) = mpsc::channel(4);
        let tasks = socket::start(args.socket, frames, log, controls, &myself);
        let state = State {
            id: args.id,
            view: args.view.clone(),
            sync: args.sync.clone(),
            outbox,
            control,
            follow: Follow {
                sync: args.sync,
                hosts: args.hosts,
                store: args.store,
                data_dir: args.data_dir,
                lines,
                turns: args.turns,
                render: matches!(args.view, View::Html(_)).then_some(args.render),
                indexes: args.indexes,
            },
            following: HashMap::new(),
            order: Vec::new(),
            tasks,
        };
        state.subscribe(args.resume);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::FromClient(frame) => state.take(frame),
            Msg::CaughtUp => state.tell_sync(sync::Msg::GetState { id: state.id }),
            Msg::SyncRestarted => state.subscribe(None),
            Msg::Close { code, reason } => {
                if state.control.try_send(socket::Control::Close { code, reason }).is_err() {
                    myself.stop(None);
                }
            }
            Msg::Ended => myself.stop(None),
            Msg::Inspect { reply } => answer(
                reply,
                serde_json::json!({ "id": state.id, "following": state.order, "view": format!("{:?}", state.view) }),
            ),
        }
        Ok(())
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.tell_sync(sync::Msg::Unsubscribe { id: state.id });
        Ok(())
    }
}

impl State {
    fn subscribe(&self, resume: Option<Resume>) {
        self.tell_sync(sync::Msg::Subscribe {
            id: self.id,
            view: self.view.clone(),
            outbox: self.outbox.clone(),
            resume,
        });
    }

    fn tell_sync(&self, message: sync::Msg) {
        if !self.sync.cast(message) {
            tracing::debug!(session = self.id, "sync is being restarted");
        }
    }

    fn take(&mut self, frame: ClientFrame) {
        match frame {
            ClientFrame::GetState => self.tell_sync(sync::Msg::GetState { id: self.id }),
            ClientFrame::Resume(from) => self.tell_sync(sync::Msg::Resume { id: self.id, from }),
            ClientFrame::FollowLog(wanted) => {
                let command_id = wanted.command_id;
                self.leave(command_id);
                if self.order.len() == FOLLOWS {
                    self.leave(self.order[0]);
                }
                let task = tokio::spawn(self.follow.clone().run(wanted));
                self.following.insert(command_id, task.abort_handle());
                self.order.push(command_id);
            }
            ClientFrame::UnfollowLog(log) => self.leave(log.command_id),
        }
    }

    fn leave(&mut self, command: CommandId) {
        if let Some(task) = self.following.remove(&command) {
            task.abort();
        }
        self.order.retain(|id| *id != command);
    }
}
