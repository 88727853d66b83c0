//! The link: refused, closed, silent, flooded; and what the agent does then.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
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
