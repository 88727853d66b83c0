//! Handshakes with certificates that change under the daemon.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// A certificate for 127.0.0.1 that signs itself; `false` where there is no openssl.
fn make(dir: &Path, name: &str) -> bool {
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout {name}.key -out {name}.pem"
    );
    let run = Command::new("openssl").current_dir(dir).args(arguments.split_whitespace()).output();
    run.is_ok_and(|run| run.status.success())
}

/// Whether a client that trusts this certificate alone comes in.
async fn comes_in(tls: &Tls, trusted: &Path) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let (client, server) = tokio::join!(TlsConnector::from(Arc::new(config)).connect(name, ours), tls.accept(theirs));
    client.is_ok() && server.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    if !make(dir.path(), "first") || !make(dir.path(), "second") {
        const SKIPPED: &str = "a_new_certificate_is_taken_and_a_bad_one_is_not: no openssl to make certificates";
        eprintln!("SKIPPED {SKIPPED}");
        if let Some(list) = std::env::var_os("NIXFLEET_SKIPPED_TESTS") {
            let mut list = fs::File::options().create(true).append(true).open(list).unwrap();
            writeln!(list, "{SKIPPED}").unwrap();
        }
        return;
    }
    let install = |name: &str| {
        fs::copy(at(&format!("{name}.pem")), at("cert.pem")).unwrap();
        fs::copy(at(&format!("{name}.key")), at("key.pem")).unwrap();
    };
    install("first");
    let tls = Tls::load(TlsFiles { cert: at("cert.pem"), key: at("key.pem") }).unwrap();
    assert!(comes_in(&tls, &at("first.pem")).await);
    assert!(!comes_in(&tls, &at("second.pem")).await);

    install("second");
    assert!(comes_in(&tls, &at("first.pem")).await, "nobody asked to read again");
    tls.reload().unwrap();
    assert!(comes_in(&tls, &at("second.pem")).await);
    assert!(!comes_in(&tls, &at("first.pem")).await);

    fs::copy(at("first.key"), at("key.pem")).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    fs::write(at("cert.pem"), "no certificate").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("cert.pem"), "{error}");
    assert!(comes_in(&tls, &at("second.pem")).await, "what was good goes on");
}
