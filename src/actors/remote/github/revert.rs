//! `revert-pr`: REST has no revert, and git's objects are enough to make one (`docs/adr/0008`).
//!
//! ```text
//!   P ──── M ──── …later… ──── H ──── R      R: merge of H and C, made by GitHub
//!           └─── C ───────────────────┘      C: the tree of P on top of M, which undoes M and nothing else
//! ```
//!
//! Where nothing came after the merge, the branch goes forward to C itself. C is made with the times of M, so that it
//! is the same commit whoever makes it again; a revert that goes on after a crash finds it on the branch.

use hyper::{Method, StatusCode};
use nixfleet_model::remote::code::Code;
use nixfleet_model::remote::refusals::{Change, is_protected};
use nixfleet_model::remote::wish::Revert;
use nixfleet_protocol::Commit;
use serde_json::json;

use super::Github;
use super::api::Trouble;
use super::head::{a_second_after, commit, encoded};
use super::merge::no;
use super::pulls::Pull;
use crate::actors::remote::forge::{NotDone, Reverted};

/// Why a revert did not come to an end.
enum Stop {
    Trouble(Trouble),
    NotDone(NotDone),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Github {
    pub(super) async fn revert_now(&self, wish: Revert) -> Result<Reverted, NotDone> {
        let what = format!("#{} \"{}\"", wish.number, wish.title);
        match self.revert_it(&wish).await {
            Ok(reverted) => Ok(reverted),
            Err(Stop::NotDone(not_done)) => Err(not_done),
            Err(Stop::Trouble(trouble)) => Err(trouble.not_done(Change::Revert, &what, &self.branch)),
        }
    }

    async fn revert_it(&self, wish: &Revert) -> Result<Reverted, Stop> {
        let tip = self.tip().await?;
        if !self.is_on_branch(&tip, &wish.commit).await? {
            let message = format!("#{} is not on {} any more: there is nothing to revert", wish.number, self.branch);
            return Err(Stop::NotDone(no(Code::NothingToRevert, message)));
        }
        if let Some(pull) = self.own_pull(wish).await? {
            return Ok(match pull.merge_commit_sha.as_deref().filter(|_| pull.merged_at.is_some()) {
                Some(made) => Reverted::OnBranch(commit(made)?),
                None => Reverted::Waits { number: pull.number, url: pull.html_url },
            });
        }
        let undo = self.undo(wish).await?;
        if self.is_on_branch(&tip, &undo).await? {
            return Ok(Reverted::OnBranch(undo));
        }
        match self.put_on_branch(wish, &tip, &undo).await {
            Err(Trouble::Status { words, .. }) if is_protected(&words) => Ok(self.open_pull(wish, &undo).await?),
            outcome => Ok(Reverted::OnBranch(outcome?)),
        }
    }

    /// The commit that undoes the merge, on top of it. It is there for whoever knows its name, and on no branch.
    async fn undo(&self, wish: &Revert) -> Result<Commit, Stop> {
        let merge = self.commit(wish.commit.as_str()).await?;
        let Some(before) = merge.parents.first() else {
            let message = format!("{} has nothing before it to go back to", wish.commit.short());
            return Err(Stop::NotDone(no(Code::NothingToRevert, message)));
        };
        let before = self.commit(&before.sha).await?;
        let when = a_second_after(&merge.committer.date);
        let who = json!({ "name": "NixFleet", "email": "nixfleet@users.noreply.github.com", "date": when });
        let message = format!("{}\n\nThis reverts commit {} (#{}).\n", title(wish), merge.sha, wish.number);
        let made = json!({
            "message": message,
            "tree": before.tree.sha,
            "parents": [merge.sha],
            "author": who,
            "committer": who,
        });
        let said = self.api.change(Method::POST, "/git/commits", &made).await?;
        Ok(commit(said["sha"].as_str().unwrap_or_default())?)
    }

    /// Forward where nothing came after the merge; else GitHub merges, as `git revert` would.
    async fn put_on_branch(&self, wish: &Revert, tip: &Commit, undo: &Commit) -> Result<Commit, Trouble> {
        if *tip == wish.commit {
            let path = format!("/git/refs/heads/{}", encoded(&self.branch));
            let forward = json!({ "sha": undo, "force": false });
            match self.api.change(Method::PATCH, &path, &forward).await {
                Ok(_) => return Ok(undo.clone()),
                // Somebody pushed in between.
                Err(Trouble::Status { status: StatusCode::UNPROCESSABLE_ENTITY, words })
                    if words.to_lowercase().contains("fast forward") => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let branch = self.helper_branch(wish, undo).await?;
        let merge = json!({ "base": self.branch, "head": branch, "commit_message": title(wish) });
        let merged = self.api.change(Method::POST, "/merges", &merge).await;
        let path = format!("/git/refs/heads/{}", encoded(&branch));
        if let Err(trouble) = self.api.change(Method::DELETE, &path, &serde_json::Value::Null).await {
            tracing::info!(%trouble, branch, "the revert's branch is left");
        }
        // Null: it is there already.
        match merged?["sha"].as_str() {
            Some(made) => commit(made),
            None => Ok(undo.clone()),
        }
    }

    /// Protected: a pull request of our own.
    async fn open_pull(&self, wish: &Revert, undo: &Commit) -> Result<Reverted, Trouble> {
        let branch = self.helper_branch(wish, undo).await?;
        let body = format!("Reverts #{}.", wish.number);
        let wanted = json!({ "title": title(wish), "head": branch, "base": self.branch, "body": body });
        let made = self.api.change(Method::POST, "/pulls", &wanted).await?;
        let number = made["number"].as_u64();
        let number =
            number.ok_or_else(|| Trouble::Strange("GitHub made a pull request without a number".to_owned()))?;
        Ok(Reverted::Waits { number, url: made["html_url"].as_str().unwrap_or_default().to_owned() })
    }

    /// A branch at the undoing commit, made or moved there; its name.
    async fn helper_branch(&self, wish: &Revert, undo: &Commit) -> Result<String, Trouble> {
        let name = branch_of(wish);
        let made = json!({ "ref": format!("refs/heads/{name}"), "sha": undo });
        match self.api.change(Method::POST, "/git/refs", &made).await {
            Ok(_) => Ok(name),
            Err(Trouble::Status { status: StatusCode::UNPROCESSABLE_ENTITY, words }) if words.contains("exists") => {
                let moved = json!({ "sha": undo, "force": true });
                self.api.change(Method::PATCH, &format!("/git/refs/heads/{}", encoded(&name)), &moved).await?;
                Ok(name)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The pull request that we opened for this before; one that somebody closed does not count.
    async fn own_pull(&self, wish: &Revert) -> Result<Option<Pull>, Trouble> {
        let head = format!("{}:{}", self.api.owner(), branch_of(wish)).replace('/', "%2F");
        let pulls: Vec<Pull> = self.api.json(&format!("/pulls?state=all&head={head}&per_page=10")).await?;
        let mut ours = pulls.into_iter().filter(|pull| {
            pull.head.branch == branch_of(wish)
                && pull.base.branch == self.branch
                && (pull.state == "open" || pull.merged_at.is_some())
        });
        Ok(ours.next())
    }
}

fn branch_of(wish: &Revert) -> String {
    format!("nixfleet/revert-{}", wish.number)
}

fn title(wish: &Revert) -> String {
    format!("Revert \"{}\" (#{})", wish.title.chars().take(100).collect::<String>(), wish.number)
}
