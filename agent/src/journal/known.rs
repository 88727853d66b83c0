//! The ids of commands whose folders were deleted: sixteen bytes each, appended, never removed.
//!
//! Read from disk when a command arrives (a thousand commands are 16 kB), so it costs no memory at rest. A crash
//! in the middle of an append leaves a tail that is no whole id; it is cut off at the next opening, which loses
//! nothing: the folders are deleted only after the append is on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nixfleet_protocol::CommandId;

const WIDTH: usize = 16;

/// The file of ids.
#[derive(Debug)]
pub struct KnownIds {
    path: PathBuf,
}

impl KnownIds {
    /// Opens the file, and cuts half an id off its end.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let whole = length - length % WIDTH as u64;
        if whole != length {
            file.set_len(whole)?;
            file.sync_all()?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Whether this id is in the file.
    pub fn contains(&self, id: CommandId) -> io::Result<bool> {
        let mut file = File::open(&self.path)?;
        let wanted = id.uuid().into_bytes();
        let mut block = [0_u8; WIDTH * 256];
        let mut filled = 0;
        loop {
            let count = file.read(&mut block[filled..])?;
            filled += count;
            if block[..filled].chunks_exact(WIDTH).any(|known| known == wanted) {
                return Ok(true);
            }
            if count == 0 {
                return Ok(false);
            }
            let rest = filled % WIDTH;
            block.copy_within(filled - rest..filled, 0);
            filled = rest;
        }
    }

    /// Adds ids and waits for the disk.
    pub fn add(&mut self, ids: &[CommandId]) -> io::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(ids.len() * WIDTH);
        for id in ids {
            bytes.extend_from_slice(id.uuid().as_bytes());
        }
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn ids_are_known_for_good_and_half_an_id_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ids");
        let ids: Vec<CommandId> = (1..1000_u128).map(|n| CommandId::from_uuid(Uuid::from_u128(n << 32))).collect();
        let mut known = KnownIds::open(&path).unwrap();
        known.add(&ids).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        let mut known_again = KnownIds::open(&path).unwrap();
        let late = CommandId::from_uuid(Uuid::from_u128(7));
        known_again.add(&[late]).unwrap();
        assert!(ids.iter().chain([&late]).all(|id| known_again.contains(*id).unwrap()));
        assert!(!known_again.contains(CommandId::from_uuid(Uuid::from_u128(8))).unwrap());
    }
}
