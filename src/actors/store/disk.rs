//! From a plan to the disk: one transaction, then what makes it survive a power cut.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError};

use super::folder::{CantUse, Folder};
use super::plan::{CantPlan, Counts, Finished};
use super::trees::Trees;
use super::witness::Witness;
use nixfleet_protocol::Epoch;

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

impl CantWrite {
    /// Whether the system may take for written what is not on the disk: it says so once, and then it has forgotten. What a
    /// full disk refuses was never taken.
    pub(super) fn leaves_doubt(&self) -> bool {
        let full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        match self {
            Self::Sync(_) => true,
            Self::Sled(sled::Error::Io(error)) => !full(error),
            Self::Full { .. } | Self::Sled(_) | Self::Plan(_) | Self::Placed(_) | Self::Closed => false,
        }
    }
}

/// sled's files, and what they need besides sled.
pub(super) struct Disk {
    folder: Folder,
    file: Arc<File>,
    reserve: u64,
    witness: Option<Arc<Witness>>,
}

/// What is left to do for what sled has written: to sync it. Any thread may, and one sync is good for all that was
/// written before it.
#[derive(Clone)]
pub(super) struct Unsynced {
    file: Arc<File>,
    witness: Option<Arc<Witness>>,
    counts: Counts,
    #[cfg(test)]
    folder: std::path::PathBuf,
}

impl Unsynced {
    /// `fdatasync`, and then the witness.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        let synced = self.told_in_tests().unwrap_or_else(|| self.file.sync_data());
        #[cfg(not(test))]
        let synced = self.file.sync_data();
        synced?;
        if let Some(witness) = &self.witness {
            witness.say(&self.counts);
        }
        Ok(())
    }

    #[cfg(test)]
    fn told_in_tests(&self) -> Option<io::Result<()>> {
        if self.folder.join(BAD_SYNC).exists() {
            return Some(Err(io::Error::other("the disk is bad")));
        }
        self.folder.join(NO_SYNC).exists().then_some(Ok(()))
    }
}

impl Disk {
    pub(super) fn new(folder: Folder, file: File) -> Self {
        let reserve = RESERVE;
        #[cfg(test)]
        let reserve = if folder.told(NO_RESERVE) { 0 } else { reserve };
        Self { folder, file: Arc::new(file), reserve, witness: None }
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
        self.file = Arc::new(open.file);
        // It may be another folder of this name.
        if let Some(epoch) = self.witness.take().map(|witness| witness.epoch()) {
            self.witness = Witness::open(self.folder.store(), epoch).ok().map(Arc::new);
        }
        Ok(open.trees)
    }

    /// Notes beside sled how far the store is, now and after each commit.
    pub(super) fn bear_witness(&mut self, epoch: Epoch, counts: &Counts) {
        match Witness::open(self.folder.store(), epoch) {
            Ok(witness) => {
                witness.say(counts);
                self.witness = Some(Arc::new(witness));
            }
            Err(error) => tracing::warn!(%error, "the store has no witness"),
        }
    }

    /// Notes how far the store is.
    pub(super) fn witnessed(&self, counts: &Counts) {
        if let Some(witness) = &self.witness {
            witness.say(counts);
        }
    }

    /// Makes a plan durable: one transaction over all its trees, flush, fdatasync.
    pub(super) fn write(&self, trees: &Trees, plan: &Finished) -> Result<(), CantWrite> {
        if let Some(unsynced) = self.put(trees, plan)? {
            unsynced.sync()?;
        }
        Ok(())
    }

    /// Hands a plan to the system: one transaction over all its trees, and flush. It is durable when what this gives is
    /// synced; none: there was nothing to write.
    pub(super) fn put(&self, trees: &Trees, plan: &Finished) -> Result<Option<Unsynced>, CantWrite> {
        self.room()?;
        if plan.by_tree.is_empty() {
            return Ok(None);
        }
        Self::apply(trees, plan)?;
        trees.db().flush()?;
        Ok(Some(Unsynced {
            file: Arc::clone(&self.file),
            witness: self.witness.clone(),
            counts: plan.counts,
            #[cfg(test)]
            folder: self.folder.data().to_owned(),
        }))
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

/// A file of this name in the data directory: `fdatasync` fails.
#[cfg(test)]
pub(super) const BAD_SYNC: &str = "bad-sync";
