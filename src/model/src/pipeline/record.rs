//! A run as it is stored: one record of its own, and one for each of its hosts, so that a change writes little.

use std::collections::BTreeMap;

use nixfleet_protocol::api::{CommandState, RunOptions, RunState};
use nixfleet_protocol::{CommandId, HostId, Op, RunId, Time};
use serde::Serialize;

use crate::ops::spec;

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
    /// It had a red light already when the soak began.
    pub was_red: bool,
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
    /// Why it was refused, as a word.
    pub code: Option<String>,
    /// What there is to say of it.
    pub message: Option<String>,
}

impl Default for Cell {
    /// Not begun.
    fn default() -> Self {
        let state = CommandState::Pending;
        Self { state, command: None, turn_at: None, begun_at: None, code: None, message: None }
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
        self.code = code.map(str::to_owned);
        self.message = message;
    }
}

impl RunRecord {
    /// How many stages are the pipeline's own.
    pub fn own_stages(&self) -> usize {
        self.stages.len() - usize::from(self.rolls_back)
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

    /// This run brought another system to it. What was current already was not switched by this run.
    pub(super) fn switched(&self, stages: &[Stage]) -> bool {
        self.cells.iter().zip(stages).any(|(cell, stage)| {
            matches!(stage.op, Op::Switch | Op::ForceRebuild) && cell.passed() && cell.code.is_none()
        })
    }

    /// Something was begun on it.
    pub(super) fn has_begun(&self, stages: &[Stage]) -> bool {
        self.cells.iter().zip(stages).any(|(cell, stage)| cell.command.is_some() && !stage.is_shared())
    }
}

impl Run {
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
