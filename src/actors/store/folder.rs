//! The data directory: who may use it, who holds it, how much room is left, and what must reach the disk
//! besides the records.
//!
//! ```text
//! $NIXFLEET_DATA_DIR/         0700
//!    lock                     held by the daemon that runs (flock)
//!    store/                   0700: sled's; files 0600
//!       witness               how far the store has come, for the day when sled forgets: see `witness.rs`
//!       db  conf  snap.*      the log that is also the data, its settings, where to begin reading it
//!       blobs/                stays empty: sled does not sync what it puts there
//!    logs/<host>/             the output of commands
//!    next/                    what is about to take the place of the above: see `replacement.rs`
//! ```

use std::any::Any;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::replacement;
use super::trees::Trees;

/// How long the one before may take to let go: a store's actor that died in this process, or a daemon that stops.
const LET_GO: Duration = Duration::from_secs(3);
/// More helps nothing that was measured; the default of sled is 1 GiB.
const CACHE: u64 = 8 * 1024 * 1024;

/// Why the data directory can't be used. Names it, and says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum CantUse {
    /// No rights, or mounted read-only.
    #[error(
        "can't write in the data directory {}: {source}; give it to the user that NixFleet runs as, \
         or name another one in NIXFLEET_DATA_DIR", dir.display()
    )]
    NotWritable { dir: PathBuf, source: io::Error },
    /// It is something else, or lies in something else.
    #[error("the data directory {} is no directory: {source}; name a directory in NIXFLEET_DATA_DIR", dir.display())]
    NoFolder { dir: PathBuf, source: io::Error },
    /// sled gave up in the middle of opening.
    #[error(
        "the store in {} is damaged beyond what can be read ({what}); nothing was changed by us:          restore a backup (`nixfleet restore`)", dir.display()
    )]
    Broken { dir: PathBuf, what: String },
    /// Somebody else has it.
    #[error(
        "the data directory {} is in use by another NixFleet{holder}; stop that one first, \
         or name another directory in NIXFLEET_DATA_DIR", dir.display()
    )]
    Held { dir: PathBuf, holder: String },
    /// sled can't open it.
    #[error("can't open the store in {}: {source}", dir.display())]
    Sled { dir: PathBuf, source: sled::Error },
    /// Anything else.
    #[error("can't use the data directory {}: {source}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

/// The data directory, held for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    data: PathBuf,
    store: PathBuf,
    /// The lock is the open file.
    _lock: File,
}

impl Folder {
    /// Makes what is missing and takes the lock. Waits a little for one who is about to let go.
    pub(super) fn take(data: &Path) -> Result<Self, CantUse> {
        let refused = |source: io::Error| {
            let dir = data.to_owned();
            if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
                CantUse::NotWritable { dir, source }
            } else if matches!(source.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists) {
                CantUse::NoFolder { dir, source }
            } else {
                CantUse::Io { dir, source }
            }
        };
        let store = data.join("store");
        DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(refused)?;
        let lock = lock(data, refused)?;
        replacement::settle(data).map_err(refused)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&store).map_err(refused)?;
        for dir in [data, &store] {
            if let Err(error) = only_ours(dir, 0o700) {
                tracing::warn!(dir = %dir.display(), %error, "can't take the rights of others from the directory");
            }
        }
        Ok(Self { data: data.to_owned(), store, _lock: lock })
    }

    /// Opens sled, and makes sure that a power cut does not lose what was just made.
    pub(super) fn open(&self) -> Result<Open, CantUse> {
        let dir = || self.data.clone();
        replacement::settle(&self.data).map_err(|source| CantUse::Io { dir: dir(), source })?;
        let trees = match open_sled(&self.store) {
            Ok(Ok(trees)) => trees,
            Ok(Err(source)) => return Err(CantUse::Sled { dir: dir(), source }),
            Err(what) => return Err(CantUse::Broken { dir: dir(), what }),
        };
        let file = self.settle().map_err(|source| CantUse::Io { dir: dir(), source })?;
        Ok(Open { trees, file })
    }

    /// Files 0600, and everything on disk, the entries of the directories included. Gives sled's file.
    fn settle(&self) -> io::Result<File> {
        for entry in fs::read_dir(&self.store)? {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            only_ours(&entry.path(), if is_dir { 0o700 } else { 0o600 })?;
            File::open(entry.path())?.sync_all()?;
        }
        File::open(&self.store)?.sync_all()?;
        File::open(&self.data)?.sync_all()?;
        File::open(self.store.join("db"))
    }

    /// Bytes that may still be written.
    pub(super) fn room(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.store)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Bytes that the store takes on the disk.
    pub(super) fn size(store: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(store) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
    }

    /// Whether a test left a file of this name.
    #[cfg(test)]
    pub(super) fn told(&self, name: &str) -> bool {
        self.data.join(name).exists()
    }

    /// The data directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// A file without a name, for what is needed for a while; its room is given back when it is closed.
    pub(super) fn scratch(&self) -> io::Result<File> {
        let path = self.data.join("scratch");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Where sled lies.
    pub(super) fn store(&self) -> &Path {
        &self.store
    }
}

/// An open store.
pub(super) struct Open {
    /// sled.
    pub(super) trees: Trees,
    /// sled's file, for the `fdatasync` that sled's own flush lacks.
    pub(super) file: File,
}

fn lock(data: &Path, refused: impl Fn(io::Error) -> CantUse) -> Result<File, CantUse> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data.join("lock"))
        .map_err(&refused)?;
    let begun = Instant::now();
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(refused(error.into()));
        }
        if begun.elapsed() > LET_GO {
            let mut holder = String::new();
            // Who it is is a comfort, not a need.
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut holder);
            let holder = holder.trim().parse::<u32>().map(|pid| format!(" (process {pid})")).unwrap_or_default();
            return Err(CantUse::Held { dir: data.to_owned(), holder });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let name = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    // On a full disk the lock has no name in it, and holds all the same.
    let _ = { name }();
    Ok(file)
}

/// sled writes a snapshot while it opens, under a name of its own until it is whole. It means to pass such a name over
/// when it opens next, and does not: what a kill or a full disk left half-made would be read, and called corrupt. The
/// snapshot before is still there, and the log behind it.
fn remove_unfinished_snapshots(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            tracing::info!(file = %path.display(), "an unfinished snapshot is removed");
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens sled. Some damage makes it panic: that is an answer too, and the outer error.
pub(super) fn open_sled(dir: &Path) -> Result<sled::Result<Trees>, String> {
    catch_unwind(|| try_open(dir)).map_err(|panic| said(&*panic))
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

fn try_open(dir: &Path) -> sled::Result<Trees> {
    remove_unfinished_snapshots(dir)?;
    let config = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None);
    let begun = Instant::now();
    loop {
        match config.open().and_then(Trees::over) {
            // Our own lock is held, so whoever still has sled's file is the one before, about to let go.
            Err(sled::Error::Io(error)) if is_locked(&error) && begun.elapsed() < LET_GO => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn is_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

pub(super) fn only_ours(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}
