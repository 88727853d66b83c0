//! What the dashboard is still to be told: for each command the rest of its output, then its result.
//!
//! Output is read from the log at the offset that the dashboard gave, at most 1 MiB ahead of what it acknowledged.
//! A result follows when all output was sent, and stays here until it is acknowledged. Nothing here is on disk:
//! the log and the result are, and the dashboard knows the offset.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use nixfleet_protocol::agent::{AgentMessage, Output, Progress, Registered, Status, Stream, TestProgress};
use nixfleet_protocol::{CommandId, Time};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::journal::entry::Entry;
use crate::link::Link;
use crate::record::{Order, Outcome, ProgressRecord};
use crate::service::Origin;
use crate::transcript::{Piece, Transcript};

/// The most that is sent and not acknowledged, all commands together. Bytes of the log.
pub const WINDOW: u64 = 1024 * 1024;
/// One read from a log.
const READ: usize = 64 * 1024;
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
    transcript: Option<Transcript>,
    acknowledged: u64,
    sent: u64,
    status_sent: bool,
    looked: Instant,
    progress: Option<ProgressRecord>,
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
            transcript: None,
            acknowledged: 0,
            sent: 0,
            status_sent: false,
            looked: now,
            progress: None,
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

    fn restart_at(&mut self, offset: u64) {
        (self.acknowledged, self.sent, self.status_sent, self.progress) = (offset, offset, false, None);
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

    /// The result as it is told. A good switch that brought another agent says so: the command ends when that one has
    /// registered.
    fn status(&self, outcome: &Outcome, origin: &Origin, legacy: bool) -> Status {
        let v3 = |id| (!legacy).then_some(id);
        let mut details = outcome.details.clone();
        if !legacy && self.word == "switch" && outcome.exit_code == 0 && origin.has_changed() {
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

    /// The command that runs (or is about to).
    pub fn running(&self) -> Option<&Delivery> {
        self.all.values().find(|delivery| delivery.outcome.is_none())
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
        self.all.values().filter(|delivery| wanted(delivery)).map(Delivery::id).take(NAMED).collect()
    }

    /// One of them.
    pub fn get_mut(&mut self, id: CommandId) -> Option<&mut Delivery> {
        self.all.get_mut(&id)
    }

    /// Whether there is something that may have to be sent soon.
    pub fn is_busy(&self) -> bool {
        self.all.values().any(|delivery| delivery.outcome.is_none() || !delivery.status_sent)
    }

    /// Whether nothing is followed at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A link was registered: everything goes on where the dashboard says.
    pub fn resume(&mut self, registered: &Registered, legacy: bool) {
        self.legacy = legacy;
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

    /// The result is on the dashboard's disk: we may forget. Gives the op's word.
    pub fn acknowledge_status(&mut self, id: CommandId) -> Option<String> {
        let delivery = self.all.remove(&id)?;
        if delivery.outcome.is_none() {
            warn!(command = %id, "a result was acknowledged that does not exist yet");
            self.all.insert(id, delivery);
            return None;
        }
        if let Err(error) = delivery.entry.acknowledge(Time::now()) {
            warn!(command = %id, %error, "the acknowledgement can't be written");
        }
        Some(delivery.word)
    }

    /// Says how far the commands are, where that changed. Old dashboards do not ask.
    pub fn tell_progress(&mut self, link: &mut Link) {
        if !self.legacy {
            self.all.values_mut().for_each(|delivery| send_progress(delivery, link));
        }
    }

    /// Puts what is new into the link, as far as link and window have room. True when a result was sent.
    pub fn pump(&mut self, link: &mut Link, origin: &Origin) -> bool {
        let legacy = self.legacy;
        let mut in_flight: u64 = if legacy { 0 } else { self.all.values().map(Delivery::in_flight).sum() };
        let mut told = Vec::new();
        for delivery in self.all.values_mut() {
            if delivery.status_sent {
                continue;
            }
            while !delivery.is_told() && link.has_room() && in_flight < WINDOW {
                let pieces = match delivery.read() {
                    Ok(pieces) => pieces,
                    Err(error) => {
                        warn!(command = %delivery.id(), %error, "the log can't be read");
                        break;
                    }
                };
                if pieces.is_empty() {
                    break;
                }
                for piece in pieces {
                    // A hole is led over, not carried: it does not count as being in flight.
                    if piece.record.skip_to.is_some() {
                        delivery.acknowledged = delivery.acknowledged.max(delivery.sent);
                    } else {
                        in_flight += piece.end - piece.offset;
                    }
                    delivery.sent = piece.end;
                    link.send(&AgentMessage::Output(output(delivery, piece, legacy)));
                    if in_flight >= WINDOW {
                        break;
                    }
                }
            }
            if delivery.is_told()
                && let Some(outcome) = &delivery.outcome
            {
                link.send(&AgentMessage::Status(Box::new(delivery.status(outcome, origin, legacy))));
                debug!(command = %delivery.id(), "the result was sent");
                delivery.status_sent = true;
                told.push(delivery.id());
            }
        }
        if legacy {
            for id in &told {
                // Nobody will acknowledge it.
                self.acknowledge_status(*id);
            }
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

fn send_progress(delivery: &mut Delivery, link: &mut Link) {
    if delivery.outcome.is_some() {
        return;
    }
    let Ok(Some(progress)) = delivery.entry.progress() else { return };
    if delivery.progress.as_ref() == Some(&progress) {
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
