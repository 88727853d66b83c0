//! The mirror's folder on disk: its lock, its configuration, and what was left behind by a git that died.
//! All of it blocks; the mirror calls it off the runtime's threads.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the lock is waited for: a git of a daemon that was killed ends within its own limits.
const PATIENCE: Duration = Duration::from_secs(5);

/// All the configuration that git sees. Tidying is done by the mirror, never in the background, and keeps
/// what was overwritten in the remote: a host may still have it.
const CONFIG: &str = "\
[safe]\n\tdirectory = *\n\
[init]\n\tdefaultBranch = main\n\
[maintenance]\n\tauto = false\n\
[gc]\n\tautoDetach = false\n\tpruneExpire = never\n\
[transfer]\n\tfsckObjects = false\n\
[http]\n\tlowSpeedLimit = 1\n\tlowSpeedTime = 20\n";

#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.path.join("repo.git")
    }

    /// Where a new mirror is made before it takes its place.
    pub(super) fn fresh(&self) -> PathBuf {
        self.path.join("fresh.git")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path.join("gitconfig")
    }

    pub(super) fn known_hosts(&self) -> PathBuf {
        self.path.join("known_hosts")
    }

    /// Makes the folder where it is missing, takes its lock, and removes what is stale under it.
    pub(super) fn take(&self) -> io::Result<File> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let lock = self.locked()?;
        if fs::read(self.config()).ok().as_deref() != Some(CONFIG.as_bytes()) {
            fs::write(self.config(), CONFIG)?;
        }
        self.remove_stale();
        Ok(lock)
    }

    fn locked(&self) -> io::Result<File> {
        let path = self.path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds its lock"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Lock files and half packs: nobody works here but us, so whose they were is dead.
    fn remove_stale(&self) {
        let repository = self.repository();
        remove_where(&repository, 0, &is_lock);
        remove_where(&repository.join("refs"), 8, &is_lock);
        remove_where(&repository.join("objects"), 1, &|name| {
            is_lock(name) || name.starts_with("tmp_pack_") || name.starts_with("tmp_idx_")
        });
        remove_where(&repository, 0, &|name| name == "gc.pid");
    }

    /// Removes the mirror, whatever stands in its place.
    pub(super) fn discard(&self) -> io::Result<()> {
        remove(&self.repository())?;
        remove(&self.fresh())
    }

    /// Puts the new mirror in its place.
    pub(super) fn settle(&self) -> io::Result<()> {
        fs::rename(self.fresh(), self.repository())
    }
}

fn is_lock(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "lock")
}

fn remove(path: &Path) -> io::Result<()> {
    let outcome = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn remove_where(folder: &Path, depth: u32, stale: &dyn Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth > 0 {
            remove_where(&path, depth - 1, stale);
        } else if !is_folder && entry.file_name().to_str().is_some_and(stale) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed what a dead git left behind"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a stale file can't be removed"),
            }
        }
    }
}
