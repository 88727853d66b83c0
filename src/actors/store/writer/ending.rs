//! The end of a commit: sync, publish, answer. The writer does it itself when nothing waits; when something does, this
//! thread does it while the writer plans and applies the next group.
//!
//! Invariants: groups end in the order in which they were written, and no answer comes before the sync that followed
//! its group's flush. One sync is good for all groups that wait. After a failed one every group is refused until the
//! writer has heard of it ([`Ending::settle`]), because nobody knows what is on disk.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use nixfleet_model::fleet_state::StateChange;
use ractor::RpcReplyPort;

use super::super::disk::Unsynced;
use super::super::health::Shared;
use super::super::plan::{self, Counts};
use super::super::trees::{Tree, Trees};
use super::super::{StoreError, reader};
use super::Publish;

/// Who is answered when the group is durable, and with what.
pub(super) enum Answer {
    Commit(RpcReplyPort<Result<(), StoreError>>, Instant),
    Mark(RpcReplyPort<Result<u64, StoreError>>, u64),
    Probe(RpcReplyPort<Result<(), StoreError>>),
}

/// What one transaction wrote, and for whom.
pub(super) struct Group {
    /// None: there was nothing to write.
    pub(super) unsynced: Option<Unsynced>,
    /// The counts when it is written.
    pub(super) counts: Counts,
    /// Records and events in it.
    pub(super) records: u64,
    /// What is published.
    pub(super) changes: Vec<StateChange>,
    /// Who is answered.
    pub(super) answers: Vec<Answer>,
    /// Where it was written.
    pub(super) trees: Arc<Trees>,
}

enum Step {
    Group(Box<Group>),
    Settle(SyncSender<io::Result<()>>),
}

/// The thread, from the writer's side.
pub(super) struct Ending {
    shared: Arc<Shared>,
    publish: Arc<Publish>,
    failed: Arc<AtomicBool>,
    /// Whether something was handed over since it was settled.
    open: bool,
    /// None only while it stops.
    steps: Option<Sender<Step>>,
    thread: Option<JoinHandle<()>>,
}

impl Ending {
    pub(super) fn start(shared: Arc<Shared>, publish: Publish) -> io::Result<Self> {
        let (sender, steps) = channel();
        let (publish, failed) = (Arc::new(publish), Arc::new(AtomicBool::new(false)));
        let (theirs, tell, failing) = (Arc::clone(&shared), Arc::clone(&publish), Arc::clone(&failed));
        let thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || run(&steps, &theirs, &tell, &failing))?;
        Ok(Self { shared, publish, failed, open: false, steps: Some(sender), thread: Some(thread) })
    }

    /// Whether a sync failed: nothing more is to be written before it is settled.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Ends a group while the writer goes on.
    pub(super) fn hand_over(&mut self, group: Group) {
        self.open = true;
        self.send(Step::Group(Box::new(group)));
    }

    /// Waits until all groups have ended. The error of a sync is said once.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let (sender, settled) = sync_channel(1);
        self.send(Step::Settle(sender));
        match settled.recv() {
            Ok(result) => result,
            Err(_) => self.died(),
        }
    }

    /// Ends a group here and now, after all others.
    pub(super) fn settle_with(&mut self, group: Group) -> io::Result<()> {
        if let Err(error) = self.settle() {
            group.refuse(&self.shared, &format!("syncing to disk failed: {error}"));
            return Err(error);
        }
        end(vec![group], &self.shared, &self.publish)
    }

    fn send(&mut self, step: Step) {
        if self.steps.as_ref().is_none_or(|steps| steps.send(step).is_err()) {
            // It panicked, and so does the writer: the store is started again.
            let _: io::Result<()> = self.died();
        }
    }

    /// A panic over there is one here.
    fn died(&mut self) -> io::Result<()> {
        self.steps = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        Err(io::Error::other("the thread that syncs has ended"))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // It ends what it was given: that is on its way to the disk.
        self.steps = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that syncs the store did not end well");
        }
    }
}

fn run(steps: &Receiver<Step>, shared: &Shared, publish: &Publish, failed: &AtomicBool) {
    let mut failure: Option<io::Error> = None;
    while let Ok(first) = steps.recv() {
        let mut groups = Vec::new();
        let mut settle = None;
        for step in std::iter::once(first).chain(steps.try_iter()) {
            match step {
                Step::Group(group) => groups.push(*group),
                // The writer waits for this one, so none comes behind it.
                Step::Settle(reply) => settle = Some(reply),
            }
        }
        if let Some(error) = &failure {
            let why = format!("syncing to disk failed: {error}");
            for group in groups {
                group.refuse(shared, &why);
            }
        } else if let Err(error) = end(groups, shared, publish) {
            failed.store(true, Ordering::Release);
            failure = Some(error);
        }
        if let Some(reply) = settle {
            failed.store(false, Ordering::Release);
            // The writer waits for it.
            let _ = reply.send(failure.take().map_or(Ok(()), Err));
        }
    }
}

/// Ends groups: one sync for all of them, then each in its order.
fn end(groups: Vec<Group>, shared: &Shared, publish: &Publish) -> io::Result<()> {
    if let Some(last) = groups.iter().rev().find_map(|group| group.unsynced.as_ref())
        && let Err(error) = last.sync()
    {
        let why = format!("syncing to disk failed: {error}");
        for group in groups {
            group.refuse(shared, &why);
        }
        return Err(error);
    }
    for group in groups {
        shared.written.fetch_add(group.records, Ordering::Relaxed);
        shared.set_counts(group.counts);
        if !group.changes.is_empty() {
            publish(group.changes);
        }
        for reply in group.answers {
            answer(shared, || match reply {
                Answer::Commit(reply, since) => {
                    shared.note(since.elapsed());
                    reply.send(Ok(())).is_ok()
                }
                Answer::Mark(reply, before) => reply.send(Ok(before)).is_ok(),
                Answer::Probe(reply) => {
                    let read = reader::get::<u64>(&group.trees, Tree::Meta, plan::PROBE);
                    reply.send(read.map(drop).map_err(StoreError::from)).is_ok()
                }
            });
        }
    }
    Ok(())
}

impl Group {
    /// Answers everyone that it is not written.
    pub(super) fn refuse(self, shared: &Shared, why: &str) {
        let Self { answers, trees, .. } = self;
        // Whoever hears of it may open the store again.
        drop(trees);
        for reply in answers {
            let error = StoreError::CantWrite(why.to_owned());
            answer(shared, || match reply {
                Answer::Commit(reply, _) | Answer::Probe(reply) => reply.send(Err(error)).is_ok(),
                Answer::Mark(reply, _) => reply.send(Err(error)).is_ok(),
            });
        }
    }
}

/// Nobody may be there any more to hear an answer; that changes nothing.
pub(super) fn answer(shared: &Shared, send: impl FnOnce() -> bool) {
    shared.queue.fetch_sub(1, Ordering::Relaxed);
    if !send() {
        tracing::trace!("nobody waits for this answer");
    }
}
