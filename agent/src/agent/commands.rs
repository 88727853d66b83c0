//! Commands on this host: which one runs, what a new one meets, how an abandoned one ended.
//!
//! The agent owns one. One command at a time; an id at most once; `accepted` only when the journal has it.

mod endings;
mod remnant;
mod words;

use std::io;

use nixfleet_protocol::agent::{AgentProgram, Command, CommandRejected, KillCommand, Signal, Status};
use nixfleet_protocol::{BootId, CommandId, InstanceId, Op, Time};
use tracing::{info, warn};
use uuid::Uuid;

use super::deliveries::{Deliveries, Delivery};
use crate::durable;
use crate::facts::Identity;
use crate::facts::lights::Last;
use crate::journal::entry::{Claim, Entry, STARTED, Standing};
use crate::journal::{Admission, Journal, JournalError};
use crate::launch::Launcher;
use crate::ops::{self, own};
use crate::record::{HostSettings, Order, Outcome, Stage};

/// So many journals may be read at once: each is a process on the host.
const MOST_JOURNALS: usize = 8;

/// What the dashboard is told about its command.
#[derive(Debug)]
pub enum Answer {
    /// It is in the journal.
    Accepted(CommandId),
    /// It is in the journal, and this process ends for it.
    Restarting(CommandId),
    /// It is refused.
    Rejected(CommandRejected),
    /// It ran so long ago that only how it ended is left.
    Forgotten(Box<Status>),
}

/// The commands of this host.
#[derive(Debug)]
pub struct Commands {
    journal: Journal,
    launcher: Launcher,
    host: HostSettings,
    instance: InstanceId,
    boot: Option<BootId>,
    agent: AgentProgram,
    started_as: String,
    last_switch: Option<Last>,
    last_tests: Option<Last>,
    /// What is followed and told.
    pub deliveries: Deliveries,
}

impl Commands {
    /// Settles everything that the journal holds.
    pub fn new(
        journal: Journal,
        launcher: Launcher,
        host: HostSettings,
        identity: &Identity,
        agent: AgentProgram,
    ) -> Result<Self, JournalError> {
        let mut commands = Self {
            journal,
            launcher,
            host,
            instance: identity.instance,
            boot: identity.boot.clone(),
            agent,
            started_as: std::env::args().next().unwrap_or_default(),
            last_switch: None,
            last_tests: None,
            deliveries: Deliveries::default(),
        };
        for entry in commands.journal.entries()? {
            commands.settle(entry);
        }
        Ok(commands)
    }

    /// The journal.
    pub const fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    fn order(&self, id: CommandId, word: String, ops: Vec<Op>, args: Option<serde_json::Value>, legacy: bool) -> Order {
        Order {
            id,
            word,
            ops,
            args,
            legacy,
            instance: self.instance,
            boot: self.boot.clone(),
            accepted_at: Time::now(),
            agent: Some(self.agent.clone()),
            started_as: self.started_as.clone(),
            host: self.host.clone(),
        }
    }

    /// A command came. `legacy` is a dashboard that knows no ids.
    pub fn take(&mut self, command: Command, legacy: bool) -> Answer {
        let id = command.command_id.unwrap_or_else(|| CommandId::from_uuid(Uuid::now_v7()));
        let reject = |reason: String| {
            Answer::Rejected(CommandRejected { reason, command_id: command.command_id, ..CommandRejected::default() })
        };
        match self.journal.find(id) {
            Ok(None) => {}
            Ok(Some(Admission::Known(entry))) => return self.known(entry),
            Ok(Some(Admission::New(_) | Admission::Forgotten)) => return self.forgotten(id, command.command),
            Err(error) => {
                warn!(command = %id, %error, "refused: the journal can't take it");
                return reject(words::refused(&error));
            }
        }
        let Some(ops) = ops::meaning(&command.command, legacy, self.host.platform) else {
            info!(op = command.command, "unsupported");
            return reject("unsupported".into());
        };
        let args = command.args.clone().or_else(|| ops::words::implied(&command.command).filter(|_| legacy));
        if let Some(refusal) = own::refusal(&ops, args.as_ref(), &self.host) {
            info!(op = command.command, refusal, "refused");
            return reject(refusal);
        }
        if let Err(bad) = ops::args::check(&ops, args.as_ref()) {
            info!(op = command.command, %bad, "refused");
            return reject(bad.to_string());
        }
        if !own::takes_slot(&ops) && self.deliveries.journals() >= MOST_JOURNALS {
            return reject(format!("too_many_journals: {MOST_JOURNALS} are read at once already"));
        }
        let at_any_time = legacy && matches!(ops[..], [Op::Restart | Op::Reboot]);
        if let Some(running) = self.deliveries.running().filter(|_| own::takes_slot(&ops) && !at_any_time) {
            return Answer::Rejected(CommandRejected {
                reason: format!("busy: {} runs ({})", running.word, running.id()),
                current_command: Some(running.word.clone()),
                current_pid: running.pid(),
                command_id: command.command_id,
            });
        }
        let restart = ops == [Op::Restart];
        let order = self.order(id, command.command.clone(), ops, args, legacy);
        let entry = match self.journal.admit(&order) {
            Ok(Admission::New(entry)) => entry,
            Ok(Admission::Known(entry)) => return self.known(entry),
            Ok(Admission::Forgotten) => return self.forgotten(id, command.command),
            Err(error) => {
                warn!(command = %id, %error, "refused: the journal can't take it");
                return reject(words::refused(&error));
            }
        };
        info!(command = %id, op = order.word, "accepted");
        if restart {
            return Answer::Restarting(id);
        }
        let launched = self.start(&entry, &order).unwrap_or_else(|error| {
            warn!(command = %id, %error, "the command can't be begun");
            None
        });
        self.follow(entry, &order, launched);
        Answer::Accepted(id)
    }

    /// Runs nothing; what is known is told again.
    fn known(&mut self, entry: Entry) -> Answer {
        let id = entry.id();
        if let Ok(Some(order)) = entry.order() {
            if order.ops == [Op::Restart] && matches!(entry.standing(), Ok(Standing::Startable)) {
                // The link broke before the agent went: no runner will ever begin this one.
                return Answer::Restarting(id);
            }
            self.deliveries.add_again(Delivery::new(entry, &order));
        }
        Answer::Accepted(id)
    }

    /// Stops the command with this id; without one, whatever runs.
    pub fn stop(&mut self, kill: &KillCommand) {
        let Some(id) = kill.command_id else { return self.stop_slot(kill.signal) };
        if let Some(delivery) = self.deliveries.get_mut(id).filter(|delivery| delivery.outcome.is_none()) {
            delivery.ask_to_stop(kill.signal);
        } else {
            info!(command = %id, "not running, so not stopped");
        }
    }

    /// Stops what runs in the host's slot. Journals are stopped by their ids alone.
    pub fn stop_slot(&mut self, signal: Signal) {
        let running = self.deliveries.running().map(Delivery::id);
        if let Some(delivery) = running.and_then(|id| self.deliveries.get_mut(id)) {
            delivery.ask_to_stop(signal);
        } else {
            info!("nothing to stop");
        }
    }

    /// Stops all journals: nobody has been there to read them for a long time.
    pub fn stop_journals(&mut self) {
        for id in self.deliveries.ids_of_journals() {
            if let Some(delivery) = self.deliveries.get_mut(id) {
                delivery.ask_to_stop(Signal::Term);
            }
        }
    }

    /// How the last switch and the last tests ended.
    pub fn lasts(&self) -> (Option<Last>, Option<Last>) {
        (self.last_switch.clone(), self.last_tests.clone())
    }

    fn note_last(&mut self, ops: &[Op], outcome: &Outcome) {
        let last =
            || Some(Last { exit_code: outcome.exit_code, message: outcome.message.clone(), at: outcome.finished_at });
        // What failed before its switch began says nothing of the system.
        let before = matches!(outcome.stage, Some(Stage::Checkout));
        if ops.iter().any(|op| matches!(op, Op::Switch | Op::Rollback | Op::ForceRebuild)) && !before {
            self.last_switch = last();
        }
        if ops.contains(&Op::Test) {
            self.last_tests = last();
        }
    }

    /// Whether this word brings the checkout up to date by itself, so that a first clone under way need not be waited
    /// for, or must come at any time. A clone over a line that died would else hold up everything.
    pub fn needs_the_checkout(&self, word: &str, legacy: bool) -> bool {
        ops::meaning(word, legacy, self.host.platform)
            .is_some_and(|ops| matches!(ops.first(), Some(Op::Pull | Op::Reboot)))
            && self.deliveries.running().is_none()
    }

    /// What is known of a command whose folder was deleted.
    fn forgotten(&self, id: CommandId, word: String) -> Answer {
        let past = self.journal.past(id).unwrap_or_else(|error| {
            warn!(command = %id, error = %crate::chain(&error), "what became of it can't be read");
            None
        });
        match past {
            Some(past) => Answer::Forgotten(Box::new(words::status_of(past))),
            // Nobody knows how it ended, and the dashboard is to say just that.
            None => Answer::Rejected(CommandRejected {
                reason: words::FORGOTTEN.to_owned(),
                current_command: Some(word),
                command_id: Some(id),
                ..CommandRejected::default()
            }),
        }
    }

    /// Marks a restart as begun: the next process will see that it is another.
    pub fn begin_restart(&self, id: CommandId) -> io::Result<()> {
        let Some(Admission::Known(entry)) = self.journal.find(id).map_err(|error| error.source)? else { return Ok(()) };
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let claim = serde_json::to_vec(&Claim { pid, boot: self.boot.clone(), at: Time::now() })?;
        durable::claim(&entry.file(STARTED), &claim).map(|_| ())
    }
}

#[cfg(test)]
mod tests;
