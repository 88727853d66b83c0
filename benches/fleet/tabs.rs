//! Simulated tabs: light tasks that read what a browser would, check that no version is left out, and note when
//! each came. One tab may look into what it reads ([`Watcher`]); the others know the versions alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::daemon::ADMIN;

type Socket = WebSocketStream<TcpStream>;

/// What a tab asks to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    /// Objects, as programs read them.
    Json,
    /// Fragments of the fleet's page, as browsers do.
    Html,
}

/// Opens a tab's socket.
pub(crate) async fn open(port: u16, view: View) -> anyhow::Result<Socket> {
    let query = match view {
        View::Json => "view=json",
        View::Html => "view=html&page=fleet",
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://127.0.0.1:{port}/ws?{query}").into_client_request()?;
    request.headers_mut().insert("Authorization", format!("Bearer {ADMIN}").parse()?);
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024).write_buffer_size(0);
    Ok(tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?.0)
}

/// What a tab has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The version of its first delta.
    pub(crate) first: u64,
    /// When each delta came, in their order, in microseconds since the beginning.
    pub(crate) arrivals: Vec<u32>,
    /// Versions that were left out.
    pub(crate) lost: u64,
    /// How often the whole state came, after the first.
    pub(crate) states: u64,
    /// Bytes of deltas.
    pub(crate) bytes: u64,
}

/// A tab that counts.
pub(crate) struct Counter {
    stop: Arc<Notify>,
    task: JoinHandle<anyhow::Result<Seen>>,
}

impl Counter {
    /// Opens it, and takes its `init`.
    pub(crate) async fn open(port: u16, view: View, beginning: Instant) -> anyhow::Result<Self> {
        let mut socket = open(port, view).await?;
        let (kind, mut version) = envelope(&text(&mut socket).await?)?;
        ensure!(kind == Kind::State, "the first frame is no init");
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            loop {
                let text = tokio::select! {
                    text = text(&mut socket) => text?,
                    () = stopped.notified() => return Ok(seen),
                };
                let (kind, now) = envelope(&text)?;
                match kind {
                    Kind::Delta => {
                        if seen.arrivals.is_empty() {
                            seen.first = now;
                        }
                        seen.lost += now.saturating_sub(version + 1);
                        seen.bytes += text.len() as u64;
                        seen.arrivals.push(u32::try_from(beginning.elapsed().as_micros())?);
                    }
                    Kind::State => seen.states += 1,
                    Kind::Other => continue,
                }
                version = now;
            }
        });
        Ok(Self { stop, task })
    }

    /// What it has seen.
    pub(crate) async fn close(self) -> anyhow::Result<Seen> {
        self.stop.notify_one();
        self.task.await?
    }
}

/// A tab that looks into what it reads.
pub(crate) struct Watcher {
    socket: Socket,
}

impl Watcher {
    /// Opens it, and takes its `init`.
    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
        let mut socket = open(port, View::Json).await?;
        text(&mut socket).await?;
        Ok(Self { socket })
    }

    /// The next frame, with the moment when it came.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(Instant, Value)> {
        let next = tokio::time::timeout(Duration::from_secs(40), text(&mut self.socket)).await;
        let text = next.context("no frame for 40 s")??;
        Ok((Instant::now(), serde_json::from_str(text.as_str())?))
    }

    /// Follows a log from its beginning.
    pub(crate) async fn follow(&mut self, command: &str) -> anyhow::Result<()> {
        let frame = json!({ "type": "follow_log", "payload": { "command_id": command, "offset": 0 } });
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }
}

async fn text(socket: &mut Socket) -> anyhow::Result<Utf8Bytes> {
    loop {
        match socket.next().await.context("the tab was closed")?? {
            Message::Text(text) => return Ok(text),
            Message::Ping(_) => socket.flush().await?,
            Message::Close(frame) => bail!("the tab was closed: {frame:?}"),
            Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delta,
    State,
    Other,
}

/// The kind and the version of a frame. They stand at its beginning, and what follows is not read: a thousand tabs
/// share two processors with the daemon.
fn envelope(text: &Utf8Bytes) -> anyhow::Result<(Kind, u64)> {
    let bytes = text.as_bytes();
    let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]);
    let after = |name: &str| begin.split_once(name).map(|(_, rest)| rest);
    let kind = match after("\"type\":\"").and_then(|rest| rest.split('"').next()) {
        Some("delta") => Kind::Delta,
        Some("init" | "full_state") => Kind::State,
        Some(_) | None => Kind::Other,
    };
    let version = after("\"version\":").and_then(|rest| rest.split(|it: char| !it.is_ascii_digit()).next());
    Ok((kind, version.context("a frame without a version")?.parse()?))
}
