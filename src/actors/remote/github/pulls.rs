//! Update pull requests: listed, and the newest ones looked at, since only the single one says whether it can be merged.

use nixfleet_model::remote::updates::{self, Found, Listed};
use nixfleet_protocol::Time;
use nixfleet_protocol::api::PullRequest;
use serde::Deserialize;

use super::Github;
use super::api::Trouble;
use super::head::{commit, encoded};

/// So many pages of a hundred are looked through.
const PAGES: usize = 5;
/// So many updates are looked at: more that wait are as old as nobody merges.
const LOOKED_AT: usize = 5;

/// A pull request, in a list or alone; what only the single one has is none in a list.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pull {
    pub(super) number: u64,
    pub(super) title: String,
    pub(super) html_url: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) draft: bool,
    user: Option<User>,
    #[serde(default)]
    labels: Vec<Label>,
    created_at: String,
    pub(super) head: End,
    pub(super) base: End,
    #[serde(default)]
    pub(super) merged: bool,
    pub(super) merged_at: Option<String>,
    pub(super) merge_commit_sha: Option<String>,
    mergeable: Option<bool>,
    #[serde(default)]
    mergeable_state: String,
    pub(super) commits: Option<u32>,
    changed_files: Option<u32>,
}

/// An end of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct End {
    #[serde(rename = "ref")]
    pub(super) branch: String,
    pub(super) sha: String,
    /// None: that repository is gone.
    repo: Option<Repository>,
}

#[derive(Clone, Debug, Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    login: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Label {
    name: String,
}

impl Github {
    pub(super) async fn update(&self, before: Option<u64>) -> Result<Found, Trouble> {
        let mut numbers = Vec::new();
        let base = encoded(&self.branch).replace('/', "%2F");
        let path = format!("/pulls?state=open&base={base}&sort=created&direction=desc&per_page=100");
        let mut next = Some(self.api.address(&path));
        for _ in 0..PAGES {
            let Some(address) = next.take().filter(|_| numbers.len() < LOOKED_AT) else { break };
            let page = self.api.get(&address).await?;
            let pulls: Vec<Pull> = serde_json::from_slice(&page.body)
                .map_err(|error| Trouble::Strange(format!("GitHub's answer is strange: {error}")))?;
            numbers.extend(pulls.iter().filter(|pull| is_update(pull)).map(|pull| pull.number));
            next = page.next;
        }
        let mut waiting = Vec::new();
        for number in numbers.into_iter().take(LOOKED_AT) {
            let pull = self.pull(number).await?;
            // It may have been merged since it was listed.
            if pull.state == "open" && is_update(&pull) {
                waiting.push(self.told(pull)?);
            }
        }
        Ok(updates::choose(waiting, before))
    }

    pub(super) async fn pull(&self, number: u64) -> Result<Pull, Trouble> {
        self.api.json(&format!("/pulls/{number}")).await
    }

    fn told(&self, pull: Pull) -> Result<PullRequest, Trouble> {
        let (mergeable, why_not) = updates::mergeability(pull.mergeable, &pull.mergeable_state, &self.branch);
        Ok(PullRequest {
            number: pull.number,
            title: pull.title,
            url: pull.html_url,
            mergeable,
            why_not,
            author: pull.user.map(|user| user.login).unwrap_or_default(),
            head: commit(&pull.head.sha)?,
            labels: pull.labels.into_iter().map(|label| label.name).collect(),
            commits: pull.commits,
            changed_files: pull.changed_files,
            created_at: pull.created_at.parse::<Time>().unwrap_or_default(),
        })
    }
}

/// Whether it is an update of the fleet.
pub(super) fn is_update(pull: &Pull) -> bool {
    let labels: Vec<String> = pull.labels.iter().map(|label| label.name.clone()).collect();
    let name = |end: &End| end.repo.as_ref().map(|repo| repo.full_name.clone());
    let foreign = name(&pull.head).is_none() || name(&pull.head) != name(&pull.base);
    updates::is_update(Listed { title: &pull.title, labels: &labels, draft: pull.draft, foreign })
}
