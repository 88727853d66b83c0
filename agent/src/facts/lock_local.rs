//! Whether the checkout's `flake.lock` is another one than git has committed: `bump-flake` changed it here.
//!
//! git is asked by a task of its own, once for each commit and lock; until it has answered nothing is said.

use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use nixfleet_protocol::{Commit, LockHash};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::Instant;

use super::git;
use crate::config::machine::find;
use crate::ops::checkout;
use crate::record::HostSettings;

/// The lock's name in the checkout.
pub const LOCK: &str = "flake.lock";
/// How long git may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a question without an answer.
const AGAIN: Duration = Duration::from_mins(1);

/// What the answer depends on: the commit and the lock's hash.
type Case = (Commit, Option<LockHash>);

/// The answer, remembered as long as neither commit nor lock change.
#[derive(Debug, Default)]
pub struct LockLocal {
    asked: Option<(Case, Instant)>,
    answer: watch::Sender<Option<(Case, bool)>>,
}

impl LockLocal {
    /// Whether this lock is not the committed one; `None` until git has said so, and without a checkout.
    pub fn now(&mut self, host: &HostSettings, lock: Option<&LockHash>) -> Option<bool> {
        let case: Case = (git::head(&host.checkout)?, lock.cloned());
        if let Some((then, local)) = &*self.answer.borrow()
            && *then == case
        {
            return Some(*local);
        }
        let waits = self.asked.as_ref().is_some_and(|(asked, at)| *asked == case && at.elapsed() < AGAIN);
        if !waits {
            self.asked = Some((case.clone(), Instant::now()));
            let (answer, host) = (self.answer.clone(), host.clone());
            tokio::spawn(async move {
                if let Some(local) = ask(&host, &case.0).await {
                    answer.send_replace(Some((case, local)));
                }
            });
        }
        None
    }
}

/// Whether the checkout's lock is another one than its commit has. `None` when git can't say.
pub async fn of(host: &HostSettings) -> Option<bool> {
    ask(host, &git::head(&host.checkout)?).await
}

async fn ask(host: &HostSettings, commit: &Commit) -> Option<bool> {
    let program = find(host.environment.get("PATH").map_or("", String::as_str), "git")?;
    let listed = Command::new(program)
        .arg("-C")
        .arg(&host.checkout)
        .args(["ls-tree", commit.as_str(), "--", LOCK])
        .env_clear()
        .envs(&host.environment)
        .envs(checkout::git_environment(host))
        .kill_on_drop(true)
        .output();
    let listed = tokio::time::timeout(PATIENCE, listed).await.ok()?.ok()?;
    if !listed.status.success() {
        return None;
    }
    let committed = String::from_utf8_lossy(&listed.stdout).split_whitespace().nth(2).map(str::to_owned);
    let path = host.checkout.join(LOCK);
    match (committed, path.exists()) {
        (None, here) => Some(here),
        (Some(_), false) => Some(true),
        (Some(committed), true) => Some(blob(&path, committed.len())? != committed),
    }
}

/// The name that git gives to a file's bytes, in the hash of this length.
fn blob(path: &Path, length: usize) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let mut context = Context::new(if length == 64 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY });
    context.update(format!("blob {}\0", bytes.len()).as_bytes());
    context.update(&bytes);
    Some(HEXLOWER.encode(context.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests_support::settings;
    use nixfleet_protocol::agent::Platform;
    use std::fs;

    fn git(dir: &Path, arguments: &[&str]) {
        let run = std::process::Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    }

    #[tokio::test]
    async fn a_lock_is_local_when_git_has_another_one_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = HostSettings { checkout: dir.path().into(), ..settings(Platform::Nixos) };
        host.environment.insert("PATH".into(), std::env::var("PATH").unwrap());
        assert_eq!(of(&host).await, None, "no checkout");
        git(dir.path(), &["init", "--quiet"]);
        git(dir.path(), &["commit", "--quiet", "--allow-empty", "-m", "one"]);
        assert_eq!(of(&host).await, Some(false), "no lock anywhere");
        fs::write(dir.path().join(LOCK), "{}\n").unwrap();
        assert_eq!(of(&host).await, Some(true), "never committed");
        git(dir.path(), &["add", "-A"]);
        git(dir.path(), &["commit", "--quiet", "-m", "two"]);
        assert_eq!(of(&host).await, Some(false));
        fs::write(dir.path().join(LOCK), "{ }\n").unwrap();
        assert_eq!(of(&host).await, Some(true), "changed");
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert_eq!(of(&host).await, Some(true), "deleted");
    }

    #[tokio::test]
    async fn the_answer_comes_by_itself_and_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = HostSettings { checkout: dir.path().into(), ..settings(Platform::Nixos) };
        host.environment.insert("PATH".into(), std::env::var("PATH").unwrap());
        git(dir.path(), &["init", "--quiet"]);
        git(dir.path(), &["commit", "--quiet", "--allow-empty", "-m", "one"]);
        let mut local = LockLocal::default();
        let mut answers = local.answer.subscribe();
        assert_eq!(local.now(&host, None), None);
        answers.changed().await.unwrap();
        assert_eq!(local.now(&host, None), Some(false));
    }
}
