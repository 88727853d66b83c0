//! All runs of pipelines that are not over: one actor for each. Starts them, one at a time: so all hosts of a run agree
//! or none is taken.
//!
//! ```text
//! web ─ Start ─→ runs ─ Reserve ─→ hosts          all agree, or the answer names who is in the way
//!                 ├─ commit: the run, its hosts, the event ─→ store ─→ sync
//!                 └─ spawn ─→ run ─ plans, begins, waits ─→ Ended ─→ Release ─→ hosts
//! ```
//!
//! Who talks to it: the web through [`RunsHandle`]; its children. Nothing is waited for here.
//! When a run's actor dies: it is started again from the store, after a pause that grows, and goes on where it was. One
//! that keeps dying is tried again now and then; its hosts stay its own until a person cancels it, which
//! needs no actor.
//! When this actor dies its children die with it; the root starts it again, and it reads the store.

mod asking;
mod facts;
mod revival;
pub mod run;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::Refusal;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::pipeline::{NotNow, Run};
use nixfleet_model::restart::Restarts;
use nixfleet_protocol::api::{self, Decision};
use nixfleet_protocol::{HostId, RunId};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use self::run::RunRef;
pub use self::world::World;
use super::death::death;
use super::host::tell;
use super::slot::{Slot, Unanswered, answer};
use super::store::{Batch, HostsAs, StoreError, Write};

/// Starts that wait for the one before; more is a client that asks in a circle.
const WAITING: usize = 32;
/// How soon a store that can't be read is asked again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How long an answer to a person's wish may take.
const WISH: Duration = Duration::from_secs(20);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(3);

/// What the runs actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// Somebody wants a run.
    Start {
        /// It, before its first stage.
        run: Box<Run>,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Started>,
    },
    /// The start under way has ended: the run is on disk, or why it is not begun.
    Made(Result<Box<Run>, (RunId, NotBegun)>),
    /// Somebody ends a run.
    Cancel {
        /// Which.
        run: RunId,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Changed>,
    },
    /// Somebody decides how a halted run goes on.
    Decide {
        /// Which.
        run: RunId,
        /// How.
        decision: Decision,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Changed>,
    },
    /// A run is over, and on disk.
    Ended(RunId),
    /// A run's actor died, and its time has come to be started again.
    Revive(RunId),
    /// A run that keeps dying was ended from the store, or why it was not.
    GivenUp {
        /// Which.
        run: RunId,
        /// How that went.
        done: Changed,
        /// Who waits.
        reply: RpcReplyPort<Changed>,
    },
    /// The store was asked for a run.
    Loaded {
        /// Which.
        run: RunId,
        /// What it has.
        loaded: Result<Option<Box<Run>>, StoreError>,
    },
    /// The sync actor was restarted: publish everything, and follow it again.
    Republish,
    /// Whether every run's actor answers within a second.
    Health {
        /// Where to.
        reply: RpcReplyPort<Health>,
    },
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What became of a [`Msg::Start`].
#[derive(Clone, Debug)]
pub enum Started {
    /// It begins.
    Begun(Box<api::Run>),
    /// It does not.
    Not(NotBegun),
}

/// Why a run does not begin.
#[derive(Clone, Debug)]
pub enum NotBegun {
    /// These hosts can't be had, and why.
    Hosts(Vec<(HostId, Refusal)>),
    /// Not now: the store can't write, or an actor is being restarted.
    Unavailable(String),
}

/// What became of a [`Msg::Cancel`] or [`Msg::Decide`].
#[derive(Clone, Debug)]
pub enum Changed {
    /// It is so.
    Done(Box<api::Run>),
    /// Not in its state.
    NotNow(NotNow),
    /// No such run goes on. Perhaps the store knows it.
    NotOpen,
    /// Not now: its actor is being restarted.
    Unavailable(String),
}

/// How the runs that go on are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Their actors do not answer.
    pub silent: Vec<RunId>,
    /// Their actors keep failing: why. No reason for the fleet to be unready.
    pub quarantined: Vec<(RunId, String)>,
}

/// The runs, for those who use them.
#[derive(Clone, Debug)]
pub struct RunsHandle {
    slot: Slot<Msg>,
}

impl RunsHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Starts a run.
    pub async fn start(&self, run: Run) -> Started {
        let asked = self.slot.call(|reply| Msg::Start { run: Box::new(run), reply }, WISH).await;
        asked.unwrap_or_else(|error| Started::Not(NotBegun::Unavailable(error.to_string())))
    }

    /// Ends a run.
    pub async fn cancel(&self, run: RunId, actor: String) -> Changed {
        let asked = self.slot.call(|reply| Msg::Cancel { run, actor, reply }, WISH).await;
        asked.unwrap_or_else(|error| Changed::Unavailable(error.to_string()))
    }

    /// Decides how a halted run goes on.
    pub async fn decide(&self, run: RunId, decision: Decision, actor: String) -> Changed {
        let asked = self.slot.call(|reply| Msg::Decide { run, decision, actor, reply }, WISH).await;
        asked.unwrap_or_else(|error| Changed::Unavailable(error.to_string()))
    }

    /// How the runs are; answers within little more than a second.
    pub async fn health(&self) -> Result<Health, Unanswered> {
        self.slot.call(|reply| Msg::Health { reply }, LOOK).await
    }
}

/// What it needs.
pub struct Args {
    /// What all runs' actors need.
    pub world: Arc<World>,
}

/// What it remembers of one run.
#[derive(Debug, Default)]
struct Entry {
    /// Its actor; none while it is being started again.
    actor: Option<RunRef>,
    restarts: Restarts,
    /// It keeps failing: why.
    broken: Option<String>,
    /// It is being ended without an actor: none is started.
    ending: bool,
}

/// What it remembers.
pub struct State {
    world: Arc<World>,
    runs: BTreeMap<RunId, Entry>,
    by_actor: HashMap<ActorId, RunId>,
    /// Who waits for the start that is under way.
    starting: Option<RpcReplyPort<Started>>,
    waiting: VecDeque<(Box<Run>, RpcReplyPort<Started>)>,
}

/// The actor.
pub struct Runs;

impl Actor for Runs {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let Args { world } = args;
        // What those before had under way comes to rest first, or it would be written over what is read now.
        world.store.settled().await?;
        let loaded = world.store.load_with(HostsAs::Names).await?;
        let open: Vec<Run> = loaded.runs.into_iter().filter(|run| !run.record.is_over()).collect();
        if !world.hosts.open_runs(open.iter().map(|run| run.record.id).collect()) {
            tracing::debug!("hosts are being restarted, and read the runs themselves");
        }
        let mut state =
            State { world, runs: BTreeMap::new(), by_actor: HashMap::new(), starting: None, waiting: VecDeque::new() };
        for run in open {
            state.spawn(&myself, run).await;
        }
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(?message);
        match message {
            Msg::Start { run, reply } => state.start(&myself, run, reply),
            Msg::Made(made) => state.made(&myself, made).await,
            Msg::Cancel { run, actor: who, reply } => {
                if state.is_broken(run) {
                    state.give_up(&myself, run, who, reply);
                } else {
                    state.forward(run, reply, |reply| run::Msg::Cancel { actor: who, reply });
                }
            }
            Msg::GivenUp { run, done, reply } => state.given_up(&myself, run, done, reply),
            Msg::Decide { run, decision, actor: who, reply } => {
                state.forward(run, reply, |reply| run::Msg::Decide { decision, actor: who, reply });
            }
            Msg::Ended(run) => state.ended(run),
            Msg::Revive(run) => state.load(&myself, run),
            Msg::Loaded { run, loaded } => state.loaded(&myself, run, loaded).await,
            Msg::Republish => {
                for actor in state.runs.values().filter_map(|entry| entry.actor.as_ref()) {
                    tell(actor, run::Msg::Republish);
                }
            }
            Msg::Health { reply } => state.health(reply),
            Msg::Inspect { reply } => answer(reply, state.inspect()),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((child, why)) = death(event) {
            state.died(&myself, child, &why);
        }
        Ok(())
    }
}

impl State {
    /// A run's actor, from its record. One that can't be started counts as one that died.
    async fn spawn(&mut self, myself: &ActorRef<Msg>, run: Run) {
        let id = run.record.id;
        let args = run::Args { world: Arc::clone(&self.world), runs: myself.clone(), run: Box::new(run) };
        match Actor::spawn_linked(None, run::RunActor, args, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.by_actor.insert(actor.get_id(), id);
                let entry = self.runs.entry(id).or_default();
                entry.actor = Some(actor);
                entry.broken = None;
            }
            Err(error) => {
                self.runs.entry(id).or_default();
                self.failed(myself, id, &error.to_string());
            }
        }
    }

    fn start(&mut self, myself: &ActorRef<Msg>, run: Box<Run>, reply: RpcReplyPort<Started>) {
        if self.starting.is_none() {
            return self.begin(myself, run, reply);
        }
        if self.waiting.len() >= WAITING {
            let why = "too many runs are being started: try again in a moment".to_owned();
            return answer(reply, Started::Not(NotBegun::Unavailable(why)));
        }
        self.waiting.push_back((run, reply));
    }

    /// In a task: the hosts agree, then the run is made durable.
    fn begin(&mut self, myself: &ActorRef<Msg>, run: Box<Run>, reply: RpcReplyPort<Started>) {
        self.starting = Some(reply);
        let (world, myself) = (Arc::clone(&self.world), myself.clone());
        let id = run.record.id;
        tokio::spawn(async move {
            // A task of its own, so that a panic in there is an answer.
            let made = tokio::spawn(make(world, run)).await;
            let made = made.unwrap_or_else(|error| Err(NotBegun::Unavailable(error.to_string())));
            tell(&myself, Msg::Made(made.map_err(|why| (id, why))));
        });
    }

    async fn made(&mut self, myself: &ActorRef<Msg>, made: Result<Box<Run>, (RunId, NotBegun)>) {
        let started = match made {
            Ok(run) => {
                let view = Box::new(run.view(Vec::new()));
                self.spawn(myself, *run).await;
                Started::Begun(view)
            }
            Err((id, why)) => {
                // Whether a commit that nobody answered reached the disk, the store says: then it begins after all.
                if matches!(why, NotBegun::Unavailable(_)) {
                    myself.send_after(READ_AGAIN, move || Msg::Revive(id));
                }
                Started::Not(why)
            }
        };
        if let Some(reply) = self.starting.take() {
            answer(reply, started);
        }
        if let Some((run, reply)) = self.waiting.pop_front() {
            self.begin(myself, run, reply);
        }
    }

    fn forward(
        &self,
        run: RunId,
        reply: RpcReplyPort<Changed>,
        message: impl FnOnce(RpcReplyPort<Changed>) -> run::Msg,
    ) {
        match self.runs.get(&run) {
            None => answer(reply, Changed::NotOpen),
            Some(Entry { actor: None, .. }) => {
                answer(reply, Changed::Unavailable(format!("the actor of run {run} is being restarted")));
            }
            Some(Entry { actor: Some(actor), .. }) => tell(actor, message(reply)),
        }
    }

    fn ended(&mut self, run: RunId) {
        if let Some(actor) = self.runs.remove(&run).and_then(|entry| entry.actor) {
            self.by_actor.remove(&actor.get_id());
            actor.stop(None);
        }
        if !self.world.hosts.release(run) {
            tracing::debug!(%run, "hosts are being restarted, and read the runs themselves");
        }
    }
}

/// Takes the hosts, then writes the run. Who is not written holds no host.
async fn make(world: Arc<World>, run: Box<Run>) -> Result<Box<Run>, NotBegun> {
    let id = run.record.id;
    let hosts = run.hosts.keys().cloned().collect();
    match world.hosts.reserve(id, hosts).await {
        Ok(refused) if refused.is_empty() => {}
        Ok(refused) => return Err(NotBegun::Hosts(refused)),
        Err(error) => return Err(NotBegun::Unavailable(error.to_string())),
    }
    let mut writes = vec![Write::PutRun(Box::new(run.record.clone()))];
    writes.extend(run.hosts.values().cloned().map(|host| Write::PutRunHost(Box::new(host))));
    let changes = vec![StateChange::Run(Arc::new(run.view(Vec::new())))];
    match world.store.commit_once(Batch { writes, events: vec![run.started()], changes }).await {
        Ok(()) => Ok(run),
        Err(error) => Err(NotBegun::Unavailable(error.to_string())),
    }
}
