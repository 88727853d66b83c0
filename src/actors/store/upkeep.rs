//! What the janitor and the tools ask of the store: what is old, how large it is, to be compacted, to be copied.
//! Reads here are bounded: pages of commands as sketches, pages of events as numbers.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_model::fleet_state::RECENT_RUNS;
use nixfleet_model::retention::{Retention, Sketch, event_goes, run_goes};
use nixfleet_protocol::{CommandId, EventId, RunId, Time};
use ractor::RpcReplyPort;

use super::archive::Head;
use super::backup::Export;
use super::check::Report;
use super::folder::Folder;
use super::health::Shared;
use super::migrations::v1;
use super::plan::Counts;
use super::record::Unreadable;
use super::trees::{self, Tree};
use super::walk::newest_first;
use super::{Msg, READ, StoreError, StoreHandle, compaction, reader};

/// The longest page.
const LONGEST: usize = 1000;
/// How long a copy may take. Nobody but who asked waits for the end of this.
const LONG: Duration = Duration::from_mins(30);

type Reply<T> = RpcReplyPort<Result<T, StoreError>>;

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// Commands as retention looks at them, newest first, before an id.
    Standings { before: Option<CommandId>, limit: usize, reply: Reply<Standing> },
    /// Which of these commands the store has.
    Known { ids: Vec<CommandId>, reply: Reply<BTreeSet<CommandId>> },
    /// A page of events: which of them are old.
    OldEvents { range: RangeInclusive<EventId>, now: Time, retention: Retention, limit: usize, reply: Reply<OldEvents> },
    /// The first runs that are old.
    OldRuns { now: Time, retention: Retention, limit: usize, reply: Reply<Vec<RunId>> },
    /// How large it is, and how much of that is data.
    Measure { reply: Reply<Measured> },
    /// Look at everything.
    Check { data_dir: PathBuf, reply: Reply<Report> },
    /// Give back room.
    Compact { reply: Reply<Compacted> },
    /// Begin a backup.
    Export { head: Box<Head>, reply: Reply<Export> },
}

/// A page of commands.
#[derive(Debug, Default)]
pub struct Standing {
    /// The commands, newest first. Those that can't be read are not among them, and so stay.
    pub commands: Vec<Sketch>,
    /// From where to go on; none: this was the last page.
    pub next: Option<CommandId>,
}

/// A page of events.
#[derive(Debug, Default)]
pub struct OldEvents {
    /// Those that go.
    pub old: Vec<EventId>,
    /// How many the page had.
    pub seen: u64,
    /// From where to go on; none: this was the last page.
    pub next: Option<EventId>,
}

/// The store's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bytes on the disk.
    pub size: u64,
    /// Bytes of keys and values.
    pub live: u64,
    /// Events that the store says it has.
    pub events: u64,
    /// The number of the last event.
    pub last_event: EventId,
}

/// What a compaction gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes on the disk before.
    pub before: u64,
    /// Bytes on the disk now.
    pub after: u64,
    /// Bytes of keys and values.
    pub live: u64,
}

impl StoreHandle {
    /// Commands as retention looks at them, newest first.
    pub async fn standings(&self, before: Option<CommandId>, limit: usize) -> Result<Standing, StoreError> {
        self.ask(|reply| Ask::Standings { before, limit, reply }, READ).await
    }

    /// Which of these commands the store has.
    pub async fn known(&self, ids: Vec<CommandId>) -> Result<BTreeSet<CommandId>, StoreError> {
        self.ask(|reply| Ask::Known { ids, reply }, READ).await
    }

    /// Which of the first `limit` events of a range are old.
    pub async fn old_events(
        &self,
        range: RangeInclusive<EventId>,
        now: Time,
        retention: Retention,
        limit: usize,
    ) -> Result<OldEvents, StoreError> {
        self.ask(|reply| Ask::OldEvents { range, now, retention, limit, reply }, READ).await
    }

    /// The first `limit` runs that are old.
    pub async fn old_runs(&self, now: Time, retention: Retention, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.ask(|reply| Ask::OldRuns { now, retention, limit, reply }, READ).await
    }

    /// How large the store is.
    pub async fn measure(&self) -> Result<Measured, StoreError> {
        self.ask(|reply| Ask::Measure { reply }, LONG).await
    }

    /// Looks at everything that is stored. Reads beside the writer; may take long.
    pub async fn check(&self, data_dir: PathBuf) -> Result<Report, StoreError> {
        self.ask(|reply| Ask::Check { data_dir, reply }, LONG).await
    }

    /// Copies the store into one that takes less room. Commits wait meanwhile.
    pub async fn compact(&self) -> Result<Compacted, StoreError> {
        self.ask(|reply| Ask::Compact { reply }, LONG).await
    }

    /// All records of one moment, as the first part of a backup. Commits wait meanwhile.
    pub async fn export(&self, head: Head) -> Result<Export, StoreError> {
        self.ask(|reply| Ask::Export { head: Box::new(head), reply }, LONG).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reply<T>) -> Ask,
        within: Duration,
    ) -> Result<T, StoreError> {
        self.slot.call(|reply| Msg::Upkeep(ask(reply)), within).await?
    }
}

pub(super) fn standings(shared: &Shared, before: Option<CommandId>, limit: usize) -> Result<Standing, StoreError> {
    let trees = &*shared.trees()?;
    let walk = newest_first(trees.at(Tree::Commands), &[], before.map(trees::command).as_deref());
    let mut page = Standing::default();
    for (entry, count) in walk.zip(1..) {
        let (key, value) = entry?;
        match reader::found::<v1::Command>(trees, Tree::Commands, &key, &value) {
            Ok(Some(command)) => page.commands.push(Sketch::from(&command)),
            Ok(None) => {}
            Err(Unreadable::Record(error)) => tracing::error!(%error, "a command can't be read, and stays"),
            Err(Unreadable::Sled(error)) => return Err(error.into()),
        }
        if count >= limit.min(LONGEST) {
            page.next = trees::command_in(&key);
            break;
        }
    }
    Ok(page)
}

pub(super) fn known(shared: &Shared, ids: &[CommandId]) -> Result<BTreeSet<CommandId>, StoreError> {
    let trees = &*shared.trees()?;
    let mut known = BTreeSet::new();
    for id in ids {
        if trees.at(Tree::Commands).contains_key(trees::command(*id))? {
            known.insert(*id);
        }
    }
    Ok(known)
}

pub(super) fn old_events(
    shared: &Shared,
    range: &RangeInclusive<EventId>,
    now: Time,
    retention: Retention,
    limit: usize,
) -> Result<OldEvents, StoreError> {
    let trees = &*shared.trees()?;
    let mut page = OldEvents::default();
    for entry in trees.at(Tree::Events).range(trees::event(*range.start())..=trees::event(*range.end())) {
        let (key, value) = entry?;
        let Some(id) = trees::event_in(&key) else { continue };
        if page.seen >= limit.min(LONGEST) as u64 {
            page.next = Some(id);
            break;
        }
        page.seen += 1;
        match reader::found::<v1::NewEvent>(trees, Tree::Events, &key, &value) {
            // The newest stays, whatever its age: it shows that no later one was lost.
            Ok(Some(event)) if id != *range.end() && event_goes(&event, now, retention) => page.old.push(id),
            Ok(_) => {}
            Err(Unreadable::Record(error)) => tracing::error!(%error, "an event can't be read, and stays"),
            Err(Unreadable::Sled(error)) => return Err(error.into()),
        }
    }
    Ok(page)
}

pub(super) fn old_runs(
    shared: &Shared,
    now: Time,
    retention: Retention,
    limit: usize,
) -> Result<Vec<RunId>, StoreError> {
    let trees = &*shared.trees()?;
    let mut old = Vec::new();
    // The newest are shown, whatever their age.
    for entry in newest_first(trees.at(Tree::Runs), &[], None).skip(RECENT_RUNS) {
        let (key, value) = entry?;
        match reader::found::<v1::RunRecord>(trees, Tree::Runs, &key, &value) {
            Ok(Some(run)) if run_goes(&run, now, retention) => old.push(run.id),
            Ok(_) => {}
            Err(Unreadable::Record(error)) => tracing::error!(%error, "a run can't be read, and stays"),
            Err(Unreadable::Sled(error)) => return Err(error.into()),
        }
        if old.len() >= limit.min(LONGEST) {
            break;
        }
    }
    Ok(old)
}

pub(super) fn measure(shared: &Shared) -> Result<Measured, StoreError> {
    let trees = &*shared.trees()?;
    let Counts { events, last_event, .. } = shared.counts();
    let live = compaction::measure(trees, None)?.bytes;
    Ok(Measured { size: Folder::size(&shared.store), live, events, last_event: EventId(last_event) })
}
