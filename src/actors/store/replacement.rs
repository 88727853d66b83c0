//! Something new takes the place of what is in the data directory: a compacted store, or a restored one with its
//! logs. Crash-safe at every point: at the next start either the old or the new is whole and in place.
//!
//! ```text
//! next/              made first; what is in here without `ready` is thrown away at the next start
//!    store/  logs/   what takes the place of their namesakes
//!    ready           written and synced last: from here on it goes forward, at the next start if not now
//! for each:   store → where the old goes,  next/store → store        each step can be done again
//! then:       next/ is removed
//! ```
//!
//! The old goes into `next/old/`, and away with it; or, where `ready` says so, into a folder that is kept.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What can be replaced.
const ITEMS: [&str; 2] = ["store", "logs"];

/// What `ready` says.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    /// Name of the folder that keeps the old.
    keep: Option<String>,
}

fn next(data: &Path) -> PathBuf {
    data.join("next")
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes an empty `next/`. What an interrupted attempt left is gone.
pub(super) fn begin(data: &Path) -> io::Result<PathBuf> {
    let next = next(data);
    if next.exists() {
        fs::remove_dir_all(&next)?;
    }
    folder(&next)?;
    Ok(next)
}

/// Throws away what was begun.
pub(super) fn give_up(data: &Path) -> io::Result<()> {
    let next = next(data);
    if next.exists() { fs::remove_dir_all(next) } else { Ok(()) }
}

/// Says that `next/` is whole. All that is in it must be synced before.
pub(super) fn ready(data: &Path, keep: Option<String>) -> io::Result<()> {
    let next = next(data);
    let (path, aside) = (next.join("ready"), next.join("ready.new"));
    fs::write(&aside, serde_json::to_vec(&Ready { keep })?)?;
    File::open(&aside)?.sync_all()?;
    sync(&next)?;
    sync(data)?;
    step("made");
    fs::rename(&aside, &path)?;
    sync(&next)?;
    step("ready");
    Ok(())
}

/// Finishes a replacement that is ready, and throws away one that is not. To be called before anything is opened.
pub(super) fn settle(data: &Path) -> io::Result<()> {
    let next = next(data);
    let ready = match fs::read(next.join("ready")) {
        Ok(bytes) => serde_json::from_slice::<Ready>(&bytes)?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return give_up(data);
        }
        Err(error) => return Err(error),
    };
    let old = ready.keep.map_or_else(|| next.join("old"), |name| data.join(name));
    folder(&old)?;
    for item in ITEMS.into_iter().filter(|item| next.join(item).exists()) {
        if data.join(item).exists() {
            fs::rename(data.join(item), old.join(item))?;
            for dir in [data, &old] {
                sync(dir)?;
            }
            step("moved");
        }
        fs::rename(next.join(item), data.join(item))?;
        for dir in [data, &next] {
            sync(dir)?;
        }
        step("placed");
    }
    tracing::info!(data = %data.display(), "what was made is in its place");
    // In one step out of the way: half of it, found at the next start, must not look like one that is ready.
    fs::remove_file(next.join("ready"))?;
    sync(&next)?;
    step("done");
    fs::remove_dir_all(&next)?;
    sync(data)
}

#[cfg(not(test))]
pub(super) fn step(_: &str) {}

/// A test that ends the process at a step names it in this variable.
#[cfg(test)]
pub(super) fn step(name: &str) {
    if std::env::var_os("NIXFLEET_TEST_DIE_REPLACING").is_some_and(|told| told == name) {
        std::process::abort();
    }
}
