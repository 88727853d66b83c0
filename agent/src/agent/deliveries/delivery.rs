//! One command that is followed: its log, its result, how far it is, and the wish to stop it.
//!
//! All of it is read from the command's folder again after a restart of the agent, save the wish to stop while it could
//! not be written down.

use std::io;
use std::time::Duration;

use nixfleet_protocol::agent::{AgentMessage, Output, Progress, Signal, Status, Stream, TestProgress};
use nixfleet_protocol::log::Record;
use nixfleet_protocol::{CommandId, Op, Time};
use rustix::process::{Pid, kill_process};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::super::legacy;
use super::WINDOW;
use crate::journal::entry::{Entry, Standing};
use crate::launch::Launched;
use crate::link::Link;
use crate::ops::own;
use crate::record::{Order, Outcome, ProgressRecord};
use crate::service::Origin;
use crate::transcript::{Piece, Transcript};

/// One read from a log.
const READ: usize = 64 * 1024;
/// A log that could not be read for so long, of a command that is over, is given up.
const UNREADABLE_FOR: Duration = Duration::from_secs(30);
/// How often a running command's lock is looked at.
const LOCK_EVERY: Duration = Duration::from_millis(500);

/// One command that is followed.
#[derive(Debug)]
pub struct Delivery {
    pub(super) entry: Entry,
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
    pub(super) acknowledged: u64,
    pub(super) sent: u64,
    pub(super) status_sent: bool,
    looked: Instant,
    progress: Option<ProgressRecord>,
    /// The dashboard knows of it on this link: the register named it, or it came over the link. What it says of others
    /// may not be taken, so nothing of them is sent.
    pub(super) named: bool,
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
            named: true,
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

    pub(super) fn restart_at(&mut self, offset: u64) {
        (self.acknowledged, self.sent, self.status_sent, self.progress) = (offset, offset, false, None);
    }

    /// Sends one block of output. False when there was nothing to send.
    pub(super) fn send_output(&mut self, link: &mut Link, in_flight: &mut u64, legacy: bool) -> bool {
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

    pub(super) const fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.acknowledged)
    }

    /// Whether all output was sent that there will ever be.
    pub(super) fn is_told(&self) -> bool {
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
    pub(super) fn send_status(&mut self, link: &mut Link, origin: &Origin, legacy: bool) -> bool {
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

pub(super) fn send_progress(delivery: &mut Delivery, link: &mut Link, legacy: bool) {
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
