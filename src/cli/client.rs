//! A client of the dashboard's API: what is asked of it, and what its answers mean. The requests themselves are
//! [`http_client`]'s.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use nixfleet_protocol::api::Problem;
use serde::de::DeserializeOwned;

use crate::http_client::{self, HttpError};

/// How long an answer may take, connection included.
const ANSWER: Duration = Duration::from_mins(1);
/// The longest answer: a thousand hosts have two megabytes.
const MOST: usize = 64 << 20;

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the dashboard is none.
    #[error("{0:?} is no address of a dashboard: it looks like https://fleet.example.org")]
    BadUrl(String),
    /// No connection, or it broke.
    #[error("cannot reach {url}: {why}. Check that the dashboard runs there, or name another with --url or FLEET_URL")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The login is missing or was not good.
    #[error(
        "{url} refuses the login: {why}. Give an API token with --token, FLEET_TOKEN or FLEET_TOKEN_FILE; \
         `nixfleet token` makes one"
    )]
    Refused {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The dashboard says no.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// It answers, but no dashboard does so.
    #[error("{url} does not answer like a dashboard: {why}")]
    Strange {
        /// Where.
        url: String,
        /// What is strange.
        why: String,
    },
}

/// The dashboard at one address.
#[derive(Clone)]
pub struct Client {
    base: String,
    secure: bool,
    host: String,
    token: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// For `https://host[:port][/prefix]`, or `http://` on the same machine.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ClientError> {
        let bad = || ClientError::BadUrl(url.chars().take(200).collect());
        let base = url.trim().trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { base: base.to_owned(), secure, host, token })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether the token, wherever it comes from, crosses a network in the clear.
    pub fn is_exposed(&self) -> bool {
        let loopback = self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.token.is_some() && !self.secure && !loopback
    }

    /// Gets an object of the API.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (status, body) = self.send(Method::GET, path, None).await?;
        self.read(status, &body)
    }

    /// Posts to the API.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T, ClientError> {
        let (status, body) = self.send(Method::POST, path, Some(body)).await?;
        self.read(status, &body)
    }

    /// The status alone.
    pub async fn status(&self, path: &str) -> Result<StatusCode, ClientError> {
        self.send(Method::GET, path, None).await.map(|(status, _)| status)
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, ClientError> {
        let strange = |why: String| ClientError::Strange { url: self.base.clone(), why };
        if status.is_success() {
            return serde_json::from_slice(body).map_err(|error| strange(error.to_string()));
        }
        let problem: Option<Problem> = serde_json::from_slice(body).ok();
        match (status, problem) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, problem) => Err(ClientError::Refused {
                url: self.base.clone(),
                why: problem.map_or_else(|| status.to_string(), |problem| problem.detail),
            }),
            (_, Some(problem)) => Err(ClientError::Problem(Box::new(problem))),
            (_, None) => Err(strange(format!("it answered {status}"))),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { url: self.base.clone(), why };
        let uri: Uri = format!("{}{path}", self.base).parse().map_err(|_| ClientError::BadUrl(self.base.clone()))?;
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let content = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(content)).map_err(|error| unreachable(http_client::innermost(&error)))?;
        match http_client::send(request, ANSWER, MOST).await {
            Ok(answer) => Ok((answer.status, answer.body)),
            Err(HttpError::Unreachable { why, .. }) => Err(unreachable(why)),
            Err(error @ (HttpError::BadAddress | HttpError::Late { .. } | HttpError::TooLong { .. })) => {
                Err(unreachable(error.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_refused() {
        for (url, host) in [
            ("https://fleet.example.org", "fleet.example.org"),
            ("http://127.0.0.1:8000/", "127.0.0.1"),
            ("http://[::1]:8000", "::1"),
            ("https://example.org/fleet/", "example.org"),
        ] {
            assert_eq!(Client::new(url, None).unwrap().host, host, "{url}");
        }
        for bad in ["", "fleet", "ftp://x", "https://", "https://me:pw@x", "127.0.0.1:8000"] {
            assert!(matches!(Client::new(bad, None), Err(ClientError::BadUrl(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_not_in_debug_and_is_exposed_only_on_a_network() {
        let client = Client::new("http://127.0.0.1:1", Some("s3cret".to_owned())).unwrap();
        assert!(!format!("{client:?}").contains("s3cret"));
        assert!(!client.is_exposed());
        let token = || Some("s3cret".to_owned());
        assert!(Client::new("http://10.0.0.1", token()).unwrap().is_exposed());
        assert!(!Client::new("http://10.0.0.1", None).unwrap().is_exposed());
        assert!(!Client::new("https://10.0.0.1", token()).unwrap().is_exposed());
    }
}
