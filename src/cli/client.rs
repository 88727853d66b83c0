//! A client of the dashboard's API: one request, one answer, over hyper's own client.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use nixfleet_protocol::api::Problem;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::http_client;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
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
    port: u16,
    token: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

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
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { base: base.to_owned(), secure, host, port, token })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether a token would cross a network in the clear.
    pub fn is_exposed(&self) -> bool {
        let loopback = self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.secure && !loopback
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
        match tokio::time::timeout(ANSWER, self.exchange(method, path, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(plain(error.as_ref()))),
            Err(_) => Err(unreachable(format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let connected = tokio::time::timeout(CONNECT, self.connect()).await;
        let stream = connected.map_err(|_| format!("no connection within {} s", CONNECT.as_secs()))??;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let prefix: Uri = self.base.parse()?;
        let target = format!("{}{path}", prefix.path().trim_end_matches('/'));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, prefix.authority().map_or("", |authority| authority.as_str()))
            .header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let content = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        let answer = sender.send_request(request.body(Full::new(content))?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST).collect().await?.to_bytes();
        connection.abort();
        Ok((status, body))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        if !self.secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(http_client::tls()?).connect(name, stream).await?))
    }
}

/// The innermost reason: what people can do something about.
fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_refused() {
        for (url, host, port) in [
            ("https://fleet.example.org", "fleet.example.org", 443),
            ("http://127.0.0.1:8000/", "127.0.0.1", 8000),
            ("http://[::1]:8000", "::1", 8000),
            ("https://example.org/fleet/", "example.org", 443),
        ] {
            let client = Client::new(url, None).unwrap();
            assert_eq!((client.host.as_str(), client.port), (host, port), "{url}");
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
        assert!(Client::new("http://10.0.0.1", None).unwrap().is_exposed());
        assert!(!Client::new("https://10.0.0.1", None).unwrap().is_exposed());
    }
}
