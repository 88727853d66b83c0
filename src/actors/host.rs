//! One host: its facts, its running command, its lights. This is the shell: a message becomes an input of the
//! core ([`nixfleet_model::host_core`]), and what follows from it is performed here, in one match.
//!
//! ```text
//! link ─ FromAgent ─→ host ─ Input → core → Step ─→ committer ─→ store ─→ sync
//!    │                  │                              └─ then: frames, answers, questions
//!    └──── output ──────┴─→ log writer ─→ disk ─→ host ─→ output_ack
//! ```
//!
//! Who talks to it: `hosts`, its parent, for everyone else; the tasks of its link; its own tasks.
//! When it dies: its parent reads its record and starts it again; its link is closed with 1012, and the agent comes
//! back and tells the truth. Who waited for an answer is told that it will not come.
//! Invariants: one commit under way; effects behind their commit; facts are published only while no commit is under
//! way; nothing goes to an agent before its `registered`.

mod agent;
mod cut;
mod effects;
pub mod log;
pub mod packets;
mod readers;
pub mod tail;
mod wishes;
pub mod world;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::Refusal;
use nixfleet_model::command::Command;
use nixfleet_model::host::HostRecord;
pub use nixfleet_model::host_core::{Act, ActRefused, Submit, Submitted, WISH};
use nixfleet_model::host_core::{Core, Effect, Input, Step, Writes};
use nixfleet_model::remote::RemoteState;
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Output, Register};
use nixfleet_protocol::{CommandId, HostId, RunId, Time, api};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, watch};

use self::log::LogEnd;
pub use self::world::{AskRemote, World};
pub use self::writer::News;
use self::writer::Writer;
use super::clock::Steady;
use super::committer::Committer;
use super::hosts;
use super::links::link::{LinkRef, close};
use super::owned::OwnedTask;
use super::slot::answer;
use super::store::{Batch, StoreError, Write};

/// A host's actor.
pub type HostRef = ActorRef<Msg>;

/// Why an actor ends whose host was removed.
pub(super) const REMOVED: &str = "the host was removed";

/// After how long without the disk people are told so, instead of waiting.
const DISK_HANGS: Duration = Duration::from_secs(3);

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
    /// A question to the remote has ended, with or without success; what it said came before this.
    RemoteAsked {
        /// Names the question.
        number: u64,
    },
    /// Somebody wants an op.
    Submit {
        /// The id that it gets, where none was chosen before.
        id: CommandId,
        /// Which, and how.
        request: Box<Submit>,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Submitted>,
    },
    /// The store was asked for the id of a wish, and has answered.
    Sought {
        /// Its id.
        id: CommandId,
        /// The wish.
        request: Box<Submit>,
        /// What the store has of its id.
        known: Option<Box<Command>>,
        /// Who waits.
        reply: RpcReplyPort<Submitted>,
    },
    /// A run wants the host for itself.
    Reserve {
        /// Which.
        run: RunId,
        /// Answered when it is in the state that everyone sees, or with what is in the way.
        reply: RpcReplyPort<Result<(), Refusal>>,
    },
    /// This run owns the host from now on.
    Owned(Option<RunId>),
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
    /// The commit under way has ended.
    Committed(Result<(), StoreError>),
    /// A log writer tells how far it is.
    Log {
        /// Whose log.
        command: CommandId,
        /// How far.
        news: News,
    },
    /// The lengths of the logs that a register named are not waited for any longer.
    MeasuredLongEnough {
        /// On which link.
        link: u64,
    },
    /// The store was asked for a command, and has answered.
    Found {
        /// Which.
        id: CommandId,
        /// What it knows.
        command: Option<Box<Command>>,
    },
    /// Nobody reads a command's log any more that ends with its readers.
    ReaderLeft {
        /// Which.
        command: CommandId,
    },
    /// The core wanted to be woken. A timer that is not the newest is ignored.
    Wake {
        /// Which timer.
        generation: u64,
    },
}

/// What one host's actor is started from.
pub struct Args {
    /// What all hosts' actors need.
    pub world: Arc<World>,
    /// Its parent.
    pub hosts: ActorRef<hosts::Msg>,
    /// Its record.
    pub record: Box<HostRecord>,
    /// Its commands that are not over.
    pub unfinished: Vec<Command>,
    /// The remote as it is now.
    pub remote: Arc<RemoteState>,
    /// The run that owns it.
    pub run: Option<RunId>,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Waiting {
    Submit(RpcReplyPort<Submitted>),
    Reserve(RpcReplyPort<Result<(), Refusal>>),
    Act(RpcReplyPort<Result<api::Command, ActRefused>>),
}

/// The agent's link, as the shell sees it.
#[derive(Debug)]
struct Link {
    link: LinkRef,
    /// What waits for `registered` to be sent first; none: it was.
    held: Option<Vec<DashboardMessage>>,
}

/// What it remembers.
pub struct State {
    host: HostId,
    world: Arc<World>,
    hosts: ActorRef<hosts::Msg>,
    clock: Steady,
    core: Core,
    committer: Committer<Effect>,
    /// Since when the commit under way is under way.
    committing_since: Option<tokio::time::Instant>,
    /// Facts changed while a commit was under way.
    stale: bool,
    link: Option<Link>,
    waiting: HashMap<u64, Waiting>,
    next_ask: u64,
    logs: HashMap<CommandId, Writer>,
    /// Output of commands that the store is asked for.
    unplaced: Vec<(Output, OwnedSemaphorePermit)>,
    /// Who looks whether logs are read that end with their readers.
    readers: HashMap<CommandId, OwnedTask>,
    /// A register that waits for the lengths of logs.
    measuring: Option<Measuring>,
    timer: Option<Timer>,
    generation: u64,
    /// The host is gone for good.
    removed: bool,
}

/// A timer of the core. One that fires early looks again: each heartbeat moves the moment when a host is silent for
/// too long, and a new task for each would cost more than the heartbeat.
#[derive(Debug)]
struct Timer {
    at: Time,
    /// When the core wants to be woken; not before `at`. None: not at all any more.
    wanted: Option<Time>,
    task: tokio::task::JoinHandle<()>,
}

/// The lengths of the logs that a register named.
#[derive(Debug)]
struct Measuring {
    link: u64,
    offsets: BTreeMap<CommandId, u64>,
    missing: Vec<CommandId>,
    /// They have no longer than this.
    _limit: OwnedTask,
}

/// The actor.
pub struct Host;

impl Actor for Host {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: HostRef, args: Args) -> Result<State, ActorProcessingErr> {
        let Args { world, hosts, record, unfinished, remote, run } = args;
        let host = record.id.clone();
        let clock = Steady::new(world.clock);
        let now = clock.now();
        let (core, step) = Core::revive(Arc::clone(&world.settings), *record, unfinished, remote, now);
        let mut state = State {
            host,
            hosts,
            clock,
            core,
            committer: Committer::new(world.store.clone()),
            committing_since: None,
            stale: false,
            link: None,
            waiting: HashMap::new(),
            next_ask: 0,
            logs: HashMap::new(),
            unplaced: Vec::new(),
            readers: HashMap::new(),
            measuring: None,
            timer: None,
            generation: 0,
            removed: false,
            world,
        };
        state.follow_up(&myself, step, now);
        if run.is_some() {
            state.step(&myself, Input::Owned(run));
        }
        Ok(state)
    }

    async fn handle(&self, myself: HostRef, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(host = %state.host, ?message);
        match message {
            Msg::FromAgent { link, message: AgentMessage::Output(output), permit } => {
                state.output(&myself, link, output, permit);
            }
            Msg::FromAgent { link, message, permit } => {
                state.step(&myself, Input::Heard { link, message });
                drop(permit);
            }
            Msg::LinkUp { link, register } => state.link_up(&myself, link, register),
            Msg::LinkDown { link } => {
                state.link.take_if(|current| current.link.id() == link);
                state.step(&myself, Input::LinkDown { link });
                if state.core.link().is_none() {
                    state.unplaced.clear();
                }
                state.close_logs();
            }
            Msg::RemoteChanged(remote) => state.step(&myself, Input::Remote(remote)),
            Msg::RemoteAsked { number } => state.step(&myself, Input::RemoteAsked { number }),
            Msg::Submit { id, request, reply } => state.submit(&myself, id, *request, reply),
            Msg::Sought { id, request, known, reply } => state.sought(&myself, id, *request, known, reply),
            Msg::Reserve { run, reply } => state.reserve(&myself, run, reply),
            Msg::Owned(run) => state.step(&myself, Input::Owned(run)),
            Msg::Act { command, action, actor, reply } => state.act(&myself, command, action, actor, reply),
            Msg::FollowLog { command, reply } => {
                let grows = state.core.command(command).is_some();
                answer(reply, grows.then(|| state.log(&myself, command).follow()));
            }
            Msg::Republish => {
                state.core.forget_told();
                let now = state.now();
                state.publish(now);
            }
            Msg::Committed(result) => {
                // A store that can't read what it wrote is beyond this actor: it is started again from the store.
                result?;
                let ready = state.committer.committed(told(&myself));
                state.committing_since = (!state.committer.is_idle()).then(tokio::time::Instant::now);
                state.perform(&myself, ready);
                if state.committer.is_idle() && std::mem::take(&mut state.stale) {
                    let now = state.now();
                    state.publish(now);
                }
            }
            Msg::Log { command, news } => state.log_news(&myself, command, news),
            Msg::MeasuredLongEnough { link } => state.measured_long_enough(link),
            Msg::Found { id, command } => state.found(&myself, id, command),
            Msg::ReaderLeft { command } => state.step(&myself, Input::ReaderLeft { command }),
            Msg::Wake { generation } => {
                if generation == state.generation
                    && let Some(timer) = state.timer.take()
                {
                    let now = state.now();
                    match timer.wanted {
                        Some(wanted) if wanted <= now => state.step(&myself, Input::Timer),
                        Some(_) | None => state.set_timer(&myself, now),
                    }
                }
            }
            Msg::Inspect { reply } => answer(reply, state.inspect()),
        }
        Ok(())
    }

    /// Facts that had time have none any more: a restart shows what was known last.
    async fn post_stop(&self, _myself: HostRef, state: &mut State) -> Result<(), ActorProcessingErr> {
        // While a commit is under way the record may name what is not on disk: then the minute's facts are let go.
        if let Some(record) = state.core.unsaved().filter(|_| !state.removed && state.committer.is_idle()) {
            let write = Write::PutHost(Box::new(record.clone()));
            let batch = Batch { writes: vec![write], ..Batch::default() };
            if let Err(error) = state.world.store.commit_once(batch).await {
                tracing::warn!(host = %state.host, %error, "the last facts were not written");
            }
        }
        Ok(())
    }
}

impl State {
    /// The time. While something is under way the wall's clock may jump as it likes.
    fn now(&mut self) -> Time {
        if self.core.unfinished().next().is_none() { self.clock.follow() } else { self.clock.now() }
    }

    fn step(&mut self, myself: &HostRef, input: Input) {
        let now = self.now();
        let step = self.core.step(input, now);
        self.follow_up(myself, step, now);
    }

    /// What follows from a step: its writes, behind them its effects, and what everyone may see at once.
    fn follow_up(&mut self, myself: &HostRef, step: Step, now: Time) {
        let Step { writes, then, publish } = step;
        let ready = self.committer.add(batch_of(writes), then, told(myself));
        if self.committer.is_idle() {
            if publish {
                self.publish(now);
            }
        } else {
            self.stale |= publish;
            self.committing_since.get_or_insert_with(tokio::time::Instant::now);
        }
        self.perform(myself, ready);
        self.set_timer(myself, now);
    }

    fn publish(&mut self, now: Time) {
        if self.committer.is_idle() {
            (self.world.publish)(self.core.changes(now));
        } else {
            self.stale = true;
        }
    }

    fn set_timer(&mut self, myself: &HostRef, now: Time) {
        let wake = self.core.next_wake(now);
        match &mut self.timer {
            None if wake.is_none() => return,
            Some(timer) if wake.is_none_or(|wake| timer.at <= wake) => {
                timer.wanted = wake;
                return;
            }
            None | Some(_) => {}
        }
        if let Some(timer) = self.timer.take() {
            timer.task.abort();
        }
        self.generation += 1;
        let (generation, myself) = (self.generation, myself.clone());
        self.timer = wake.map(|at| {
            // A moment that is past must not become a loop without a breath.
            let wait = at.since(now).max(Duration::from_millis(1));
            let task = tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                tell(&myself, Msg::Wake { generation });
            });
            Timer { at, wanted: Some(at), task }
        });
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({
            "host": self.host,
            "link": self.core.link(),
            "protocol": self.core.protocol(),
            "open": self.core.open().map(|open| (open.id, open.op, open.state)),
            "unfinished": self.core.unfinished().count(),
            "run": self.core.run(),
            "committing_ms": self.committing_since.map(|since| since.elapsed().as_millis()),
            "waiting": self.waiting.len(),
            "logs": self.logs.len(),
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Who dies with its parent has nobody left to do this: the agent is to come back at once.
        if let Some(current) = self.link.take().filter(|_| !self.removed) {
            current.link.close(close::RESTART, "the host's actor is being restarted, come back");
        }
        if let Some(timer) = self.timer.take() {
            timer.task.abort();
        }
    }
}

/// Tells an actor. One that is gone is started again by its parent, and knows from its records what it must know.
pub(super) fn tell<M: ractor::Message>(actor: &ActorRef<M>, message: M) {
    if actor.cast(message).is_err() {
        tracing::debug!(actor = ?actor.get_id(), "not told: it is gone");
    }
}

/// What a commit calls when it has ended.
fn told(myself: &HostRef) -> impl FnOnce(Result<(), StoreError>) + Send + 'static + use<> {
    let myself = myself.clone();
    move |result| tell(&myself, Msg::Committed(result))
}

/// The core's writes in the store's words.
pub(super) fn batch_of(writes: Writes) -> Batch {
    let Writes { host: record, removed, commands, events, changes } = writes;
    tracing::trace!(commands = commands.len(), events = events.len(), "writes");
    let mut batch = Batch { writes: Vec::new(), events, changes };
    batch.writes.extend(commands.into_iter().map(|command| Write::PutCommand(Box::new(command))));
    batch.writes.extend(record.filter(|_| removed.is_none()).map(Write::PutHost));
    batch.writes.extend(removed.map(Write::RemoveHost));
    batch
}
