//! Files that are there after a power cut, or not at all: the few disk habits that every room of the agent shares.
//!
//! Who uses it: the journal, the runner and the deployed record. It keeps no state. A call that returns `Ok`
//! has reached the disk with the directory that names the file; a call that fails has left the old file whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Waits until what a directory names is on disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a directory (and those above it) that only its owner can enter.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file, whole or not at all, and waits for the disk. Its folder is private, and the file readable there:
/// a runner that was started through sudo writes as root what the agent reads as itself.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// As [`write()`], but a crash may lose it: for what can be made again.
pub fn write_lightly(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], synced: bool) -> io::Result<()> {
    let mut name = path.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&fresh);
    let mut file = match open() {
        // Left half-written by a runner that was root: not ours to write, but ours to remove.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::remove_file(&fresh).and_then(|()| open()),
        opened => opened,
    }?;
    file.write_all(bytes)?;
    if synced {
        file.sync_all()?;
    }
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(dir) if synced => sync_dir(dir),
        Some(_) | None => Ok(()),
    }
}

/// Writes a value as JSON, as [`write()`] does.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, &serde_json::to_vec_pretty(value)?)
}

/// Reads a JSON file; `None` when there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the lock of a file, made when there is none; `None` when another process holds it. Held until dropped.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a process holds the lock of this file. A file that is not there is not locked.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Creates a file exclusively and already locked: nobody ever sees it without its lock. `None` when it is there.
pub fn claim(path: &Path, bytes: &[u8]) -> io::Result<Option<File>> {
    let fresh = path.with_file_name(format!(".claim-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&fresh)?;
    file.write_all(bytes)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    file.sync_all()?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => {
            if let Some(dir) = path.parent() {
                sync_dir(dir)?;
            }
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_made_once_and_is_locked_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("started");
        assert!(!is_locked(&path).unwrap());
        let held = claim(&path, b"1").unwrap();
        assert!(held.is_some());
        assert!(is_locked(&path).unwrap());
        assert!(claim(&path, b"2").unwrap().is_none());
        drop(held);
        assert!(!is_locked(&path).unwrap());
        assert!(claim(&path, b"3").unwrap().is_none());
        assert_eq!(fs::read(&path).unwrap(), b"1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<u8>(&path).unwrap(), None);
        write_json(&path, &1).unwrap();
        write_json(&path, &2).unwrap();
        assert_eq!(read_json::<u8>(&path).unwrap(), Some(2));
    }
}
