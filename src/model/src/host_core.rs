//! The core of the host actor: one host's record, its open command, its link, and every decision about them.
//!
//! ```text
//! agent, people, timers ── Input ──→ Core::step ──→ Step { writes, then: effects, publish }
//!                                      ├─ host.rs      facts            ├─ checks.rs   may it begin
//!                                      └─ command.rs   its life         └─ view.rs     what everyone sees
//! ```
//!
//! Invariants (`tests.rs`): at most one command is open; the open command of the record is the one in memory; beside
//! it are only commands that take no slot (`journal`, `wake`), and what is neither is over; whatever changes a command or a choice is written, with its event, in the step that changes it; facts alone
//! are written at leisure; what is checked is what is shown, one [`crate::checks::Standing`] for both.

mod agent;
mod alike;
pub mod auto_test;
mod beside;
mod door;
mod echo;
mod life;
mod owner;
mod results;
mod shown;
mod submit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::agent::{AgentMessage, Output, Status};
use nixfleet_protocol::{CommandId, Commit, RunId, Time};

pub use self::alike::Alike;
pub use self::beside::abandon;
pub use self::door::{Act, ActRefused, Belongs, Effect, Input, Settings, Step, Submit, Submitted, WISH, Writes};
pub use self::life::{command_event, finished_event};
use self::shown::Told;
use crate::checks::Request;
use crate::command::{self, Command};
use crate::fleet_state::StateChange;
use crate::host::HostRecord;
use crate::liveness;
use crate::remote::RemoteState;
use crate::view::command_view;

/// How long facts may wait to be written, when nothing else is.
const SAVE_FACTS: Duration = Duration::from_mins(1);
/// Commands that one link may speak of at once.
const SPEAKS_OF: usize = 1000;
/// How often a growing log or a progress is told.
const TELL_PROGRESS: Duration = Duration::from_millis(250);

/// One host.
#[derive(Debug)]
pub struct Core {
    settings: Arc<Settings>,
    record: HostRecord,
    open: Option<Box<Command>>,
    /// The run that owns it.
    run: Option<RunId>,
    /// Ids that were chosen by who asked, the last ones: what becomes of them may not be on disk yet.
    given: VecDeque<CommandId>,
    /// Commands that take no slot and are not over.
    beside: BTreeMap<CommandId, Command>,
    /// Commands without a slot that are over here, and that the agent was told to end.
    ending: BTreeSet<CommandId>,
    link: Option<Link>,
    remote: Arc<RemoteState>,
    /// When an answer of the remote was heard last.
    remote_heard: Option<Time>,
    /// Number of the last question to the remote.
    asked: u64,
    /// The open command's question about the remote, while it is `VALIDATING` or its pull is judged.
    validating: Option<Validating>,
    /// Number of the question that the verdict over a good pull waits for.
    judging: Option<u64>,
    /// Results that came and were not taken yet: their log is not on disk, or nobody knows the command.
    results: BTreeMap<CommandId, Box<Status>>,
    /// Commands that are not the open one, and whose result came.
    strays: BTreeMap<CommandId, Command>,
    /// Commands that were looked for because the agent says that it runs them.
    looked_for: BTreeSet<CommandId>,
    /// The commit that the remote was last told of.
    interest: Option<Commit>,
    /// Since when facts wait to be written.
    unsaved: Option<Time>,
    /// When progress was last told.
    told: Option<Time>,
    /// Progress waits to be told.
    untold: bool,
    /// None: the host has to be told whole the next time.
    told_whole: Option<Told>,
    /// Since when the host is idle and linked; kept only while tests are to run by themselves.
    idle_since: Option<Time>,
    /// An id for them was asked for.
    auto_test_asked: bool,
}

/// The agent's link.
#[derive(Debug)]
struct Link {
    id: u64,
    protocol: u32,
    /// No heartbeat came yet.
    fresh: bool,
    /// Commands whose output is taken: those that the register named, and those sent since.
    commands: BTreeSet<CommandId>,
    /// Commands whose output came and that were not named: the store is asked for them.
    heard_of: BTreeSet<CommandId>,
    /// Those of them that are another host's.
    foreign: BTreeSet<CommandId>,
    /// Results of an old agent.
    echo: echo::Echo,
}

/// A command that waits for the remote before its checks.
#[derive(Debug)]
struct Validating {
    number: u64,
    ask: u64,
    request: Request,
}

impl Core {
    /// From the store: at the start of the daemon, after a crash of the actor, or for a host just made. There is
    /// no other way to begin. The step brings what is not over of the host to what can be said without its agent.
    pub fn revive(
        settings: Arc<Settings>,
        record: HostRecord,
        unfinished: Vec<Command>,
        remote: Arc<RemoteState>,
        now: Time,
    ) -> (Self, Step) {
        let unfinished = unfinished.into_iter().filter(|command| !command.state.is_final());
        let (open, others): (Vec<_>, Vec<_>) = unfinished.partition(|command| record.open == Some(command.id));
        let open = open.into_iter().next().map(Box::new);
        let mut core = Self {
            settings,
            record,
            open,
            run: None,
            given: VecDeque::new(),
            beside: BTreeMap::new(),
            ending: BTreeSet::new(),
            link: None,
            remote,
            remote_heard: None,
            // Answers to the questions of the one before must not be taken for answers to ours.
            asked: u64::try_from(now.millis()).unwrap_or_default(),
            validating: None,
            judging: None,
            results: BTreeMap::new(),
            strays: BTreeMap::new(),
            looked_for: BTreeSet::new(),
            interest: None,
            unsaved: None,
            told: None,
            untold: false,
            told_whole: None,
            idle_since: None,
            auto_test_asked: false,
        };
        let mut step = Step { publish: true, ..Step::default() };
        core.record.open = core.open.as_deref().map(|command| command.id);
        if core.record.first_seen.is_some() {
            // The link that was there is gone; when it went nobody saw.
            core.record.facts.lost_at.get_or_insert(now);
        }
        let last_heard = core.record.facts.last_seen;
        core.drive(command::Input::Revived { last_heard }, now, &mut step);
        core.judge_again(&mut step);
        core.revive_beside(others, now, &mut step);
        core.close_step(&mut step, now);
        (core, step)
    }

    /// One step.
    pub fn step(&mut self, input: Input, now: Time) -> Step {
        let mut step = Step::default();
        if !matches!(input, Input::Heard { message: AgentMessage::Heartbeat(_), .. }) {
            self.told_whole = None;
        }
        match input {
            Input::LinkUp { link, register } => self.link_up(link, &register, now, &mut step),
            Input::LinkDown { link } => self.link_down(link, now, &mut step),
            Input::Heard { link, message } => self.heard(link, message, now, &mut step),
            Input::LogGrew { command, bytes } => self.log_grew(command, bytes, now, &mut step),
            Input::LogFlushed { command, bytes } => self.log_flushed(command, bytes, now, &mut step),
            Input::HeardOf { command } => self.heard_of(command, &mut step),
            Input::LogDamaged { command, why } => self.log_damaged(command, &why, now, &mut step),
            Input::Found { id, command } => self.found(id, command, now, &mut step),
            Input::Remote(remote) => {
                if remote.read_at != self.remote.read_at {
                    self.remote_heard = Some(now);
                }
                self.remote = remote;
                step.publish = true;
                // Its actor may be a new one that has heard of no commit yet.
                self.name_commit(&mut step);
            }
            Input::RemoteAsked { number } => self.remote_asked(number, now, &mut step),
            Input::Submit { ask, id, request } => self.submit(ask, id, request, now, &mut step),
            Input::Reserve { ask, run } => self.reserve(ask, run, now, &mut step),
            Input::Owned(run) => self.owned(run, &mut step),
            Input::Act { ask, command, action, actor } => self.act(ask, command, action, actor, now, &mut step),
            Input::ReaderLeft { command } => self.drive_one(command, command::Input::ReaderLeft, now, &mut step),
            Input::AutoTest { id } => self.auto_test(id, now, &mut step),
            Input::TooLate { command } => self.drive_one(command, command::Input::TooLate, now, &mut step),
            Input::Timer => self.timer(now, &mut step),
        }
        self.close_step(&mut step, now);
        step
    }

    fn timer(&mut self, now: Time, step: &mut Step) {
        let kill_at_limit = self.settings.kill_at_limit;
        let due: Vec<CommandId> = self
            .unfinished()
            .filter(|command| command::deadline(command).is_some_and(|deadline| deadline <= now))
            .map(|command| command.id)
            .collect();
        for id in due {
            self.drive_one(id, command::Input::Timer { kill_at_limit }, now, step);
        }
        self.ask_auto_test(now, step);
        if self.facts_due().is_some_and(|due| due <= now) {
            step.writes.host = Some(Box::new(self.record.clone()));
        }
        self.untold = false;
        step.publish = true;
    }

    /// Facts changed: everyone may see them at once, the disk has time.
    fn facts_changed(&mut self, now: Time, step: &mut Step) {
        self.unsaved.get_or_insert(now);
        step.publish = true;
        if self.record.facts.generation != self.interest {
            self.name_commit(step);
        }
    }

    /// Tells the remote which commit its head is to be related to.
    fn name_commit(&mut self, step: &mut Step) {
        self.interest.clone_from(&self.record.facts.generation);
        if let Some(commit) = self.interest.clone().filter(|commit| !self.remote.relations.contains_key(commit)) {
            step.then.push(Effect::Interest(commit));
        }
    }

    /// Something small changed that is not worth the disk: told four times a second at most.
    fn tell_progress(&mut self, now: Time, step: &mut Step) {
        if self.told.is_none_or(|told| now.since(told) >= TELL_PROGRESS) {
            step.publish = true;
        } else {
            self.untold = true;
        }
    }

    /// What is common to the ends of all steps: the records and the changes that belong to the writes.
    fn close_step(&mut self, step: &mut Step, now: Time) {
        self.mind_auto_test(now, step);
        if step.writes.is_empty() {
            if step.publish {
                self.told = Some(now);
            }
            return;
        }
        if step.writes.removed.is_none() {
            self.unsaved = None;
            step.writes.host = Some(Box::new(self.record.clone()));
            step.writes.commands.extend(self.open.as_deref().cloned());
        }
        let written = &mut step.writes.commands;
        // Of one command the last word counts.
        let mut seen = BTreeSet::new();
        written.reverse();
        written.retain(|command| seen.insert(command.id));
        written.reverse();
        step.writes
            .changes
            .extend(step.writes.commands.iter().map(|it| StateChange::Command(Arc::new(command_view(it)))));
        let change = match &step.writes.removed {
            Some(host) => StateChange::HostRemoved(host.clone()),
            None => self.host_change(now),
        };
        step.writes.changes.push(change);
        self.told = Some(now);
        self.untold = false;
        step.publish = false;
    }

    /// When the core wants [`Input::Timer`] next.
    pub fn next_wake(&self, now: Time) -> Option<Time> {
        let liveness = liveness::next_change(&self.record, self.link.is_some(), self.settings.daemon_started, now);
        let command = self.unfinished().filter_map(command::deadline).min();
        let progress = self.told.filter(|_| self.untold).map(|told| told.plus(TELL_PROGRESS));
        [liveness, command, progress, self.facts_due(), self.auto_test_due()].into_iter().flatten().min()
    }

    /// Facts of a fleet are not written in step: each host has a delay of its own. Those of one second go together:
    /// they are one commit and one sync of the disk.
    fn facts_due(&self) -> Option<Time> {
        let spread =
            self.record.id.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        self.unsaved.map(|since| {
            let due = since.plus(SAVE_FACTS).plus(Duration::from_millis(spread % 29_000)).millis();
            Time::from_millis(due + 1000 - due.rem_euclid(1000))
        })
    }

    /// To which log a line of output belongs.
    pub fn log_of(&self, link: u64, output: &Output) -> Belongs {
        let Some(link) = self.link.as_ref().filter(|current| current.id == link) else { return Belongs::Nowhere };
        match output.command_id {
            Some(id) if link.commands.contains(&id) => Belongs::To(id),
            // A register names no more than some; the results of the others follow.
            Some(id)
                if link.protocol >= 3
                    && !link.foreign.contains(&id)
                    && link.commands.len() + link.foreign.len() < SPEAKS_OF =>
            {
                Belongs::ToUnknown(id)
            }
            Some(_) => Belongs::Nowhere,
            None => {
                let open = self.open.as_deref().filter(|open| !open.waits() && link.protocol < 3);
                open.map_or(Belongs::Nowhere, |open| Belongs::To(open.id))
            }
        }
    }

    /// Output came of a command that the register did not name: the store says whether it is this host's.
    fn heard_of(&mut self, id: CommandId, step: &mut Step) {
        if let Some(link) = &mut self.link
            && link.heard_of.insert(id)
        {
            step.then.push(Effect::Find(id));
        }
    }

    /// What is not over: the open command, and those beside it.
    pub fn unfinished(&self) -> impl Iterator<Item = &Command> {
        self.open.as_deref().into_iter().chain(self.beside.values())
    }

    /// A command that is not over, in the slot or beside it.
    pub fn command(&self, id: CommandId) -> Option<&Command> {
        self.open.as_deref().filter(|open| open.id == id).or_else(|| self.beside.get(&id))
    }

    /// The command that is not over and has the slot.
    pub fn open(&self) -> Option<&Command> {
        self.open.as_deref()
    }

    /// The run that owns it.
    pub fn run(&self) -> Option<RunId> {
        self.run
    }

    /// Whether this id was given to a command here not long ago.
    pub fn was_given(&self, id: CommandId) -> bool {
        self.given.contains(&id)
    }

    /// The record.
    pub fn record(&self) -> &HostRecord {
        &self.record
    }

    /// The record, where it has facts that are not on disk yet: to be written when the actor ends in order.
    pub fn unsaved(&self) -> Option<&HostRecord> {
        self.unsaved.map(|_| &self.record)
    }

    /// The link that counts.
    pub fn link(&self) -> Option<u64> {
        self.link.as_ref().map(|link| link.id)
    }

    /// The agent's protocol, while it is linked.
    pub fn protocol(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.protocol)
    }
}
