//! What the dashboard is still to be told: for each command the rest of its output, then its result.
//!
//! Output is read from the log at the offset that the dashboard gave, at most 1 MiB ahead of what it acknowledged.
//! A result follows when all output was sent, and stays here until it is acknowledged. Nothing here is on disk:
//! the log and the result are, and the dashboard knows the offset.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use nixfleet_protocol::agent::{AgentMessage, Output, Progress, Registered, Signal, Status, Stream, TestProgress};
use nixfleet_protocol::log::Record;
use nixfleet_protocol::{CommandId, Op, Time};
use rustix::process::{Pid, kill_process};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::legacy;
use crate::journal::entry::{Entry, Standing};
use crate::launch::Launched;
use crate::link::Link;
use crate::ops::{own, words};
use crate::record::{Order, Outcome, ProgressRecord};
use crate::service::Origin;
use crate::transcript::{Piece, Transcript};

/// The most that is sent and not acknowledged, all commands together. Bytes of the log.
pub const WINDOW: u64 = 1024 * 1024;
/// One read from a log.
const READ: usize = 64 * 1024;
/// A log that could not be read for so long, of a command that is over, is given up.
const UNREADABLE_FOR: Duration = Duration::from_secs(30);
/// How often a running command's lock is looked at.
const LOCK_EVERY: Duration = Duration::from_millis(500);
/// The most ids that a register names.
const NAMED: usize = 100;

/// One command that is followed.
#[derive(Debug)]
pub struct Delivery {
    entry: Entry,
    /// The op, in the dashboard's word.
    pub word: String,
    /// How it ended, when it did.
    pub outcome: Option<Outcome>,
    /// Since when it is followed.
    pub since: Instant,
    /// Its ops, in order.
    pub ops: Vec<Op>,
    /// What was started for it, until it began.
    pub launched: Option<Launched>,
    transcript: Option<Transcript>,
    acknowledged: u64,
    sent: u64,
    status_sent: bool,
    looked: Instant,
    progress: Option<ProgressRecord>,
    /// The wish to stop, while it could not be written down.
    wish: Option<Signal>,
    /// Since when its folder can't be worked with, and why.
    trouble: Option<(Instant, String)>,
}

impl Delivery {
    /// Follows a command from the beginning of its log.
    pub fn new(entry: Entry, order: &Order) -> Self {
        let outcome = entry.outcome().ok().flatten();
        let now = Instant::now();
        Self {
            entry,
            word: order.word.clone(),
            outcome,
            since: now,
            ops: order.ops.clone(),
            launched: None,
            transcript: None,
            acknowledged: 0,
            sent: 0,
            status_sent: false,
            looked: now,
            progress: None,
            wish: None,
            trouble: None,
        }
    }

    /// The command's id.
    pub const fn id(&self) -> CommandId {
        self.entry.id()
    }

    /// Its folder.
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether it takes the host's slot: no other such command may run beside it.
    pub fn takes_slot(&self) -> bool {
        own::takes_slot(&self.ops)
    }

    /// The runner's process.
    pub fn pid(&self) -> Option<i64> {
        self.entry.claim().ok().flatten().map(|claim| i64::from(claim.pid))
    }

    /// Whether it is time to look at the lock again.
    pub fn is_due(&mut self) -> bool {
        let due = self.looked.elapsed() >= LOCK_EVERY;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Leaves the wish to stop for its runner.
    pub fn ask_to_stop(&mut self, signal: Signal) {
        info!(command = %self.id(), ?signal, "stopping");
        self.wish = Some(signal);
        self.repeat_wish();
    }

    /// A wish that can't be written down is not forgotten: a full disk takes no new file, perhaps. Then the runner is
    /// told by a signal.
    pub fn repeat_wish(&mut self) {
        let Some(signal) = self.wish else { return };
        let Err(error) = self.entry.ask_to_stop(signal) else {
            self.wish = None;
            return;
        };
        if self.is_new_trouble(&error) {
            warn!(command = %self.id(), %error, "the wish to stop can't be written, so its runner is told by a signal");
        }
        // The lock says that this number is the runner's.
        if self.entry.asked_to_stop().is_none()
            && matches!(self.entry.standing(), Ok(Standing::Running))
            && let Some(pid) = self.entry.claim().ok().flatten().and_then(|claim| Pid::from_raw(claim.pid))
            && let Err(error) = kill_process(pid, rustix::process::Signal::USR1)
        {
            warn!(command = %self.id(), %error, "its runner can't be signalled");
        }
    }

    /// For how long its folder could not be worked with.
    pub fn troubled_for(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|(since, _)| since.elapsed())
    }

    /// Its folder can be worked with.
    pub fn is_well(&mut self) {
        self.trouble = None;
    }

    /// Its folder can't be worked with. True for a reason that was not told yet: it may stay for days.
    pub fn is_new_trouble(&mut self, error: &io::Error) -> bool {
        let why = error.to_string();
        let (since, known) = self.trouble.take().unwrap_or_else(|| (Instant::now(), String::new()));
        let new = known != why;
        self.trouble = Some((since, why));
        new
    }

    fn restart_at(&mut self, offset: u64) {
        (self.acknowledged, self.sent, self.status_sent, self.progress) = (offset, offset, false, None);
    }

    /// Sends one block of output. False when there was nothing to send.
    fn send_output(&mut self, link: &mut Link, in_flight: &mut u64, legacy: bool) -> bool {
        let pieces = match self.read() {
            Ok(pieces) => pieces,
            Err(error) => {
                if self.is_new_trouble(&error) {
                    warn!(command = %self.id(), %error, "the log can't be read");
                }
                if self.troubled_for().is_none_or(|span| span < UNREADABLE_FOR) {
                    return false;
                }
                Vec::new()
            }
        };
        let pieces = if pieces.is_empty() { Vec::from_iter(self.rest()) } else { pieces };
        let some = !pieces.is_empty();
        for piece in pieces {
            // A hole is led over, not carried: it does not count as being in flight.
            if piece.record.skip_to.is_some() {
                self.acknowledged = self.acknowledged.max(self.sent);
            } else {
                *in_flight += piece.end - piece.offset;
            }
            self.sent = piece.end;
            link.send(&AgentMessage::Output(output(self, piece, legacy)));
            if *in_flight >= WINDOW {
                break;
            }
        }
        some
    }

    /// What leads over the rest of a log that ends before its result says so: nothing more will ever come, and the
    /// dashboard takes the result at the log's end.
    fn rest(&self) -> Option<Piece> {
        let end = self.outcome.as_ref()?.output_end;
        let missing = end.checked_sub(self.sent).filter(|missing| *missing > 0)?;
        let record = Record::mark(Time::now(), end, format!("{missing} bytes of the log are lost"));
        Some(Piece { offset: self.sent, end, record })
    }

    const fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.acknowledged)
    }

    /// Whether all output was sent that there will ever be.
    fn is_told(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| self.sent >= outcome.output_end)
    }

    fn read(&mut self) -> io::Result<Vec<Piece>> {
        if self.transcript.is_none() {
            self.transcript = Transcript::open(self.entry.dir())?;
        }
        match &self.transcript {
            Some(transcript) => transcript.read(self.sent, READ),
            None => Ok(Vec::new()),
        }
    }

    /// Sends the result when all output has gone. False when it is not its time.
    fn send_status(&mut self, link: &mut Link, origin: &Origin, legacy: bool) -> bool {
        let Some(outcome) = self.outcome.as_ref().filter(|_| self.is_told()) else { return false };
        if legacy {
            let last = self.entry.progress().ok().flatten();
            for message in legacy::ended(&self.ops, last.as_ref(), outcome) {
                link.send(&message);
            }
        }
        link.send(&AgentMessage::Status(Box::new(self.status(outcome, origin, legacy))));
        debug!(command = %self.id(), "the result was sent");
        self.status_sent = true;
        // It may wait long for its acknowledgement, and an open file each is too much.
        self.transcript = None;
        true
    }

    /// The result as it is told. A good switch that brought another agent says so: the command ends when that one has
    /// registered.
    fn status(&self, outcome: &Outcome, origin: &Origin, legacy: bool) -> Status {
        let v3 = |id| (!legacy).then_some(id);
        let mut details = outcome.details.clone();
        let switched = self.ops.iter().any(|op| matches!(op, Op::Switch | Op::ForceRebuild));
        if !legacy && switched && outcome.exit_code == 0 && origin.has_changed() {
            let object = details.get_or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(object) = object {
                object.insert("restarting".to_owned(), Value::Bool(true));
            }
        }
        Status {
            status: outcome.word().into(),
            command: self.word.clone(),
            exit_code: Some(outcome.exit_code),
            message: (!outcome.message.is_empty()).then(|| outcome.message.clone()),
            generation: outcome.generation.clone(),
            command_id: v3(self.id()),
            started_at: outcome.started_at,
            finished_at: Some(outcome.finished_at),
            output_end: Some(outcome.output_end),
            stage: outcome.stage.map(|stage| stage.as_str().to_owned()),
            lock_hash: outcome.lock_hash.clone(),
            lock_local: outcome.lock_local,
            deployed: outcome.deployed.clone(),
            system_path: outcome.system_path.clone(),
            details,
        }
    }
}

/// All commands that are followed, oldest first.
#[derive(Debug, Default)]
pub struct Deliveries {
    all: BTreeMap<CommandId, Delivery>,
    /// The dashboard knows no ids and acknowledges nothing.
    legacy: bool,
    /// Whose output was sent last: the next one is another's turn.
    served: Option<CommandId>,
    /// Results that an old dashboard has when the ping of this number is heard.
    unheard: Vec<(u64, CommandId)>,
}

/// What the agent does when a result is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It goes on.
    GoesOn,
    /// It makes room for a new process: the command's last op was a restart, or the host has another agent now.
    Restarts,
}

impl Deliveries {
    /// Follows one more.
    pub fn add(&mut self, delivery: Delivery) {
        self.all.insert(delivery.id(), delivery);
    }

    /// Follows one that the dashboard asked for again. What is followed already goes on as it is.
    pub fn add_again(&mut self, delivery: Delivery) {
        match self.all.get_mut(&delivery.id()) {
            Some(known) if known.status_sent => known.restart_at(0),
            Some(_) => {}
            None => self.add(delivery),
        }
    }

    /// The command that runs (or is about to) in the host's slot.
    pub fn running(&self) -> Option<&Delivery> {
        self.all.values().find(|delivery| delivery.outcome.is_none() && delivery.takes_slot())
    }

    /// How many journals are being read.
    pub fn journals(&self) -> usize {
        self.all.values().filter(|delivery| delivery.outcome.is_none() && !delivery.takes_slot()).count()
    }

    /// The ids of journals that are being read.
    pub fn ids_of_journals(&self) -> Vec<CommandId> {
        self.ids(|delivery| delivery.outcome.is_none() && !delivery.takes_slot())
    }

    /// The ids of what runs.
    pub fn ids_running(&self) -> Vec<CommandId> {
        self.ids(|delivery| delivery.outcome.is_none())
    }

    /// The ids whose result was not acknowledged.
    pub fn ids_ended(&self) -> Vec<CommandId> {
        self.ids(|delivery| delivery.outcome.is_some())
    }

    fn ids(&self, wanted: impl Fn(&Delivery) -> bool) -> Vec<CommandId> {
        // The newest: what the dashboard waits for is among them.
        self.all.values().rev().filter(|delivery| wanted(delivery)).map(Delivery::id).take(NAMED).collect()
    }

    /// One of them.
    pub fn get_mut(&mut self, id: CommandId) -> Option<&mut Delivery> {
        self.all.get_mut(&id)
    }

    /// Whether there is something that may have to be sent soon.
    pub fn is_busy(&self) -> bool {
        self.all.values().any(|delivery| delivery.outcome.is_none() || !delivery.status_sent)
    }

    /// Whether nothing takes the slot, and no such result waits to be acknowledged.
    fn is_idle(&self) -> bool {
        !self.all.values().any(Delivery::takes_slot)
    }

    /// One of them.
    pub fn get(&self, id: CommandId) -> Option<&Delivery> {
        self.all.get(&id)
    }

    /// A link was registered: everything goes on where the dashboard says.
    pub fn resume(&mut self, registered: &Registered, legacy: bool) {
        self.legacy = legacy;
        self.unheard.clear();
        for delivery in self.all.values_mut() {
            let offset =
                if legacy { delivery.sent } else { registered.offsets.get(&delivery.id()).copied().unwrap_or(0) };
            delivery.restart_at(offset);
        }
    }

    /// Output up to here is on the dashboard's disk.
    pub fn acknowledge_output(&mut self, id: CommandId, offset: u64) {
        if let Some(delivery) = self.all.get_mut(&id) {
            delivery.acknowledged = delivery.acknowledged.max(offset.min(delivery.sent));
        }
    }

    /// The result is on the dashboard's disk: we may forget. `None` when there is no such result.
    pub fn acknowledge_status(&mut self, id: CommandId, origin: &Origin) -> Option<Afterwards> {
        let delivery = self.all.remove(&id)?;
        let Some(outcome) = &delivery.outcome else {
            warn!(command = %id, "a result was acknowledged that does not exist yet");
            self.all.insert(id, delivery);
            return None;
        };
        if let Err(error) = delivery.entry.acknowledge(Time::now()) {
            warn!(command = %id, %error, "the acknowledgement can't be written");
        }
        let asked = outcome.exit_code == 0 && words::restarts_afterwards(&delivery.ops);
        let restarts = self.is_idle() && (asked || delivery.takes_slot() && origin.has_changed());
        Some(if restarts { Afterwards::Restarts } else { Afterwards::GoesOn })
    }

    /// An old dashboard has read everything up to the ping of this number. Results that it has are forgotten.
    pub fn heard(&mut self, ping: u64, origin: &Origin) -> Afterwards {
        let (heard, unheard) = self.unheard.drain(..).partition(|(number, _)| *number <= ping);
        self.unheard = unheard;
        let heard: Vec<(u64, CommandId)> = heard;
        let restarts = heard
            .into_iter()
            .filter(|(_, id)| self.acknowledge_status(*id, origin) == Some(Afterwards::Restarts))
            .count();
        if restarts > 0 { Afterwards::Restarts } else { Afterwards::GoesOn }
    }

    /// Says how far the commands are, where that changed and while the link has room.
    pub fn tell_progress(&mut self, link: &mut Link) {
        if link.has_room() {
            let legacy = self.legacy;
            self.all.values_mut().for_each(|delivery| send_progress(delivery, link, legacy));
        }
    }

    /// Puts what is new into the link, as far as link and window have room. True when a result was sent.
    pub fn pump(&mut self, link: &mut Link, origin: &Origin) -> bool {
        let legacy = self.legacy;
        let mut in_flight: u64 = if legacy { 0 } else { self.all.values().map(Delivery::in_flight).sum() };
        // In turns: a journal that never ends does not hold up a command's result, nor the other way round.
        let mut turns: Vec<CommandId> =
            self.all.values().filter(|delivery| !delivery.status_sent).map(Delivery::id).collect();
        let next = turns.partition_point(|id| self.served.is_some_and(|served| *id <= served));
        turns.rotate_left(next);
        let mut told = Vec::new();
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for id in &turns {
                let Some(delivery) = self.all.get_mut(id).filter(|delivery| !delivery.status_sent) else { continue };
                if !delivery.is_told()
                    && link.has_room()
                    && in_flight < WINDOW
                    && delivery.send_output(link, &mut in_flight, legacy)
                {
                    self.served = Some(*id);
                    moved = true;
                }
                if link.has_room() && delivery.send_status(link, origin, legacy) {
                    told.push(*id);
                }
            }
        }
        if legacy && !told.is_empty() {
            // It acknowledges nothing. What it answers to a ping tells that it has read what stood before.
            let ping = link.ping();
            self.unheard.extend(told.iter().map(|id| (ping, *id)));
        }
        !told.is_empty()
    }
}

fn output(delivery: &Delivery, piece: Piece, legacy: bool) -> Output {
    let stream = match piece.record.stream {
        // Old dashboards know two streams.
        Stream::Note | Stream::Mark if legacy => Stream::Stderr,
        stream @ (Stream::Stdout | Stream::Stderr | Stream::Note | Stream::Mark) => stream,
    };
    Output {
        line: piece.record.text,
        stream,
        command: delivery.word.clone(),
        is_error: stream == Stream::Stderr,
        command_id: (!legacy).then(|| delivery.id()),
        offset: (!legacy).then_some(piece.offset),
        end: (!legacy).then_some(piece.end),
        time: Some(piece.record.time),
        partial: piece.record.partial,
    }
}

fn send_progress(delivery: &mut Delivery, link: &mut Link, legacy: bool) {
    if delivery.outcome.is_some() {
        return;
    }
    let Ok(Some(progress)) = delivery.entry.progress() else { return };
    if delivery.progress.as_ref() == Some(&progress) {
        return;
    }
    if legacy {
        for message in legacy::running(&delivery.ops, &progress) {
            link.send(&message);
        }
        delivery.progress = Some(progress);
        return;
    }
    if let Some(passed) = progress.passed {
        link.send(&AgentMessage::TestProgress(TestProgress {
            current: progress.done.map(|done| done + 1),
            total: progress.expected,
            passed: Some(passed),
            running: true,
            result: progress.text.clone(),
            command_id: Some(delivery.id()),
        }));
    }
    link.send(&AgentMessage::Progress(Progress {
        command_id: delivery.id(),
        phase: progress.phase.clone(),
        done: progress.done,
        expected: progress.expected,
        text: progress.text.clone(),
    }));
    delivery.progress = Some(progress);
}
