//! Reads a checkout's commit without running git: `HEAD`, loose and packed refs, worktrees.
//!
//! Asked at every heartbeat, so it is a few small reads. Whatever it does not understand (another ref store, a
//! damaged repository) is `None`: absent, never wrong.

use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_protocol::Commit;

/// The repository's directory: `.git`, or what a worktree's `.git` file names.
fn git_dir(checkout: &Path) -> Option<PathBuf> {
    let path = checkout.join(".git");
    if path.is_dir() {
        return Some(path);
    }
    let text = fs::read_to_string(&path).ok()?;
    Some(checkout.join(text.strip_prefix("gitdir:")?.trim()))
}

/// Where refs that all worktrees share lie.
fn common_dir(git_dir: &Path) -> PathBuf {
    fs::read_to_string(git_dir.join("commondir")).map_or_else(|_| git_dir.to_owned(), |text| git_dir.join(text.trim()))
}

/// The commit that is checked out.
pub fn head(checkout: &Path) -> Option<Commit> {
    let git_dir = git_dir(checkout)?;
    let common = common_dir(&git_dir);
    let text = fs::read_to_string(git_dir.join("HEAD")).ok()?;
    followed(&git_dir, &common, text)
}

/// The commit that a ref names, by its full name.
pub fn commit_of(checkout: &Path, name: &str) -> Option<Commit> {
    let git_dir = git_dir(checkout)?;
    let common = common_dir(&git_dir);
    followed(&git_dir, &common, format!("ref: {name}"))
}

fn followed(git_dir: &Path, common: &Path, mut text: String) -> Option<Commit> {
    // A ref may name another ref; git itself stops after five.
    for _ in 0..5 {
        let Some(name) = text.trim().strip_prefix("ref:").map(str::trim) else {
            return text.trim().parse().ok();
        };
        if name.split('/').any(|part| part == "..") {
            return None;
        }
        text = fs::read_to_string(git_dir.join(name))
            .or_else(|_| fs::read_to_string(common.join(name)))
            .ok()
            .or_else(|| packed(common, name))?;
    }
    None
}

fn packed(common: &Path, name: &str) -> Option<String> {
    let refs = fs::read_to_string(common.join("packed-refs")).ok()?;
    refs.lines().find_map(|line| {
        let (commit, packed_name) = line.split_once(' ')?;
        (packed_name == name).then(|| commit.to_owned())
    })
}

/// Whether no branch is checked out.
pub fn is_detached(checkout: &Path) -> bool {
    git_dir(checkout)
        .and_then(|dir| fs::read_to_string(dir.join("HEAD")).ok())
        .is_some_and(|text| !text.starts_with("ref:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn git(dir: &Path, arguments: &[&str]) -> String {
        let run = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn the_commit_is_read_from_loose_and_packed_refs_and_worktrees() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "--quiet"]);
        assert_eq!(head(&repo), None);
        git(&repo, &["commit", "--quiet", "--allow-empty", "-m", "one"]);
        let commit: Commit = git(&repo, &["rev-parse", "HEAD"]).parse().unwrap();
        assert_eq!(head(&repo), Some(commit.clone()));
        git(&repo, &["pack-refs", "--all"]);
        assert_eq!(head(&repo), Some(commit.clone()));
        assert!(!is_detached(&repo));
        let tree = dir.path().join("tree");
        git(&repo, &["worktree", "add", "--quiet", tree.to_str().unwrap(), "-b", "side"]);
        assert_eq!(head(&tree), Some(commit.clone()));
        git(&repo, &["checkout", "--quiet", "--detach"]);
        assert_eq!(head(&repo), Some(commit));
        assert!(is_detached(&repo));
        assert_eq!(head(dir.path()), None);
    }
}
