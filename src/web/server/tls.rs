//! TLS by the daemon itself: certificate and key from files, read again on SIGHUP. ring and nothing else.
//!
//! Invariant: what was read last without an error is what is served; a bad new file changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::config::TlsFiles;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why certificate and key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or holds no PEM.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The file of the chain holds no certificate.
    #[error("{}: no certificate in it", .0.display())]
    Empty(PathBuf),
    /// They do not belong together, or are of a kind that is not known.
    #[error("certificate {} with key {}: {source}", files.cert.display(), files.key.display())]
    Pair {
        /// Both.
        files: TlsFiles,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Certificate and key as they were read last.
pub struct Tls {
    files: TlsFiles,
    acceptor: RwLock<TlsAcceptor>,
}

impl Tls {
    /// Reads both files.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let acceptor = RwLock::new(read(&files)?);
        Ok(Self { files, acceptor })
    }

    /// Reads both files again; connections that are open keep what they began with.
    pub fn reload(&self) -> Result<(), TlsError> {
        let acceptor = read(&self.files)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// The handshake of one connection.
    pub(super) async fn accept<S>(&self, io: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::time::timeout(HANDSHAKE, acceptor.accept(io)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

fn read(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect).map_err(in_file(&files.cert))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(files.cert.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(in_file(&files.key))?;
    let pair = |source| TlsError::Pair { files: files.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
