//! Puts a backup in the place of what a data directory has. No daemon may run on it.
//!
//! ```text
//! read it once, to its end       a file that is damaged, cut or foreign is refused before anything is made
//! make next/store and next/logs  and look at every record there
//! take its place                 the old goes into before-restore-<time>/ (replacement.rs: crash-safe)
//! ```
//!
//! What is restored is another store than the one before, even when it has the same records: it gets an epoch of its
//! own, so that tabs ask for everything. Logins are not restored: one that was ended since must not live again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nixfleet_model::event::NewEvent;
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{Epoch, Time};
use uuid::Uuid;

use super::archive::{BadBackup, Head, Part, Reader, Totals};
use super::disk::Disk;
use super::folder::{self, CantUse, Folder};
use super::plan::{CantPlan, Counts, Plan};
use super::trees::{Tree, Trees};
use super::{Batch, check, compaction, replacement, start};
use crate::actors::host::log::log_path;

/// Bytes of a batch of records, about.
const BATCH: usize = 1024 * 1024;

/// Why a backup was not restored. Nothing of what was there has changed.
#[derive(Debug, thiserror::Error)]
pub enum CantRestore {
    /// The file.
    #[error("{}: {why}", file.display())]
    Backup {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        why: BadBackup,
    },
    /// There is something.
    #[error(
        "{} has a store already; --force puts the backup in its place and keeps the old one in a folder beside it",
        dir.display()
    )]
    Occupied {
        /// Where.
        dir: PathBuf,
    },
    /// Records of the backup are not as they were written.
    #[error("the records of the backup are not whole, and nothing was restored: {0}")]
    NotWhole(String),
    /// The directory: in use, not writable …
    #[error("{0}")]
    Place(String),
    /// The disk.
    #[error("writing what is restored failed: {0}")]
    Write(String),
}

impl From<io::Error> for CantRestore {
    fn from(error: io::Error) -> Self {
        Self::Write(error.to_string())
    }
}

impl From<sled::Error> for CantRestore {
    fn from(error: sled::Error) -> Self {
        Self::Write(error.to_string())
    }
}

impl From<CantPlan> for CantRestore {
    fn from(error: CantPlan) -> Self {
        Self::Write(error.to_string())
    }
}

impl From<CantUse> for CantRestore {
    fn from(error: CantUse) -> Self {
        Self::Place(error.to_string())
    }
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// From where.
    pub head: Head,
    /// How much.
    pub totals: Totals,
    /// Where the old lies; none: there was nothing.
    pub kept: Option<PathBuf>,
}

/// Reads a backup to its end, and proves that it is whole. `progress` is told how many bytes are done.
pub fn verify(file: &Path, mut progress: impl FnMut(u64)) -> Result<(Head, Totals), BadBackup> {
    let (mut reader, head) = Reader::new(File::open(file)?)?;
    let mut done = 0;
    loop {
        match reader.next()? {
            Some(Part::Record { value, .. }) => done += value.len() as u64,
            Some(Part::Piece { bytes, .. }) => done += bytes.len() as u64,
            Some(Part::Log(_)) => {}
            Some(Part::End(totals)) => return Ok((head, totals)),
            None => return Err(BadBackup::Damaged("it has no end".to_owned())),
        }
        progress(done);
    }
}

/// Restores a backup. Blocks.
pub fn restore(
    data_dir: &Path,
    file: &Path,
    force: bool,
    mut progress: impl FnMut(u64),
) -> Result<Restored, CantRestore> {
    let bad = |why| CantRestore::Backup { file: file.to_owned(), why };
    let (head, totals) = verify(file, &mut progress).map_err(bad)?;
    let folder = Folder::take(data_dir)?;
    let occupied = ["store/db", "logs"].into_iter().any(|name| data_dir.join(name).exists());
    if occupied && !force {
        return Err(CantRestore::Occupied { dir: data_dir.to_owned() });
    }
    let next = replacement::begin(data_dir)?;
    let made = make(&next, file, &head, &mut progress);
    if made.is_err() {
        replacement::give_up(data_dir)?;
    }
    made?;
    let kept = occupied.then(|| format!("before-restore-{}", name_of(Time::now())));
    replacement::ready(data_dir, kept.clone())?;
    replacement::settle(data_dir)?;
    drop(folder);
    Ok(Restored { head, totals, kept: kept.map(|name| data_dir.join(name)) })
}

/// A time as part of a file's name.
fn name_of(time: Time) -> String {
    time.to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect()
}

/// Makes store and logs, proves them, and has them on disk.
fn make(next: &Path, file: &Path, head: &Head, progress: &mut dyn FnMut(u64)) -> Result<(), CantRestore> {
    let bad = |why| CantRestore::Backup { file: file.to_owned(), why };
    let store = next.join("store");
    for dir in [&store, &next.join("logs")] {
        DirBuilder::new().mode(0o700).create(dir)?;
    }
    let trees = folder::open_sled(&store).map_err(CantRestore::Write)??;
    let (mut reader, _) = Reader::new(File::open(file)?).map_err(bad)?;
    let mut records = Records { trees: &trees, tree: Tree::Meta, batch: sled::Batch::default(), bytes: 0 };
    let mut log: Option<File> = None;
    let mut done = 0;
    while let Some(part) = reader.next().map_err(bad)? {
        match part {
            // Logins end with the store that they were made in.
            Part::Record { tree: Tree::Sessions, .. } => {}
            Part::Record { tree, key, value } => {
                done += value.len() as u64;
                records.add(tree, key, value)?;
            }
            Part::Log(head) => {
                close_log(log.take())?;
                let path = log_path(next, &head.host, head.command);
                let parent = path.parent().unwrap_or(next);
                if !parent.exists() {
                    DirBuilder::new().mode(0o700).create(parent)?;
                }
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                made.set_len(head.length)?;
                log = Some(made);
            }
            Part::Piece { at, bytes } => {
                done += bytes.len() as u64;
                let misplaced = || bad(BadBackup::Damaged("output that belongs to no log".to_owned()));
                log.as_ref().ok_or_else(misplaced)?.write_all_at(&bytes, at)?;
            }
            Part::End(_) => {}
        }
        progress(done);
    }
    close_log(log)?;
    records.flush()?;
    finish(&trees, head)?;
    trees.db().flush()?;
    drop(trees);
    compaction::sync_all(&store)?;
    sync_folders(&next.join("logs"))?;
    Ok(())
}

/// Looks at every record, and makes the store one of its own.
fn finish(trees: &Trees, head: &Head) -> Result<(), CantRestore> {
    let report = check::look_at(trees);
    // The parts of logins were left out with them or not: they name nothing, and are removed.
    let problems: Vec<_> = report.problems.into_iter().filter(|problem| !problem.contains("left over")).collect();
    if let Some(first) = problems.first() {
        let more = problems.len() - 1;
        return Err(CantRestore::NotWhole(format!("{first} (and {more} more)")));
    }
    let mut warnings = Vec::new();
    let counts: Counts = start::count(trees, &mut warnings).map_err(|error| CantRestore::Write(error.to_string()))?;
    let mut plan = Plan::new(trees, counts);
    plan.put_epoch(Epoch::from_uuid(Uuid::new_v4()))?;
    let now = Time::now();
    let message = format!("the store was restored from a backup of {}", head.made_at);
    let event = NewEvent::new(now, Category::Audit, Level::Warn, "console", "store_restored", message);
    plan.add(&Batch { events: vec![event], ..Batch::default() }, false)?;
    let finished = plan.finish()?;
    Disk::apply(trees, &finished).map_err(|error| CantRestore::Write(error.to_string()))
}

struct Records<'a> {
    trees: &'a Trees,
    tree: Tree,
    batch: sled::Batch,
    bytes: usize,
}

impl Records<'_> {
    fn add(&mut self, tree: Tree, key: Vec<u8>, value: Vec<u8>) -> sled::Result<()> {
        if tree != self.tree || self.bytes >= BATCH {
            self.flush()?;
            self.tree = tree;
        }
        self.bytes += key.len() + value.len();
        self.batch.insert(key, value);
        Ok(())
    }

    fn flush(&mut self) -> sled::Result<()> {
        self.bytes = 0;
        self.trees.at(self.tree).apply_batch(std::mem::take(&mut self.batch))
    }
}

fn close_log(log: Option<File>) -> io::Result<()> {
    log.map_or(Ok(()), |log| log.sync_all())
}

fn sync_folders(logs: &Path) -> io::Result<()> {
    for entry in fs::read_dir(logs)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(logs)?.sync_all()
}
