//! Dials the dashboard: TCP, TLS where it is asked for, the WebSocket handshake with the token. One time limit
//! for all of it, and every failure says which trouble it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::backoff::Trouble;
use super::tls::{self, TlsError};
use super::{Link, Transport, socket_config};
use crate::config::address::Address;
use crate::config::secret::Secret;

/// How long dialling may take in all.
const LIMIT: Duration = Duration::from_secs(15);

/// The dashboard could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection.
    #[error("no connection to {0}: {1}")]
    Connect(String, #[source] io::Error),
    /// No TLS.
    #[error("no TLS with {0}: {1}{hint}", hint = tls_hint(.1))]
    Tls(String, #[source] io::Error),
    /// TLS can't be set up on our side.
    #[error(transparent)]
    Setup(#[from] TlsError),
    /// The dashboard answered with something else than a WebSocket.
    #[error("{0} answered with HTTP {1}{hint}", hint = hint(*.1))]
    Http(String, u16),
    /// The handshake failed.
    #[error("no WebSocket with {0}: {1}")]
    Handshake(String, String),
    /// Nothing happened for too long.
    #[error("{0} did not answer within {limit} s", limit = LIMIT.as_secs())]
    TooSlow(String),
}

const fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => ": the token is not accepted; make one with `nixfleet token host NAME`",
        _ => "",
    }
}

/// What to do about a certificate that nobody we trust has signed.
fn tls_hint(error: &io::Error) -> &'static str {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) = inner {
        ": no authority that this host trusts has signed the dashboard's certificate; \
         put its authority's certificate into a file and name it in NIXFLEET_CA_FILE"
    } else {
        ""
    }
}

impl DialError {
    /// Which trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Connect(_, error) if error.kind() == io::ErrorKind::ConnectionRefused => Trouble::Refused,
            Self::Http(_, 401 | 403) => Trouble::Unauthorised,
            Self::Http(_, 500..) => Trouble::Refused,
            Self::Connect(..)
            | Self::Tls(..)
            | Self::Setup(_)
            | Self::Http(..)
            | Self::Handshake(..)
            | Self::TooSlow(_) => Trouble::Lost,
        }
    }
}

/// Knows the way to the dashboard.
#[derive(Debug)]
pub struct Dialler {
    address: Address,
    token: Secret,
    ca_file: Option<PathBuf>,
    /// Read at the first use, kept for all others.
    tls: Option<Arc<ClientConfig>>,
}

impl Dialler {
    /// For this dashboard.
    pub const fn new(address: Address, token: Secret, ca_file: Option<PathBuf>) -> Self {
        Self { address, token, ca_file, tls: None }
    }

    /// Dials once.
    pub async fn dial(&mut self) -> Result<Link, DialError> {
        let name = self.address.to_string();
        timeout(LIMIT, self.connect()).await.map_err(|_| DialError::TooSlow(name))?
    }

    async fn connect(&mut self) -> Result<Link, DialError> {
        let name = self.address.to_string();
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|error| DialError::Connect(name.clone(), error))?;
        let _ = tcp.set_nodelay(true);
        let transport: Box<dyn Transport> = if self.address.tls {
            let config = match &self.tls {
                Some(config) => config.clone(),
                None => self.tls.insert(tls::client(self.ca_file.as_deref())?).clone(),
            };
            let server = ServerName::try_from(self.address.host.clone())
                .map_err(|error| DialError::Tls(name.clone(), io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let stream = TlsConnector::from(config).connect(server, tcp).await;
            Box::new(stream.map_err(|error| DialError::Tls(name.clone(), error))?)
        } else {
            Box::new(tcp)
        };
        let mut request = self
            .address
            .uri()
            .into_client_request()
            .map_err(|error| DialError::Handshake(name.clone(), error.to_string()))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token.reveal()))
            .map_err(|error| DialError::Handshake(name.clone(), error.to_string()))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert("Authorization", bearer);
        match client_async_with_config(request, transport, Some(socket_config())).await {
            Ok((socket, _)) => Ok(Link::new(socket)),
            Err(WsError::Http(response)) => Err(DialError::Http(name, response.status().as_u16())),
            Err(error) => Err(DialError::Handshake(name, error.to_string())),
        }
    }
}
