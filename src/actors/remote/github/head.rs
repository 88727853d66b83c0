//! The head of the tracked branch, and how commits stand to it.
//!
//! A poll where nothing moved is one question with an `ETag`, which GitHub does not count.

use std::collections::BTreeMap;

use hyper::StatusCode;
use nixfleet_model::remote::{Desired, Relation};
use nixfleet_protocol::{Commit, LockHash, Time};
use serde::Deserialize;

use super::Github;
use super::api::Trouble;
use crate::actors::remote::source::{Answer, Related};

/// So many commits are compared in one poll; the others come with the next ones.
const COMPARED: usize = 20;
/// Subjects and names of authors are cut here.
const LONGEST_TEXT: usize = 200;

/// What is known of the head.
#[derive(Default)]
pub(super) struct Head {
    desired: Option<Desired>,
    /// How commits stand to it.
    relations: BTreeMap<Commit, Relation>,
}

#[derive(Deserialize)]
struct Reference {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    sha: String,
}

/// A commit, as `/git/commits` tells it.
#[derive(Deserialize)]
pub(super) struct GitCommit {
    pub(super) sha: String,
    pub(super) message: String,
    author: Who,
    pub(super) committer: Who,
    pub(super) tree: Tree,
    pub(super) parents: Vec<Tree>,
}

#[derive(Deserialize)]
pub(super) struct Who {
    #[serde(default)]
    name: String,
    pub(super) date: String,
}

/// Anything that has a name in git.
#[derive(Deserialize)]
pub(super) struct Tree {
    pub(super) sha: String,
}

#[derive(Deserialize)]
struct Comparison {
    status: String,
    #[serde(default)]
    ahead_by: u32,
    #[serde(default)]
    behind_by: u32,
}

impl Github {
    pub(super) async fn read_head(&self, interest: &[Commit]) -> Result<Answer, Trouble> {
        let mut head = self.head.lock().await;
        let commit = self.tip().await?;
        let desired = if let Some(same) = head.desired.take().filter(|before| before.commit == commit) {
            same
        } else {
            head.relations.clear();
            self.desired(&commit).await?
        };
        head.desired = Some(desired.clone());
        head.relations.retain(|known, _| interest.contains(known));
        let mut left = COMPARED;
        let mut relations = BTreeMap::new();
        for other in interest {
            let relation = match head.relations.get(other) {
                Some(known) => *known,
                None if other.is(&commit) => Relation::Equal,
                None if left == 0 => Relation::Differs,
                None => {
                    left -= 1;
                    match self.compare(&commit, other).await {
                        Ok(relation) => {
                            head.relations.insert(other.clone(), relation);
                            relation
                        }
                        // The head is what matters; how others stand to it can wait.
                        Err(trouble) => {
                            tracing::debug!(%trouble, commit = %other, "could not be compared");
                            left = 0;
                            Relation::Differs
                        }
                    }
                }
            };
            relations.insert(other.clone(), relation);
        }
        Ok(Answer { desired, relations })
    }

    pub(super) fn related(&self, head: &Commit, commits: Vec<Commit>) -> Related {
        let mut related = Related::default();
        // While the head is being read, that reading will tell.
        let Ok(known) = self.head.try_lock() else { return related };
        let same = known.desired.as_ref().is_some_and(|desired| desired.commit == *head);
        for commit in commits {
            match known.relations.get(&commit).filter(|_| same) {
                Some(relation) => {
                    related.relations.insert(commit, *relation);
                }
                None => related.unknown.push(commit),
            }
        }
        related
    }

    /// The commit that the tracked branch is at.
    pub(super) async fn tip(&self) -> Result<Commit, Trouble> {
        let path = format!("/git/ref/heads/{}", encoded(&self.branch));
        match self.api.json::<Reference>(&path).await {
            Ok(reference) => commit(&reference.object.sha),
            Err(trouble) if trouble.is(StatusCode::NOT_FOUND) => Err(self.why_not_there(trouble).await),
            Err(trouble) if trouble.is(StatusCode::CONFLICT) => Err(Trouble::Sentence(format!(
                "{} is empty: push a first commit to its branch {}",
                self.api.repository(),
                self.branch
            ))),
            Err(trouble) => Err(trouble),
        }
    }

    /// No such branch, or no such repository.
    async fn why_not_there(&self, not_found: Trouble) -> Trouble {
        match self.api.json::<serde::de::IgnoredAny>("").await {
            Ok(_) => Trouble::Sentence(format!(
                "{} has no branch {}. Check NIXFLEET_BRANCH",
                self.api.repository(),
                self.branch
            )),
            Err(trouble) if trouble.is(StatusCode::NOT_FOUND) => not_found,
            Err(trouble) => trouble,
        }
    }

    pub(super) async fn commit(&self, name: &str) -> Result<GitCommit, Trouble> {
        self.api.json(&format!("/git/commits/{name}")).await
    }

    async fn desired(&self, head: &Commit) -> Result<Desired, Trouble> {
        let said = self.commit(head.as_str()).await?;
        let cut = |text: &str| text.chars().take(LONGEST_TEXT).collect::<String>();
        let lock = self.api.file("flake.lock", head.as_str()).await?;
        Ok(Desired {
            commit: head.clone(),
            subject: cut(said.message.lines().next().unwrap_or_default()),
            author: cut(&said.author.name),
            committed_at: said.committer.date.parse().unwrap_or_default(),
            lock_hash: lock.as_deref().and_then(hash),
        })
    }

    /// How a commit stands to another one that the remote has.
    pub(super) async fn compare(&self, head: &Commit, other: &Commit) -> Result<Relation, Trouble> {
        let address = self.api.address(&format!("/compare/{head}...{other}?per_page=1"));
        let said: Comparison = match self.api.get(&address).await {
            Ok(got) => serde_json::from_slice(&got.body)
                .map_err(|error| Trouble::Strange(format!("GitHub's answer is strange: {error}")))?,
            Err(trouble) if trouble.is(StatusCode::NOT_FOUND) => return Ok(Relation::Foreign),
            Err(trouble) => return Err(trouble),
        };
        // "ahead": the other one has what the head lacks.
        Ok(match said.status.as_str() {
            "identical" => Relation::Equal,
            "ahead" => Relation::Ahead(said.ahead_by),
            "behind" => Relation::Behind(said.behind_by),
            "diverged" => Relation::Diverged { ahead: said.ahead_by, behind: said.behind_by },
            _ => Relation::Differs,
        })
    }

    /// Whether a commit is part of the tracked branch.
    pub(super) async fn is_on_branch(&self, tip: &Commit, commit: &Commit) -> Result<bool, Trouble> {
        Ok(matches!(self.compare(tip, commit).await?, Relation::Equal | Relation::Behind(_)))
    }
}

pub(super) fn commit(text: &str) -> Result<Commit, Trouble> {
    text.parse().map_err(|error| Trouble::Strange(format!("GitHub named a strange commit: {error}")))
}

fn hash(content: &[u8]) -> Option<LockHash> {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    data_encoding::HEXLOWER.encode(digest.as_ref()).parse().ok()
}

/// A branch's name in a path; its slashes stay.
pub(super) fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    out
}

/// A moment a second later, as GitHub writes it.
pub(super) fn a_second_after(date: &str) -> String {
    let time: Time = date.parse().unwrap_or_default();
    Time::from_millis(time.millis() + 1000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_written_into_a_path() {
        for (name, path) in [("main", "main"), ("a/b", "a/b"), ("a%b#c", "a%25b%23c"), ("ü", "%C3%BC")] {
            assert_eq!(encoded(name), path);
        }
    }
}
