//! A witness beside sled of how far the store has come. Some flipped bits make sled drop all that came after them, in
//! silence: the store is then as it was days ago, whole in itself, its own counts included. The witness knows better.
//!
//! One record of 64 bytes in `store/witness`, written over after each commit, when that is on disk: so it is never
//! ahead of what is durable, and needs no sync of its own. After a power cut it may be behind, which says nothing.
//!
//! ```text
//! magic (8)  epoch (16)  commits (8)  hosts (8)  commands (8)  zeros (12)  crc32 (4)
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nixfleet_protocol::Epoch;
use uuid::Uuid;

use super::plan::Counts;

const MAGIC: &[u8; 8] = b"nfwitn 1";
const LENGTH: usize = 64;

/// Where it lies.
pub(super) fn path(store: &Path) -> PathBuf {
    store.join("witness")
}

/// What it says: the store was at least here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) epoch: Epoch,
    pub(super) commits: u64,
    pub(super) hosts: u64,
    pub(super) commands: u64,
}

/// Reads it. None: there is none, or it is none.
pub(super) fn read(store: &Path) -> io::Result<Option<Seen>> {
    let bytes = match std::fs::read(path(store)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = |at: usize| bytes.get(at..at + 8).and_then(|it| it.try_into().ok()).map_or(0, u64::from_le_bytes);
    let crc = bytes.get(60..64).and_then(|it| it.try_into().ok()).map(u32::from_le_bytes);
    let epoch = bytes.get(8..24).and_then(|it| it.try_into().ok()).map(Uuid::from_bytes);
    match (bytes.starts_with(MAGIC), epoch, crc) {
        (true, Some(epoch), Some(crc)) if bytes.len() == LENGTH && crc == crc32fast::hash(&bytes[..60]) => {
            Ok(Some(Seen {
                epoch: Epoch::from_uuid(epoch),
                commits: number(24),
                hosts: number(32),
                commands: number(40),
            }))
        }
        _ => {
            tracing::warn!(path = %path(store).display(), "the witness of the store can't be read");
            Ok(None)
        }
    }
}

/// The witness of an open store.
pub(super) struct Witness {
    file: File,
    epoch: Epoch,
}

impl Witness {
    /// Opens it, and makes it where there is none.
    pub(super) fn open(store: &Path, epoch: Epoch) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path(store))?;
        Ok(Self { file, epoch })
    }

    /// Of which store.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Says how far the store is on disk.
    pub(super) fn say(&self, counts: &Counts) {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.epoch.uuid().as_bytes());
        for number in [counts.commits, counts.hosts, counts.commands] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(60, 0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        // What is there already stays true.
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "the witness of the store can't be written");
        }
    }
}
