//! `merge-pr`: merges what was shown, and finds out what became of a merge whose answer was lost.

use std::time::Duration;

use hyper::{Method, StatusCode};
use nixfleet_model::remote::code::Code;
use nixfleet_model::remote::refusals::{Change, is_race, wants_squash};
use nixfleet_model::remote::wish::Merge;
use serde_json::json;

use super::Github;
use super::api::Trouble;
use super::head::commit;
use super::pulls::{Pull, is_update};
use crate::actors::remote::forge::{Landed, NotDone};

/// How long it waits before it tries or looks again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a merge is tried where the branch moved meanwhile.
const TRIES: usize = 3;

impl Github {
    pub(super) async fn merge_now(&self, wish: Merge) -> Result<Landed, NotDone> {
        let number = wish.number;
        let named = format!("#{number}");
        let failed = |trouble: Trouble, what: &str| trouble.not_done(Change::Merge, what, &self.branch);
        let mut method = "merge";
        for attempt in 0..TRIES {
            let pull = match self.pull(number).await {
                Ok(pull) => pull,
                Err(trouble) if trouble.is(StatusCode::NOT_FOUND) => {
                    return Err(no(Code::NoPendingPr, format!("there is no pull request #{number}")));
                }
                Err(trouble) => return Err(failed(trouble, &named)),
            };
            let what = format!("#{number} \"{}\"", pull.title);
            if pull.base.branch != self.branch {
                let why = format!("{what} goes to {} and not to {}", pull.base.branch, self.branch);
                return Err(no(Code::PrChanged, why));
            }
            if pull.merged || pull.merged_at.is_some() {
                // Ours, where an answer was lost.
                return self.landed(pull, attempt == 0).await.map_err(|trouble| failed(trouble, &what));
            }
            let shown = Self::may_merge(&wish, &pull)?;
            let body = json!({ "sha": shown, "merge_method": method });
            match self.api.change(Method::PUT, &format!("/pulls/{number}/merge"), &body).await {
                Ok(said) => {
                    let made = said["sha"].as_str().unwrap_or_default();
                    let made = commit(made).map_err(|trouble| failed(trouble, &what))?;
                    return Ok(landed(pull, made, true, false));
                }
                Err(Trouble::Status { words, .. }) if method == "merge" && wants_squash(&words) => method = "squash",
                Err(Trouble::Status { words, .. }) if is_race(&words) && attempt + 1 < TRIES => {
                    tokio::time::sleep(PAUSE).await;
                }
                // The next turn looks whether it happened.
                Err(trouble) if trouble.is_open() && attempt + 1 < TRIES => {
                    tracing::info!(number, %trouble, "the merge has no answer; it is looked at again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(trouble) => return Err(failed(trouble, &what)),
            }
        }
        Err(no(Code::NotMergeable, format!("{named} can't be merged: {} moves all the time; try again", self.branch)))
    }

    /// The commit that may be merged: the one that was shown, of a pull request that is open.
    fn may_merge<'a>(wish: &Merge, pull: &'a Pull) -> Result<&'a str, NotDone> {
        let what = format!("#{} \"{}\"", pull.number, pull.title);
        if pull.state != "open" {
            return Err(no(Code::PrClosed, format!("{what} was closed without being merged")));
        }
        let Some(shown) = &wish.head else {
            return Err(no(Code::NoPendingPr, format!("{what} is not merged, and is not the update that waits")));
        };
        if !pull.head.sha.starts_with(shown.as_str()) {
            let why = "has other commits than those that were shown: look at it again, then merge";
            return Err(no(Code::PrChanged, format!("{what} {why}")));
        }
        if pull.draft {
            return Err(no(Code::NotMergeable, format!("{what} is a draft: mark it as ready there")));
        }
        // Anybody can open a pull request: what is no update is merged by those who look at it, and not from here.
        if !is_update(pull) {
            return Err(no(Code::NoPendingPr, format!("{what} is no update: it has neither the label nor the title")));
        }
        Ok(&pull.head.sha)
    }

    /// A pull request that is merged already. Whether one commit holds all of it shows in the commit: a merge has two
    /// parents; of a rebase nobody can say where it began.
    async fn landed(&self, pull: Pull, already: bool) -> Result<Landed, Trouble> {
        let made = commit(pull.merge_commit_sha.as_deref().unwrap_or_default())?;
        let found = self.commit(made.as_str()).await?;
        let squashed =
            || found.message.lines().next().is_some_and(|line| line.ends_with(&format!("(#{})", pull.number)));
        let whole = found.parents.len() == 2 || pull.commits == Some(1) || squashed();
        Ok(landed(pull, made, whole && !found.parents.is_empty(), already))
    }
}

fn landed(pull: Pull, commit: nixfleet_protocol::Commit, revertible: bool, already: bool) -> Landed {
    let at = pull.merged_at.as_deref().and_then(|at| at.parse().ok());
    Landed { number: pull.number, title: pull.title, url: pull.html_url, commit, revertible, already, at }
}

pub(super) fn no(code: Code, message: String) -> NotDone {
    NotDone { code, message }
}
