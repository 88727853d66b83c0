//! Runs of pipelines own hosts from their start to their end. Which run owns this one is not in its record: the runs'
//! own records say it, and whoever starts this core tells it.

use nixfleet_protocol::{CommandId, Op, RunId, Time};

use super::{Core, Effect, Step, Submit, Submitted};
use crate::checks::{self, Refusal, Request, TotpProof};
use crate::command::Command;
use crate::view::command_view;

/// Ids that are remembered until what became of them is surely on disk.
const GIVEN: usize = 64;

impl Core {
    /// A run wants it: it has to be idle, whether its agent is there or not.
    pub(super) fn reserve(&mut self, ask: u64, run: RunId, now: Time, step: &mut Step) {
        let request = Request { force: false, totp: TotpProof::NotGiven, run_id: Some(run) };
        let answer = checks::idle(&request, &self.standing(self.open.as_deref(), now));
        if answer.is_ok() {
            self.owned(Some(run), step);
        }
        step.then.push(Effect::AnswerReserve { ask, answer });
    }

    pub(super) fn owned(&mut self, run: Option<RunId>, step: &mut Step) {
        if self.run != run {
            self.run = run;
            step.publish = true;
        }
    }

    /// The answer to a wish whose id is known already, or that is not to begin now, before anything is kept of it.
    pub(super) fn known_or_not_now(&mut self, submit: &Submit) -> Option<Submitted> {
        let id = submit.id?;
        if let Some(known) = self.command(id) {
            return Some(Submitted::Accepted(Box::new(command_view(known))));
        }
        let not_now =
            |code, message: String| Some(Submitted::NotNow(Refusal { code, message, offer: None, command_id: None }));
        if submit.only_known {
            return not_now("not_begun", "It has not begun.".to_owned());
        }
        if submit.run_id.is_some() && submit.run_id != self.run {
            return not_now("not_owned", format!("{} does not belong to the run.", self.record.id));
        }
        None
    }

    pub(super) fn remember_given(&mut self, id: CommandId) {
        if self.given.len() >= GIVEN {
            self.given.pop_front();
        }
        self.given.push_back(id);
    }
}

/// Whether a run is to ask again, and nothing is kept of the refusal: its host is away or busy for a moment.
pub(super) fn is_for_a_moment(command: &Command, refusal: &Refusal) -> bool {
    command.run_id.is_some() && command.op != Op::Wake && matches!(refusal.code, "host_offline" | "host_busy")
}
