//! Results. One is taken when its log is on disk up to its end, once, and acknowledged when it is on disk itself.
//! A command that nobody here knows (the store was restored from a backup) is adopted.

use nixfleet_protocol::agent::Status;
use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, Op, Time};

use super::life::command_event;
use super::{Core, Effect, Step};
use crate::command::{self, Command, Outcome};
use crate::ops;

/// Results that may wait at once; an agent has more, it tells them again.
const WAITING: usize = 200;

impl Core {
    pub(super) fn status(&mut self, status: Box<Status>, now: Time, step: &mut Step) {
        let old = self.protocol().is_none_or(|protocol| protocol < 3);
        let Some(id) = status.command_id.or_else(|| self.meant_by_old_agent(&status)) else {
            // A second `status` for one command, or one that a person started on the host.
            self.record.facts.told(&status, now);
            return self.facts_changed(now, step);
        };
        let known = self.command(id).is_some();
        if self.results.len() >= WAITING || (!known && old) {
            return;
        }
        // Of two results of one command the first counts: an old agent's second one says nothing.
        if self.results.contains_key(&id) {
            return;
        }
        self.results.insert(id, status);
        step.then.push(if known { Effect::FlushLog(id) } else { Effect::Find(id) });
    }

    /// Old agents name no id: what ended is what runs, where the op is the same or it is being stopped.
    fn meant_by_old_agent(&self, status: &Status) -> Option<CommandId> {
        let open = self.open.as_deref().filter(|open| !open.waits())?;
        let word = ops::spec(open.op).v2.unwrap_or(open.op.as_str());
        let meant = status.command.is_empty() || status.command == word || open.state == CommandState::Killing;
        meant.then_some(open.id)
    }

    pub(super) fn log_grew(&mut self, id: CommandId, bytes: u64, now: Time, step: &mut Step) {
        if self.command(id).is_some_and(|command| command.log_bytes < bytes) {
            self.drive_one(id, command::Input::LogGrew(bytes), now, step);
            self.tell_progress(now, step);
        }
    }

    /// Its agent has what was in the log as long as its result is not acknowledged, and sends it again.
    pub(super) fn log_damaged(&self, id: CommandId, why: &str, now: Time, step: &mut Step) {
        let message = format!("the log of command {id} can't be read ({why}): it was put aside and begins anew");
        self.event(Category::Error, Level::Error, "nixfleet", "log_damaged", message, now, step);
    }

    pub(super) fn log_flushed(&mut self, id: CommandId, bytes: u64, now: Time, step: &mut Step) {
        self.log_grew(id, bytes, now, step);
        let Some(status) = self.results.remove(&id) else { return };
        if status.output_end.is_some_and(|end| bytes < end) {
            // Everything that came before the result is on disk, and something is missing: the agent says it again.
            self.strays.remove(&id);
            if let Some(link) = self.link() {
                step.then.push(Effect::CloseLink { link, reason: "output is missing, send it again" });
            }
            return;
        }
        if self.command(id).is_some() {
            if self.is_no_echo(id, &status) {
                self.take_result(id, &status, now, step);
            }
        } else if let Some(stray) = self.strays.remove(&id) {
            self.stray_result(stray, &status, bytes, now, step);
        }
    }

    /// The result of a command that is not over.
    pub(super) fn take_result(&mut self, id: CommandId, status: &Status, now: Time, step: &mut Step) {
        self.record.facts.told(status, now);
        // A heartbeat may have settled it, and nothing of a command may change with it.
        self.told_whole = None;
        let facts = &self.record.facts;
        let outcome = Outcome { told_by: facts.instance, freshness: facts.freshness.clone(), ..Outcome::from(status) };
        self.drive_one(id, command::Input::Result(Box::new(outcome)), now, step);
        self.facts_changed(now, step);
    }

    /// The result of a command that is not the open one.
    fn stray_result(&mut self, mut stray: Command, status: &Status, bytes: u64, now: Time, step: &mut Step) {
        self.record.facts.running.retain(|running| *running != stray.id);
        if stray.state.is_final() {
            // Taken before, or given up: the agent may forget it.
            step.then.push(Effect::LogOver(stray.id));
            return self.ack(stray.id, step);
        }
        stray.log_bytes = stray.log_bytes.max(bytes);
        command::step(&mut stray, command::Input::Result(Box::new(Outcome::from(status))), now);
        if !stray.state.is_final() {
            // Its verdict would wait for something that has long happened.
            command::step(&mut stray, command::Input::Done { state: CommandState::Success, message: None }, now);
        }
        self.ack(stray.id, step);
        self.over(stray, now, step);
    }

    /// What the store knows of a command that the agent speaks of.
    pub(super) fn found(&mut self, id: CommandId, found: Option<Box<Command>>, now: Time, step: &mut Step) {
        let foreign = found.as_ref().is_some_and(|command| command.host.as_ref() != Some(&self.record.id));
        if let Some(link) = &mut self.link
            && link.heard_of.remove(&id)
        {
            if foreign { &mut link.foreign } else { &mut link.commands }.insert(id);
        }
        if foreign {
            // Nothing that an agent says can act on another host.
            self.results.remove(&id);
            return;
        }
        let op = self.results.get(&id).map(|status| status.command.as_str()).or(self.record.facts.pending.as_deref());
        let op: Option<Op> = op.and_then(|word| word.parse().ok());
        let known = found.is_some();
        let command = match (found, op) {
            (Some(command), _) => Some(*command),
            (None, Some(op)) => Some(self.adopted(id, op, now)),
            (None, None) => None,
        };
        if self.results.contains_key(&id) {
            if let Some(command) = command {
                self.strays.insert(id, command);
                step.then.push(Effect::FlushLog(id));
            } else {
                // An op of the future: there is no way to show it, and no reason to be told of it again and again.
                self.results.remove(&id);
                self.ack(id, step);
            }
            return;
        }
        let runs = self.record.facts.running.contains(&id);
        if command.as_ref().is_some_and(Command::is_read) && self.command(id).is_none() {
            if runs {
                self.end_unread(id, step);
            }
            return;
        }
        match command {
            Some(command) if runs && self.open.is_none() && !command.state.is_final() => {
                if !known {
                    let message = format!("{} runs already, and was not known: adopted", command.op);
                    step.writes.events.push(command_event(&command, Level::Warn, "command_adopted", message, now));
                }
                if let Some(link) = &mut self.link {
                    link.commands.insert(id);
                }
                self.record.open = Some(id);
                self.open = Some(Box::new(command));
                step.writes.host = Some(Box::new(self.record.clone()));
            }
            // Looked for again when the slot is free.
            Some(_) => {}
            // Which op it is, a later heartbeat may say.
            None => {
                self.looked_for.remove(&id);
            }
        }
    }

    /// A command that an agent has and nobody here knows.
    fn adopted(&self, id: CommandId, op: Op, now: Time) -> Command {
        let mut command = Command::new(id, Some(self.record.id.clone()), op, "agent".to_owned(), now);
        let agent = self.agent_now();
        command.state = CommandState::Executing;
        command.message = Some("adopted: the agent had it, and it was not known here".to_owned());
        command.started_at = Some(now);
        command.life.accepted = true;
        command.life.protocol = Some(agent.protocol);
        command.life.journal = agent.journal;
        command.life.instance = agent.instance;
        command.life.boot_id = agent.boot_id;
        command.life.clock_since = Some(now);
        command
    }
}
