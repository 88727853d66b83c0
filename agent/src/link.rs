//! The link: one WebSocket to the dashboard, with its timers, and nothing that knows what is said on it.
//!
//! The agent's session owns a [`Link`] and asks it for the next thing that happened; what is to be sent waits in a
//! bounded outbox and leaves as fast as the socket takes it, so neither direction ever waits for the other. A link
//! that is dropped is gone; everything worth keeping is in the journal.

pub mod backoff;
pub mod dial;
pub mod tls;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use nixfleet_protocol::codec;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// How often we ping.
pub const PING: Duration = Duration::from_secs(10);
/// A link that says nothing for so long is dropped.
pub const SILENCE: Duration = Duration::from_secs(45);
/// How long an orderly end may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// Output is added while less than this waits to be sent. Bytes.
pub const OUTBOX: usize = 64 * 1024;

/// A dashboard that sends and does not read what it is sent is left when so much waits. Bytes.
pub const MOST_WAITING: usize = 4 * 1024 * 1024;

/// Small buffers: they stay allocated as long as the link. Writing gathers 16 KiB, else a line of output costs a
/// system call each.
pub fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(2 * 1024 * 1024)
        .max_message_size(Some(nixfleet_protocol::MAX_MESSAGE))
        .max_frame_size(Some(nixfleet_protocol::MAX_MESSAGE))
}

/// A byte stream of either kind.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// The dashboard closed it, with a code and a reason.
    Closed(u16, String),
    /// It broke.
    Broken(String),
    /// Nothing was heard for too long.
    Silent,
    /// It sent a message over the limit.
    TooLarge,
    /// It does not read what it is sent.
    Stuffed,
}

/// What happened on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// A text frame.
    Text(String),
    /// Everything that waited has left.
    Drained,
    /// The dashboard has read everything that was sent before the ping of this number.
    Heard(u64),
    /// It is over.
    Ended(LinkEnd),
}

/// A living link.
pub struct Link {
    socket: WebSocketStream<Box<dyn Transport>>,
    outbox: VecDeque<Message>,
    waiting: usize,
    unflushed: bool,
    heard: Instant,
    ping_at: Instant,
    pinged: u64,
    heard_ping: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Link {
    /// A link over a socket whose handshake is done.
    pub fn new(socket: WebSocketStream<Box<dyn Transport>>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            outbox: VecDeque::new(),
            waiting: 0,
            unflushed: false,
            heard: now,
            ping_at: now + PING,
            pinged: 0,
            heard_ping: 0,
        }
    }

    /// Puts a message into the outbox.
    pub fn send<M: Serialize>(&mut self, message: &M) {
        let text = codec::encode(message);
        self.waiting += text.len();
        self.outbox.push_back(Message::text(text));
    }

    /// Pings; gives the ping's number. When it is heard, all that was put in before has been read at the other end.
    pub fn ping(&mut self) -> u64 {
        self.pinged += 1;
        self.outbox.push_back(Message::Ping(self.pinged.to_be_bytes().to_vec().into()));
        self.pinged
    }

    /// Whether there is room for output.
    pub const fn has_room(&self) -> bool {
        self.waiting < OUTBOX
    }

    /// The next thing that happens. May be dropped and called again; nothing is lost.
    pub async fn next(&mut self) -> LinkEvent {
        loop {
            if self.waiting > MOST_WAITING {
                return LinkEvent::Ended(LinkEnd::Stuffed);
            }
            let wake = self.ping_at.min(self.heard + SILENCE);
            tokio::select! {
                event = poll_fn(|context| self.poll(context)) => match event {
                    Some(event) => return event,
                    None => self.heard = Instant::now(),
                },
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.heard + SILENCE {
                        return LinkEvent::Ended(LinkEnd::Silent);
                    }
                    if now >= self.ping_at {
                        self.ping_at = now + PING;
                        self.ping();
                    }
                }
            }
        }
    }

    /// Sends what it can, then reads. `None` is a frame that only shows life.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<LinkEvent>> {
        match self.poll_send(context) {
            Poll::Ready(Ok(true)) => return Poll::Ready(Some(LinkEvent::Drained)),
            Poll::Ready(Ok(false)) | Poll::Pending => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Some(LinkEvent::Ended(broken(&error)))),
        }
        let message = match Pin::new(&mut self.socket).poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                return Poll::Ready(Some(LinkEvent::Ended(LinkEnd::Broken("the connection ended".into()))));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(LinkEvent::Ended(broken(&error)))),
            Poll::Ready(Some(Ok(message))) => message,
        };
        self.heard = Instant::now();
        Poll::Ready(match message {
            Message::Text(text) => Some(LinkEvent::Text(text.as_str().to_owned())),
            Message::Close(frame) => {
                let (code, reason) =
                    frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                Some(LinkEvent::Ended(LinkEnd::Closed(code, reason)))
            }
            Message::Pong(payload) => {
                // An old dashboard may answer without the ping's payload: then it answers the next one in turn.
                let number = <[u8; 8]>::try_from(&payload[..]).map_or(self.heard_ping + 1, u64::from_be_bytes);
                self.heard_ping = self.heard_ping.max(number.min(self.pinged));
                Some(LinkEvent::Heard(self.heard_ping))
            }
            Message::Binary(_) | Message::Ping(_) | Message::Frame(_) => None,
        })
    }

    /// Whether everything that waited has just left.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        while !self.outbox.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => done?,
            }
            if let Some(message) = self.outbox.pop_front() {
                if matches!(message, Message::Text(_)) {
                    self.waiting = self.waiting.saturating_sub(message.len());
                }
                self.unflushed = true;
                Pin::new(&mut self.socket).start_send(message)?;
            }
        }
        if !self.unflushed {
            return Poll::Ready(Ok(false));
        }
        match Pin::new(&mut self.socket).poll_flush(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(done) => {
                done?;
                self.unflushed = false;
                Poll::Ready(Ok(true))
            }
        }
    }

    /// Sends what waits, says why, and goes; in any case within three seconds.
    pub async fn close(mut self, reason: &'static str) {
        self.farewell(CloseCode::Normal, reason).await;
    }

    /// Says that a message was too large, and goes.
    pub async fn close_too_large(&mut self) {
        self.outbox.clear();
        self.farewell(CloseCode::Size, "the message is over 512 KiB").await;
    }

    async fn farewell(&mut self, code: CloseCode, reason: &'static str) {
        let farewell = async {
            self.outbox.push_back(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
            while !matches!(self.next().await, LinkEvent::Ended(_)) {}
        };
        // Whoever does not answer a farewell is left without one.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

fn broken(error: &Error) -> LinkEnd {
    if matches!(error, Error::Capacity(_)) {
        return LinkEnd::TooLarge;
    }
    LinkEnd::Broken(error.to_string())
}
