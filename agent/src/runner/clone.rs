//! What is done to our own clone by force, always under the lock and only where the mark is.

use std::fs;
use std::io;
use std::path::Path;

use crate::ops::checkout::MARK;

/// Empties a directory that holds a clone of ours. One without the mark is left alone.
pub fn remove_contents(dir: &Path) -> io::Result<()> {
    if !dir.join(".git").join(MARK).exists() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a clone of the agent: nothing was removed"));
    }
    // The mark goes last: if this is cut short, the rest is still known as ours.
    for found in fs::read_dir(dir)? {
        let path = found?.path();
        if path.file_name().is_some_and(|name| name == ".git") {
            continue;
        }
        remove(&path)?;
    }
    for found in fs::read_dir(dir.join(".git"))? {
        let path = found?.path();
        if path.file_name().is_some_and(|name| name == MARK) {
            continue;
        }
        remove(&path)?;
    }
    fs::remove_dir_all(dir.join(".git"))
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Removes `*.lock` files in a `.git` directory: its git is dead, as we hold the lock of the clone.
/// Returns how many there were.
pub fn remove_stale_locks(git_dir: &Path) -> io::Result<usize> {
    let mut removed = 0;
    let mut dirs = vec![git_dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for found in fs::read_dir(&dir)? {
            let found = found?;
            let kind = found.file_type()?;
            // Objects are many, and git has no locks there.
            if kind.is_dir() && found.file_name() != "objects" {
                dirs.push(found.path());
            } else if kind.is_file() && found.path().extension().is_some_and(|end| end == "lock") {
                fs::remove_file(found.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_clone_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join(".git/refs/heads")).unwrap();
        fs::create_dir_all(root.join("hosts")).unwrap();
        fs::write(root.join("hosts/a"), "").unwrap();
        for lock in [".git/index.lock", ".git/refs/heads/main.lock", "flake.lock"] {
            fs::write(root.join(lock), "").unwrap();
        }
        assert!(remove_contents(root).is_err());
        assert_eq!(remove_stale_locks(&root.join(".git")).unwrap(), 2);
        assert!(root.join("flake.lock").exists());
        fs::write(root.join(".git").join(MARK), "").unwrap();
        remove_contents(root).unwrap();
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    }
}
