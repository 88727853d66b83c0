//! `version.json`, as a workflow of the repository publishes it: the head without asking a git server.
//!
//! It says nothing of how commits stand to each other, so one that is not the head just differs. It is read without a
//! token: where it lies may be anybody's server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use nixfleet_model::remote::{Desired, Relation};
use nixfleet_protocol::{Commit, Time};
use serde::Deserialize;

use super::source::{Answer, Later, Related, Source, Unreadable};
use crate::http_client::{self, HttpError};

/// How long it may take, and how long it may be.
const WITHIN: Duration = Duration::from_secs(15);
const MOST: usize = 256 << 10;
/// How often an address may point to another one: artefact stores do it twice.
const MOST_HOPS: usize = 5;
/// Subjects are cut here.
const LONGEST_TEXT: usize = 200;

/// A `version.json` somewhere.
pub struct VersionJson {
    url: String,
    branch: String,
    last: Mutex<Option<(HeaderValue, Desired)>>,
}

/// As it is published. What is left out is not known.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    git_commit: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    timestamp: serde_json::Value,
    #[serde(default)]
    lock_hash: Option<String>,
}

impl VersionJson {
    /// At this address; about this branch.
    pub fn new(url: String, branch: String) -> Self {
        Self { url, branch, last: Mutex::default() }
    }

    async fn read_now(&self) -> Result<Desired, Unreadable> {
        let mut at = self.url.clone();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for _ in 0..=MOST_HOPS {
            let mut request = Request::get(at.as_str()).header(header::ACCEPT, "application/json");
            if let Some((tag, _)) = &last {
                request = request.header(header::IF_NONE_MATCH, tag);
            }
            let request = request.body(Full::new(Bytes::new())).map_err(|_| self.told(&HttpError::BadAddress))?;
            let answer = http_client::send(request, WITHIN, MOST).await.map_err(|error| self.told(&error))?;
            if answer.status == StatusCode::NOT_MODIFIED
                && let Some((_, desired)) = last
            {
                return Ok(desired);
            }
            if answer.status.is_redirection() {
                let place = answer.headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
                at = self.further(&at, place.unwrap_or_default())?;
                continue;
            }
            if !answer.status.is_success() {
                return Err(self.told(&format!("it was answered with {}", answer.status)));
            }
            let desired = parse(&answer.body, &self.branch).map_err(|why| self.told(&why))?;
            let tag = answer.headers.get(header::ETAG).cloned();
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = tag.map(|tag| (tag, desired.clone()));
            return Ok(desired);
        }
        Err(self.told(&"its address points to another one again and again"))
    }

    /// Where an address points to: never from TLS to the clear.
    fn further(&self, from: &str, place: &str) -> Result<String, Unreadable> {
        let origin = from.match_indices('/').nth(2).map_or(from, |(at, _)| &from[..at]);
        let to = if place.starts_with('/') { format!("{origin}{place}") } else { place.to_owned() };
        let fine = to.starts_with("https://") || (to.starts_with("http://") && from.starts_with("http://"));
        if fine { Ok(to) } else { Err(self.told(&"its address points to one that can't be trusted")) }
    }

    fn told(&self, why: &dyn std::fmt::Display) -> Unreadable {
        // What stands behind the question mark may be a signature.
        let shown = self.url.split('?').next().unwrap_or_default();
        Unreadable(format!("{shown} can't be read: {why}; check NIXFLEET_VERSION_URL"))
    }
}

fn parse(body: &[u8], branch: &str) -> Result<Desired, String> {
    let said: Published = serde_json::from_slice(body).map_err(|error| format!("it is no version.json: {error}"))?;
    if let Some(other) = said.branch.filter(|other| other != branch && !other.is_empty()) {
        return Err(format!("it is about the branch {other} and not about {branch}"));
    }
    let commit = said.git_commit.parse().map_err(|error| format!("its gitCommit is none: {error}"))?;
    let committed_at = match &said.timestamp {
        serde_json::Value::String(text) => text.parse::<Time>().ok(),
        serde_json::Value::Number(seconds) => {
            seconds.as_i64().map(|seconds| Time::from_millis(seconds.saturating_mul(1000)))
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    };
    let lock_hash = match said.lock_hash.filter(|hash| !hash.is_empty()) {
        None => None,
        Some(hash) => Some(hash.parse().map_err(|error| format!("its lockHash is none: {error}"))?),
    };
    Ok(Desired {
        commit,
        subject: said.message.lines().next().unwrap_or_default().chars().take(LONGEST_TEXT).collect(),
        author: said.author.unwrap_or_default().chars().take(LONGEST_TEXT).collect(),
        committed_at: committed_at.unwrap_or_default(),
        lock_hash,
    })
}

impl Source for VersionJson {
    fn read(&self, interest: Vec<Commit>) -> Later<'_, Result<Answer, Unreadable>> {
        Box::pin(async move {
            let desired = self.read_now().await?;
            let stands = |commit: Commit| {
                let relation = if commit.is(&desired.commit) { Relation::Equal } else { Relation::Differs };
                (commit, relation)
            };
            let relations = interest.into_iter().map(stands).collect();
            Ok(Answer { desired, relations })
        })
    }

    fn relate(&self, _head: Commit, commits: Vec<Commit>) -> Later<'_, Related> {
        Box::pin(async move {
            let relations = commits.into_iter().map(|commit| (commit, Relation::Differs)).collect();
            Related { relations, unknown: Vec::new() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_published() {
        let commit = "9f2c41a0b7d35e8812f04c6a9d1e7b2233445566";
        let hash = "ab".repeat(32);
        let whole = format!(
            r#"{{"gitCommit":"{commit}","message":"caddy: logs\n\nmore","branch":"main",
                "timestamp":"2026-11-20T10:00:00Z","repo":"me/c","lockHash":"{hash}"}}"#
        );
        let desired = parse(whole.as_bytes(), "main").unwrap();
        assert_eq!((desired.commit.as_str(), desired.subject.as_str()), (commit, "caddy: logs"));
        assert_eq!(desired.committed_at, "2026-11-20T10:00:00Z".parse().unwrap());
        assert!(desired.lock_hash.is_some());
        let little = format!(r#"{{"gitCommit":"{commit}","timestamp":1795168800}}"#);
        let desired = parse(little.as_bytes(), "main").unwrap();
        assert_eq!((desired.lock_hash, desired.committed_at.millis()), (None, 1_795_168_800_000));
        for (bad, why) in [
            ("<html>", "no version.json"),
            ("{}", "no version.json"),
            (r#"{"gitCommit":"no!"}"#, "gitCommit"),
            (r#"{"gitCommit":"1234567","lockHash":"x"}"#, "lockHash"),
            (r#"{"gitCommit":"1234567","branch":"next"}"#, "branch next"),
        ] {
            assert!(parse(bad.as_bytes(), "main").unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn it_is_followed_elsewhere_and_never_from_tls_to_the_clear() {
        let version = VersionJson::new("https://example.org/a/version.json?sig=s3cret".to_owned(), "main".to_owned());
        let from = "https://example.org/a/version.json";
        assert_eq!(version.further(from, "/b.json").unwrap(), "https://example.org/b.json");
        assert_eq!(version.further(from, "https://x.example/b").unwrap(), "https://x.example/b");
        for bad in ["http://example.org/b", "ftp://x", "", "b.json"] {
            let why = version.further(from, bad).unwrap_err().0;
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
