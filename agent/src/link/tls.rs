//! Whom to trust: the system's certificates, or those of `NIXFLEET_CA_FILE`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read.
    #[error("NIXFLEET_CA_FILE: {0} can't be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file has no certificate that can be used.
    #[error("NIXFLEET_CA_FILE: {0} holds no usable certificate")]
    Empty(PathBuf),
    /// The system has none.
    #[error("this system has no certificates that can be used: set NIXFLEET_CA_FILE")]
    NoSystemRoots,
    /// The library refuses.
    #[error("TLS can't be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates that are trusted.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) };
    };
    let pem = fs::read(path).map_err(|error| TlsError::Unreadable(path.to_owned(), error))?;
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(roots) }
}

/// The client's side of TLS: ring, TLS 1.2 and 1.3.
pub fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(ca_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
