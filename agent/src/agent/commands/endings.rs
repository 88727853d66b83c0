//! How commands go on at the agent's start, and how each comes to its end: by its runner's result, or by what the
//! folder says of a runner that is gone.
//!
//! Nothing in a folder can hold up the agent or keep the host busy for ever. A file that can't be read is put aside,
//! and the command ends as interrupted; what fails for another reason, such as a full disk, is tried again.

use std::io::{self, ErrorKind};
use std::time::Duration;

use nixfleet_protocol::{CommandId, Op, Time};
use tracing::{info, warn};

use super::super::deliveries::Delivery;
use super::{Commands, remnant, words};
use crate::durable;
use crate::journal::entry::{Abandoned, Claim, Entry, GROUP, RESULT, STARTED, Standing, UNREADABLE, judge};
use crate::launch::{self, Launched};
use crate::ops;
use crate::record::{Order, Outcome, Stage};
use crate::runner::{facts_now, remains};

/// A runner that has not claimed its folder after so long will never do it, and a result that the system did not let
/// us read for so long will never be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host that goes down ends the runner of its reboot before the agent: that is no failure yet.
const DOWN_WITHIN: Duration = Duration::from_mins(6);

impl Commands {
    /// At the start: each command goes on, is begun, or has ended. What can't be settled now is followed, and settled
    /// when that works again: a full disk, perhaps.
    pub(super) fn settle(&mut self, entry: Entry) {
        let standing = entry.standing();
        let order = entry.order().ok().flatten();
        if matches!(standing, Ok(Standing::Ended)) {
            if let (Some(order), Ok(Some(outcome))) = (&order, entry.outcome()) {
                // Oldest first: the newest is what is left.
                self.note_last(&order.ops, &outcome);
            }
            if entry.is_acknowledged() {
                return;
            }
        }
        info!(command = %entry.id(), op = order.as_ref().map(|order| &order.word), ?standing, "found in the journal");
        let mut launched = None;
        let settled = match (standing, &order) {
            (Ok(Standing::Running), _) => Ok(()),
            (Ok(Standing::Ended), _) => self.mend(&entry),
            (Ok(Standing::Startable), Some(order)) if order.ops == [Op::Restart] => {
                Self::conclude(&entry, order, Abandoned::Restarted)
            }
            (Ok(Standing::Startable), Some(order)) => self.start(&entry, order).map(|it| launched = it),
            (Ok(Standing::Abandoned), Some(order)) => self.conclude_abandoned(&entry, order),
            (Ok(Standing::Startable | Standing::Abandoned), None) => self.conclude_unreadable_order(&entry),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = settled {
            warn!(command = %entry.id(), %error, "the command can't be settled yet");
        }
        let order = order.unwrap_or_else(|| self.unknown(&entry));
        self.follow(entry, &order, launched);
    }

    /// Follows a command; with what was started for it, when that was just now.
    pub(super) fn follow(&mut self, entry: Entry, order: &Order, launched: Option<Launched>) {
        let mut delivery = Delivery::new(entry, order);
        delivery.launched = launched;
        self.deliveries.add(delivery);
    }

    /// What stands for an order that nobody can read.
    fn unknown(&self, entry: &Entry) -> Order {
        self.order(entry.id(), String::new(), Vec::new(), None, false)
    }

    /// Starts its runner, or ends it when that can't be done.
    pub(super) fn start(&self, entry: &Entry, order: &Order) -> io::Result<Option<Launched>> {
        let needs_root = ops::needs_root(&order.ops, order.host.platform);
        match self.launcher.launch(entry, needs_root) {
            Ok(launched) => Ok(Some(launched)),
            Err(error) => {
                self.conclude_unstarted(entry, order, &format!("its runner can't be started: {error}"))?;
                Ok(None)
            }
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
        Self::conclude(entry, order, judged)?;
        let needs_root = ops::needs_root(&order.ops, order.host.platform);
        if judged == Abandoned::RunnerDied && needs_root && !self.launcher.root {
            // Its processes are root's, and only root sees which they are.
            self.launcher.launch(entry, needs_root)?;
        }
        Ok(())
    }

    fn conclude(entry: &Entry, order: &Order, judged: Abandoned) -> io::Result<()> {
        let (exit_code, stage, message) = match judged {
            Abandoned::Restarted => (0, None, "the agent was restarted"),
            Abandoned::Rebooted => (0, None, "the host was rebooted"),
            Abandoned::GoingDown => (1, Some(Stage::Interrupted), "the host did not go down"),
            Abandoned::LostWithBoot => (1, Some(Stage::Interrupted), "the command ended with a reboot of the host"),
            Abandoned::RunnerDied => {
                (1, Some(Stage::Interrupted), "the command was interrupted: its runner was killed")
            }
        };
        Self::write_end(entry, Outcome { exit_code, stage, message: message.into(), ..facts_now(order) })
    }

    /// Without an order nobody can say what it was; the dashboard is told that it ended.
    fn conclude_unreadable_order(&self, entry: &Entry) -> io::Result<()> {
        let message = "the command was interrupted: its order can't be read".into();
        Self::write_end(entry, Outcome { message, ..facts_now(&self.unknown(entry)) })
    }

    /// Ends a command whose result nobody can read; the file is kept for people.
    fn mend(&self, entry: &Entry) -> io::Result<()> {
        match entry.outcome() {
            Ok(_) => Ok(()),
            Err(error) if is_damaged(&error) => self.conclude_unreadable_result(entry, &error),
            Err(error) => Err(error),
        }
    }

    fn conclude_unreadable_result(&self, entry: &Entry, why: &io::Error) -> io::Result<()> {
        if durable::is_locked(&entry.file(STARTED))? {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("{why}, and the runner lives")));
        }
        warn!(command = %entry.id(), error = %why, "the result can't be read, and is put aside");
        let (result, aside) = (entry.file(RESULT), entry.file(UNREADABLE));
        if result.is_dir() {
            std::fs::rename(&result, &aside)?;
        } else if let Err(error) = std::fs::hard_link(&result, &aside) {
            // The new one takes its place all the same.
            warn!(command = %entry.id(), %error, "the unreadable result can't be kept");
        }
        let order = entry.order().ok().flatten().unwrap_or_else(|| self.unknown(entry));
        let message = format!("the command was interrupted, as far as anybody knows: its result can't be read ({why})");
        Self::write_end(entry, Outcome { message, ..facts_now(&order) })
    }

    /// Writes the result of a command that nobody runs any more, with the log that it left.
    fn write_end(entry: &Entry, outcome: Outcome) -> io::Result<()> {
        info!(command = %entry.id(), outcome.exit_code, outcome.message, "concluded");
        let started_at = entry.claim().ok().flatten().map(|claim| claim.at);
        let outcome = Outcome { started_at, output_end: remnant::cut_log(entry)?, ..outcome };
        durable::write_json(&entry.file(RESULT), &outcome)
    }

    /// Notices which commands ended, and which were abandoned. True when one ended just now.
    pub fn look(&mut self) -> bool {
        let mut ended = false;
        for id in self.deliveries.ids_running() {
            let looked = self.look_at(id);
            let Some(delivery) = self.deliveries.get_mut(id) else { continue };
            match looked {
                Ok(Some(over)) => {
                    delivery.is_well();
                    ended |= over;
                }
                Err(error) if delivery.is_new_trouble(&error) => {
                    warn!(command = %id, %error, "the command's folder can't be worked with, trying again");
                }
                Ok(None) | Err(_) => {}
            }
        }
        ended
    }

    /// Whether it ended just now; `None` when it was not its time to be looked at.
    fn look_at(&mut self, id: CommandId) -> io::Result<Option<bool>> {
        let Some(delivery) = self.deliveries.get_mut(id) else { return Ok(None) };
        let entry = delivery.entry().clone();
        let has_result = entry.file(RESULT).exists();
        let troubled = delivery.troubled_for();
        // The lock is asked for less often: it costs an open file. So is what did not work before.
        if (!has_result || troubled.is_some()) && !delivery.is_due() {
            return Ok(None);
        }
        if !has_result {
            delivery.repeat_wish();
            let waited = delivery.since.elapsed() > PATIENCE;
            // Asked before the folder is looked at: whoever ended before has claimed it by then, or never will.
            let failed = delivery.launched.as_mut().and_then(Launched::failed);
            let order = entry.order().ok().flatten();
            match (entry.standing()?, &order) {
                (Standing::Startable, Some(order)) if failed.is_some() || waited => {
                    let needs_root = ops::needs_root(&order.ops, order.host.platform);
                    let why = words::not_begun(failed.as_ref(), launch::last_words(&entry).as_deref(), needs_root);
                    self.conclude_unstarted(&entry, order, &why)?;
                }
                (Standing::Abandoned, Some(order)) => self.conclude_abandoned(&entry, order)?,
                (Standing::Abandoned | Standing::Startable, None) => self.conclude_unreadable_order(&entry)?,
                (Standing::Startable, _) => return Ok(Some(false)),
                (Standing::Running, _) => {
                    // It began: whatever started it has done its work.
                    if let Some(delivery) = self.deliveries.get_mut(id) {
                        delivery.launched = None;
                    }
                    return Ok(Some(false));
                }
                (Standing::Ended, _) => {}
            }
        }
        let outcome = match entry.outcome() {
            Ok(outcome) => outcome,
            Err(error) if is_damaged(&error) || troubled.is_some_and(|span| span > PATIENCE) => {
                self.conclude_unreadable_result(&entry, &error)?;
                entry.outcome().ok().flatten()
            }
            Err(error) => return Err(error),
        };
        if let Some(outcome) = outcome
            && let Some(delivery) = self.deliveries.get_mut(id)
        {
            info!(command = %id, exit_code = outcome.exit_code, message = outcome.message, "ended");
            let ops = delivery.ops.clone();
            delivery.outcome = Some(outcome.clone());
            delivery.launched = None;
            self.note_last(&ops, &outcome);
            return Ok(Some(true));
        }
        Ok(Some(false))
    }
}

/// Whether a file's content is at fault: it will be the same the next time.
fn is_damaged(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::IsADirectory)
}
