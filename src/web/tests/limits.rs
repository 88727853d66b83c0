//! What is too large, too slow or too much; and how answers are packed.

use std::io::Read as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::{ADMIN, SHARED, WEBHOOK, Wanted, serve};
use crate::web::server::{Bounds, Limits};

fn quick() -> Limits {
    Limits { header_within: Duration::from_millis(300), grace: Duration::from_millis(500), ..Limits::default() }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let served = serve(Wanted::default()).await;
    let admin = format!("Bearer {ADMIN}");
    let headers = [("Authorization", admin.as_str())];
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    assert_eq!(served.ask("POST", "/api/v1/hosts", &headers, &large).await.status, 413);
    // Without a length it is cut off while it comes.
    let mut chunked = format!(
        "POST /api/v1/hosts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {admin}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b'a'; 0x1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(served.raw(&chunked).await.status, 413);
    // Nobody's body is not even looked at.
    assert_eq!(served.ask("POST", "/api/v1/hosts", &[], &large).await.status, 401);
}

#[tokio::test]
async fn a_header_that_is_too_large_is_431() {
    let served = serve(Wanted::default()).await;
    let reply = served.get("/health", &[("X-Large", &"a".repeat(40_000))]).await;
    assert_eq!(reply.status, 431);
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let served = serve(Wanted { limits: quick(), ..Wanted::default() }).await;
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut all = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut all)).await;
    assert!(ended.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn strangers_have_few_connections_and_those_who_log_in_free_theirs() {
    let bounds = Bounds { per_address: 3, patience: Duration::from_millis(100), ..Bounds::default() };
    let served = serve(Wanted { limits: Limits { bounds, ..Limits::default() }, ..Wanted::default() }).await;
    let mut open = Vec::new();
    let request = format!("GET /api/v1/ops HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    for _ in 0..6 {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(socket);
    }
    for _ in 0..3 {
        open.push(TcpStream::connect(served.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(served.get("/health", &[]).await.status, 503);
    open.truncate(6);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(served.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn pages_are_compressed_for_those_who_take_it() {
    let served = serve(Wanted::default()).await;
    let plain = served.get("/login", &[]).await;
    assert_eq!(plain.header("content-encoding"), "");
    let packed = served.get("/login", &[("Accept-Encoding", "br, gzip;q=0.8")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.header("vary").contains("accept-encoding"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("csrf_token"));
    let refused = served.get("/login", &[("Accept-Encoding", "gzip;q=0")]).await;
    assert_eq!(refused.header("content-encoding"), "");
}

#[tokio::test]
async fn hashed_addresses_may_be_kept_and_others_are_asked_for_again() {
    let served = serve(Wanted::default()).await;
    let address = crate::web::pages::asset_url("app.css");
    let kept = served.get(&address, &[]).await;
    assert_eq!((kept.status, kept.header("cache-control")), (200, "public, max-age=31536000, immutable"));
    let other = served.get("/static/app.css?v=old", &[]).await;
    assert_eq!(other.header("cache-control"), "no-cache");
    let known = served.get("/static/app.css", &[("If-None-Match", other.header("etag"))]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    for path in ["/static/nothing.css", "/static/../Cargo.toml", "/static/%2e%2e/Cargo.toml"] {
        assert_eq!(served.get(path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn head_has_no_body_and_health_needs_nobody() {
    let served = serve(Wanted::default()).await;
    let head = served.ask("HEAD", "/health", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(served.get("/health", &[]).await.json()["status"], "ok");
    // Nobody sits at the root here, and that is said.
    let ready = served.get("/readyz", &[]).await;
    assert_eq!(ready.status, 503);
    assert!(!ready.json()["problems"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_page_that_is_not_there_is_readable() {
    let served = serve(Wanted::default()).await;
    let page = served.get("/nothing", &[("Accept", "text/html,*/*")]).await;
    assert_eq!(page.status, 404);
    assert!(page.header("content-type").starts_with("text/html"));
    let problem = served.get("/nothing", &[]).await;
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let person = served.login().await;
    let missing = served.get("/hosts/nobody", &[("Cookie", &person.cookie)]).await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("nobody"), "{}", missing.text());
}

#[tokio::test]
async fn only_github_may_speak_for_github() {
    let served = serve(Wanted::default()).await;
    let body = "{\"ref\":\"refs/heads/main\"}";
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, WEBHOOK.as_bytes());
    let tag = data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, body.as_bytes()).as_ref());
    let good = format!("sha256={tag}");
    assert_eq!(served.ask("POST", "/webhook/github", &[("X-Hub-Signature-256", &good)], body).await.status, 202);
    assert_eq!(served.ask("POST", "/webhook/github", &[("X-Hub-Signature-256", &good)], "{}").await.status, 401);
    let shared = format!("Bearer {SHARED}");
    assert_eq!(served.ask("POST", "/webhook/github", &[("Authorization", &shared)], body).await.status, 401);
}

#[tokio::test]
async fn when_the_daemon_stops_the_listener_closes_and_idle_connections_end() {
    let mut served = serve(Wanted { limits: quick(), ..Wanted::default() }).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    served.stop.send_replace(true);
    let serving = served.serving.take().unwrap();
    tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), idle.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    assert!(TcpStream::connect(served.address).await.is_err());
}
