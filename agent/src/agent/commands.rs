//! Commands on this host: which one runs, what a new one meets, how an abandoned one ended.
//!
//! The agent owns one. One command at a time; an id at most once; `accepted` only when the journal has it.

mod remnant;
mod words;

use std::io;
use std::time::Duration;

use nixfleet_protocol::agent::{AgentProgram, Command, CommandRejected, KillCommand, Signal, Status};
use nixfleet_protocol::{BootId, CommandId, InstanceId, Op, Time};
use tracing::{info, warn};
use uuid::Uuid;

use super::deliveries::{Deliveries, Delivery};
use crate::durable;
use crate::facts::Identity;
use crate::facts::lights::Last;
use crate::journal::entry::{Abandoned, Claim, Entry, GROUP, RESULT, STARTED, Standing, judge};
use crate::journal::{Admission, Journal, JournalError};
use crate::launch::Launcher;
use crate::ops::{self, own};
use crate::record::{HostSettings, Order, Outcome, Stage};
use crate::runner::{facts_now, remains};

/// A runner that has not claimed its folder after so long will never do it.
const CLAIM_WITHIN: Duration = Duration::from_secs(30);

/// A host that goes down ends the runner of its reboot before the agent: that is no failure yet.
const DOWN_WITHIN: Duration = Duration::from_mins(6);

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
            commands.settle(entry).map_err(JournalError::at(commands.journal.commands_dir()))?;
        }
        Ok(commands)
    }

    /// The journal.
    pub const fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// At the start: each command goes on, is begun, or has ended.
    fn settle(&mut self, entry: Entry) -> io::Result<()> {
        let standing = entry.standing()?;
        if standing == Standing::Ended
            && let (Ok(Some(order)), Ok(Some(outcome))) = (entry.order(), entry.outcome())
        {
            // Oldest first: the newest is what is left.
            self.note_last(&order.ops, &outcome);
        }
        if standing == Standing::Ended && entry.is_acknowledged() {
            return Ok(());
        }
        let Some(order) = entry.order().ok().flatten() else {
            warn!(command = %entry.id(), "the order can't be read");
            return self.conclude_unreadable(&entry);
        };
        info!(command = %entry.id(), op = order.word, ?standing, "found in the journal");
        let settled = match standing {
            Standing::Startable if order.ops == [Op::Restart] => Self::conclude(&entry, &order, Abandoned::Restarted),
            Standing::Startable => self.start(&entry, &order),
            Standing::Abandoned => self.conclude_abandoned(&entry, &order),
            Standing::Running | Standing::Ended => Ok(()),
        };
        if let Err(error) = settled {
            // A full disk, perhaps. It is followed, and settled when that works again.
            warn!(command = %entry.id(), %error, "the command can't be settled yet");
        }
        self.deliveries.add(Delivery::new(entry, &order));
        Ok(())
    }

    fn start(&self, entry: &Entry, order: &Order) -> io::Result<()> {
        let needs_root = ops::needs_root(&order.ops, order.host.platform);
        match self.launcher.launch(entry, needs_root) {
            Ok(()) => Ok(()),
            Err(error) => self.conclude_unstarted(entry, order, &format!("its runner can't be started: {error}")),
        }
    }

    /// Takes the folder from any runner that may still come, and ends the command.
    fn conclude_unstarted(&self, entry: &Entry, order: &Order, why: &str) -> io::Result<()> {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let claim = serde_json::to_vec(&Claim { pid, boot: self.boot.clone(), at: Time::now() })?;
        if durable::claim(&entry.file(STARTED), &claim)?.is_none() {
            return Ok(());
        }
        let message = format!("the command was not begun: {why}");
        durable::write_json(&entry.file(RESULT), &Outcome { message, exit_code: 127, ..facts_now(order) })
    }

    fn conclude_abandoned(&self, entry: &Entry, order: &Order) -> io::Result<()> {
        let claim = entry.claim().ok().flatten();
        let begun_in = claim.as_ref().and_then(|claim| claim.boot.clone());
        let judged = judge(&order.ops, begun_in.as_ref(), self.boot.as_ref());
        if judged == Abandoned::GoingDown
            && claim.as_ref().is_some_and(|claim| Time::now().since(claim.at) < DOWN_WITHIN)
        {
            return Ok(());
        }
        if matches!(judged, Abandoned::RunnerDied | Abandoned::GoingDown) {
            let group =
                std::fs::read_to_string(entry.file(GROUP)).ok().and_then(|text| text.trim().parse::<i32>().ok());
            // The number alone may belong to somebody else by now; the environment does not lie.
            let carriers = remains::carriers(order.id);
            remains::kill_all(order.id, group.filter(|group| carriers.contains(group)));
        }
        Self::conclude(entry, order, judged)
    }

    fn conclude(entry: &Entry, order: &Order, judged: Abandoned) -> io::Result<()> {
        let claim = entry.claim().ok().flatten();
        let (exit_code, stage, message) = match judged {
            Abandoned::Restarted => (0, None, "the agent was restarted"),
            Abandoned::Rebooted => (0, None, "the host was rebooted"),
            Abandoned::GoingDown => (1, Some(Stage::Interrupted), "the host did not go down"),
            Abandoned::LostWithBoot => (1, Some(Stage::Interrupted), "the command ended with a reboot of the host"),
            Abandoned::RunnerDied => {
                (1, Some(Stage::Interrupted), "the command was interrupted: its runner was killed")
            }
        };
        info!(command = %entry.id(), exit_code, message, "concluded");
        let outcome = Outcome {
            exit_code,
            stage,
            message: message.into(),
            started_at: claim.map(|claim| claim.at),
            output_end: remnant::cut_log(entry)?,
            ..facts_now(order)
        };
        durable::write_json(&entry.file(RESULT), &outcome)
    }

    /// Without an order nobody can say what it was; the dashboard is told that it ended.
    fn conclude_unreadable(&mut self, entry: &Entry) -> io::Result<()> {
        let order = self.order(entry.id(), String::new(), Vec::new(), None, false);
        if entry.standing()? != Standing::Ended {
            let message = "the command's order can't be read".to_owned();
            let outcome = Outcome { message, output_end: remnant::cut_log(entry)?, ..facts_now(&order) };
            durable::write_json(&entry.file(RESULT), &outcome)?;
        }
        self.deliveries.add(Delivery::new(entry.clone(), &order));
        Ok(())
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
        if let Err(error) = self.start(&entry, &order) {
            warn!(command = %id, %error, "the command can't be begun");
        }
        self.deliveries.add(Delivery::new(entry, &order));
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
        if let Some(delivery) = self.deliveries.get(id).filter(|delivery| delivery.outcome.is_none()) {
            ask_to_stop(delivery, kill.signal);
        } else {
            info!(command = %id, "not running, so not stopped");
        }
    }

    /// Stops what runs in the host's slot. Journals are stopped by their ids alone.
    pub fn stop_slot(&self, signal: Signal) {
        if let Some(delivery) = self.deliveries.running() {
            ask_to_stop(delivery, signal);
        } else {
            info!("nothing to stop");
        }
    }

    /// Stops all journals: nobody has been there to read them for a long time.
    pub fn stop_journals(&self) {
        for id in self.deliveries.ids_of_journals() {
            if let Some(delivery) = self.deliveries.get(id) {
                ask_to_stop(delivery, Signal::Term);
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

    /// Notices which commands ended, and which were abandoned. True when one ended just now.
    pub fn look(&mut self) -> bool {
        let mut ended = false;
        for id in self.deliveries.ids_running() {
            match self.look_at(id) {
                Ok(over) => ended |= over,
                Err(error) => warn!(command = %id, %error, "the command's folder can't be read"),
            }
        }
        ended
    }

    fn look_at(&mut self, id: CommandId) -> io::Result<bool> {
        let Some(delivery) = self.deliveries.get_mut(id) else { return Ok(false) };
        let entry = delivery.entry().clone();
        if !entry.file(RESULT).exists() {
            // The lock is asked for less often: it costs an open file.
            if !delivery.is_due() {
                return Ok(false);
            }
            let since = delivery.since;
            let Some(order) = entry.order()? else { return Ok(false) };
            match entry.standing()? {
                Standing::Startable if since.elapsed() > CLAIM_WITHIN => {
                    self.conclude_unstarted(&entry, &order, "its runner never began")?;
                }
                Standing::Abandoned => self.conclude_abandoned(&entry, &order)?,
                Standing::Startable | Standing::Running => return Ok(false),
                Standing::Ended => {}
            }
        }
        if let Some(outcome) = entry.outcome()?
            && let Some(delivery) = self.deliveries.get_mut(id)
        {
            info!(command = %id, exit_code = outcome.exit_code, message = outcome.message, "ended");
            let ops = delivery.ops.clone();
            delivery.outcome = Some(outcome.clone());
            self.note_last(&ops, &outcome);
            return Ok(true);
        }
        Ok(false)
    }

    /// Marks a restart as begun: the next process will see that it is another.
    pub fn begin_restart(&self, id: CommandId) -> io::Result<()> {
        let Some(Admission::Known(entry)) = self.journal.find(id).map_err(|error| error.source)? else { return Ok(()) };
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let claim = serde_json::to_vec(&Claim { pid, boot: self.boot.clone(), at: Time::now() })?;
        durable::claim(&entry.file(STARTED), &claim).map(|_| ())
    }
}

fn ask_to_stop(delivery: &Delivery, signal: Signal) {
    info!(command = %delivery.id(), ?signal, "stopping");
    if let Err(error) = delivery.entry().ask_to_stop(signal) {
        warn!(command = %delivery.id(), %error, "the wish to stop can't be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Identity;
    use crate::record::tests_support::settings;
    use nixfleet_protocol::agent::Platform;

    #[test]
    fn a_restart_whose_link_broke_before_the_agent_went_is_begun_when_it_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let identity =
            Identity { journal: journal.id(), instance: InstanceId::from_uuid(Uuid::from_u128(1)), boot: None };
        let launcher = Launcher::here(Vec::new(), String::new(), None).unwrap();
        let settings = settings(Platform::Script);
        let mut commands = Commands::new(journal, launcher, settings, &identity, AgentProgram::default()).unwrap();
        let id = CommandId::from_uuid(Uuid::from_u128(7));
        let order = || Command { command: "restart".into(), command_id: Some(id), args: None, hard_limit_s: None };
        assert!(matches!(commands.take(order(), false), Answer::Restarting(_)));
        assert!(matches!(commands.take(order(), false), Answer::Restarting(_)), "the same id again, not begun yet");
        commands.begin_restart(id).unwrap();
        assert!(matches!(commands.take(order(), false), Answer::Accepted(_)), "an id runs at most once");
    }

    #[test]
    fn an_id_of_which_nothing_else_is_known_is_said_to_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let id = CommandId::from_uuid(Uuid::from_u128(7));
        let mut journal = Journal::open(dir.path()).unwrap();
        let Admission::New(entry) = journal.admit(&crate::record::tests_support::order(id)).unwrap() else { panic!() };
        // A result that nobody can read.
        durable::write(&entry.file(RESULT), b"{}").unwrap();
        entry.acknowledge(Time::from_millis(0)).unwrap();
        assert_eq!(journal.prune(Time::from_millis(8 * 24 * 3600 * 1000)).unwrap(), 1);
        let identity =
            Identity { journal: journal.id(), instance: InstanceId::from_uuid(Uuid::from_u128(1)), boot: None };
        let launcher = Launcher::here(Vec::new(), String::new(), None).unwrap();
        let settings = settings(Platform::Script);
        let mut commands = Commands::new(journal, launcher, settings, &identity, AgentProgram::default()).unwrap();
        let order = Command { command: "switch".into(), command_id: Some(id), args: None, hard_limit_s: None };
        let Answer::Rejected(answer) = commands.take(order, false) else { panic!("it is no new command") };
        assert_eq!((answer.reason.as_str(), answer.command_id), ("forgotten", Some(id)));
    }
}
