//! The client for other people's HTTP: one request, one connection, one answer, over hyper's own client; TLS with the
//! system's roots. A connection a minute is nothing worth keeping open.
//!
//! Who talks to it: the notifier's channels, and `fleet`. Invariants: every request has an end in time and an answer in length; what
//! went wrong names the server and never the path, which may be a secret.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::http::HeaderMap;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::actors::owned::OwnedTask;

/// What it calls itself.
const NAME: &str = concat!("nixfleet/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take: who is not there is not waited for as long as who thinks.
const CONNECT: Duration = Duration::from_secs(10);

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an address that can be asked.
    #[error("the address is not one of http:// or https://")]
    BadAddress,
    /// No connection, or it broke.
    #[error("{host} can't be reached: {why}")]
    Unreachable {
        /// Whom.
        host: String,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("{host} gave no answer within {} s", within.as_secs())]
    Late {
        /// Who.
        host: String,
        /// How long it had.
        within: Duration,
    },
    /// The answer is longer than it may be.
    #[error("the answer of {host} is longer than {most} bytes")]
    TooLong {
        /// Whose.
        host: String,
        /// How long it may be.
        most: usize,
    },
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Sends a request to the absolute address in it. The answer is there within this time and has at most so many bytes.
pub async fn send(request: Request<Full<Bytes>>, within: Duration, most: usize) -> Result<Answer, HttpError> {
    let host = request.uri().host().ok_or(HttpError::BadAddress)?.to_owned();
    match tokio::time::timeout(within, exchange(request, most)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HttpError::TooLong { host, most }),
        Ok(Err(error)) => Err(HttpError::Unreachable { host, why: innermost(error.as_ref()) }),
        Err(_) => Err(HttpError::Late { host, within }),
    }
}

async fn exchange(
    mut request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let uri = request.uri().clone();
    let stream = connect(&uri).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this request, however that ends.
    let _connection = OwnedTask::start(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
    let authority = uri.authority().ok_or(HttpError::BadAddress)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(NAME));
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let answer = sender.send_request(request).await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, most).collect().await?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

async fn connect(uri: &Uri) -> io::Result<Box<dyn Stream>> {
    let bad = || io::Error::other(HttpError::BadAddress);
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(bad()),
    };
    let host = uri.host().ok_or_else(bad)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect((host.as_str(), port)));
    let late = |_| io::Error::other(format!("no connection within {} s", CONNECT.as_secs()));
    let stream = connecting.await.map_err(late)??;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(tls()?).connect(name, stream).await?))
}

/// TLS with the system's roots, read when they are first needed.
pub fn tls() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        return Err(io::Error::other("this system has no root certificates; set SSL_CERT_FILE"));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

/// The innermost reason: what people can do something about.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    if text.contains("invalid peer certificate") {
        return format!("its certificate is not trusted; one of your own is named in SSL_CERT_FILE ({text})");
    }
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
