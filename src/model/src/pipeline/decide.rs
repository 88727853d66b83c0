//! What people decide of a run: to end it, or how a halted one goes on.

use nixfleet_protocol::api::{Category, CommandState, Decision, Level, RunState};
use nixfleet_protocol::{Op, Time};

use super::record::{Cell, Run, RunHost, Stage, Stop};
use super::words;
use crate::event::NewEvent;

/// Why it can't be decided so: a word and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNow {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl NotNow {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Run {
    /// Ends the run: what runs finishes, what has not begun never does. What was cancelled before stays so.
    pub fn cancel(&mut self, actor: &str, now: Time) -> Result<Option<NewEvent>, NotNow> {
        if self.record.is_over() {
            return Err(NotNow::new("run_over", "The run is over."));
        }
        if self.record.cancelled.is_some() {
            return Ok(None);
        }
        self.record.cancelled = Some(Stop { at: now, why: actor.to_owned() });
        self.record.halted = None;
        self.record.moved = None;
        self.record.state = RunState::Running;
        Ok(Some(self.event("run_cancelled", format!("{} was cancelled", self.record.label), actor, now)))
    }

    /// Ends a run that nobody carries on: what was begun ends by itself, and nobody waits for it.
    pub fn abandon(&mut self, actor: &str, now: Time) -> Result<Vec<NewEvent>, NotNow> {
        let cancelled = self.cancel(actor, now)?;
        let cells = self.hosts.values_mut().flat_map(|host| &mut host.cells);
        for cell in self.record.shared.iter_mut().flatten().chain(cells).filter(|cell| !cell.is_over()) {
            cell.end(CommandState::Cancelled, None, None);
        }
        let finished = self.finish(RunState::Cancelled, now);
        Ok(cancelled.into_iter().chain([finished]).collect())
    }

    /// What can be decided now, the likeliest first.
    pub fn decisions(&self) -> Vec<Decision> {
        if self.record.halted.is_none() {
            return Vec::new();
        }
        let own = self.record.own_stages();
        let again = self.hosts.values().any(|host| is_open_failure(host, own));
        let back = self.hosts.values().any(|host| host.switched);
        let all = [
            again.then_some(Decision::RetryFailed),
            back.then_some(Decision::Rollback),
            Some(Decision::Continue),
            Some(Decision::Cancel),
        ];
        all.into_iter().flatten().collect()
    }

    /// A person decides how a halted run goes on.
    pub fn decide(&mut self, decision: Decision, actor: &str, now: Time) -> Result<Option<NewEvent>, NotNow> {
        if self.record.halted.is_none() {
            return Err(NotNow::new("not_halted", "The run has not halted: there is nothing to decide."));
        }
        if !self.decisions().contains(&decision) {
            let message = match decision {
                Decision::Rollback => "This run switched no host, so there is nothing to roll back.",
                Decision::RetryFailed => "No host failed, so there is none to try again.",
                Decision::Continue | Decision::Cancel => "This can't be decided now.",
            };
            return Err(NotNow::new("not_possible", message));
        }
        match decision {
            Decision::Continue => self.forgive(),
            Decision::RetryFailed => self.retry(),
            Decision::Rollback => self.roll_back(),
            Decision::Cancel => return self.cancel(actor, now),
        }
        self.record.halted = None;
        self.record.moved = None;
        self.record.state = RunState::Running;
        let word = match decision {
            Decision::Continue => "goes on",
            Decision::RetryFailed => "tries the failed hosts again",
            Decision::Rollback => "rolls back what it switched",
            Decision::Cancel => "ends",
        };
        Ok(Some(self.event("run_decided", format!("{} {word}", self.record.label), actor, now)))
    }

    /// It goes on without those that failed, and with the commit to which the branch went on.
    fn forgive(&mut self) {
        self.record.heads.extend(self.record.moved.take().map(|moved| moved.to));
        let own = self.record.own_stages();
        for host in self.hosts.values_mut().filter(|host| is_open_failure(host, own)) {
            host.forgiven = true;
        }
    }

    /// Those that failed get another try, from the stage that failed; who did not stay good goes through all again.
    fn retry(&mut self) {
        let own = self.record.own_stages();
        let pull = self.record.pull_stage();
        let mut pulls = false;
        for host in self.hosts.values_mut().filter(|host| is_open_failure(host, own)) {
            let from = if host.fell.take().is_some() { 0 } else { host.stuck(own).map_or(own, |(at, _)| at) };
            pulls |= pull.is_some_and(|pull| from <= pull);
            for stage in from..own {
                // A shared stage that went well does not go again.
                let shared = self.record.shared.get(stage).is_some_and(Option::is_some);
                if !(shared && host.cells.get(stage).is_some_and(Cell::passed)) {
                    host.try_again(stage);
                }
            }
        }
        if pulls && self.record.group == 0 {
            // What the first group has tried is what it pulls now.
            self.record.heads.clear();
        }
        for shared in self.record.shared.iter_mut().flatten().filter(|cell| cell.is_over() && !cell.passed()) {
            *shared = Cell::default();
        }
        self.record.soak = None;
    }

    /// One more stage takes back what was switched; what has not begun never does.
    fn roll_back(&mut self) {
        let cells = self.hosts.values_mut().flat_map(|host| &mut host.cells);
        for cell in self.record.shared.iter_mut().flatten().chain(cells).filter(|cell| cell.is_ahead()) {
            cell.end(CommandState::Cancelled, None, None);
        }
        self.record.rolls_back = true;
        self.record.soak = None;
        self.record.stages.push(Stage { op: Op::Rollback, args: "{}".to_owned() });
        self.record.shared.push(None);
        for host in self.hosts.values_mut() {
            host.cells.push(Cell::default());
        }
    }

    fn event(&self, action: &str, message: String, actor: &str, now: Time) -> NewEvent {
        let mut event = NewEvent::new(now, Category::Audit, Level::Info, actor, action, message);
        event.details = Some(words::details(&self.record));
        event
    }

    /// The event of its start.
    pub fn started(&self) -> NewEvent {
        let record = &self.record;
        let message = format!("{} starts on {}", record.label, words::hosts(self.hosts.len()));
        self.event("run_started", message, &record.actor, record.created_at)
    }
}

/// It failed or was missed, and nobody said yet that the run goes on without it.
pub(super) fn is_open_failure(host: &RunHost, own: usize) -> bool {
    !host.forgiven && (host.failed(own) || host.missed(own))
}
