//! A repository on GitHub, by its REST API: the head of the tracked branch, and pull requests.
//!
//! ```text
//! github.rs    what is known of the head, and the answers to the actor
//!  ├ api.rs      one question: token, ETag, rate limit, time, length
//!  ├ head.rs     the branch, its commit, its flake.lock, how commits stand to it
//!  ├ pulls.rs    updates
//!  ├ merge.rs    merge-pr
//!  └ revert.rs   revert-pr
//! ```
//!
//! Invariants: the token is in one header and nowhere else; while the rate limit is used up nothing is asked; what is
//! kept here is a cache, and all of it can be read again.

mod api;
mod head;
mod merge;
mod pulls;
mod revert;

use std::time::Duration;

use nixfleet_model::remote::updates::Found;
use nixfleet_model::remote::wish::{Merge, Revert};
use nixfleet_protocol::Commit;
use tokio::sync::Mutex;

use self::api::Api;
use self::head::Head;
use super::forge::{Forge, Landed, NotDone, Reverted};
use super::source::{Answer, Later, Related, Source, Unreadable};
use crate::config::Secret;

/// GitHub's own API.
pub const API: &str = "https://api.github.com";

/// What GitHub needs to know.
#[derive(Clone)]
pub struct GithubSettings {
    /// `owner/name`.
    pub repository: String,
    /// The tracked branch.
    pub branch: String,
    /// The API's address, without a slash at its end.
    pub api: String,
    /// Who we are; none: a public repository, seldom asked.
    pub token: Option<Secret>,
}

impl GithubSettings {
    /// Where people look at the repository.
    pub fn location(&self) -> String {
        let site = if self.api == API { "https://github.com" } else { self.api.trim_end_matches("/api/v3") };
        format!("{site}/{}", self.repository)
    }
}

/// A repository on GitHub.
pub struct Github {
    branch: String,
    api: Api,
    /// What was read last of the head. Held while it is read: one at a time.
    head: Mutex<Head>,
}

impl Github {
    /// Nothing is asked yet.
    pub fn new(settings: GithubSettings) -> Self {
        let GithubSettings { repository, branch, api, token } = settings;
        Self { branch, api: Api::new(api, repository, token), head: Mutex::default() }
    }
}

impl Source for Github {
    fn read(&self, interest: Vec<Commit>) -> Later<'_, Result<Answer, Unreadable>> {
        Box::pin(async move { self.read_head(&interest).await.map_err(|trouble| self.api.unreadable(&trouble)) })
    }

    fn relate(&self, head: Commit, commits: Vec<Commit>) -> Later<'_, Related> {
        Box::pin(async move { self.related(&head, commits) })
    }

    fn rest(&self) -> Option<Duration> {
        self.api.rest()
    }
}

impl Forge for Github {
    fn waiting(&self, before: Option<u64>) -> Later<'_, Result<Found, Unreadable>> {
        Box::pin(async move { self.update(before).await.map_err(|trouble| self.api.unreadable(&trouble)) })
    }

    fn rest(&self) -> Option<Duration> {
        self.api.rest()
    }

    fn merge(&self, wish: Merge) -> Later<'_, Result<Landed, NotDone>> {
        Box::pin(async move { self.merge_now(wish).await })
    }

    fn revert(&self, wish: Revert) -> Later<'_, Result<Reverted, NotDone>> {
        Box::pin(async move { self.revert_now(wish).await })
    }
}
