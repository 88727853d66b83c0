//! The one thread that writes. It does the blocking calls, so that nothing else has to.
//!
//! ```text
//! actor ── jobs (mpsc) ──→ take all that waits → plan → one transaction → flush → fdatasync → publish → answer
//!                                     │ can't: close, answer `CantWrite`, look for room  └──── ending.rs ────┘
//! ```
//!
//! - What waits for the disk is done here when nothing else waits, and by a second thread when something does
//!   (`ending.rs`): the next group is planned meanwhile.
//! - sled's `flush` ends in `sync_file_range` on Linux, which a power cut survives only by luck: hence the
//!   `fdatasync` of our own on sled's file. Never `flush_async`: several of them deadlock.
//! - After an error of the disk sled refuses writes until it is opened again. The thread closes it (readers
//!   hold it only for one read) and opens it again when there is room.
//! - After a sync that failed the system takes what it could not write for written: the next sync says nothing of it.
//!   So the store goes on over a copy alone, in which everything is written and synced anew.
//! - A panic in here or in sled ends the thread: it says so, the actor fails and is started again.

mod ending;
mod long;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nixfleet_model::fleet_state::StateChange;
use ractor::RpcReplyPort;

use self::ending::{Answer, Ending, Group};
use super::archive::Head;
use super::backup::Export;
use super::disk::{CantWrite, Disk};
use super::folder::said;
use super::health::Shared;
use super::plan::{self, CantPlan, Counts, Plan};
use super::record::Unreadable;
use super::start::{self, Started};
use super::trees::Trees;
use super::{Batch, Compacted, StoreError, WriterNews};

/// The most jobs of a group: at 20,000 a second some fifty wait, so this is met only after a pause.
const GROUP: usize = 1024;
/// The most bytes of a group, about: a transaction is in memory as a whole.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How soon room is looked for.
const SOON: Duration = Duration::from_millis(500);
/// How late at most, when opening keeps failing.
const LATE: Duration = Duration::from_secs(8);
/// How long readers may take to let go.
const READERS: Duration = Duration::from_secs(5);

/// What the writer is asked.
pub(super) enum Job {
    /// Make this durable.
    Commit { batch: Batch, again: bool, since: Instant, reply: RpcReplyPort<Result<(), StoreError>> },
    /// Raise the mark of state versions.
    RaiseMark { to: u64, reply: RpcReplyPort<Result<u64, StoreError>> },
    /// Copy the store into a new one that takes less room.
    Compact { reply: RpcReplyPort<Result<Compacted, StoreError>> },
    /// Write all records, as they are at this moment, as the first part of a backup.
    Export { head: Box<Head>, reply: RpcReplyPort<Result<Export, StoreError>> },
    /// Write something, and read it back.
    Probe { reply: RpcReplyPort<Result<(), StoreError>> },
}

/// Called with what has become durable, in the order of the commits, before they are answered.
pub(super) type Publish = Box<dyn Fn(Vec<StateChange>) + Send + Sync>;
/// Called with the writer's news.
pub(super) type News = Arc<dyn Fn(WriterNews) + Send + Sync>;

/// Starts the thread over a store that was just opened. It ends when the sender of jobs is dropped, after
/// all jobs that wait.
pub(super) fn spawn(
    started: Started,
    publish: Publish,
    news: News,
) -> io::Result<(Sender<Job>, Arc<Shared>, JoinHandle<()>)> {
    let (sender, jobs) = channel();
    let Started { disk, trees, epoch, counts, warnings } = started;
    let shared = Arc::new(Shared::new(epoch, warnings, disk.store().to_owned(), Arc::clone(&trees)));
    let ending = Ending::start(Arc::clone(&shared), publish)?;
    let mut writer = Writer {
        jobs,
        waiting: VecDeque::new(),
        shared: Arc::clone(&shared),
        disk,
        trees: Some(trees),
        counts,
        ending,
        news: Arc::clone(&news),
        retry: SOON,
        next_try: Instant::now(),
        unsure: false,
    };
    writer.tell_counts();
    let theirs = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
        // What unwinds is dropped with it: sled, the lock of the folder, and the replies of those who wait.
        let ended = catch_unwind(AssertUnwindSafe(move || writer.run()));
        theirs.replace(None);
        if let Err(panic) = ended {
            news(WriterNews::Died(said(&*panic)));
        }
    })?;
    Ok((sender, shared, thread))
}

struct Writer {
    jobs: Receiver<Job>,
    waiting: VecDeque<Job>,
    shared: Arc<Shared>,
    disk: Disk,
    /// None: closed after an error of the disk.
    trees: Option<Arc<Trees>>,
    counts: Counts,
    ending: Ending,
    news: News,
    retry: Duration,
    next_try: Instant,
    /// A sync failed since the store's files were made: what sled reads of them may be in memory alone.
    unsure: bool,
}

impl Writer {
    fn run(&mut self) {
        while self.take() {
            if self.shared.trouble().is_some() && Instant::now() >= self.next_try {
                self.try_again();
            }
            while !self.waiting.is_empty() {
                if let Some(trouble) = self.shared.trouble() {
                    self.refuse(&trouble);
                } else if self.ending.failed() {
                    self.settle();
                } else if self.waiting.front().is_some_and(Job::is_long) {
                    self.settle();
                    if self.shared.trouble().is_none()
                        && let Some(job) = self.waiting.pop_front()
                    {
                        self.long_job(job);
                    }
                } else {
                    self.write_group();
                }
            }
        }
        self.settle();
        self.close();
        self.trees = None;
    }

    /// Waits until all that was handed over is synced and answered.
    fn settle(&mut self) {
        if let Err(error) = self.ending.settle() {
            self.in_trouble(&CantWrite::Sync(error));
        }
    }

    /// Waits for a job, and takes all that wait. In trouble it wakes up to try again. False: nobody is left.
    fn take(&mut self) -> bool {
        let first = if self.shared.trouble().is_some() {
            match self.jobs.recv_timeout(self.next_try.saturating_duration_since(Instant::now())) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        } else {
            match self.jobs.recv() {
                Ok(job) => Some(job),
                Err(_) => return false,
            }
        };
        self.waiting.extend(first);
        self.take_more();
        true
    }

    fn take_more(&mut self) {
        let room = GROUP.saturating_sub(self.waiting.len());
        self.waiting.extend(self.jobs.try_iter().take(room));
    }

    /// One transaction for all that waits.
    fn write_group(&mut self) {
        let Some(trees) = self.trees.clone() else { return self.in_trouble(&CantWrite::Closed) };
        let mut plan = Plan::new(&trees, self.counts);
        let mut answers = Vec::with_capacity(self.waiting.len());
        let mut changes = Vec::new();
        while plan.bytes() < GROUP_BYTES
            && let Some(job) = self.waiting.pop_front_if(|job| !job.is_long())
        {
            match job {
                Job::Commit { batch, again, since, reply } => {
                    #[cfg(test)]
                    die_when_told(&batch);
                    match plan.add(&batch, again) {
                        Ok(events) => {
                            changes.extend(batch.changes);
                            changes.extend(events.into_iter().map(StateChange::Event));
                            answers.push(Answer::Commit(reply, since));
                        }
                        Err(error) => self.answer(|| reply.send(Err(error.into())).is_ok()),
                    }
                }
                Job::RaiseMark { to, reply } => match plan.raise_mark(to) {
                    Ok(before) => answers.push(Answer::Mark(reply, before)),
                    Err(error) => self.answer(|| reply.send(Err(error.into())).is_ok()),
                },
                Job::Probe { reply } => match plan.put_number(plan::PROBE, now()) {
                    Ok(()) => answers.push(Answer::Probe(reply)),
                    Err(error) => self.answer(|| reply.send(Err(error.into())).is_ok()),
                },
                Job::Compact { .. } | Job::Export { .. } => {
                    self.waiting.push_front(job);
                    break;
                }
            }
        }
        let put = plan.finish().map_err(CantWrite::from).and_then(|finished| {
            let unsynced = self.disk.put(&trees, &finished)?;
            Ok((finished, unsynced))
        });
        let counts = self.counts;
        let group = |trees| Group { unsynced: None, counts, records: 0, changes, answers, trees };
        match put {
            Ok((finished, unsynced)) => {
                self.counts = finished.counts;
                let group = Group { unsynced, counts: finished.counts, records: finished.records, ..group(trees) };
                self.take_more();
                if self.waiting.is_empty() {
                    self.settle_with(group);
                } else {
                    self.ending.hand_over(group);
                }
            }
            Err(error) => {
                let group = group(trees);
                // In order: those before are answered first.
                self.settle();
                group.refuse(&self.shared, &error.to_string());
                self.in_trouble(&error);
            }
        }
    }

    /// Ends a group here, after all that were handed over.
    fn settle_with(&mut self, group: Group) {
        if let Err(error) = self.ending.settle_with(group) {
            self.in_trouble(&CantWrite::Sync(error));
        }
    }

    fn answer(&self, send: impl FnOnce() -> bool) {
        ending::answer(&self.shared, send);
    }

    /// Answers all that wait that nothing can be written.
    fn refuse(&mut self, trouble: &str) {
        for job in std::mem::take(&mut self.waiting) {
            let error = StoreError::CantWrite(trouble.to_owned());
            self.answer(|| match job {
                Job::Commit { reply, .. } | Job::Probe { reply } => reply.send(Err(error)).is_ok(),
                Job::RaiseMark { reply, .. } => reply.send(Err(error)).is_ok(),
                Job::Compact { reply } => reply.send(Err(error)).is_ok(),
                Job::Export { reply, .. } => reply.send(Err(error)).is_ok(),
            });
        }
    }

    /// From well to trouble. A full disk that was noticed in time leaves sled open; any other error closes it.
    fn in_trouble(&mut self, error: &CantWrite) {
        self.unsure |= error.leaves_doubt();
        if !matches!(error, CantWrite::Full { .. }) {
            self.close();
            // Opening will fail while a reader has it, and is tried again.
            self.trees = None;
        }
        let why = error.to_string();
        tracing::error!(why, "store: well → can't write");
        self.retry = SOON;
        self.next_try = Instant::now() + SOON;
        self.shared.set_trouble(Some(why.clone()));
        (self.news)(WriterNews::Health(Some(why)));
    }

    /// Looks whether it can write again.
    fn try_again(&mut self) {
        match self.reopened() {
            Ok(()) => {
                tracing::info!("store: can't write → well");
                self.shared.set_trouble(None);
                (self.news)(WriterNews::Health(None));
            }
            Err(why) => {
                if self.shared.trouble().as_ref() != Some(&why) {
                    tracing::error!(why, "store: still can't write");
                    self.shared.set_trouble(Some(why.clone()));
                    (self.news)(WriterNews::Health(Some(why)));
                }
                self.retry = (self.retry * 2).min(LATE);
            }
        }
        self.next_try = Instant::now() + if self.trees.is_some() { SOON } else { self.retry };
    }

    fn reopened(&mut self) -> Result<(), String> {
        self.disk.room().map_err(|error| error.to_string())?;
        let trees = if let Some(trees) = &self.trees {
            Arc::clone(trees)
        } else {
            let mut trees = self.disk.open_again().map_err(|error| error.to_string())?;
            if self.unsure {
                trees = self.written_anew(trees)?;
                self.unsure = false;
            }
            let trees = Arc::new(trees);
            let mut warnings = Vec::new();
            // What was in flight may have reached the disk or not: what counts is what is there.
            self.counts = start::count(&trees, &mut warnings).map_err(|error| error.to_string())?;
            for warning in warnings {
                tracing::error!(warning, "the store is not whole");
            }
            self.shared.replace(Some(Arc::clone(&trees)));
            self.trees = Some(Arc::clone(&trees));
            trees
        };
        let mut plan = Plan::new(&trees, self.counts);
        let tried = plan
            .put_number(plan::PROBE, now())
            .and_then(|()| plan.finish())
            .map_err(|error| error.to_string())
            .and_then(|plan| {
                self.disk.write(&trees, &plan).map_err(|error| {
                    self.unsure |= error.leaves_doubt();
                    error.to_string()
                })
            });
        drop(trees);
        if tried.is_err() {
            self.close();
            self.trees = None;
        }
        tried
    }

    /// Closes sled, as soon as the readers have let go. It stays here when one does not.
    fn close(&mut self) {
        self.shared.replace(None);
        let Some(mut trees) = self.trees.take() else { return };
        let begun = Instant::now();
        loop {
            match Arc::try_unwrap(trees) {
                Ok(trees) => {
                    drop(trees);
                    return;
                }
                Err(held) if begun.elapsed() > READERS => {
                    self.trees = Some(held);
                    return;
                }
                Err(held) => trees = held,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn tell_counts(&self) {
        self.shared.set_counts(self.counts);
    }
}

impl Job {
    /// Whether it takes seconds, and is done alone.
    fn is_long(&self) -> bool {
        matches!(self, Self::Compact { .. } | Self::Export { .. })
    }
}

impl From<CantPlan> for StoreError {
    fn from(error: CantPlan) -> Self {
        match error {
            CantPlan::TooLong(_) | CantPlan::Encode(_) => Self::Refused(error.to_string()),
            CantPlan::Unreadable(Unreadable::Record(_)) => Self::CantRead(error.to_string()),
            CantPlan::Unreadable(Unreadable::Sled(_)) => Self::CantWrite(error.to_string()),
        }
    }
}

fn now() -> u64 {
    u64::try_from(nixfleet_protocol::Time::now().millis()).unwrap_or_default()
}

/// A setting of this name kills the writer: how tests see what happens then.
#[cfg(test)]
pub(super) const DIE: &str = "the writer dies";

#[cfg(test)]
fn die_when_told(batch: &Batch) {
    let told = |write: &super::Write| matches!(write, super::Write::PutSetting(name, _) if *name == DIE);
    assert!(!batch.writes.iter().any(told), "the writer was told to die");
}
