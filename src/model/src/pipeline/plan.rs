//! What a run does next. [`plan`] takes the run as it is, what is known of its hosts and commands, and the time; it
//! gives the run as it will be, the cells whose commands are to begin, and when to look again. It begins nothing
//! itself: ids are no matter of a plan.
//!
//! ```text
//! not_ahead   a clock that was ahead is made up for
//! hear        what became of commands, and who is waited for no longer
//! spread      a shared stage stands for every host; who failed skips what follows
//! cancelled?  what has not begun is CANCELLED; the run is over when nothing runs
//! halts?      too many failed, or nobody of a group came through; the branch went on to what nobody has tried
//! advance     the stage of the group: begin, wait, skip ── through: soak ── over: the next group, or the end
//! ```

mod advance;
mod bound;
mod hear;
mod soak;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use nixfleet_protocol::api::{self, Category, CommandState, HostState, Level, RunState, RunWait, WaitKind};
use nixfleet_protocol::{CommandId, Commit, HostId, Time};

use super::record::{Run, Stop};
use super::{outcome, words};
use crate::event::NewEvent;
use crate::view::{HostView, SystemNow};

/// How long hosts have to come back after the daemon's start before anything is concluded from their absence.
pub(super) const SETTLE: Duration = Duration::from_secs(90);
/// How long a host is waited for at its turn, where the run says nothing.
pub(super) const USUAL_WAIT: u64 = 90;

/// What is known when a plan is made.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The hosts, as everyone sees them.
    pub hosts: BTreeMap<HostId, HostFact>,
    /// What was said of the commands that were begun. Of the others nothing was said yet.
    pub said: BTreeMap<CommandId, Said>,
    /// The commit that the remote wants, as far as it is known.
    pub head: Option<Commit>,
    /// The branch that it is of.
    pub branch: String,
    /// When this daemon started.
    pub daemon_started: Time,
}

/// A host, as far as a run looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFact {
    /// Whether it is there.
    pub state: HostState,
    /// A command runs on it.
    pub busy: bool,
    /// System or Tests is red.
    pub red: bool,
    /// What runs on it against what was deployed from here.
    pub system: SystemNow,
    /// The commit that is checked out on it.
    pub checkout: Option<Commit>,
    /// Its failed units.
    pub failed_units: Vec<String>,
}

impl From<&HostView> for HostFact {
    fn from(view: &HostView) -> Self {
        use nixfleet_protocol::api::LightStatus::Error;
        let host = &view.host;
        let red = host.lights.system.status == Error || host.lights.tests.status == Error;
        Self {
            state: host.state,
            busy: host.command.is_some(),
            red,
            system: view.system,
            checkout: host.generation.clone(),
            failed_units: host.failed_units.clone(),
        }
    }
}

/// What was said of a command that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It stands like this.
    Is {
        /// Its state.
        state: CommandState,
        /// Why it was refused, as a word.
        code: Option<String>,
        /// One sentence.
        message: Option<String>,
        /// It brought another system to its host, also where it failed then.
        switched: bool,
    },
    /// Its host can't take it now, and so it has not begun: why.
    NotNow(String),
    /// It has not begun, and never will: why.
    Never(String),
}

impl From<&api::Command> for Said {
    fn from(command: &api::Command) -> Self {
        let (code, message) = (command.code.clone(), command.message.clone());
        Self::Is { state: command.state, code, message, switched: outcome::switched(command) }
    }
}

/// A cell whose command is to begin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Begin {
    /// The host; none: once for the run.
    pub host: Option<HostId>,
    /// The stage.
    pub stage: usize,
}

/// What follows from a run and the facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The run as it is then.
    pub run: Run,
    /// What is to begin: each gets an id by [`Run::begin`].
    pub begin: BTreeSet<Begin>,
    /// What it waits for.
    pub waits: Vec<RunWait>,
    /// When to look again, if nothing happens until then.
    pub wake: Option<Time>,
    /// What there is to tell.
    pub events: Vec<NewEvent>,
}

/// What the run does next.
pub fn plan(run: &Run, facts: &Facts, now: Time) -> Planned {
    let planned =
        Planned { run: run.clone(), begin: BTreeSet::new(), waits: Vec::new(), wake: None, events: Vec::new() };
    if run.record.is_over() {
        return planned;
    }
    let mut draft = Draft { planned, facts, now, waited_for: HashSet::new() };
    draft.not_ahead();
    draft.hear();
    draft.spread();
    if draft.planned.run.record.cancelled.is_some() {
        draft.cancel_rest();
    } else {
        // Each round ends a stage, a soak or a group, of which there are so many and no more.
        while !draft.halts() && draft.advance() {}
    }
    draft.wait_for_commands();
    draft.planned
}

impl Run {
    /// A command was chosen for a cell. To be made durable before anyone is asked for it.
    pub fn begin(&mut self, place: &Begin, id: CommandId, now: Time) {
        let cell = match &place.host {
            Some(host) => self.hosts.get_mut(host).and_then(|host| host.cells.get_mut(place.stage)),
            None => self.record.shared.get_mut(place.stage).and_then(Option::as_mut),
        };
        if let Some(cell) = cell.filter(|cell| cell.is_ahead()) {
            cell.command = Some(id);
            cell.begun_at = Some(now);
            cell.turn_at.get_or_insert(now);
        }
    }
}

/// A plan in the making.
struct Draft<'a> {
    planned: Planned,
    facts: &'a Facts,
    now: Time,
    /// Whom it waits for, and why.
    waited_for: HashSet<(WaitKind, Option<HostId>)>,
}

impl Draft<'_> {
    /// Nothing is concluded from a silence that ends before this. A start that is still to come was told by a clock that
    /// was ahead: nobody waits until it comes.
    fn settled_at(&self) -> Time {
        let started = self.facts.daemon_started;
        if self.now < started { self.now } else { started.plus(SETTLE) }
    }

    fn wake_at(&mut self, at: Time) {
        let wake = &mut self.planned.wake;
        *wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn wait(&mut self, kind: WaitKind, host: Option<&HostId>, until: Option<Time>, message: String) {
        if let Some(until) = until {
            self.wake_at(until);
        }
        // A round may follow a round.
        if self.waited_for.insert((kind, host.cloned())) {
            self.planned.waits.push(RunWait { kind, host: host.cloned(), command_id: None, until, message });
        }
    }

    fn tell(&mut self, level: Level, action: &str, message: String) {
        let record = &self.planned.run.record;
        let mut event = NewEvent::new(self.now, Category::Audit, level, words::actor(record), action, message);
        event.details = Some(words::details(record));
        self.planned.events.push(event);
    }

    /// What a clock that was ahead has written began now: nobody waits until that clock's time comes.
    fn not_ahead(&mut self) {
        let now = self.now;
        let Run { record, hosts } = &mut self.planned.run;
        let cells = hosts.values_mut().flat_map(|host| &mut host.cells);
        for cell in record.shared.iter_mut().flatten().chain(cells) {
            for at in [&mut cell.turn_at, &mut cell.begun_at, &mut cell.rests_since].into_iter().flatten() {
                *at = (*at).min(now);
            }
        }
        if let Some(soak) = record.soak.as_mut().filter(|soak| now < soak.since) {
            soak.until = now.plus(soak.until.since(soak.since));
            soak.since = now;
        }
    }

    /// A shared stage stands for every host; who did not come through a stage skips what follows.
    fn spread(&mut self) {
        let Run { record, hosts } = &mut self.planned.run;
        let own = record.own_stages();
        for host in hosts.values_mut() {
            for (cell, shared) in host.cells.iter_mut().zip(&record.shared) {
                if let Some(shared) = shared.as_ref().filter(|_| !cell.is_over())
                    && cell != shared
                {
                    cell.clone_from(shared);
                }
            }
            if let Some((at, stuck)) = host.stuck(own) {
                let cancelled = stuck.state == CommandState::Cancelled;
                let state = if cancelled { CommandState::Cancelled } else { CommandState::Skipped };
                for cell in host.cells.iter_mut().take(own).skip(at + 1).filter(|cell| cell.is_ahead()) {
                    cell.end(state, None, None);
                }
            }
        }
    }

    fn cancel_rest(&mut self) {
        let Run { record, hosts } = &mut self.planned.run;
        let cells = hosts.values_mut().flat_map(|host| &mut host.cells);
        for cell in record.shared.iter_mut().flatten().chain(cells).filter(|cell| cell.is_ahead()) {
            cell.end(CommandState::Cancelled, None, None);
        }
        if self.planned.run.under_way().next().is_none() {
            self.finish(RunState::Cancelled);
        }
    }

    /// Whether the run waits for a person, or has to from now on.
    fn halts(&mut self) -> bool {
        let run = &self.planned.run;
        let record = &run.record;
        if record.halted.is_none()
            && !record.rolls_back
            && !record.is_over()
            && let Some(why) = words::why_halt(run)
        {
            let reason = why.clone();
            let record = &mut self.planned.run.record;
            record.state = RunState::Halted;
            record.halted = Some(Stop { at: self.now, why });
            let label = record.label.clone();
            self.tell(Level::Warn, "run_halted", format!("{label} halted: {reason}"));
        }
        let halted = self.planned.run.record.halted.is_some();
        if halted {
            self.wait(WaitKind::Person, None, None, "Somebody has to decide how it goes on.".to_owned());
        }
        halted
    }

    fn wait_for_commands(&mut self) {
        let waits: Vec<RunWait> = self
            .planned
            .run
            .under_way()
            .filter(|(_, _, cell)| {
                !matches!(cell.command.and_then(|id| self.facts.said.get(&id)), Some(Said::NotNow(_)))
            })
            .map(|(host, stage, cell)| RunWait {
                kind: WaitKind::Command,
                host: host.cloned(),
                command_id: cell.command,
                until: None,
                message: words::runs(&self.planned.run.record, host, stage),
            })
            .collect();
        self.planned.waits.extend(waits);
    }

    fn finish(&mut self, state: RunState) {
        let finished = self.planned.run.finish(state, self.now);
        self.planned.events.push(finished);
        self.planned.waits.clear();
        self.planned.wake = None;
    }
}

/// How many are under way at once.
fn under_way(run: &Run) -> usize {
    run.under_way().filter(|(host, _, _)| host.is_some()).count()
}
