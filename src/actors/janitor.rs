//! The janitor: removes what is old, compresses the logs of commands that are over, and has the store compacted when
//! it takes much more room than it needs. At its start and every hour; a log as soon as its command is over.
//!
//! ```text
//! timer ─→ janitor ─→ a task: pages of commands and events → model::retention → removals, a few hundred in a commit
//! host ── log over ─┘     ├ then: logs of what was removed, logs that no command names, empty folders
//!                         ├ then: plain logs of commands that are over are compressed, one after the other
//!                         └ then: the store is measured, and compacted where it is worth it
//! ```
//!
//! Who talks to it: the root; hosts' actors, when a log is over. It writes records through the store alone.
//! When it dies: started again, and looks again. Its work can be done again at any point: a record is removed before
//! its log, and a log that no command names is removed later.
//! Invariants: one task at a time; what can't be done now is done at the next look; one event says what was removed.

mod look;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_model::retention::{COMPACT_FLOOR, Retention};
use nixfleet_protocol::{CommandId, HostId, Time};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

pub use self::look::Done;
use super::clock::Clock;
use super::host::tail::{Seal, seal};
use super::slot::{Slot, Unanswered, answer};
use super::store::{Compacted, StoreHandle};

/// How soon after its start it looks: who starts and reconnects goes first.
pub const FIRST: Duration = Duration::from_secs(10);
/// How often it looks.
pub const EVERY: Duration = Duration::from_hours(1);
/// Logs that wait to be compressed; beyond this the next look finds them.
const WAITING: usize = 10_000;

/// What the janitor answers to.
#[derive(Debug)]
pub enum Msg {
    /// It is time to look.
    Look,
    /// A look has ended.
    Looked(Result<Box<Done>, String>),
    /// A command is over: its log can be compressed.
    LogOver {
        /// Its host.
        host: HostId,
        /// Itself.
        command: CommandId,
    },
    /// What is kept for how long, and what was found last.
    Kept {
        /// Where to.
        reply: RpcReplyPort<Kept>,
    },
    /// The log that was being compressed is done, or could not be.
    Sealed,
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What is kept for how long, and what was found last.
#[derive(Clone, Debug)]
pub struct Kept {
    /// How long things are kept.
    pub retention: Retention,
    /// The last look that came to its end.
    pub last: Option<(Time, Box<Done>)>,
    /// When the store was compacted last, since the daemon's start.
    pub compacted: Option<(Time, Compacted)>,
}

/// The janitor, for those who ask.
#[derive(Clone, Debug)]
pub struct JanitorHandle {
    slot: Slot<Msg>,
}

impl JanitorHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// What is kept for how long, and what was found last.
    pub async fn kept(&self) -> Result<Kept, Unanswered> {
        self.slot.call(|reply| Msg::Kept { reply }, Duration::from_secs(1)).await
    }
}

/// What it needs.
#[derive(Clone, Debug)]
pub struct Args {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where records are.
    pub store: StoreHandle,
    /// How long things are kept.
    pub retention: Retention,
    /// Below this many bytes a store is not compacted.
    pub compact_floor: u64,
    /// The time.
    pub clock: Clock,
}

impl Args {
    /// With what is usual.
    pub fn new(data_dir: PathBuf, store: StoreHandle, retention: Retention) -> Self {
        Self { data_dir, store, retention, compact_floor: COMPACT_FLOOR, clock: Clock::Wall }
    }
}

/// What it remembers.
pub struct State {
    args: Args,
    /// The task that looks, while it does.
    looking: Option<tokio::task::JoinHandle<()>>,
    over: VecDeque<(HostId, CommandId)>,
    sealing: bool,
    looks: u64,
    last: Option<(Time, Box<Done>)>,
    failed: Option<String>,
    /// What the last compaction gave.
    compacted: Option<(Time, Compacted)>,
}

/// The actor.
pub struct Janitor;

impl Actor for Janitor {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        myself.send_after(FIRST, || Msg::Look);
        Ok(State {
            args,
            looking: None,
            over: VecDeque::new(),
            sealing: false,
            looks: 0,
            last: None,
            failed: None,
            compacted: None,
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(?message);
        match message {
            Msg::Look => state.look(&myself),
            Msg::Looked(done) => {
                state.looking = None;
                state.looks += 1;
                match done {
                    Ok(done) => {
                        let now = state.args.clock.now();
                        state.compacted = done.compacted.map(|compacted| (now, compacted)).or(state.compacted);
                        state.failed = None;
                        state.last = Some((now, done));
                    }
                    Err(why) => {
                        tracing::warn!(why, "the janitor could not do everything, and looks again in an hour");
                        state.failed = Some(why);
                    }
                }
                myself.send_after(EVERY, || Msg::Look);
                state.seal_next(&myself);
            }
            Msg::LogOver { host, command } => {
                if state.over.len() < WAITING {
                    state.over.push_back((host, command));
                }
                state.seal_next(&myself);
            }
            Msg::Sealed => {
                state.sealing = false;
                state.seal_next(&myself);
            }
            Msg::Kept { reply } => {
                let (retention, last) = (state.args.retention, state.last.clone());
                answer(reply, Kept { retention, last, compacted: state.compacted });
            }
            Msg::Inspect { reply } => answer(reply, state.inspect()),
        }
        Ok(())
    }
}

impl State {
    fn look(&mut self, myself: &ActorRef<Msg>) {
        if self.looking.is_some() {
            return;
        }
        let (args, after_last, myself) = (self.args.clone(), self.compacted.map(|(_, it)| it.after), myself.clone());
        self.looking = Some(tokio::spawn(async move {
            // A task of its own, so that a panic in there is an answer.
            let looked = tokio::spawn(look::look(args, after_last)).await;
            let done = match looked {
                Ok(Ok(done)) => Ok(Box::new(done)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            super::host::tell(&myself, Msg::Looked(done));
        }));
    }

    /// One log after the other, and none while a look does the same.
    fn seal_next(&mut self, myself: &ActorRef<Msg>) {
        if self.sealing || self.looking.is_some() {
            return;
        }
        let Some((host, command)) = self.over.pop_front() else { return };
        self.sealing = true;
        let (data_dir, myself) = (self.args.data_dir.clone(), myself.clone());
        tokio::spawn(async move {
            let sealed = tokio::task::spawn_blocking(move || {
                // Its writer lets go in a moment; one that does not is met again by the next look.
                let sealed = seal(&data_dir, &host, command);
                match &sealed {
                    Ok(Seal::Done | Seal::Nothing) => {}
                    Ok(Seal::InUse) => tracing::debug!(%command, "log is still in use"),
                    Err(error) => tracing::warn!(%command, %error, "log can't be compressed"),
                }
            });
            if let Err(error) = sealed.await {
                tracing::error!(%error, "compressing a log failed");
            }
            super::host::tell(&myself, Msg::Sealed);
        });
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({
            "looking": self.looking.is_some(),
            "looks": self.looks,
            "waiting": self.over.len(),
            "failed": self.failed,
            "last": self.last.as_ref().map(|(_, done)| done),
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(looking) = self.looking.take() {
            looking.abort();
        }
    }
}
