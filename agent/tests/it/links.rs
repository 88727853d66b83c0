//! The link: refused, closed, silent, flooded; and what the agent does then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::world::World;

#[tokio::test]
async fn the_token_is_shown_as_a_bearer_and_a_refusal_is_not_repeated_at_once() {
    let world = World::new().await;
    let mut agent = world.start();
    let mut tcp = world.dashboard.raw().await;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).await.unwrap();
        request.extend(byte);
    }
    let request = String::from_utf8(request).unwrap().to_lowercase();
    assert!(request.starts_with("get /ws http/1.1"));
    assert!(request.contains("authorization: bearer a-token-for-tests"));
    tcp.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    drop(tcp);
    let again = tokio::time::timeout(Duration::from_secs(4), world.dashboard.raw()).await;
    assert!(again.is_err(), "a token that was refused is shown again");
    agent.terminate();
    assert_eq!(agent.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_dashboard_that_restarts_is_dialled_again_within_two_seconds() {
    let mut world = World::new().await;
    let _agent = world.start();
    for _ in 0..3 {
        let mut link = world.dashboard.registered().await;
        let frame = CloseFrame { code: CloseCode::Restart, reason: "restarting".into() };
        link.socket.send(Message::Close(Some(frame))).await.unwrap();
        let begun = Instant::now();
        let next = world.dashboard.dialled().await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        drop(next);
    }
}

#[tokio::test]
async fn junk_and_unknown_messages_change_nothing() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    for text in [
        "",
        "{",
        "[]",
        "{\"type\":\"dance\",\"payload\":{}}",
        "{\"type\":\"command\",\"payload\":{}}",
        "{\"type\":\"output_ack\"}",
    ] {
        link.socket.send(Message::text(text)).await.unwrap();
    }
    link.socket.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    let id = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0));
}

#[tokio::test]
async fn a_heartbeat_follows_the_register_and_each_result_at_once() {
    let world = World::new().await;
    let mut world = world.with("NIXFLEET_INTERVAL", "3600");
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.until(&mut link, "the first heartbeat", |dashboard| !dashboard.heartbeats.is_empty()).await;
    let first = &world.dashboard.heartbeats[0];
    assert!(first.disk.is_some() && first.tests == Some(0) && first.running.as_deref() == Some(&[][..]));
    world.dashboard.run(&mut link, "pull").await;
    world.dashboard.heartbeats.clear();
    world
        .dashboard
        .until(&mut link, "a heartbeat after the result", |dashboard| !dashboard.heartbeats.is_empty())
        .await;
    let beat = &world.dashboard.heartbeats[0];
    assert!(beat.generation.is_some());
}

/// Tells of a test that can't run here: by name and reason, never silently.
pub(crate) fn skipped(test: &str, reason: &str) {
    use std::io::Write as _;
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(list) = std::env::var_os("NIXFLEET_SKIPPED_TESTS") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        writeln!(list, "{test}: {reason}").unwrap();
    }
}

/// A certificate authority, and a certificate and key for the loopback address that it signed.
fn authority() -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (authority.pem(), certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

#[tokio::test]
async fn tls_is_spoken_with_those_whom_the_ca_file_names() {
    let world = World::new().await;
    let dir = world.path("tls");
    std::fs::create_dir(&dir).unwrap();
    let (ca, certificate, key) = authority();
    std::fs::write(dir.join("ca.pem"), ca).unwrap();
    std::fs::write(dir.join("other.pem"), authority().0).unwrap();
    let certificates = vec![certificate];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let url = world.dashboard.url().replace("ws://", "wss://");
    let mut world = world.with("NIXFLEET_URL", url);
    for (ca, trusted) in [("other.pem", false), ("ca.pem", true)] {
        world = world.with("NIXFLEET_CA_FILE", dir.join(ca).display().to_string());
        let agent = world.start();
        let tls = acceptor.accept(world.dashboard.raw().await).await;
        assert_eq!(tls.is_ok(), trusted, "{ca}");
        if let Ok(tls) = tls {
            let mut socket = tokio_tungstenite::accept_async(tls).await.unwrap();
            let first = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
            assert!(first.to_text().unwrap().contains("\"type\":\"register\""));
            eprintln!("resident with TLS: {} KiB", agent.resident());
        }
        agent.kill();
    }
}

#[tokio::test]
async fn what_ended_while_the_link_was_down_is_a_result_and_not_running() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho ready\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = crate::world::new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    // The agent dials again, and nobody answers until the command is over.
    drop(link);
    let tcp = world.dashboard.raw().await;
    std::fs::write(world.path("go"), "").unwrap();
    let result = world.folder(id).join("result.json");
    crate::world::until("the result", || result.exists()).await;
    drop(tcp);
    let mut link = world.dashboard.registered().await;
    assert_eq!((link.register.running.as_slice(), link.register.results.as_slice()), (&[][..], &[id][..]));
    world.dashboard.until_ended(&mut link, id).await;
}

#[tokio::test]
async fn two_agents_do_not_share_a_state_directory() {
    let mut world = World::new().await;
    let _agent = world.start();
    let _link = world.dashboard.registered().await;
    let mut second = world.start();
    assert_eq!(second.ended().await.code(), Some(1));
    let log = std::fs::read_to_string(world.path("agent.log")).unwrap();
    assert!(log.contains("another agent uses the state directory"));
}
