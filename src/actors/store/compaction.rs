//! Gives back the room that sled keeps: a copy of all trees into a new sled, which then takes the place of the old
//! one (`replacement.rs`). Runs on the writer's thread: commits wait in its queue, and none is lost. Readers go on
//! with the old one until the swap, and wait for that.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::folder::{self, CantUse, only_ours};
use super::health::Busy;
use super::replacement::{self, step};
use super::trees::{Tree, Trees};

/// Bytes of a batch of the copy, about.
const BATCH: usize = 1024 * 1024;
/// A new sled takes some segments of 512 KiB before anything is in it.
const SPARE: u64 = 16 * 1024 * 1024;

/// Why a store was not compacted. The old one is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum CantCompact {
    #[error("there is no room for a copy: {room} bytes are left, about {needed} are needed")]
    NoRoom { room: u64, needed: u64 },
    #[error("reading or copying it failed: {0}")]
    Sled(#[from] sled::Error),
    #[error("writing the copy failed: {0}")]
    Io(#[from] io::Error),
    #[error("the copy is not the same as the store")]
    Differs,
    #[error("the copy can't be opened: {0}")]
    Open(String),
    #[error("somebody reads in it for too long")]
    Read,
    #[error(transparent)]
    Use(#[from] CantUse),
    #[error("the store is closed")]
    Closed,
}

/// How much a store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    /// Keys.
    pub(super) entries: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
    /// Over all trees, keys and values, in their order.
    crc: u32,
}

/// Goes over all that is in a store.
pub(super) fn measure(trees: &Trees, busy: Option<&Busy>) -> sled::Result<Live> {
    let mut live = Live::default();
    let mut crc = crc32fast::Hasher::new();
    for tree in Tree::ALL {
        crc.update(&[tree.tag()]);
        for entry in trees.at(tree) {
            let (key, value) = entry?;
            live.entries += 1;
            live.bytes += (key.len() + value.len()) as u64;
            for part in [&key, &value] {
                crc.update(&(part.len() as u64).to_le_bytes());
                crc.update(part);
            }
            if let Some(busy) = busy {
                busy.went_on(1);
            }
        }
    }
    live.crc = crc.finalize();
    Ok(live)
}

/// Copies all trees into `next/store`, proves the copy, and makes it durable. It is not in place yet.
pub(super) fn copy(trees: &Trees, folder: &folder::Folder, busy: &Busy) -> Result<Live, CantCompact> {
    let live = measure(trees, Some(busy))?;
    let (room, needed) = (folder.room()?, live.bytes.saturating_mul(2).saturating_add(SPARE));
    if room < needed {
        return Err(CantCompact::NoRoom { room, needed });
    }
    let into = replacement::begin(folder.data())?.join("store");
    fs::create_dir(&into)?;
    {
        let copy = folder::open_sled(&into).map_err(CantCompact::Open)??;
        fill(trees, &copy, busy)?;
        copy.db().flush()?;
    }
    step("copied");
    let copy = folder::open_sled(&into).map_err(CantCompact::Open)??;
    let there = measure(&copy, Some(busy))?;
    drop(copy);
    if there != live {
        return Err(CantCompact::Differs);
    }
    sync_all(&into)?;
    Ok(live)
}

fn fill(trees: &Trees, copy: &Trees, busy: &Busy) -> Result<(), CantCompact> {
    for tree in Tree::ALL {
        let (mut batch, mut bytes) = (sled::Batch::default(), 0);
        for entry in trees.at(tree) {
            let (key, value) = entry?;
            bytes += key.len() + value.len();
            batch.insert(key, value);
            if bytes >= BATCH {
                copy.at(tree).apply_batch(std::mem::take(&mut batch))?;
                bytes = 0;
            }
            busy.went_on(1);
        }
        copy.at(tree).apply_batch(batch)?;
    }
    Ok(())
}

/// Everything of a sled on disk, for nobody else's eyes.
pub(super) fn sync_all(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        only_ours(&entry.path(), if entry.file_type()?.is_dir() { 0o700 } else { 0o600 })?;
        File::open(entry.path())?.sync_all()?;
    }
    only_ours(store, 0o700)?;
    File::open(store)?.sync_all()
}
