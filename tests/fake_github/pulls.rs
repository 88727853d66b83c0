//! Pull requests of the fake: their states, and what the API tells of them.

use nixfleet_protocol::Time;
use serde_json::{Value, json};

use super::git::Git;
use super::server::Rules;

/// A pull request.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) branch: String,
    pub(crate) base: String,
    pub(crate) labels: Vec<String>,
    pub(crate) draft: bool,
    pub(crate) open: bool,
    /// The commit that the merge made, and when.
    pub(crate) merged: Option<(String, Time)>,
    /// Its head when it was closed.
    pub(crate) last_head: Option<String>,
    /// How often it was looked at since it or its base moved: the first look says null.
    pub(crate) looks: u32,
    /// It comes from another repository.
    pub(crate) fork: bool,
    pub(crate) created: u64,
}

impl Pull {
    pub(crate) fn head(&self, git: &Git) -> Option<String> {
        self.last_head.clone().or_else(|| git.branch(&self.branch))
    }

    /// `mergeable` and `mergeable_state`, worked out when it is looked at.
    fn mergeability(&self, git: &Git, rules: Rules) -> (Value, &'static str) {
        let ends = (git.branch(&self.base), self.head(git));
        let (Some(base), Some(head)) = ends else { return (Value::Null, "unknown") };
        if !self.open || self.looks < 2 {
            return (Value::Null, "unknown");
        }
        if git.merged_tree(&base, &head).is_none() {
            return (json!(false), "dirty");
        }
        if self.draft {
            return (json!(true), "draft");
        }
        let checks = if rules.checks_fail { "unstable" } else { "clean" };
        (json!(true), if rules.protected { "blocked" } else { checks })
    }

    pub(crate) fn listed(&self, git: &Git, url: &str, repository: &str) -> Value {
        let head = self.head(git).unwrap_or_default();
        let owner = repository.split('/').next().unwrap();
        let whose = if self.fork {
            format!("stranger/{}", repository.split('/').nth(1).unwrap())
        } else {
            repository.to_owned()
        };
        let time = |seconds: u64| {
            format!("2026-01-01T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
        };
        json!({
            "number": self.number,
            "title": self.title,
            "html_url": format!("{url}/{repository}/pull/{}", self.number),
            "state": if self.open { "open" } else { "closed" },
            "draft": self.draft,
            "user": { "login": "updates[bot]" },
            "labels": self.labels.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "created_at": time(self.created),
            "merged_at": self.merged.as_ref().map(|(_, at)| format!("{}Z", at.to_string().split('.').next().unwrap())),
            "merge_commit_sha": self.merged.as_ref().map(|(commit, _)| commit),
            "head": {
                "ref": self.branch,
                "sha": head,
                "label": format!("{owner}:{}", self.branch),
                "repo": { "full_name": whose },
            },
            "base": { "ref": self.base, "sha": git.branch(&self.base), "repo": { "full_name": repository } },
        })
    }

    pub(crate) fn single(&mut self, git: &Git, url: &str, repository: &str, rules: Rules) -> Value {
        self.looks += 1;
        let (mergeable, state) = self.mergeability(git, rules);
        let mut told = self.listed(git, url, repository);
        told["merged"] = json!(self.merged.is_some());
        told["mergeable"] = mergeable;
        told["mergeable_state"] = json!(state);
        told["commits"] = json!(1);
        told["changed_files"] = json!(1);
        told
    }
}
