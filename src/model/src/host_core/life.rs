//! The open command: its steps, what they ask of others, and what is remembered of it when it is over.

use std::time::Duration;

use nixfleet_protocol::agent::{Command as Order, DashboardMessage, KillCommand, Signal, StatusAck};
use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, Op, Time};
use serde_json::Value;

use super::door::BEGIN_WITHIN;
use super::{Core, Effect, Step, Submitted};
use crate::checks::{self, Refusal};
use crate::command::{self, Command};
use crate::compartments;
use crate::event::NewEvent;
use crate::host::{DeployedRecord, SwitchRun, TestRun};
use crate::ops::{self, PostCheck, RunsOn};
use crate::view::{REBOOT_COUNTS, command_view};
use crate::wake;

/// How long the remote may take before a pull is refused as `already_current`, or after one.
const ASK_REMOTE: Duration = Duration::from_secs(5);
/// Names of failed tests that are remembered.
const FAILED_TESTS: usize = 20;

impl Core {
    /// One step of the open command, with everything that follows from it.
    pub(super) fn drive(&mut self, input: command::Input, now: Time, step: &mut Step) {
        if let Some(id) = self.open.as_deref().map(|open| open.id) {
            self.drive_one(id, input, now, step);
        }
    }

    /// One step of a command that is not over, in the slot or beside it.
    pub(super) fn drive_one(&mut self, id: CommandId, input: command::Input, now: Time, step: &mut Step) {
        let slot = self.is_open(id);
        let taken = if slot { self.open.take().map(|open| *open) } else { self.beside.remove(&id) };
        let Some(mut command) = taken else { return };
        let small = matches!(input, command::Input::Progress(_) | command::Input::LogGrew(_));
        let before = (!small).then(|| command.clone());
        let by = command.sent_at.is_none().then(|| command.created_at.plus(BEGIN_WITHIN));
        let effects = command::step(&mut command, input, now);
        self.perform(&effects, &command, by, step);
        if command.state.is_final() {
            self.over(command, now, step);
            return;
        }
        if before.is_some_and(|before| before != command) {
            step.writes.host = Some(Box::new(self.record.clone()));
            if !slot {
                step.writes.commands.push(command.clone());
            }
        }
        if slot {
            self.open = Some(Box::new(command));
        } else {
            self.beside.insert(id, command);
        }
    }

    /// `by`: until when it may be sent, where it is sent for the first time.
    fn perform(&mut self, effects: &[command::Effect], command: &Command, by: Option<Time>, step: &mut Step) {
        for effect in effects {
            match effect {
                command::Effect::Send if ops::spec(command.op).runs_on == RunsOn::Dashboard => {
                    let addresses = wake::addresses(&self.record.facts.mac_addresses);
                    step.then.push(Effect::Wake { command: command.id, addresses, by });
                }
                command::Effect::Send => {
                    if command.is_read() {
                        step.then.push(Effect::Watch(command.id));
                    }
                    if let Some(link) = &mut self.link {
                        link.commands.insert(command.id);
                        let message = DashboardMessage::Command(order(command, link.protocol));
                        let (command, link) = (command.id, link.id);
                        step.then.push(Effect::Order { command, link, message, by });
                    }
                }
                command::Effect::Kill => {
                    self.kill(command.id, step);
                }
                command::Effect::AckResult => self.ack(command.id, step),
                command::Effect::AskRemote => self.judging = Some(self.ask_remote(ASK_REMOTE, step)),
                command::Effect::Finished => {}
            }
        }
    }

    /// Asks the agent to stop a command; an old agent has one at most and knows no ids.
    pub(super) fn kill(&self, id: CommandId, step: &mut Step) {
        let command_id = Some(id).filter(|_| self.protocol() >= Some(3));
        self.send(DashboardMessage::KillCommand(KillCommand { signal: Signal::Term, pid: 0, command_id }), step);
    }

    fn send(&self, message: DashboardMessage, step: &mut Step) {
        if let Some(link) = self.link() {
            step.then.push(Effect::Send { link, message });
        }
    }

    /// The agent may forget a result, and speaks of it no more.
    pub(super) fn ack(&mut self, command_id: CommandId, step: &mut Step) {
        if self.protocol() >= Some(3) {
            if let Some(link) = &mut self.link {
                link.commands.remove(&command_id);
            }
            self.send(DashboardMessage::StatusAck(StatusAck { command_id }), step);
        }
    }

    pub(super) fn ask_remote(&mut self, within: Duration, step: &mut Step) -> u64 {
        self.asked += 1;
        step.then.push(Effect::AskRemote { number: self.asked, within });
        self.asked
    }

    /// The command passes its checks: it goes to the agent.
    pub(super) fn dispatch(&mut self, now: Time, step: &mut Step) {
        let Some(command) = &self.open else { return };
        if command.op == Op::Reboot {
            let reboots = &mut self.record.history.reboots;
            reboots.retain(|at| now.since(*at) < REBOOT_COUNTS);
            reboots.push(now);
        }
        if command.op == Op::Test {
            // Whoever began it: what was to run by itself runs.
            self.record.history.auto_test = None;
        }
        let event = command_event(command, Level::Info, "command_started", format!("{} starts", command.op), now);
        step.writes.events.push(event);
        let agent = self.agent_now();
        self.drive(command::Input::Passed(Box::new(agent)), now, step);
    }

    /// The checks of a pull ask the remote again before they say that there is nothing to do.
    pub(super) fn validate(&mut self, ask: u64, request: checks::Request, now: Time, step: &mut Step) {
        let number = self.ask_remote(ASK_REMOTE, step);
        self.validating = Some(super::Validating { number, ask, request });
        self.drive(command::Input::Validating, now, step);
    }

    pub(super) fn remote_asked(&mut self, number: u64, now: Time, step: &mut Step) {
        if self.validating.as_ref().is_some_and(|waiting| waiting.number <= number)
            && let Some(waiting) = self.validating.take()
        {
            self.validated(&waiting, now, step);
        }
        if self.judging.is_some_and(|waits_for| waits_for <= number) {
            self.judging = None;
            let noted_at = self.open.as_deref().and_then(|open| open.life.noted.as_ref()).map(|noted| noted.at);
            // An answer from before the result proves nothing about it. When it was read is told by another clock.
            let fresh = self.remote_heard.zip(noted_at).is_some_and(|(heard, noted)| heard >= noted);
            let head = self.remote.desired.as_ref().filter(|_| fresh).map(|desired| desired.commit.clone());
            self.drive(command::Input::RemoteRead(head), now, step);
        }
    }

    /// The verdict over a good pull still waits for the remote, and who asked it is gone.
    pub(super) fn judge_again(&mut self, step: &mut Step) {
        let waits = |open: &Command| open.life.noted.is_some() && ops::spec(open.op).post == PostCheck::CheckoutAtHead;
        if self.open.as_deref().is_some_and(waits) {
            self.judging = Some(self.ask_remote(ASK_REMOTE, step));
        }
    }

    fn validated(&mut self, waiting: &super::Validating, now: Time, step: &mut Step) {
        let Some((id, op)) = self.open.as_deref().map(|open| (open.id, open.op)) else { return };
        match checks::check(op, &waiting.request, &self.standing(None, now)) {
            Ok(()) => {
                self.dispatch(now, step);
                if let Some(command) = self.open.as_deref() {
                    let answer = Submitted::Accepted(Box::new(command_view(command)));
                    step.then.push(Effect::Answer { ask: waiting.ask, answer });
                }
            }
            Err(refusal) => {
                let refused =
                    command::Input::Refused { code: refusal.code.to_owned(), message: refusal.message.clone() };
                self.drive(refused, now, step);
                if let Some(command) = step.writes.commands.iter().find(|command| command.id == id) {
                    let answer = Submitted::Blocked(Box::new(command_view(command)), refusal);
                    step.then.push(Effect::Answer { ask: waiting.ask, answer });
                }
            }
        }
    }

    /// A command is over: the slot is free, and the lights remember what they need.
    pub(super) fn over(&mut self, command: Command, now: Time, step: &mut Step) {
        if self.open.is_none() && self.record.open == Some(command.id) {
            self.record.open = None;
            self.judging = None;
            // What the agent runs besides may be looked for now: there is room.
            self.looked_for.clear();
            if let Some(waiting) = self.validating.take() {
                let view = Box::new(command_view(&command));
                let answer = if command.state == CommandState::Blocked {
                    let message = command.message.clone().unwrap_or_default();
                    Submitted::Blocked(view, Refusal { code: "not_started", message, offer: None, command_id: None })
                } else {
                    Submitted::Accepted(view)
                };
                step.then.push(Effect::Answer { ask: waiting.ask, answer });
            }
        }
        self.results.remove(&command.id);
        self.remember(&command, now);
        self.plan_auto_test(&command);
        step.writes.events.push(finished_event(&command, now));
        step.then.push(Effect::LogOver(command.id));
        step.writes.commands.push(command);
    }

    /// What the lights need to know of a command that ran.
    fn remember(&mut self, command: &Command, now: Time) {
        let at = command.finished_at.unwrap_or(now);
        let ok = command.exit_code == Some(0) || command.state == CommandState::Success;
        let failed = command.exit_code.is_some() && matches!(command.state, CommandState::Error | CommandState::Killed);
        // Of an end that nobody saw nothing is concluded.
        if !ok && !failed {
            return;
        }
        let commit = compartments::deployed(&self.record).map(|deployed| deployed.commit.clone());
        let facts = &self.record.facts;
        let history = &mut self.record.history;
        let old = facts.protocol.is_some_and(|protocol| protocol < 3);
        // A result that comes late says nothing of what happened since.
        let newer_switch = history.last_switch.as_ref().is_some_and(|last| last.at > at);
        if matches!(command.op, Op::Switch | Op::ForceRebuild) && !newer_switch {
            history.last_switch = Some(SwitchRun {
                command: command.id,
                op: command.op,
                ok,
                commit: facts.generation.clone(),
                stage: command.life.stage.clone(),
                at,
                rolled_back: None,
            });
        }
        if command.op == Op::Rollback
            && ok
            && let Some(switch) = history.last_switch.as_mut().filter(|switch| !switch.ok && switch.at <= at)
        {
            switch.rolled_back = Some(at);
        }
        let newer_test = history.last_test.as_ref().is_some_and(|last| last.at > at);
        if command.op == Op::Test && command.state != CommandState::Killed && !newer_test {
            history.last_test =
                Some(TestRun { commit, system_path: facts.system_path.clone(), ..test_run(command, ok, at) });
        }
        if !old {
            history.inferred = None;
        } else if ok
            && matches!(command.op, Op::Switch | Op::ForceRebuild | Op::Rollback)
            && let Some(commit) = facts.generation.clone()
        {
            let (lock_hash, system_path) = (facts.lock_hash.clone(), facts.system_path.clone());
            history.inferred = Some(DeployedRecord { commit, lock_hash, system_path, number: None, at });
        }
    }
}

/// What the agent is sent.
fn order(command: &Command, protocol: u32) -> Order {
    let spec = ops::spec(command.op);
    if protocol < 3 {
        let word = spec.v2.unwrap_or(spec.id.as_str()).to_owned();
        return Order { command: word, command_id: None, args: None, hard_limit_s: None };
    }
    let args = serde_json::from_str::<Value>(&command.args).ok();
    Order {
        command: command.op.as_str().to_owned(),
        command_id: Some(command.id),
        args: args.filter(|args| args.as_object().is_some_and(|args| !args.is_empty())),
        hard_limit_s: spec.hard.map(|span| span.as_secs()),
    }
}

/// What a test run was, from the details of its result.
fn test_run(command: &Command, ok: bool, at: Time) -> TestRun {
    let details: Value =
        command.details.as_deref().and_then(|details| serde_json::from_str(details).ok()).unwrap_or_default();
    let number = |name: &str| details.get(name).and_then(Value::as_u64);
    let failed = |test: &&Value| test.get("ok") == Some(&Value::Bool(false));
    let name = |test: &Value| test.get("name").and_then(Value::as_str).map(str::to_owned);
    let tests = details.get("tests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let failed = tests.iter().filter(failed).filter_map(name).take(FAILED_TESTS).collect();
    // An old agent gives no numbers: then the run is one test, which passed or failed.
    let total = number("total").unwrap_or(1);
    let passed = number("passed").unwrap_or_else(|| u64::from(ok)).min(total);
    TestRun {
        command: command.id,
        ok: ok && passed == total,
        passed,
        total,
        failed,
        commit: None,
        system_path: None,
        at,
    }
}

/// An event that tells of a command, whoever carries it out. Its details are what readers go by: `command_id`, `op`,
/// `state` and what more there is.
pub fn command_event(command: &Command, level: Level, action: &str, message: String, now: Time) -> NewEvent {
    let mut event = NewEvent::new(now, Category::Audit, level, command.actor.clone(), action, message);
    event.host.clone_from(&command.host);
    let mut details = serde_json::json!({
        "command_id": command.id,
        "op": command.op,
        "state": command.state,
        "exit_code": command.exit_code,
        "forced": command.force,
    });
    // Above all for `exec`: what was run is what the audit log is for.
    let args = serde_json::from_str::<Value>(&command.args).ok();
    if let Some(args) = args.filter(|args| args.as_object().is_some_and(|args| !args.is_empty())) {
        details["args"] = args;
    }
    event.details = Some(details.to_string());
    event
}

/// The event that tells how a command ended, or that it was refused.
pub fn finished_event(command: &Command, now: Time) -> NewEvent {
    let (level, word) = match command.state {
        CommandState::Success => (Level::Success, "succeeded"),
        CommandState::Blocked => (Level::Warn, "was refused"),
        CommandState::Error => (Level::Error, "failed"),
        CommandState::Partial => (Level::Warn, "ended without reaching its goal"),
        CommandState::Killed => (Level::Warn, "was stopped"),
        CommandState::Timeout => (Level::Warn, "ended without an answer in time"),
        CommandState::StaleBinary => (Level::Warn, "ended with a stale agent"),
        CommandState::Suspicious => (Level::Warn, "ended with a suspicious agent"),
        CommandState::Orphaned => (Level::Warn, "was orphaned"),
        CommandState::Cancelled => (Level::Info, "was cancelled"),
        CommandState::Skipped => (Level::Info, "was skipped"),
        CommandState::Pending
        | CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::TimeoutPending
        | CommandState::AwaitingReconnect
        | CommandState::Killing => (Level::Info, "goes on"),
    };
    let action = if command.state == CommandState::Blocked { "command_blocked" } else { "command_finished" };
    let message = match &command.message {
        Some(message) if !word.ends_with(message.as_str()) => format!("{} {word}: {message}", command.op),
        Some(_) | None => format!("{} {word}", command.op),
    };
    command_event(command, level, action, message, now)
}
