//! A bare mirror of the configuration repository, the daemon's own. In `$NIXFLEET_DATA_DIR/mirror`:
//!
//! ```text
//! lock           held by whoever writes, and by each git that does; so what lies around under it is stale
//! gitconfig      all the configuration that git sees
//! known_hosts    host keys of ssh
//! repo.git       the mirror: all branches, no tags
//! ```
//!
//! A mirror that git can't read any more is made anew beside the old one's place: it holds nothing that the
//! remote does not have.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_model::remote::{Desired, Relation};
use nixfleet_protocol::{Commit, LockHash, Time};
use tokio::sync::Mutex;

use super::address::Address;
use super::folder::Folder;
use super::git::{Git, GitError, Limits};
use super::source::{Answer, Later, Related, Source, Unreadable};
use super::words;

#[cfg(test)]
mod tests;

/// What the mirror needs to know.
#[derive(Clone, Debug)]
pub struct MirrorSettings {
    /// What is mirrored.
    pub address: Address,
    /// The tracked branch.
    pub branch: String,
    /// Where the mirror lies; made when it is not there.
    pub folder: PathBuf,
    /// The key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// The program `git`.
    pub program: PathBuf,
    /// How long a fetch may be silent before it counts as hanging.
    pub silence: Duration,
}

impl MirrorSettings {
    /// With what is usual for the rest.
    pub fn new(address: Address, branch: impl Into<String>, folder: PathBuf) -> Self {
        Self {
            address,
            branch: branch.into(),
            folder,
            ssh_key: None,
            program: PathBuf::from("git"),
            silence: Duration::from_secs(20),
        }
    }
}

/// A fetch that moves on may take this long: the first one of a large repository over a thin line.
const LONGEST_FETCH: Duration = Duration::from_mins(10);
/// So many fetches that brought something, and the mirror is tidied.
const TIDY_AFTER: u32 = 50;
/// Subjects and names of authors are cut here.
const LONGEST_TEXT: usize = 200;

/// The mirror of one remote.
pub struct Mirror {
    settings: MirrorSettings,
    folder: Folder,
    git: Git,
    /// What was read last. Held while the mirror is written, too: one writer in this process.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// All branches, as git lists them.
    refs: String,
    answer: Option<Answer>,
    moves: u32,
}

/// Why a reading gave nothing; told apart because some of it is cured by a new mirror.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Fetch(GitError),
    #[error("the mirror can't be read: {0}")]
    Mirror(GitError),
    #[error("{0}")]
    Sentence(String),
    #[error("the folder {} can't be used: {source}", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
}

impl Trouble {
    fn tells_of_a_broken_mirror(&self) -> bool {
        match self {
            Self::Mirror(GitError::Failed { .. }) => true,
            Self::Fetch(GitError::Failed { words, .. }) => words::mirror_is_broken(words),
            Self::Mirror(_) | Self::Fetch(_) | Self::Sentence(_) | Self::Folder { .. } => false,
        }
    }
}

impl Mirror {
    /// A mirror of the address; nothing is done yet.
    pub fn new(settings: MirrorSettings) -> Self {
        let folder = Folder::new(settings.folder.clone());
        let git = Git::new(
            settings.program.clone(),
            &settings.address.settings(),
            &folder.config(),
            &folder.known_hosts(),
            settings.ssh_key.as_deref(),
        );
        Self { settings, folder, git, last: Mutex::new(Last::default()) }
    }

    async fn read_now(&self, interest: &[Commit]) -> Result<Answer, Trouble> {
        let mut last = self.last.lock().await;
        let lock = self.on_disk(Folder::take).await?;
        match self.fetch_and_look(&lock, &mut last, interest).await {
            Err(trouble) if trouble.tells_of_a_broken_mirror() => {
                tracing::warn!(%trouble, "the mirror is broken and made anew");
                *last = Last::default();
                self.on_disk(Folder::discard).await?;
                self.fetch_and_look(&lock, &mut last, interest).await
            }
            outcome => outcome,
        }
    }

    async fn fetch_and_look(&self, lock: &File, last: &mut Last, interest: &[Commit]) -> Result<Answer, Trouble> {
        self.ensure_repository(lock).await?;
        let fetch = [
            "fetch",
            "--prune",
            "--no-tags",
            "--force",
            "--progress",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--",
            self.settings.address.location(),
            "+refs/heads/*:refs/heads/*",
        ];
        let limits = Limits { silence: self.settings.silence, total: LONGEST_FETCH };
        self.write(&fetch, limits, lock).await.map_err(Trouble::Fetch)?;
        let refs = self.list(&["for-each-ref", "--format=%(objectname) %(refname:strip=2)", "refs/heads"]).await?;
        let head = self.head_of(&refs)?;
        if last.refs != refs {
            // A branch moved: what was unknown may be known now.
            if !last.refs.is_empty() {
                last.moves += 1;
            }
            last.refs = refs;
            let known = last.answer.take().filter(|answer| answer.desired.commit == head);
            let desired = match known {
                Some(answer) => answer.desired,
                None => self.desired(&head).await?,
            };
            last.answer = Some(Answer { desired, relations: BTreeMap::new() });
        }
        let Some(answer) = last.answer.as_mut() else {
            return Err(Trouble::Sentence("the mirror lost its head".to_owned()));
        };
        answer.relations.retain(|commit, _| interest.contains(commit));
        for commit in interest {
            if !answer.relations.contains_key(commit) {
                let relation = self.relation(&head, commit).await?.unwrap_or(Relation::Foreign);
                answer.relations.insert(commit.clone(), relation);
            }
        }
        let answer = answer.clone();
        if last.moves >= TIDY_AFTER {
            last.moves = 0;
            let limits = Limits { silence: Duration::from_mins(1), total: Duration::from_mins(1) };
            if let Err(error) = self.write(&["gc", "--auto", "--quiet"], limits, lock).await {
                tracing::warn!(%error, "the mirror could not be tidied");
            }
        }
        Ok(answer)
    }

    async fn ensure_repository(&self, lock: &File) -> Result<(), Trouble> {
        if self.folder.repository().join("HEAD").exists() {
            return Ok(());
        }
        self.on_disk(Folder::discard).await?;
        let fresh = self.folder.fresh();
        let arguments = ["init", "--bare", "--quiet", "--template="].map(OsStr::new);
        let arguments = [&arguments[..], &[fresh.as_os_str()]].concat();
        let hold = lock.try_clone().ok();
        self.git.run(self.folder.path(), &arguments, Limits::LOCAL, hold).await.map_err(Trouble::Mirror)?;
        self.on_disk(Folder::settle).await
    }

    /// The tracked branch in the list of all, or a sentence why it is not there.
    fn head_of(&self, refs: &str) -> Result<Commit, Trouble> {
        let branch = &self.settings.branch;
        let location = self.settings.address.location();
        let branches: Vec<(&str, &str)> = refs.lines().filter_map(|line| line.split_once(' ')).collect();
        if let Some((commit, _)) = branches.iter().find(|(_, name)| name == branch) {
            return commit.parse().map_err(|error| Trouble::Sentence(format!("git named a strange commit: {error}")));
        }
        Err(Trouble::Sentence(if branches.is_empty() {
            format!("{location} is empty: push a first commit to its branch {branch}")
        } else {
            let names: Vec<&str> = branches.iter().take(10).map(|(_, name)| *name).collect();
            format!("{location} has no branch {branch}; it has {}. Check NIXFLEET_BRANCH", names.join(", "))
        }))
    }

    async fn desired(&self, head: &Commit) -> Result<Desired, Trouble> {
        let said = self.list(&["log", "-1", "--no-color", "--format=%ct%n%an%n%s", head.as_str(), "--"]).await?;
        let mut lines = said.lines();
        let seconds: i64 = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or_default();
        let mut text = || lines.next().unwrap_or_default().chars().take(LONGEST_TEXT).collect::<String>();
        let (author, subject) = (text(), text());
        let committed_at = Time::from_millis(seconds.saturating_mul(1000));
        Ok(Desired { commit: head.clone(), subject, author, committed_at, lock_hash: self.lock_hash(head).await? })
    }

    async fn lock_hash(&self, head: &Commit) -> Result<Option<LockHash>, Trouble> {
        // "100644 blob <id>\tflake.lock", or nothing.
        let entry = self.list(&["ls-tree", head.as_str(), "--", "flake.lock"]).await?;
        let mut words = entry.split_whitespace();
        let (Some(_mode), Some("blob"), Some(blob)) = (words.next(), words.next(), words.next()) else {
            return Ok(None);
        };
        let content = self.look(&["cat-file", "blob", blob]).await.map_err(Trouble::Mirror)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &content);
        Ok(data_encoding::HEXLOWER.encode(digest.as_ref()).parse().ok())
    }

    /// How a commit stands to the head; none: it is not in the mirror, or its abbreviation fits several.
    async fn relation(&self, head: &Commit, commit: &Commit) -> Result<Option<Relation>, Trouble> {
        if commit.is(head) {
            return Ok(Some(Relation::Equal));
        }
        let name = format!("{commit}^{{commit}}");
        let full = match self.list(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name]).await {
            Ok(full) => full,
            Err(Trouble::Mirror(GitError::Failed { .. })) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let range = format!("{}...{head}", full.lines().last().unwrap_or_default().trim());
        let counts = self.list(&["rev-list", "--count", "--left-right", &range, "--"]).await?;
        let mut counts = counts.split_whitespace().map(|count| count.parse().unwrap_or(u32::MAX));
        Ok(Some(match (counts.next().unwrap_or(0), counts.next().unwrap_or(0)) {
            (0, 0) => Relation::Equal,
            (0, behind) => Relation::Behind(behind),
            (ahead, 0) => Relation::Ahead(ahead),
            (ahead, behind) => Relation::Diverged { ahead, behind },
        }))
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let folder = self.folder.clone();
        let outcome = tokio::task::spawn_blocking(move || work(&folder))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the work on the mirror's folder was cut off")));
        outcome.map_err(|source| Trouble::Folder { folder: self.folder.path().to_owned(), source })
    }

    /// A call that writes: it holds the lock, so that it has it even when we are gone.
    async fn write(&self, arguments: &[&str], limits: Limits, lock: &File) -> Result<Vec<u8>, GitError> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        self.git.run(&self.folder.repository(), &arguments, limits, lock.try_clone().ok()).await
    }

    /// A call that only reads.
    async fn look(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        self.git.run(&self.folder.repository(), &arguments, Limits::LOCAL, None).await
    }

    async fn list(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let output = self.look(arguments).await.map_err(Trouble::Mirror)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn told(&self, trouble: &Trouble) -> Unreadable {
        let location = self.settings.address.location();
        let sentence = match trouble {
            Trouble::Fetch(GitError::Failed { words, .. }) => words::sentence(location, words),
            Trouble::Fetch(GitError::Overrun { .. }) => format!("{location} does not answer ({trouble})"),
            Trouble::Fetch(error @ GitError::Start { program, source }) => {
                format!(
                    "{error}: {source}; install git, or name it for the dashboard (looked for {})",
                    program.display()
                )
            }
            Trouble::Fetch(_) | Trouble::Mirror(_) | Trouble::Sentence(_) | Trouble::Folder { .. } => {
                trouble.to_string()
            }
        };
        Unreadable(self.settings.address.scrubbed(&sentence))
    }
}

impl Source for Mirror {
    fn read(&self, interest: Vec<Commit>) -> Later<'_, Result<Answer, Unreadable>> {
        Box::pin(async move { self.read_now(&interest).await.map_err(|trouble| self.told(&trouble)) })
    }

    fn relate(&self, head: Commit, commits: Vec<Commit>) -> Later<'_, Related> {
        Box::pin(async move {
            let mut related = Related::default();
            for commit in commits {
                match self.relation(&head, &commit).await {
                    Ok(Some(relation)) => {
                        related.relations.insert(commit, relation);
                    }
                    Ok(None) | Err(_) => related.unknown.push(commit),
                }
            }
            related
        })
    }
}

/// Where the mirror of a data directory lies.
pub fn folder_in(data: &Path) -> PathBuf {
    data.join("mirror")
}
