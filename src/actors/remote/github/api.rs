//! One question to GitHub's API. Remembers what may not have changed by its `ETag`, and the rate limit.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use nixfleet_model::compartments::moment;
use nixfleet_model::remote::code::Code;
use nixfleet_model::remote::limit::{Limit, Said};
use nixfleet_model::remote::refusals::{self, Change};
use nixfleet_protocol::Time;
use serde::de::DeserializeOwned;

use crate::actors::remote::forge::NotDone;
use crate::actors::remote::source::Unreadable;
use crate::config::Secret;
use crate::http_client::{self, HttpError};

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long one may be: a page of a hundred pull requests has two megabytes.
const MOST: usize = 8 << 20;
/// So many answers are remembered, none longer than this.
const REMEMBERED: usize = 16;
const WORTH_REMEMBERING: usize = 1 << 20;
/// How often an address may point to another one.
const MOST_HOPS: usize = 3;

const JSON: &str = "application/vnd.github+json";
const RAW: &str = "application/vnd.github.raw+json";

/// Why a question has no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The rate limit, until then.
    #[error("GitHub's rate limit is used up until {}", moment(*.0))]
    Limited(Time),
    /// It says no.
    #[error("GitHub answered {status}: {words}")]
    Status { status: StatusCode, words: String },
    /// Something that is no answer of GitHub's.
    #[error("{0}")]
    Strange(String),
    /// Already a sentence.
    #[error("{0}")]
    Sentence(String),
}

impl Trouble {
    pub(super) fn is(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Status { status, .. } if *status == wanted)
    }

    /// Whether a change may have happened all the same.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Http(HttpError::BadAddress) | Self::Limited(_) | Self::Sentence(_) => false,
            Self::Http(HttpError::Unreachable { .. } | HttpError::Late { .. } | HttpError::TooLong { .. })
            | Self::Strange(_) => true,
            Self::Status { status, .. } => status.is_server_error(),
        }
    }

    /// As the end of a command. `what` is `#12 title`.
    pub(super) fn not_done(&self, change: Change, what: &str, branch: &str) -> NotDone {
        let (code, message) = match self {
            Self::Status { status, words } => refusals::refused(change, status.as_u16(), words, what, branch),
            Self::Limited(_) => (Code::RateLimited, format!("{self}: try again then")),
            Self::Http(_) => (Code::Unreachable, format!("{self}: try again in a moment")),
            Self::Strange(_) | Self::Sentence(_) => (Code::ForgeFailed, self.to_string()),
        };
        NotDone { code, message }
    }
}

/// A good answer to a GET.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) body: Bytes,
    /// Address of the next page.
    pub(super) next: Option<String>,
}

/// The API of one repository.
pub(super) struct Api {
    base: String,
    repository: String,
    token: Option<HeaderValue>,
    limit: Mutex<Limit>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    answers: BTreeMap<String, (HeaderValue, Got, u64)>,
    clock: u64,
}

impl Api {
    pub(super) fn new(base: String, repository: String, token: Option<Secret>) -> Self {
        let token = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok());
        let token = token.map(|mut token| {
            token.set_sensitive(true);
            token
        });
        Self { base, repository, token, limit: Mutex::default(), seen: Mutex::default() }
    }

    /// `owner/name`.
    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    /// Whose the repository is.
    pub(super) fn owner(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }

    /// For how long nothing should be asked by itself.
    pub(super) fn rest(&self) -> Option<Duration> {
        locked(&self.limit).rest(Time::now())
    }

    /// Why the head or the pull requests can't be read.
    pub(super) fn unreadable(&self, trouble: &Trouble) -> Unreadable {
        let repository = &self.repository;
        Unreadable(match trouble {
            Trouble::Status { status, words } if *status == StatusCode::UNAUTHORIZED => format!(
                "GitHub refused the token for {repository}: it is wrong or has expired; set another \
                 NIXFLEET_GITHUB_TOKEN (GitHub: {words})"
            ),
            Trouble::Status { status, words } if *status == StatusCode::NOT_FOUND => format!(
                "there is no {repository} on GitHub, or the token may not see it; check NIXFLEET_GITHUB_REPO and the \
                 token's right to read Contents and Pull requests (GitHub: {words})"
            ),
            Trouble::Status { status, words } if *status == StatusCode::FORBIDDEN => format!(
                "the token may not read {repository}: it needs the right to read Contents and Pull requests \
                 (GitHub: {words})"
            ),
            Trouble::Status { .. } | Trouble::Strange(_) => format!("{repository} can't be read: {trouble}"),
            Trouble::Http(_) | Trouble::Limited(_) | Trouble::Sentence(_) => trouble.to_string(),
        })
    }

    /// A JSON object below the repository, `path` with its leading slash, or empty for the repository itself.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        read(&self.get(&self.address(path)).await?.body)
    }

    /// The same, by its whole address, with the address of the next page.
    pub(super) async fn get(&self, address: &str) -> Result<Got, Trouble> {
        self.follow(address, JSON).await
    }

    async fn follow(&self, address: &str, accept: &'static str) -> Result<Got, Trouble> {
        let mut at = address.to_owned();
        for _ in 0..=MOST_HOPS {
            let known = locked(&self.seen).answers.get(&at).map(|(tag, got, _)| (tag.clone(), got.clone()));
            let tag = known.as_ref().map(|(tag, _)| tag.clone());
            let answer = self.ask(Method::GET, &at, accept, tag, None).await?;
            if answer.status == StatusCode::NOT_MODIFIED
                && let Some((_, got)) = known
            {
                return Ok(got);
            }
            if answer.status.is_redirection() {
                at = self.elsewhere(&answer.headers)?;
                continue;
            }
            let tag = answer.headers.get(header::ETAG).cloned();
            let next = answer.headers.get(header::LINK).and_then(|link| next_page(link.to_str().ok()?));
            let got = Got { body: good(answer)?, next: next.map(|next| self.own(next)).transpose()? };
            if let Some(tag) = tag.filter(|_| accept == JSON && got.body.len() <= WORTH_REMEMBERING) {
                locked(&self.seen).remember(at, tag, got.clone());
            }
            return Ok(got);
        }
        Err(Trouble::Strange(format!("{} was moved again and again", self.repository)))
    }

    /// The content of a file at a commit; none where it has none.
    pub(super) async fn file(&self, path: &str, commit: &str) -> Result<Option<Bytes>, Trouble> {
        let address = self.address(&format!("/contents/{path}?ref={commit}"));
        match self.follow(&address, RAW).await {
            Ok(got) => Ok(Some(got.body)),
            Err(trouble) if trouble.is(StatusCode::NOT_FOUND) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Changes something; a null body is none. What is good gives its object, null where there is none.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Trouble> {
        let body = (!body.is_null()).then_some(body);
        let answer = self.ask(method, &self.address(path), JSON, None, body).await?;
        if answer.status.is_redirection() {
            let sentence = format!("{} has another name on GitHub now: change NIXFLEET_GITHUB_REPO", self.repository);
            return Err(Trouble::Sentence(sentence));
        }
        let body = good(answer)?;
        if body.is_empty() { Ok(serde_json::Value::Null) } else { read(&body) }
    }

    pub(super) fn address(&self, path: &str) -> String {
        format!("{}/repos/{}{path}", self.base, self.repository)
    }

    async fn ask(
        &self,
        method: Method,
        address: &str,
        accept: &'static str,
        tag: Option<HeaderValue>,
        body: Option<&serde_json::Value>,
    ) -> Result<http_client::Answer, Trouble> {
        if let Some(until) = locked(&self.limit).closed(Time::now()) {
            return Err(Trouble::Limited(until));
        }
        let content = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            .header(header::ACCEPT, accept)
            .header(HeaderName::from_static("x-github-api-version"), "2022-11-28");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Full::new(content)).map_err(|_| HttpError::BadAddress)?;
        let answer = http_client::send(request, WITHIN, MOST).await?;
        let now = Time::now();
        let said = said(&answer);
        let mut limit = locked(&self.limit);
        if limit.heard(&said, now) {
            let until = limit.closed(now).unwrap_or(now);
            tracing::warn!(%until, "GitHub's rate limit is used up");
            return Err(Trouble::Limited(until));
        }
        Ok(answer)
    }

    fn elsewhere(&self, headers: &HeaderMap) -> Result<String, Trouble> {
        let place = headers.get(header::LOCATION).and_then(|place| place.to_str().ok()).unwrap_or_default();
        self.own(place.to_owned())
    }

    /// An address that GitHub names, if it is GitHub's: nobody else gets the token.
    fn own(&self, address: String) -> Result<String, Trouble> {
        let below = address.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'));
        if below { Ok(address) } else { Err(Trouble::Strange("GitHub points to another server".to_owned())) }
    }
}

impl Seen {
    fn remember(&mut self, address: String, tag: HeaderValue, got: Got) {
        self.clock += 1;
        self.answers.insert(address, (tag, got, self.clock));
        if self.answers.len() > REMEMBERED {
            let oldest = self.answers.iter().min_by_key(|(_, (_, _, at))| *at).map(|(address, _)| address.clone());
            if let Some(oldest) = oldest {
                self.answers.remove(&oldest);
            }
        }
    }
}

/// What is in these locks is whole after every step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn good(answer: http_client::Answer) -> Result<Bytes, Trouble> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    Err(Trouble::Status { status: answer.status, words: words(&answer.body) })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|error| Trouble::Strange(format!("GitHub's answer is strange: {error}")))
}

/// The `message` of an error, and those of its parts; nothing where it is no error of GitHub's.
fn words(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Error {
        #[serde(default)]
        message: String,
        #[serde(default)]
        errors: Vec<serde_json::Value>,
    }
    let Ok(error) = serde_json::from_slice::<Error>(body) else { return String::new() };
    let parts = error.errors.iter().filter_map(|part| part.as_str().or_else(|| part.get("message")?.as_str()));
    let all: Vec<&str> = std::iter::once(error.message.as_str()).chain(parts).filter(|part| !part.is_empty()).collect();
    all.join("; ")
}

fn said(answer: &http_client::Answer) -> Said {
    let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|text| text.trim().parse::<u64>().ok());
    // Searches and others have limits of their own.
    let counts = text("x-ratelimit-resource").is_none_or(|resource| resource == "core");
    Said {
        status: answer.status.as_u16(),
        remaining: number("x-ratelimit-remaining").filter(|_| counts).and_then(|left| u32::try_from(left).ok()),
        reset: number("x-ratelimit-reset")
            .filter(|_| counts)
            .and_then(|at| i64::try_from(at).ok())
            .map(|at| Time::from_millis(at.saturating_mul(1000))),
        retry_after: number("retry-after").map(Duration::from_secs),
        words: answer.status == StatusCode::FORBIDDEN && words(&answer.body).to_lowercase().contains("rate limit"),
    }
}

/// The address behind `rel="next"` of a `Link` header.
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (address, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
        rest.split(';').any(|word| word.trim() == r#"rel="next""#).then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_the_link_header() {
        let link = r#"<https://api.github.com/x?page=1>; rel="prev", <https://api.github.com/x?page=3>; rel="next""#;
        assert_eq!(next_page(link).as_deref(), Some("https://api.github.com/x?page=3"));
        assert_eq!(next_page(r#"<https://api.github.com/x?page=1>; rel="first""#), None);
        assert_eq!(next_page("garbage"), None);
    }

    #[test]
    fn the_words_of_an_error_are_its_message_and_its_parts() {
        assert_eq!(words(br#"{"message":"Not Found","documentation_url":"x"}"#), "Not Found");
        assert_eq!(
            words(br#"{"message":"Validation Failed","errors":[{"message":"a"},"b",{"code":"x"}]}"#),
            "Validation Failed; a; b"
        );
        assert_eq!(words(b"<html>"), "");
    }

    #[test]
    fn nobody_but_the_api_is_asked_with_the_token() {
        let api = Api::new("https://api.github.com".to_owned(), "me/c".to_owned(), Some(Secret::new("t0ken")));
        assert!(api.own("https://api.github.com/repositories/1".to_owned()).is_ok());
        assert!(api.own("https://api.github.com.evil.example/x".to_owned()).is_err());
        assert!(api.own("http://api.github.com/x".to_owned()).is_err());
        assert!(!format!("{:?}", api.token).contains("t0ken"));
    }
}
