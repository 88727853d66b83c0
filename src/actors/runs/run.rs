//! One run of a pipeline. Its whole state is in the store; what it does next is [`nixfleet_model::pipeline::plan`].
//!
//! ```text
//! sync ─ Changed, Over ─→ run ─ look ─→ plan ─→ ids for what begins ─→ store ─→ sync
//!                          ▲                                         └─ then: Submit ─→ hosts, remote
//!                          └────────────────── Answered ──────────────────────────────────────┘
//! ```
//!
//! Who talks to it: `runs`, its parent, for everyone else; sync's stream; its own tasks.
//! When it dies: its parent reads the run and starts it again. What was begun is asked for by its id: whoever has it
//! answers with it, and what nobody has begins now, with the same id. So nothing is begun twice.
//! Invariants: a plan is made of a look that began after what it follows from, so that no host is passed over for what
//! it was before; an id is on disk before anyone is asked for it; one commit under way; effects behind their commit; at
//! most one wake-up, one look at the state and one question for each command are under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::{FleetState, StateChange};
use nixfleet_model::host_core::Submitted;
use nixfleet_model::pipeline::{Facts, HostFact, NotNow, Planned, Run, Said, plan};
use nixfleet_protocol::api::{self, Decision, RunWait, WaitKind};
use nixfleet_protocol::{CommandId, Time};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use uuid::Uuid;

use super::facts::Ear;
use super::{Changed, World, asking};
use crate::actors::committer::Committer;
use crate::actors::host::tell;
use crate::actors::owned::OwnedTask;
use crate::actors::runs;
use crate::actors::slot::answer;
use crate::actors::store::{Batch, StoreError, Write};
use crate::actors::sync::Snapshot;

/// A run's actor.
pub type RunRef = ActorRef<Msg>;

/// How soon a host that could not take a command is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at the state lie so many milliseconds, and half of one for each host: a run shows all of its hosts
/// with each change.
const BREATH: u64 = 20;

/// What a run's actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// Something of its own changed in the state that everyone sees.
    Changed,
    /// The state, as it is.
    Saw(Snapshot),
    /// A command of its own is over.
    Over(Arc<api::Command>),
    /// Who was asked for a command has answered.
    Answered {
        /// For which.
        id: CommandId,
        /// What.
        submitted: Box<Submitted>,
    },
    /// A command is to be asked for once more.
    AskAgain(CommandId),
    /// The plan wanted to be made again. A timer that is not the newest is ignored.
    Wake {
        /// Which timer.
        generation: u64,
    },
    /// Somebody ends the run.
    Cancel {
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Changed>,
    },
    /// Somebody decides how it goes on.
    Decide {
        /// How.
        decision: Decision,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Changed>,
    },
    /// The commit under way has ended.
    Committed(Result<(), StoreError>),
    /// The sync actor was restarted: publish, and follow it again.
    Republish,
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What one run's actor is started from.
pub struct Args {
    /// What all runs' actors need.
    pub world: Arc<World>,
    /// Its parent.
    pub runs: ActorRef<runs::Msg>,
    /// The run.
    pub run: Box<Run>,
}

/// What is to be done when a commit is on disk.
#[derive(Debug)]
enum Then {
    /// Ask for this command.
    Ask(CommandId),
    /// Answer who decided.
    Answer(RpcReplyPort<Changed>, Box<api::Run>),
    /// The run is over.
    End,
}

/// What it remembers.
pub struct State {
    world: Arc<World>,
    runs: ActorRef<runs::Msg>,
    run: Run,
    committer: Committer<Then>,
    /// What was shown last.
    shown: Option<Arc<api::Run>>,
    /// It was not told: a commit was under way.
    untold: bool,
    /// The state, since it was first seen.
    fleet: Option<Arc<FleetState>>,
    said: BTreeMap<CommandId, Said>,
    /// Ids that were chosen and are not on disk yet.
    unwritten: BTreeSet<CommandId>,
    /// Questions under way.
    asking: HashMap<CommandId, OwnedTask>,
    ear: Ear,
    /// The look at the state that is under way.
    looking: Option<OwnedTask>,
    /// Something changed since that look began.
    again: bool,
    timer: Option<OwnedTask>,
    generation: u64,
}

/// The actor.
pub struct RunActor;

impl Actor for RunActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: RunRef, args: Args) -> Result<State, ActorProcessingErr> {
        let Args { world, runs, run } = args;
        let ear = Ear::new(run.record.id, run.hosts.keys().cloned().collect(), world.sync.clone());
        let mut state = State {
            committer: Committer::new(world.store.clone()),
            world,
            runs,
            run: *run,
            shown: None,
            untold: false,
            fleet: None,
            said: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            asking: HashMap::new(),
            looking: Some(ear.follow(&myself)),
            ear,
            again: false,
            timer: None,
            generation: 0,
        };
        state.own();
        state.ask_for_all(&myself);
        Ok(state)
    }

    async fn handle(&self, myself: RunRef, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(run = %state.run.record.id, ?message);
        match message {
            Msg::Changed => state.look(&myself),
            Msg::Saw(snapshot) => {
                state.looking = None;
                state.fleet = Some(snapshot.state);
                state.plan(&myself);
                if std::mem::take(&mut state.again) {
                    state.look(&myself);
                }
            }
            Msg::Over(command) => {
                state.hear(&command);
                state.look(&myself);
            }
            Msg::Answered { id, submitted } => {
                state.answered(&myself, id, *submitted);
                state.look(&myself);
            }
            Msg::AskAgain(id) => state.ask(&myself, id),
            Msg::Wake { generation } => {
                if generation == state.generation {
                    state.look(&myself);
                }
            }
            Msg::Cancel { actor, reply } => {
                state.decide(&myself, reply, |run, now| run.cancel(&actor, now));
            }
            Msg::Decide { decision, actor, reply } => {
                state.decide(&myself, reply, |run, now| run.decide(decision, &actor, now));
            }
            Msg::Committed(result) => {
                // A store that can't read what it wrote is beyond this actor: it is started again from the store.
                result?;
                let ready = state.committer.committed(told(&myself));
                state.perform(&myself, ready);
                state.publish();
            }
            Msg::Republish => {
                state.untold = true;
                state.publish();
                state.looking = Some(state.ear.follow(&myself));
                // The end of a command may have been told while nobody listened.
                state.ask_for_all(&myself);
            }
            Msg::Inspect { reply } => answer(reply, state.inspect()),
        }
        Ok(())
    }
}

impl State {
    /// The hosts are told whose they are, where they do not know it.
    fn own(&self) {
        let hosts = self.run.hosts.keys().cloned().collect();
        if !self.world.hosts.own(self.run.record.id, hosts) {
            tracing::debug!(run = %self.run.record.id, "hosts are being restarted, and read the runs themselves");
        }
    }

    fn look(&mut self, myself: &RunRef) {
        if self.looking.is_some() {
            self.again = true;
            return;
        }
        let breath = Duration::from_millis(BREATH + self.run.hosts.len() as u64 / 2);
        self.looking = Some(self.ear.look(breath, myself));
    }

    /// What is known now; none: the state was not seen yet.
    fn facts(&mut self) -> Option<Facts> {
        let fleet = Arc::clone(self.fleet.as_ref()?);
        let begun: BTreeSet<CommandId> = self.run.under_way().filter_map(|(_, _, cell)| cell.command).collect();
        for command in begun.iter().filter_map(|id| fleet.commands.get(id)) {
            self.hear(command);
        }
        self.said.retain(|id, _| begun.contains(id));
        let fact = |host: &nixfleet_protocol::HostId| Some((host.clone(), HostFact::from(&**fleet.hosts.get(host)?)));
        let hosts = self.run.hosts.keys().filter_map(fact).collect();
        Some(Facts {
            hosts,
            said: self.said.clone(),
            head: fleet.remote.commit.clone(),
            branch: fleet.remote.branch.clone(),
            daemon_started: self.world.daemon_started,
        })
    }

    /// A command as it is. What is over stays over, whoever tells something older.
    fn hear(&mut self, command: &api::Command) {
        let over = |said: &Said| matches!(said, Said::Is { state, .. } if state.is_final());
        if !self.said.get(&command.id).is_some_and(over) {
            self.said.insert(command.id, Said::from(command));
        }
    }

    fn plan(&mut self, myself: &RunRef) {
        if self.run.record.is_over() {
            return;
        }
        if let Some(facts) = self.facts() {
            let now = self.world.clock.now();
            let planned = plan(&self.run, &facts, now);
            self.go_on(myself, planned, None, now);
        }
    }

    /// Somebody decides: it is on disk before it is answered. Its end needs no look at the hosts; what else follows is
    /// planned with the next one.
    fn decide(
        &mut self,
        myself: &RunRef,
        reply: RpcReplyPort<Changed>,
        decide: impl FnOnce(&mut Run, Time) -> Result<Option<NewEvent>, NotNow>,
    ) {
        let now = self.world.clock.now();
        let mut run = self.run.clone();
        let event = match decide(&mut run, now) {
            Err(why) => return answer(reply, Changed::NotNow(why)),
            Ok(event) => event,
        };
        let ends = run.record.cancelled.is_some();
        let mut planned = if let Some(facts) = self.facts().filter(|_| ends) {
            plan(&run, &facts, now)
        } else {
            let shown = self.shown.iter().flat_map(|shown| shown.waits.iter().cloned());
            let waits = shown.filter(|wait| wait.kind != WaitKind::Person).collect();
            Planned { run, begin: BTreeSet::new(), waits, wake: None, events: Vec::new() }
        };
        planned.events.splice(0..0, event);
        self.go_on(myself, planned, Some(reply), now);
        self.ask_for_all(myself);
        self.look(myself);
    }

    /// Chooses ids for what begins, and brings all that changed to the disk; what follows comes behind it.
    fn go_on(&mut self, myself: &RunRef, planned: Planned, reply: Option<RpcReplyPort<Changed>>, now: Time) {
        let Planned { run, begin, waits, wake, events } = planned;
        let before = std::mem::replace(&mut self.run, run);
        let mut then = Vec::new();
        for place in &begin {
            let id = CommandId::from_uuid(Uuid::now_v7());
            self.run.begin(place, id, now);
            self.unwritten.insert(id);
            then.push(Then::Ask(id));
        }
        let view = self.view(waits);
        if let Some(reply) = reply {
            then.push(Then::Answer(reply, Box::new(api::Run::clone(&view))));
        }
        if self.run.record.is_over() && !before.record.is_over() {
            then.push(Then::End);
        }
        let mut batch = Batch { writes: self.writes(&before), events, changes: Vec::new() };
        if !batch.is_empty() {
            batch.changes.push(StateChange::Run(view));
            self.untold = false;
        }
        let ready = self.committer.add(batch, then, told(myself));
        self.perform(myself, ready);
        self.publish();
        self.set_timer(myself, wake, now);
    }

    fn writes(&self, before: &Run) -> Vec<Write> {
        let mut writes = Vec::new();
        if before.record != self.run.record {
            writes.push(Write::PutRun(Box::new(self.run.record.clone())));
        }
        let changed = self.run.hosts.iter().filter(|(host, now)| before.hosts.get(*host) != Some(*now));
        writes.extend(changed.map(|(_, host)| Write::PutRunHost(Box::new(host.clone()))));
        writes
    }

    /// As everyone sees it; the same as before where nothing changed.
    fn view(&mut self, waits: Vec<RunWait>) -> Arc<api::Run> {
        let view = self.run.view(waits);
        match &self.shown {
            Some(shown) if **shown == view => Arc::clone(shown),
            Some(_) | None => {
                let view = Arc::new(view);
                self.shown = Some(Arc::clone(&view));
                self.untold = true;
                view
            }
        }
    }

    /// Tells what is shown, where no commit tells it: never before what it shows is on disk.
    fn publish(&mut self) {
        if self.untold
            && self.committer.is_idle()
            && let Some(view) = &self.shown
        {
            self.world.sync.publish(vec![StateChange::Run(Arc::clone(view))]);
            self.untold = false;
        }
    }

    fn perform(&mut self, myself: &RunRef, effects: Vec<Then>) {
        for effect in effects {
            match effect {
                Then::Ask(id) => {
                    self.unwritten.remove(&id);
                    self.ask(myself, id);
                }
                Then::Answer(reply, run) => answer(reply, Changed::Done(run)),
                Then::End => tell(&self.runs, runs::Msg::Ended(self.run.record.id)),
            }
        }
    }

    /// Asks for everything that was begun and whose end is not known.
    fn ask_for_all(&mut self, myself: &RunRef) {
        let begun: Vec<CommandId> = self.run.under_way().filter_map(|(_, _, cell)| cell.command).collect();
        for id in begun {
            self.ask(myself, id);
        }
    }

    fn ask(&mut self, myself: &RunRef, id: CommandId) {
        if self.unwritten.contains(&id) || self.asking.contains_key(&id) {
            return;
        }
        if let Some(task) = asking::ask(&self.world, &self.run, id, myself) {
            self.asking.insert(id, task);
        }
    }

    fn answered(&mut self, myself: &RunRef, id: CommandId, submitted: Submitted) {
        self.asking.remove(&id);
        let again = || drop(myself.send_after(ASK_AGAIN, move || Msg::AskAgain(id)));
        match submitted {
            Submitted::Accepted(command) | Submitted::Blocked(command, _) => self.hear(&command),
            // What is known of it is better than that it does not begin now.
            Submitted::NotNow(_) if matches!(self.said.get(&id), Some(Said::Is { .. })) => {}
            Submitted::NotNow(refusal) if refusal.code == "not_begun" => {
                self.said.insert(id, Said::Never(refusal.message));
            }
            Submitted::NotNow(refusal) if refusal.code == "not_owned" => {
                self.own();
                again();
            }
            Submitted::NotNow(refusal) => {
                self.said.insert(id, Said::NotNow(refusal.message));
                again();
            }
            Submitted::NoSuchHost => {
                self.said.insert(id, Said::Never("The host was removed.".to_owned()));
            }
            Submitted::Unavailable(why) | Submitted::Late { why, .. } => {
                tracing::debug!(run = %self.run.record.id, %id, why, "asked again");
                again();
            }
        }
    }

    fn set_timer(&mut self, myself: &RunRef, wake: Option<Time>, now: Time) {
        self.generation += 1;
        let generation = self.generation;
        self.timer = wake.map(|wake| {
            // A moment that is past must not become a loop without a breath.
            let (wait, myself) = (wake.since(now).max(Duration::from_millis(BREATH)), myself.clone());
            OwnedTask::start(async move {
                tokio::time::sleep(wait).await;
                tell(&myself, Msg::Wake { generation });
            })
        });
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({
            "run": self.run.record.id,
            "state": self.run.record.state,
            "group": self.run.record.group,
            "under_way": self.run.under_way().count(),
            "asking": self.asking.len(),
            "sees": self.fleet.is_some(),
            "idle": self.committer.is_idle(),
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.ear.leave();
    }
}

fn told(myself: &RunRef) -> impl FnOnce(Result<(), StoreError>) + Send + 'static + use<> {
    let myself = myself.clone();
    move |result| tell(&myself, Msg::Committed(result))
}
