//! What people want: an op, or something of the command that runs. Ops of the dashboard itself are done here.

use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, Op, Time};
use serde_json::{Map, Value};

use super::life::command_event;
use super::owner::is_for_a_moment;
use super::{Act, ActRefused, Core, Effect, Step, Submit, Submitted};
use crate::checks::{self, Refusal, Request};
use crate::command::{self, Command};
use crate::ops::{self, PostCheck, RunsOn};
use crate::view::{color, command_view};

/// The largest arguments of an op, in bytes of JSON.
const MAX_ARGS: usize = 16 * 1024;
/// Tags of a host, and characters of one.
const MAX_TAGS: (usize, usize) = (20, 40);

impl Core {
    pub(super) fn submit(&mut self, ask: u64, id: CommandId, submit: Submit, now: Time, step: &mut Step) {
        if let Some(answer) = self.known_or_not_now(&submit) {
            return step.then.push(Effect::Answer { ask, answer });
        }
        let request = Request { force: submit.force, totp: submit.totp, run_id: submit.run_id };
        let mut command = Command::new(id, Some(self.record.id.clone()), submit.op, submit.actor, now);
        command.force = submit.force;
        command.run_id = submit.run_id;
        let args = Value::Object(submit.args.clone()).to_string();
        let checked = offered(submit.op)
            .and_then(|()| if args.len() > MAX_ARGS { Err(bad_args("they are too large")) } else { Ok(()) })
            .and_then(|()| checks::check(submit.op, &request, &self.standing(self.open.as_deref(), now)));
        if args.len() <= MAX_ARGS {
            command.args = args;
        }
        if let Err(refusal) = &checked
            && submit.id.is_some()
            && is_for_a_moment(&command, refusal)
        {
            let answer = Submitted::NotNow(refusal.clone());
            return step.then.push(Effect::Answer { ask, answer });
        }
        if submit.id.is_some() {
            self.remember_given(id);
        }
        match checked {
            Err(refusal) if checks::asks_remote_first(submit.op, &refusal) && self.open.is_none() => {
                self.record.open = Some(id);
                self.open = Some(Box::new(command));
                self.validate(ask, request, now, step);
            }
            Err(refusal) => self.block(ask, command, refusal, now, step),
            Ok(()) if command.is_read() || ops::spec(submit.op).post == PostCheck::Registered => {
                self.begin_beside(ask, command, now, step);
            }
            Ok(()) if ops::spec(submit.op).runs_on == RunsOn::Dashboard => {
                self.own_op(ask, command, &submit.args, now, step);
            }
            Ok(()) if self.open.is_some() => {
                let refusal = refusal("host_busy", "Another command runs on the host: wait for it, or stop it.");
                self.block(ask, command, refusal, now, step);
            }
            Ok(()) => {
                self.record.open = Some(id);
                self.open = Some(Box::new(command));
                self.dispatch(now, step);
                if let Some(command) = &self.open {
                    let answer = Submitted::Accepted(Box::new(command_view(command)));
                    step.then.push(Effect::Answer { ask, answer });
                }
            }
        }
    }

    pub(super) fn block(&mut self, ask: u64, mut command: Command, refusal: Refusal, now: Time, step: &mut Step) {
        let refused = command::Input::Refused { code: refusal.code.to_owned(), message: refusal.message.clone() };
        command::step(&mut command, refused, now);
        let answer = Submitted::Blocked(Box::new(command_view(&command)), refusal);
        self.over(command, now, step);
        step.then.push(Effect::Answer { ask, answer });
    }

    /// An op of the dashboard that is done at once.
    fn own_op(&mut self, ask: u64, mut command: Command, args: &Map<String, Value>, now: Time, step: &mut Step) {
        let chosen = if command.op == Op::SetColor {
            chosen_color(args).map(|color| self.record.chosen.color = color)
        } else if command.op == Op::SetTags {
            chosen_tags(args).map(|tags| self.record.chosen.tags = tags)
        } else {
            Ok(())
        };
        if let Err(refusal) = chosen {
            return self.block(ask, command, refusal, now, step);
        }
        if command.op == Op::Remove {
            // Whoever owned what is not over goes with the host.
            for id in self.unfinished().map(|command| command.id).collect::<Vec<_>>() {
                let message = Some("the host was removed: nobody can say how it ended".to_owned());
                self.drive_one(id, command::Input::Done { state: CommandState::Orphaned, message }, now, step);
            }
            step.writes.removed = Some(self.record.id.clone());
        }
        command.started_at = Some(now);
        command.state = CommandState::Executing;
        command::step(&mut command, command::Input::Done { state: CommandState::Success, message: None }, now);
        let answer = Submitted::Accepted(Box::new(command_view(&command)));
        self.over(command, now, step);
        step.then.push(Effect::Answer { ask, answer });
        if step.writes.removed.is_some() {
            step.then.push(Effect::Gone);
        }
    }

    pub(super) fn act(&mut self, ask: u64, id: CommandId, action: Act, actor: String, now: Time, step: &mut Step) {
        let Some(open) = self.command(id) else {
            return step.then.push(Effect::AnswerAct { ask, answer: Err(ActRefused::NotOpen) });
        };
        if let Err((code, message)) = possible(open, action) {
            let answer = Err(ActRefused::NotNow { code, message: message.to_owned() });
            return step.then.push(Effect::AnswerAct { ask, answer });
        }
        let (input, word, sentence) = match action {
            Act::Stop => (command::Input::Stop, "command_stop_asked", "is to stop".to_owned()),
            Act::Extend { minutes } => {
                let sentence = format!("may take {} minutes more", minutes.max(1));
                (command::Input::Extend { minutes }, "command_extended", sentence)
            }
            Act::Ignore => (command::Input::Ignore, "command_limit_ignored", "may take as long as it likes".to_owned()),
            Act::GiveUp => {
                let input = command::Input::GiveUp { actor: actor.clone() };
                (input, "command_given_up", "was given up".to_owned())
            }
        };
        let mut event = command_event(open, Level::Info, word, format!("{} {sentence}", open.op), now);
        event.category = Category::Audit;
        event.actor = actor;
        step.writes.events.push(event);
        self.drive_one(id, input, now, step);
        let after = self.command(id).or_else(|| step.writes.commands.iter().find(|command| command.id == id));
        if let Some(command) = after {
            let answer = Ok(Box::new(command_view(command)));
            step.then.push(Effect::AnswerAct { ask, answer });
        }
    }
}

/// Whether this can be asked of a command now; a code and a sentence when not.
fn possible(open: &Command, action: Act) -> Result<(), (&'static str, &'static str)> {
    let ended = open.life.noted.is_some();
    match action {
        Act::Stop if ended => Err(("already_ended", "It has ended on its host, and only its verdict is waited for.")),
        Act::Extend { .. } if ops::spec(open.op).hard.is_none() => Err(("no_limit", "It has no time limit.")),
        Act::Extend { .. }
            if ended
                || !matches!(
                    open.state,
                    CommandState::Executing | CommandState::RunningWarning | CommandState::TimeoutPending
                ) =>
        {
            Err(("not_running", "It does not run now, so its clock stands still."))
        }
        Act::Ignore if open.state != CommandState::TimeoutPending => {
            Err(("not_timed_out", "It is not past its time limit."))
        }
        Act::Stop | Act::Extend { .. } | Act::Ignore | Act::GiveUp => Ok(()),
    }
}

pub(super) fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), offer: None, command_id: None }
}

fn bad_args(why: &str) -> Refusal {
    refusal("bad_args", format!("The arguments are not good: {why}."))
}

/// Ops of the registry that a host's actor can't do.
fn offered(op: Op) -> Result<(), Refusal> {
    if ops::spec(op).per_host { Ok(()) } else { Err(refusal("not_available", format!("{op} concerns no host."))) }
}

fn chosen_color(args: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match args.get("color") {
        Some(Value::String(text)) => color(text).map(Some).ok_or_else(|| bad_args("a colour is written #rrggbb")),
        Some(Value::Null) => Ok(None),
        Some(_) | None => Err(bad_args("color is #rrggbb, or null for the host's own")),
    }
}

fn chosen_tags(args: &Map<String, Value>) -> Result<Option<Vec<String>>, Refusal> {
    let tags = match args.get("tags") {
        Some(Value::Array(tags)) => tags,
        Some(Value::Null) => return Ok(None),
        Some(_) | None => return Err(bad_args("tags is a list, or null for the host's own")),
    };
    let mut chosen = Vec::new();
    for tag in tags {
        let tag = tag.as_str().map(str::trim).unwrap_or_default();
        let good = !tag.is_empty() && tag.chars().count() <= MAX_TAGS.1 && !tag.chars().any(char::is_control);
        if !good {
            return Err(bad_args("a tag is a text of 1 to 40 characters"));
        }
        if !chosen.iter().any(|known| known == tag) {
            chosen.push(tag.to_owned());
        }
    }
    if chosen.len() > MAX_TAGS.0 { Err(bad_args("a host has at most 20 tags")) } else { Ok(Some(chosen)) }
}
