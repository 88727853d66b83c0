//! From a plan to the disk: one transaction, then what makes it survive a power cut.

use std::fs::File;
use std::io;
use std::path::Path;

use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError};

use super::folder::{CantUse, Folder};
use super::plan::{CantPlan, Finished};
use super::trees::Trees;

/// Below this much room nothing is written: sled takes room by segments of 512 KiB, and running into the end
/// of the disk costs a reopening.
const RESERVE: u64 = 2 * 1024 * 1024;

/// Why a group could not be made durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum CantWrite {
    #[error("the disk is full: {room} bytes are left, {needed} are needed; make room")]
    Full { room: u64, needed: u64 },
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("syncing to disk failed: {0}")]
    Sync(#[from] io::Error),
    #[error(transparent)]
    Plan(#[from] CantPlan),
    #[error("the compacted store can't be put in its place: {0}")]
    Placed(String),
    #[error("the store is closed")]
    Closed,
}

/// sled's files, and what they need besides sled.
pub(super) struct Disk {
    folder: Folder,
    file: File,
    reserve: u64,
}

impl Disk {
    pub(super) fn new(folder: Folder, file: File) -> Self {
        let reserve = RESERVE;
        #[cfg(test)]
        let reserve = if folder.told(NO_RESERVE) { 0 } else { reserve };
        Self { folder, file, reserve }
    }

    /// Where sled lies.
    pub(super) fn store(&self) -> &Path {
        self.folder.store()
    }

    /// The data directory.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether there is room to write at all.
    pub(super) fn room(&self) -> Result<(), CantWrite> {
        let room = self.folder.room()?;
        if room < self.reserve { Err(CantWrite::Full { room, needed: self.reserve }) } else { Ok(()) }
    }

    /// Opens sled again, after it was closed.
    pub(super) fn open_again(&mut self) -> Result<Trees, CantUse> {
        let open = self.folder.open()?;
        self.file = open.file;
        Ok(open.trees)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.folder.told(NO_SYNC) {
            return Ok(());
        }
        self.file.sync_data()
    }

    /// Makes a plan durable: one transaction over all its trees, flush, fdatasync.
    pub(super) fn write(&self, trees: &Trees, plan: &Finished) -> Result<(), CantWrite> {
        self.room()?;
        if plan.by_tree.is_empty() {
            return Ok(());
        }
        Self::apply(trees, plan)?;
        trees.db().flush()?;
        Ok(self.sync()?)
    }

    /// One transaction over all trees of a plan. Not durable yet.
    pub(super) fn apply(trees: &Trees, plan: &Finished) -> Result<(), CantWrite> {
        let (touched, changes): (Vec<&sled::Tree>, Vec<_>) =
            plan.by_tree.iter().map(|(tree, changes)| (trees.at(*tree), changes)).unzip();
        if touched.is_empty() {
            return Ok(());
        }
        let written = touched.as_slice().transaction(|views| {
            for (view, changes) in views.iter().zip(&changes) {
                for (key, value) in *changes {
                    match value {
                        Some(value) => view.insert(key, value)?,
                        None => view.remove(key)?,
                    };
                }
            }
            Ok::<_, ConflictableTransactionError<()>>(())
        });
        // Nothing above aborts, so what is left is an error of the disk.
        if let Err(TransactionError::Storage(error)) = written {
            return Err(error.into());
        }
        Ok(())
    }
}

/// A file of this name in the data directory: run into the end of the disk, as when others fill it meanwhile.
#[cfg(test)]
pub(super) const NO_RESERVE: &str = "no-reserve";

/// A file of this name in the data directory: no `fdatasync` of our own, to see what it is good for.
#[cfg(test)]
pub(super) const NO_SYNC: &str = "no-sync";
