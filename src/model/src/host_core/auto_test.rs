//! The tests that run by themselves after a good switch: an ordinary `test` command by the actor [`ACTOR`].
//!
//! ```text
//! good switch, in no run ─→ history.auto_test ─→ linked and idle for 5 s ─→ Effect::AutoTest ─→ Input::AutoTest ─→ test
//!                                    └─ forgotten: a test began, another switch or rollback ended, a pull moved the checkout,
//!                                       the host has no tests, or an hour went by
//! ```
//!
//! The intent is in the host's record, so it outlives the daemon and the host's actor; how long the host is idle is
//! not, so after a restart the 5 s begin anew. Until the moment when it begins it holds nothing: whatever people and
//! runs ask for is checked as if it were not there.

use std::time::Duration;

use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{CommandId, Op, Time};

use super::{Core, Effect, Step};
use crate::checks::{self, Request, TotpProof};
use crate::command::Command;
use crate::host::SwitchRun;

/// Who starts it, in records and in the audit log.
pub const ACTOR: &str = "auto-test";
/// How long the host is idle and linked before it begins: who clicks on after a switch goes first.
pub const IDLE_FOR: Duration = Duration::from_secs(5);
/// How long it may wait for that. A test hours later would surprise more than it tells.
pub const WITHIN: Duration = Duration::from_hours(1);

impl Core {
    /// What the end of a command says about it. Whatever may have changed what is deployed ends an intent; a good
    /// switch outside a run begins one.
    pub(super) fn plan_auto_test(&mut self, command: &Command) {
        let ran = !matches!(command.state, CommandState::Blocked | CommandState::Cancelled | CommandState::Skipped);
        if !ran || !matches!(command.op, Op::Switch | Op::ForceRebuild | Op::Rollback) {
            return;
        }
        let newest = self.record.history.last_switch.as_ref().is_some_and(|last| last.command == command.id && last.ok);
        let wanted = self.settings.auto_test
            && newest
            && command.run_id.is_none()
            && command.state == CommandState::Success
            && self.record.facts.tests != Some(0)
            && checks::can(Op::Test, &self.record);
        self.record.history.auto_test = wanted.then_some(command.id);
    }

    /// The switch that the intent is about, while it is to be followed.
    fn to_be_tested(&self) -> Option<&SwitchRun> {
        let history = &self.record.history;
        let switch = history.last_switch.as_ref().filter(|_| self.settings.auto_test)?;
        (history.auto_test == Some(switch.command)).then_some(switch)
    }

    /// Whether the intent has lost its reason: what would be tested is not what was switched to, there is nothing to
    /// test with, or it is too late.
    fn auto_test_is_void(&self, switch: &SwitchRun, now: Time) -> bool {
        let facts = &self.record.facts;
        let moved = matches!((&facts.generation, &switch.commit), (Some(now), Some(then)) if !now.is(then));
        moved || facts.tests == Some(0) || now.since(switch.at) >= WITHIN
    }

    /// Whether nothing runs on the host, as far as anyone knows, and its agent is there.
    fn is_idle(&self) -> bool {
        let facts = &self.record.facts;
        self.link.as_ref().is_some_and(|link| !link.fresh)
            && self.open.is_none()
            && facts.running.is_empty()
            && facts.pending.is_none()
    }

    /// At the end of each step: since when the host is idle, and whether the intent is still one.
    pub(super) fn mind_auto_test(&mut self, now: Time, step: &mut Step) {
        if self.record.history.auto_test.is_none() {
            self.idle_since = None;
            return;
        }
        if self.to_be_tested().is_none_or(|switch| self.auto_test_is_void(switch, now)) {
            self.record.history.auto_test = None;
            self.idle_since = None;
            step.writes.host = Some(Box::new(self.record.clone()));
        } else if self.is_idle() {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
    }

    /// When the intent wants to be looked at: when the host was idle long enough, or when its hour is over.
    pub(super) fn auto_test_due(&self) -> Option<Time> {
        let switch = self.to_be_tested()?;
        let over = switch.at.plus(WITHIN);
        match self.idle_since {
            // Its number is on the way.
            Some(_) if self.auto_test_asked => Some(over),
            Some(since) => Some(since.plus(IDLE_FOR).min(over)),
            None => Some(over),
        }
    }

    /// The timer: asks for an id when the moment has come.
    pub(super) fn ask_auto_test(&mut self, now: Time, step: &mut Step) {
        let due = self.to_be_tested().is_some() && self.idle_since.is_some_and(|since| now.since(since) >= IDLE_FOR);
        if due && !self.auto_test_asked {
            self.auto_test_asked = true;
            step.then.push(Effect::AutoTest);
        }
    }

    /// It begins, where it still may: between the question for its id and the answer somebody may have begun another.
    pub(super) fn auto_test(&mut self, id: CommandId, now: Time, step: &mut Step) {
        self.auto_test_asked = false;
        let Some(switch) = self.to_be_tested() else { return };
        let idle = self.idle_since.is_some_and(|since| now.since(since) >= IDLE_FOR) && self.is_idle();
        if !idle || self.auto_test_is_void(switch, now) {
            return;
        }
        if self.record.facts.tests.is_none() {
            // Its agent has said hello and no word of tests.
            self.record.history.auto_test = None;
            step.writes.host = Some(Box::new(self.record.clone()));
            return;
        }
        let request = Request { force: false, totp: TotpProof::NotGiven, run_id: None };
        if checks::check(Op::Test, &request, &self.standing(None, now)).is_err() {
            // A run has taken the host.
            self.idle_since = Some(now);
            return;
        }
        let command = Command::new(id, Some(self.record.id.clone()), Op::Test, ACTOR.to_owned(), now);
        self.record.open = Some(id);
        self.open = Some(Box::new(command));
        self.dispatch(now, step);
    }
}
