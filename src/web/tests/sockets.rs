//! `/ws`: who is let in, as whom, and that what is over closes its sockets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use nixfleet_model::fleet_state::StateChange;
use nixfleet_protocol::api::{Category, Event, Level};
use nixfleet_protocol::{EventId, Time};

use super::harness::{SHARED, Served, Wanted, serve};
use crate::actors::store::{Scope, TokenKind};

type Client = WebSocketStream<TcpStream>;

async fn connect(served: &Served, query: &str, headers: &[(&'static str, &str)]) -> Result<Client, u16> {
    let mut request = format!("ws://{}/ws{query}", served.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let socket = TcpStream::connect(served.address).await.unwrap();
    match client_async(request, socket).await {
        Ok((client, _)) => Ok(client),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next text, or the close code as a text.
async fn next(client: &mut Client) -> String {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), client.next()).await.expect("nothing came");
        match message {
            Some(Ok(Message::Text(text))) => return text.to_string(),
            Some(Ok(Message::Close(frame))) => {
                return frame.map_or("closed".to_owned(), |frame| u16::from(frame.code).to_string());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.to_string(),
            None => return "ended".to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_and_api_clients_get_the_state() {
    let served = serve(Wanted::default()).await;
    let person = served.login().await;
    let origin = served.origin();
    let by_cookie = [("cookie", person.cookie.as_str()), ("origin", origin.as_str())];
    let mut tab = connect(&served, "", &by_cookie).await.unwrap();
    assert!(next(&mut tab).await.contains("\"type\":\"init\""));
    let mut page = connect(&served, "?view=html&page=fleet", &by_cookie).await.unwrap();
    assert!(next(&mut page).await.contains("fragments"));
    let read = format!("Bearer {}", served.api(Scope::Read).await);
    let mut api = connect(&served, "", &[("authorization", &read)]).await.unwrap();
    assert!(next(&mut api).await.contains("\"type\":\"init\""));
    for query in ["?view=xml", "?view=html&page=nothing", "?epoch=7", "?version=x"] {
        assert_eq!(connect(&served, query, &by_cookie).await.err(), Some(400), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_a_large_fleet_is_one_frame_and_arrives() {
    let served = serve(Wanted::default()).await;
    let read = format!("Bearer {}", served.api(Scope::Read).await);
    let event = |number: u64| {
        StateChange::Event(Arc::new(Event {
            id: EventId(number),
            time: Time::from_millis(0),
            category: Category::Audit,
            level: Level::Info,
            actor: "test".to_owned(),
            host: None,
            action: "large".to_owned(),
            message: "x".repeat(60_000),
            details: serde_json::Value::Null,
        }))
    };
    served.handles.sync.publish((1..=100).map(event).collect());
    let mut tab = connect(&served, "", &[("authorization", &read)]).await.unwrap();
    let init = next(&mut tab).await;
    assert!(init.len() > 4 * 1024 * 1024 && init.starts_with('{'), "{}: {init:.80}", init.len());
}

#[tokio::test]
async fn who_may_not_is_told_before_the_upgrade() {
    let served = serve(Wanted::default()).await;
    let person = served.login().await;
    let cookie = person.cookie.as_str();
    let metrics = format!("Bearer {}", served.api(Scope::Metrics).await);
    assert_eq!(connect(&served, "", &[]).await.err(), Some(401));
    assert_eq!(connect(&served, "", &[("authorization", "Bearer wrong")]).await.err(), Some(401));
    assert_eq!(connect(&served, "", &[("authorization", "Basic eDp5")]).await.err(), Some(401));
    assert_eq!(connect(&served, "", &[("cookie", cookie)]).await.err(), Some(403));
    let evil = [("cookie", cookie), ("origin", "https://evil.example")];
    assert_eq!(connect(&served, "", &evil).await.err(), Some(403));
    assert_eq!(connect(&served, "", &[("authorization", &metrics)]).await.err(), Some(403));
    let shared = format!("Bearer {SHARED}");
    assert_eq!(served.get("/ws", &[("Authorization", &shared)]).await.status, 426);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_and_ending_a_token_close_their_sockets() {
    let served = serve(Wanted::default()).await;
    let person = served.login().await;
    let origin = served.origin();
    let by_cookie = [("cookie", person.cookie.as_str()), ("origin", origin.as_str())];
    let mut tab = connect(&served, "", &by_cookie).await.unwrap();
    next(&mut tab).await;
    let read = served.api(Scope::Read).await;
    let mut api = connect(&served, "", &[("authorization", &format!("Bearer {read}"))]).await.unwrap();
    next(&mut api).await;
    let form = format!("csrf_token={}", person.csrf);
    let headers = [("Cookie", person.cookie.as_str()), ("Origin", origin.as_str())];
    assert_eq!(served.ask("POST", "/logout", &headers, &form).await.status, 303);
    while let text = next(&mut tab).await
        && text != "4001"
    {
        assert!(text.starts_with('{'), "{text}");
    }
    let id = served.handles.access.list().await.unwrap()[0].id.clone();
    assert!(served.handles.access.revoke(id, "test".to_owned()).await.unwrap());
    while let text = next(&mut api).await
        && text != "4001"
    {
        assert!(text.starts_with('{'), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_expires_closes_its_sockets() {
    let served = serve(Wanted { session: Some(Duration::from_secs(2)), ..Wanted::default() }).await;
    let person = served.login().await;
    let origin = served.origin();
    let by_cookie = [("cookie", person.cookie.as_str()), ("origin", origin.as_str())];
    let mut tab = connect(&served, "", &by_cookie).await.unwrap();
    while let text = next(&mut tab).await
        && text != "4001"
    {
        assert!(text.starts_with('{'), "{text}");
    }
    assert_eq!(served.get("/api/v1/hosts", &[("Cookie", &person.cookie)]).await.status, 401);
}

async fn register(client: &mut Client, host: &str) -> String {
    let register = format!(r#"{{"type":"register","payload":{{"hostname":"{host}","heartbeat_interval":5}}}}"#);
    client.send(Message::text(register)).await.unwrap();
    next(client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_bound_to_its_host() {
    let served = serve(Wanted::default()).await;
    let token = served.token(TokenKind::Host("hsb0".parse().unwrap())).await;
    let own = format!("Bearer {token}");
    let shared = format!("Bearer {SHARED}");
    let mut other = connect(&served, "", &[("authorization", &own)]).await.unwrap();
    assert_eq!(register(&mut other, "hsb1").await, "4001");
    let mut thief = connect(&served, "", &[("authorization", &shared)]).await.unwrap();
    assert_eq!(register(&mut thief, "HSB0").await, "4001");
    // The hosts are away here: who may come in is told to come back.
    let mut right = connect(&served, "", &[("authorization", &own)]).await.unwrap();
    assert_eq!(register(&mut right, "HSB0").await, "1012");
    let mut old = connect(&served, "", &[("authorization", &shared)]).await.unwrap();
    assert_eq!(register(&mut old, "hsb1").await, "1012");
    // A token that is gone still counts: the host had one of its own.
    let id = served.handles.access.list().await.unwrap()[0].id.clone();
    assert!(served.handles.access.revoke(id, "test".to_owned()).await.unwrap());
    assert_eq!(connect(&served, "", &[("authorization", &own)]).await.err(), Some(401));
    let mut thief = connect(&served, "", &[("authorization", &shared)]).await.unwrap();
    assert_eq!(register(&mut thief, "hsb0").await, "4001");
}
