//! SHA-256 of files, read in pieces; of `flake.lock`, remembered as long as the file does not change.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nixfleet_protocol::LockHash;
use ring::digest::{Context, SHA256};

/// The hash of a file.
pub fn sha256(path: &Path) -> io::Result<LockHash> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut block = [0_u8; 16 * 1024];
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            break;
        }
        context.update(&block[..count]);
    }
    data_encoding::HEXLOWER.encode(context.finish().as_ref()).parse().map_err(io::Error::other)
}

/// What tells one version of a file from another without reading it.
type Stamp = (u64, u64, i64, i64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

/// The hash of a file that is asked for again and again.
#[derive(Debug, Default)]
pub struct RememberedHash {
    last: Option<(Stamp, LockHash)>,
}

impl RememberedHash {
    /// The hash, or `None` when there is no such file.
    pub fn of(&mut self, path: &Path) -> Option<LockHash> {
        let now = stamp(path)?;
        if let Some((then, hash)) = &self.last
            && *then == now
        {
            return Some(hash.clone());
        }
        let hash = sha256(path).ok()?;
        self.last = Some((now, hash.clone()));
        Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_file_as_it_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flake.lock");
        let mut hash = RememberedHash::default();
        assert_eq!(hash.of(&path), None);
        fs::write(&path, "").unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash.of(&path).unwrap().as_str(), empty);
        fs::write(&path, "{}").unwrap();
        assert_ne!(hash.of(&path).unwrap().as_str(), empty);
    }
}
