//! Opening the store: look at everything before anything is written, so that what we do not know stops the
//! start and stays as it is; then make what a new store needs.

use std::io;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nixfleet_model::fleet_state::RECENT_EVENTS;
use nixfleet_protocol::Epoch;
use uuid::Uuid;

use super::disk::{CantWrite, Disk};
use super::folder::{self, CantUse, Folder};
use super::migrations::{SCHEMA as NEWEST_SCHEMA, Stored, v1};
use super::plan::{self, CantPlan, Counts, Plan};
use super::reader;
use super::record::{self, BadRecord, Place, Unreadable};
use super::trees::{self, Tree, Trees};
use super::walk::{newest, newest_first};
use super::witness;

/// How many damaged records are named one by one.
const NAMED: usize = 20;

/// Why the store can't be opened. Says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum CantStart {
    #[error(transparent)]
    Folder(#[from] CantUse),
    #[error("{0}")]
    Record(#[from] BadRecord),
    #[error(
        "the store has the schema {found}, and this version of NixFleet knows only up to {known}; \
         nothing was changed: start the version that wrote it, or restore a backup"
    )]
    Newer { found: u64, known: u64 },
    #[error("{0}")]
    RolledBack(String),
    #[error("can't read the store: {0}")]
    Sled(#[from] sled::Error),
    #[error("can't write what a new store needs: {0}")]
    Plan(#[from] CantPlan),
    #[error("can't write what a new store needs: {0}")]
    Write(#[from] CantWrite),
}

impl CantStart {
    /// Whether room on the disk is all that is missing.
    pub(super) fn is_full_disk(&self) -> bool {
        let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        let sled_full = |error: &sled::Error| match error {
            sled::Error::Io(error) => full(error),
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. } => false,
        };
        match self {
            Self::Folder(CantUse::Sled { source, .. }) | Self::Sled(source) => sled_full(source),
            Self::Folder(CantUse::Io { source, .. } | CantUse::NotWritable { source, .. }) => full(source),
            Self::Write(_) => true,
            Self::Folder(CantUse::Held { .. } | CantUse::NoFolder { .. } | CantUse::Broken { .. })
            | Self::Record(_)
            | Self::Newer { .. }
            | Self::RolledBack(_)
            | Self::Plan(_) => false,
        }
    }
}

impl From<Unreadable> for CantStart {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Record(error) => error.into(),
            Unreadable::Sled(error) => error.into(),
        }
    }
}

/// An open store that was looked at.
pub(super) struct Started {
    pub(super) disk: Disk,
    pub(super) trees: Arc<Trees>,
    pub(super) epoch: Epoch,
    pub(super) counts: Counts,
    pub(super) warnings: Vec<String>,
}

/// Opens the store of a data directory. Some damage makes sled panic while it is looked at: that is an answer too.
pub(super) fn in_dir(dir: &Path) -> Result<Started, CantStart> {
    catch_unwind(|| start(Folder::take(dir)?))
        .unwrap_or_else(|panic| Err(CantUse::Broken { dir: dir.to_owned(), what: folder::said(&*panic) }.into()))
}

/// Opens the store of a folder.
fn start(folder: Folder) -> Result<Started, CantStart> {
    let begun = Instant::now();
    let open = folder.open()?;
    let trees = Arc::new(open.trees);
    let mut disk = Disk::new(folder, open.file);

    let schema = reader::get::<u64>(&trees, Tree::Meta, plan::SCHEMA)?;
    if let Some(found) = schema.filter(|found| *found > NEWEST_SCHEMA) {
        return Err(CantStart::Newer { found, known: NEWEST_SCHEMA });
    }
    let mut warnings = look_at_all(&trees)?;
    let counts = count(&trees, &mut warnings)?;
    for warning in &warnings {
        tracing::error!(warning, "the store is not whole");
    }

    if let Some(lost) = rolled_back(disk.store(), &trees, counts) {
        return Err(CantStart::RolledBack(lost));
    }
    // Without a witness nobody knows whether these records are the newest. Versions that were given already must not
    // be given again: they belong to another epoch then.
    let epoch = match witness::read(disk.store()) {
        Ok(Some(_)) => reader::get::<Epoch>(&trees, Tree::Meta, plan::EPOCH)?,
        Ok(None) | Err(_) => None,
    };
    let mut needed = Plan::new(&trees, counts);
    if schema != Some(NEWEST_SCHEMA) {
        needed.put_number(plan::SCHEMA, NEWEST_SCHEMA)?;
    }
    let epoch = if let Some(epoch) = epoch {
        epoch
    } else {
        let epoch = Epoch::from_uuid(Uuid::new_v4());
        needed.put_epoch(epoch)?;
        epoch
    };
    let needed = needed.finish()?;
    if needed.by_tree.is_empty() {
        tracing::debug!("nothing to migrate");
    } else {
        disk.write(&trees, &needed)?;
    }
    let counts = needed.counts;
    disk.bear_witness(epoch, &counts);
    tracing::info!(
        %epoch,
        hosts = counts.hosts,
        commands = counts.commands,
        last_event = counts.last_event,
        took_ms = begun.elapsed().as_millis(),
        "store open"
    );
    Ok(Started { disk, trees, epoch, counts, warnings })
}

/// Whether the store was further once than it is now. Says what to do.
pub(super) fn rolled_back(store: &Path, trees: &Trees, counts: Counts) -> Option<String> {
    let seen = witness::read(store).ok().flatten()?;
    let epoch = reader::get::<Epoch>(trees, Tree::Meta, plan::EPOCH).ok().flatten();
    if epoch == Some(seen.epoch) && counts.commits >= seen.commits {
        return None;
    }
    let there = if epoch == Some(seen.epoch) {
        format!("is at commit {} and was at {}", counts.commits, seen.commits)
    } else {
        "is not the one that was here".to_owned()
    };
    Some(format!(
        "the store in {} has lost what was written last: it {there}, with {} hosts and {} commands of {} and {}; the \
         disk has changed it behind NixFleet's back: restore a backup (`nixfleet restore`), or remove {} to go on with \
         what is left",
        store.display(),
        counts.hosts,
        counts.commands,
        seen.hosts,
        seen.commands,
        witness::path(store).display()
    ))
}

/// Reads the envelope of every record but old events. Unknown ones are an error, damaged ones a warning.
pub(super) fn look_at_all(trees: &Trees) -> Result<Vec<String>, CantStart> {
    let mut bad = Vec::new();
    let mut look = |tree: Tree, key: &[u8], looked: Result<(), Unreadable>| match looked {
        Ok(()) => Ok(()),
        Err(Unreadable::Record(error @ BadRecord::Damaged { .. })) => {
            // What the store itself stands on has no substitute.
            if tree == Tree::Meta && key != plan::PROBE {
                return Err(CantStart::from(error));
            }
            bad.push(error.to_string());
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    for tree in Tree::ALL.into_iter().filter(|tree| tree.has_records()) {
        // Of events only the newest are needed at the start; a million would take longer than all the rest.
        let newest = (tree == Tree::Events).then(|| newest_first(trees.at(tree), &[], None).take(RECENT_EVENTS));
        let all = (tree != Tree::Events).then(|| trees.at(tree).iter());
        for entry in all.into_iter().flatten().chain(newest.into_iter().flatten()) {
            let (key, value) = entry?;
            look(tree, &key, whole(trees, tree, &key, &value))?;
        }
    }
    let more = bad.len().saturating_sub(NAMED);
    bad.truncate(NAMED);
    if more > 0 {
        bad.push(format!("{more} more records are damaged"));
    }
    Ok(bad)
}

/// Whether a record is what was written, whatever is in it.
pub(super) fn whole(trees: &Trees, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Unreadable> {
    let place = Place { tree, key };
    let (kind, newest) = match tree {
        Tree::Meta if key == plan::EPOCH => known::<Epoch>(),
        Tree::Meta => known::<u64>(),
        Tree::Hosts => known::<v1::HostRecord>(),
        Tree::Commands => known::<v1::Command>(),
        Tree::Remote => known::<v1::RemoteState>(),
        Tree::Settings => known::<Vec<u8>>(),
        Tree::Events => known::<v1::NewEvent>(),
        Tree::Sessions => known::<v1::LoginSession>(),
        Tree::Tokens => known::<v1::Token>(),
        Tree::Outbox => known::<v1::Waiting>(),
        Tree::Runs => known::<v1::RunRecord>(),
        Tree::RunHosts => known::<v1::RunHost>(),
        Tree::CommandsByHost | Tree::CommandsOpen | Tree::Parts => return Ok(()),
    };
    let part = |number| trees.get(Tree::Parts, &trees::part(tree, key, number));
    record::head(place, kind, newest, value)?.payload(place, part).map(drop)
}

const fn known<S: Stored>() -> (record::Kind, u16) {
    (S::KIND, S::NEWEST)
}

/// What there is, against what the store says that there is.
pub(super) fn count(trees: &Trees, warnings: &mut Vec<String>) -> Result<Counts, Unreadable> {
    let mut counts = Counts::default();
    for (tree, name, counted) in [
        (Tree::Hosts, plan::HOSTS, &mut counts.hosts),
        (Tree::Commands, plan::COMMANDS, &mut counts.commands),
        (Tree::Tokens, plan::TOKENS, &mut counts.tokens),
        (Tree::Runs, plan::RUNS, &mut counts.runs),
    ] {
        *counted = trees.at(tree).len() as u64;
        let expected = reader::get::<u64>(trees, Tree::Meta, name)?.unwrap_or_default();
        if *counted != expected {
            warnings.push(format!(
                "the store should have {expected} {} and has {counted}: restore a backup if some are missing",
                tree.name()
            ));
        }
    }
    // Counting a million of them would take longer than all the rest: `check` does it, and the janitor.
    counts.commits = reader::get::<u64>(trees, Tree::Meta, plan::COMMITS)?.unwrap_or_default();
    counts.events = reader::get::<u64>(trees, Tree::Meta, plan::EVENTS)?.unwrap_or_default();
    let newest = match newest(trees.at(Tree::Events), &[])? {
        Some((key, _)) => trees::event_in(&key).map_or(0, |id| id.0),
        None => 0,
    };
    let last = reader::get::<u64>(trees, Tree::Meta, plan::LAST_EVENT)?.unwrap_or_default();
    if newest != last && newest > 0 {
        warnings.push(format!("the last event should be {last} and is {newest}"));
    }
    counts.last_event = last.max(newest);
    Ok(counts)
}
