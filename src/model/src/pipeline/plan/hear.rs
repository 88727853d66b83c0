//! What became of the commands that were begun, and who is waited for no longer.

use std::time::Duration;

use nixfleet_protocol::api::{CommandState, WaitKind};
use nixfleet_protocol::text::plain_cut;
use nixfleet_protocol::{HostId, Op, Time};

use super::super::outcome;
use super::super::record::Cell;
use super::{Draft, Said, USUAL_WAIT};

/// What a cell keeps of a sentence, in characters.
const MESSAGE: usize = 300;

/// What becomes of a cell.
enum Heard {
    /// Its command goes on, and is waited for until then.
    Goes { state: CommandState, until: Time, rests_since: Option<Time> },
    /// It has not begun, and its host is waited for.
    Waits { until: Time, message: String },
    /// Its command was refused for a moment, before it began: there will be another.
    Again(Option<String>),
    /// It is over.
    Over(CommandState, Option<String>, Option<String>),
}

impl Draft<'_> {
    pub(super) fn hear(&mut self) {
        let begun: Vec<(Option<HostId>, usize, Cell)> =
            self.planned.run.under_way().map(|(host, stage, cell)| (host.cloned(), stage, cell.clone())).collect();
        for (host, stage, cell) in begun {
            let Some(op) = self.planned.run.record.stages.get(stage).map(|stage| stage.op) else { continue };
            self.switched(host.as_ref(), &cell);
            match self.heard(op, &cell) {
                Heard::Goes { state, until, rests_since } => {
                    self.wake_at(until);
                    self.change(host.as_ref(), stage, |cell| {
                        cell.state = state;
                        cell.rests_since = rests_since;
                    });
                }
                Heard::Waits { until, message } => self.wait(WaitKind::Online, host.as_ref(), Some(until), message),
                Heard::Again(message) => self.try_again(host.as_ref(), stage, message),
                Heard::Over(state, code, message) => {
                    let message = message.map(|text| plain_cut(&text, MESSAGE));
                    self.change(host.as_ref(), stage, |cell| cell.end(state, code.as_deref(), message));
                }
            }
        }
    }

    /// What a command did to its host's system is remembered of the host: another try does not undo it.
    fn switched(&mut self, host: Option<&HostId>, cell: &Cell) {
        let said = cell.command.and_then(|id| self.facts.said.get(&id));
        if let Some(Said::Is { switched: true, .. }) = said
            && let Some(host) = host.and_then(|host| self.planned.run.hosts.get_mut(host))
        {
            host.switched = true;
        }
    }

    /// The cell is as before it was begun; its turn goes on.
    fn try_again(&mut self, host: Option<&HostId>, stage: usize, message: Option<String>) {
        let turn = |cell: &Cell| Cell { turn_at: cell.turn_at, message, ..Cell::default() };
        self.change(host, stage, |cell| *cell = turn(cell));
    }

    fn change(&mut self, host: Option<&HostId>, stage: usize, change: impl FnOnce(&mut Cell)) {
        let run = &mut self.planned.run;
        let cell = match host {
            Some(host) => run.hosts.get_mut(host).and_then(|host| host.cells.get_mut(stage)),
            None => run.record.shared.get_mut(stage).and_then(Option::as_mut),
        };
        if let Some(cell) = cell {
            change(cell);
        }
    }

    fn heard(&self, op: Op, cell: &Cell) -> Heard {
        let begun = cell.begun_at.unwrap_or(self.now);
        let cancelled = self.planned.run.record.cancelled.is_some();
        // A host that was away while the daemon was has the time to come back and tell.
        let limit = begun.plus(outcome::patience(op)).max(self.settled_at());
        let gone_on = || {
            let message = "Its command did not come back in time; the run went on without it.".to_owned();
            Heard::Over(CommandState::Timeout, None, Some(message))
        };
        match cell.command.and_then(|id| self.facts.said.get(&id)) {
            Some(Said::Is { state, code, message, .. }) if state.is_final() => {
                let moment = outcome::is_for_a_moment(*state, code.as_deref());
                if moment && !cancelled && self.now < self.turn_ends(cell.turn_at.unwrap_or(begun)) {
                    return Heard::Again(message.clone());
                }
                let (state, code) = outcome::of(op, *state, code.as_deref());
                Heard::Over(state, code, message.clone())
            }
            Some(Said::Is { state, .. }) => {
                // A person gave it more time, or as long as it likes.
                let running = matches!(state, CommandState::Executing | CommandState::RunningWarning);
                // However long it ran before, from when it rests it has a moment to come back, and its person to answer.
                let rests_since = (!running).then(|| cell.rests_since.unwrap_or(self.now));
                let until = match rests_since {
                    None => begun.plus(outcome::LONGEST).max(self.settled_at()),
                    Some(since) => limit.max(since.plus(outcome::MORE)),
                };
                if self.now >= until { gone_on() } else { Heard::Goes { state: *state, until, rests_since } }
            }
            Some(Said::NotNow(message) | Said::Never(message)) if cancelled => {
                Heard::Over(CommandState::Cancelled, None, Some(message.clone()))
            }
            Some(Said::NotNow(message)) => {
                let until = self.turn_ends(cell.turn_at.unwrap_or(begun));
                if self.now < until {
                    return Heard::Waits { until, message: message.clone() };
                }
                Heard::Over(CommandState::Skipped, None, Some(message.clone()))
            }
            Some(Said::Never(message)) => Heard::Over(CommandState::Skipped, None, Some(message.clone())),
            None if self.now >= limit => gone_on(),
            None => Heard::Goes { state: cell.state, until: limit, rests_since: cell.rests_since },
        }
    }

    /// Until when a host is waited for whose turn has come.
    pub(super) fn turn_ends(&self, turn: Time) -> Time {
        let wait = self.planned.run.record.options.wait_s.unwrap_or(USUAL_WAIT);
        turn.plus(Duration::from_secs(wait)).max(self.settled_at())
    }
}
