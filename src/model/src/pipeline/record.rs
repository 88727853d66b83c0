//! A run as it is stored: one record of its own, and one for each of its hosts, so that a change writes little.

use std::collections::BTreeMap;

use nixfleet_protocol::api::{Category, CommandState, Level, RunOptions, RunState};
use nixfleet_protocol::{CommandId, Commit, HostId, Op, RunId, Time};
use serde::Serialize;

use super::words;
use crate::event::NewEvent;
use crate::ops::spec;

/// Tries of a host that are remembered.
const TRIES: usize = 20;

/// An op of a pipeline, with what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// The op.
    pub op: Op,
    /// Its arguments: a JSON object, as text.
    pub args: String,
}

impl Stage {
    /// Whether it runs once for the run, and not once for each host.
    pub fn is_shared(&self) -> bool {
        !spec(self.op).per_host
    }
}

/// What is known of a run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// What a button says.
    pub label: String,
    /// Who started it.
    pub actor: String,
    /// Where it stands.
    pub state: RunState,
    /// How it ended, in a sentence.
    pub message: Option<String>,
    /// Its stages, with the arguments as they were when it was started.
    pub stages: Vec<Stage>,
    /// For stages that run once for the run: how they stand. As long as `stages`.
    pub shared: Vec<Option<Cell>>,
    /// How it was started.
    pub options: RunOptions,
    /// How many groups there are; the first is the canary where there is one.
    pub groups: u32,
    /// How many hosts it has: as many records belong to it.
    pub hosts: u32,
    /// The group that goes now, from 0.
    pub group: u32,
    /// The soak of the group that goes now.
    pub soak: Option<Soak>,
    /// The commits that its first group pulled, and those that a person took since: the groups that follow get no other.
    pub heads: Vec<Commit>,
    /// The branch went on to a commit that no host of it has tried.
    pub moved: Option<Moved>,
    /// Why it waits for a person.
    pub halted: Option<Stop>,
    /// A person ended it, and what runs has still to finish.
    pub cancelled: Option<Stop>,
    /// A person decided to take back what was switched: the last stage does it.
    pub rolls_back: bool,
    /// A TOTP code was good when it was started.
    pub totp: bool,
    /// When it began.
    pub created_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// The time for which a group has to stay good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Soak {
    /// Since when.
    pub since: Time,
    /// Until when.
    pub until: Time,
    /// The time is over, and the tests of the group run once more.
    pub tests: bool,
}

/// The branch went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Which branch.
    pub branch: String,
    /// From the commit that hosts of the run have.
    pub from: Commit,
    /// To this one, which none of them has tried.
    pub to: Commit,
}

/// How a host was when it was good last in its soak, or at its begin: only what becomes worse is held against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Baseline {
    /// System or Tests was red all the time.
    pub red: bool,
    /// What was deployed from here ran.
    pub current: bool,
    /// The units that had failed when it began.
    pub failed_units: Vec<String>,
}

/// A moment, and the words for it: why it halted, who cancelled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// When.
    pub at: Time,
    /// One sentence, or who it was.
    pub why: String,
}

/// A host in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunHost {
    /// Which run.
    pub run: RunId,
    /// Which host.
    pub host: HostId,
    /// The group that it goes with.
    pub group: u32,
    /// Its place among the hosts of the run: in this order they take their turns.
    pub place: u32,
    /// How it stands in each stage.
    pub cells: Vec<Cell>,
    /// Tries before those in `cells`, the last ones.
    pub tried: Vec<Tried>,
    /// It did not stay good in the soak: why.
    pub fell: Option<String>,
    /// A person knows that it failed and goes on without it.
    pub forgiven: bool,
    /// How it was in the soak before.
    pub before: Option<Baseline>,
    /// A command of this run brought another system to it, also where that command failed then.
    pub switched: bool,
}

/// A stage on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// How it stands: as its command; `PENDING` is what has not begun.
    pub state: CommandState,
    /// Its command: chosen and stored before anyone is asked for it.
    pub command: Option<CommandId>,
    /// When its turn came.
    pub turn_at: Option<Time>,
    /// When its command was chosen.
    pub begun_at: Option<Time>,
    /// Since when its command does not run: its host is away, it is being stopped, a person is asked.
    pub rests_since: Option<Time>,
    /// Why it was refused, as a word.
    pub code: Option<String>,
    /// What there is to say of it.
    pub message: Option<String>,
}

impl Default for Cell {
    /// Not begun.
    fn default() -> Self {
        let state = CommandState::Pending;
        Self { state, command: None, turn_at: None, begun_at: None, rests_since: None, code: None, message: None }
    }
}

/// A try that was followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The stage.
    pub stage: u32,
    /// Its command, where there was one.
    pub command: Option<CommandId>,
    /// How it ended.
    pub state: CommandState,
}

/// A run with its hosts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The run as a whole.
    pub record: RunRecord,
    /// Its hosts.
    pub hosts: BTreeMap<HostId, RunHost>,
}

impl Cell {
    /// Whether it never changes again, in this try.
    pub const fn is_over(&self) -> bool {
        self.state.is_final()
    }

    /// Whether its host came through: by doing it, or because there was nothing to do.
    pub fn passed(&self) -> bool {
        self.state == CommandState::Success
    }

    /// A command was chosen for it, and its end is not known.
    pub const fn is_under_way(&self) -> bool {
        self.command.is_some() && !self.is_over()
    }

    /// Neither begun nor over.
    pub const fn is_ahead(&self) -> bool {
        self.command.is_none() && !self.is_over()
    }

    pub(super) fn end(&mut self, state: CommandState, code: Option<&str>, message: Option<String>) {
        self.state = state;
        self.rests_since = None;
        self.code = code.map(str::to_owned);
        self.message = message;
    }
}

impl RunRecord {
    /// How many stages are the pipeline's own.
    pub fn own_stages(&self) -> usize {
        self.stages.len() - usize::from(self.rolls_back)
    }

    /// The last of the pipeline's own stages that pulls.
    pub(super) fn pull_stage(&self) -> Option<usize> {
        self.stages.iter().take(self.own_stages()).rposition(|stage| stage.op == Op::Pull)
    }

    /// Whether it goes group by group.
    pub fn is_staged(&self) -> bool {
        self.options.canary.is_some() || self.options.waves.is_some()
    }

    /// Whether it is over.
    pub const fn is_over(&self) -> bool {
        self.finished_at.is_some()
    }
}

impl RunHost {
    /// The first stage that it did not come through, of the pipeline's own.
    pub(super) fn stuck(&self, own: usize) -> Option<(usize, &Cell)> {
        self.cells.iter().take(own).enumerate().find(|(_, cell)| cell.is_over() && !cell.passed())
    }

    /// It came through all stages, and stayed good.
    pub(super) fn came_through(&self, own: usize) -> bool {
        self.fell.is_none() && self.cells.iter().take(own).all(Cell::passed)
    }

    /// It failed, was refused, was stopped or took too long; or it did not stay good.
    pub(super) fn failed(&self, own: usize) -> bool {
        self.fell.is_some()
            || self
                .stuck(own)
                .is_some_and(|(_, cell)| !matches!(cell.state, CommandState::Skipped | CommandState::Cancelled))
    }

    /// It was not there when its turn came.
    pub(super) fn missed(&self, own: usize) -> bool {
        self.fell.is_none() && self.stuck(own).is_some_and(|(_, cell)| cell.state == CommandState::Skipped)
    }

    /// A stage is tried once more: how it ended is remembered, up to a number of tries.
    pub(super) fn try_again(&mut self, stage: usize) {
        let Some(cell) = self.cells.get_mut(stage) else { return };
        let cell = std::mem::take(cell);
        // What was skipped behind another is no try of its own.
        if cell.command.is_some() || cell.state != CommandState::Skipped {
            let stage = u32::try_from(stage).unwrap_or(u32::MAX);
            self.tried.push(Tried { stage, command: cell.command, state: cell.state });
        }
        let over = self.tried.len().saturating_sub(TRIES);
        self.tried.drain(..over);
    }

    /// Something was begun on it.
    pub(super) fn has_begun(&self, stages: &[Stage]) -> bool {
        self.cells.iter().zip(stages).any(|(cell, stage)| cell.command.is_some() && !stage.is_shared())
    }
}

impl Run {
    /// It is over. The event that tells of it.
    pub(super) fn finish(&mut self, state: RunState, now: Time) -> NewEvent {
        let message = words::ended(self, state);
        let record = &mut self.record;
        record.state = state;
        record.message = Some(message.clone());
        record.finished_at = Some(now);
        record.halted = None;
        record.moved = None;
        record.soak = None;
        let level = match state {
            RunState::Complete => Level::Success,
            RunState::Partial | RunState::Cancelled | RunState::Running | RunState::Halted => Level::Warn,
            RunState::Failed => Level::Error,
        };
        let told = format!("{}: {message}", record.label);
        let event = NewEvent::new(now, Category::Audit, level, words::actor(record), "run_finished", told);
        NewEvent { details: Some(words::details(record)), ..event }
    }

    /// Its hosts in the order of their turns.
    pub(super) fn in_order(&self) -> Vec<HostId> {
        let mut all: Vec<&RunHost> = self.hosts.values().collect();
        all.sort_by_key(|host| (host.group, host.place));
        all.into_iter().map(|host| host.host.clone()).collect()
    }

    /// All cells whose commands were chosen and whose end is not known: the host (none: of the run), the stage.
    pub fn under_way(&self) -> impl Iterator<Item = (Option<&HostId>, usize, &Cell)> {
        let shared = (0..).zip(&self.record.shared).filter_map(|(at, cell)| Some((None, at, cell.as_ref()?)));
        let stages = &self.record.stages;
        let hosts = self.hosts.values().flat_map(move |host| {
            let own = (0..).zip(&host.cells).filter(move |(at, _)| stages.get(*at).is_some_and(|it| !it.is_shared()));
            own.map(move |(at, cell)| (Some(&host.host), at, cell))
        });
        shared.chain(hosts).filter(|(_, _, cell)| cell.is_under_way())
    }
}
