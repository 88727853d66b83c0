//! What people decide of a run: to end it, or how a halted one goes on.

use nixfleet_protocol::api::{Category, CommandState, Decision, Level, RunState};
use nixfleet_protocol::{Op, Time};

use super::record::{Cell, Run, RunHost, Stage, Stop, Tried};
use super::words;
use crate::event::NewEvent;

/// Tries of a host that are remembered.
const TRIES: usize = 20;

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
        self.record.state = RunState::Running;
        Ok(Some(self.event("run_cancelled", format!("{} was cancelled", self.record.label), actor, now)))
    }

    /// What can be decided now, the likeliest first.
    pub fn decisions(&self) -> Vec<Decision> {
        if self.record.halted.is_none() {
            return Vec::new();
        }
        let own = self.record.own_stages();
        let again = self.hosts.values().any(|host| is_open_failure(host, own));
        let back = self.hosts.values().any(|host| host.switched(&self.record.stages));
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
        self.record.state = RunState::Running;
        let word = match decision {
            Decision::Continue => "goes on",
            Decision::RetryFailed => "tries the failed hosts again",
            Decision::Rollback => "rolls back what it switched",
            Decision::Cancel => "ends",
        };
        Ok(Some(self.event("run_decided", format!("{} {word}", self.record.label), actor, now)))
    }

    fn forgive(&mut self) {
        let own = self.record.own_stages();
        for host in self.hosts.values_mut().filter(|host| is_open_failure(host, own)) {
            host.forgiven = true;
        }
    }

    /// Those that failed get another try, from the stage that failed; who did not stay good goes through all again.
    fn retry(&mut self) {
        let own = self.record.own_stages();
        for host in self.hosts.values_mut().filter(|host| is_open_failure(host, own)) {
            let from = if host.fell.take().is_some() { 0 } else { host.stuck(own).map_or(own, |(at, _)| at) };
            for (stage, cell) in (0..).zip(host.cells.iter_mut()).take(own).skip(from) {
                // A shared stage that went well does not go again.
                if self.record.shared.get(stage).is_some_and(Option::is_some) && cell.passed() {
                    continue;
                }
                // What was skipped behind another is no try of its own.
                if cell.command.is_some() || cell.state != CommandState::Skipped {
                    let stage = u32::try_from(stage).unwrap_or(u32::MAX);
                    host.tried.push(Tried { stage, command: cell.command, state: cell.state });
                }
                *cell = Cell::default();
            }
            let over = host.tried.len().saturating_sub(TRIES);
            host.tried.drain(..over);
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
