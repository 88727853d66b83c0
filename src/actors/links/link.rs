//! One agent's socket: one task that reads and writes (an actor costs 9 KiB, a task 1). The links actor owns it;
//! what is read goes to the host's actor, what the host's actor sends comes by a bounded outbox.
//!
//! ```text
//! host ── send ──→ outbox ──→ ┌ task ┐ ←──→ socket
//!   ▲                         └──┬───┘
//!   └──────── FromAgent ─────────┘
//! ```
//!
//! There are thousands of these, so what rests in memory for each is small: no second task, no halves of the socket
//! that share a lock, no channel with room for messages that rarely come.
//!
//! Backpressure: each message that is cast carries a permit by its size, and the task stops reading when all are
//! out; it goes on writing meanwhile. What is no output is read at a pace besides: each such message may make a delta
//! for every tab. When the host's actor dies the link is closed with 1012: the agent comes back and tells the truth.

mod outbox;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{self, Either};
use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Register};
use nixfleet_protocol::codec::{self, Decoded};
use ractor::{ActorRef, RpcReplyPort};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

pub use self::outbox::{LinkRef, Outbox, Taken, outbox};
use crate::actors::host;
use crate::actors::socket::{self, Pace};

/// Anything that a WebSocket can run over: TCP, TLS, an upgraded HTTP connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl std::fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Io")
    }
}

/// A WebSocket, after its handshake.
pub type Socket = WebSocketStream<Box<dyn Io>>;

/// What one link may have on its way to the host's actor, in KiB.
const IN_FLIGHT: u32 = 1024;
/// What the smallest message counts, in KiB: there are never more than 256 on their way.
const SMALLEST: u32 = 4;
/// Messages that an agent may send at once, output apart: the results that it kept while it was away, and more.
const BURST: u32 = 256;
/// And then one in this time; an agent of ours needs one in a second or two. A faster one is read slower.
const ONE_IN: Duration = Duration::from_millis(20);
/// How long an agent may take to say who it is.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);
/// How often the dashboard pings.
const PING_EVERY: Duration = Duration::from_secs(30);
/// After this much silence the link is dropped.
const SILENCE: Duration = Duration::from_mins(1);
/// Malformed frames a minute that close the link.
const MALFORMED_PER_MINUTE: u32 = 100;

/// Close codes of ours.
pub mod close {
    /// The hostname can't be folded into a name.
    pub const BAD_NAME: u16 = 4008;
    /// Another machine with this name is connected.
    pub const NAME_TAKEN: u16 = 4009;
    /// The token is bound to another host, was removed, or the host was.
    pub const NOT_ALLOWED: u16 = 4001;
    /// A newer link of the same machine took this one's place.
    pub const REPLACED: u16 = 4000;
    /// The dashboard restarts, or the host's actor does: come back at once.
    pub const RESTART: u16 = 1012;
    /// Too many malformed frames, or none that says who it is.
    pub const POLICY: u16 = 1008;
}

/// What goes to an agent.
#[derive(Debug)]
pub enum Outgoing {
    /// A message.
    Frame(Box<DashboardMessage>),
    /// A ping; the sender is told when the pong (or anything else) comes.
    Ping(oneshot::Sender<()>),
    /// The end.
    Close {
        /// WebSocket close code.
        code: u16,
        /// For people.
        reason: String,
    },
}

/// What a link tells the links actor.
#[derive(Debug)]
pub enum LinkNews {
    /// The agent said who it is; the answer is its host's actor, or nothing when it was refused.
    Registered {
        /// Which link.
        link: LinkRef,
        /// What it said.
        register: Box<Register>,
        /// Where the host's actor is put when it may go on.
        attach: RpcReplyPort<ActorRef<host::Msg>>,
    },
    /// It is over.
    Ended {
        /// Which link.
        link: u64,
    },
}

/// Starts the task of a link. `tell` is called from it and must not block.
pub fn start(id: u64, socket: Socket, tell: impl Fn(LinkNews) + Send + Sync + 'static) -> LinkRef {
    let (link, outbox) = outbox(id);
    let now = Instant::now();
    // In a box: what a future takes along it has room for twice.
    let mut task = Box::new(Task {
        link: link.clone(),
        outbox,
        socket,
        sending: Sending::Open,
        unflushed: false,
        asked: Vec::new(),
        host: None,
        heard: now,
        ping: now + PING_EVERY,
        timer: Box::pin(tokio::time::sleep_until(now + PING_EVERY)),
        malformed: 0,
        minute: now,
        unknown: Vec::new(),
        pace: Pace::new(BURST, ONE_IN),
        length: 0,
        broken: false,
    });
    tokio::spawn(async move { task.live(tell).await });
    link
}

/// How far the sending half is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// What comes is sent.
    Open,
    /// A close frame is on its way.
    Closing,
    /// It was sent, or nothing can be sent any more.
    Over,
}

/// Why nothing more of the link is of interest.
#[derive(Debug)]
enum End {
    /// Closed by us, or it can't be written: the agent gets a moment to answer the close frame.
    Sent,
    /// Its agent does not read.
    Cut,
    /// Nothing came for too long.
    Silent,
    /// The agent is gone, or closed; or the close frame that ends it was given its second.
    Gone,
}

struct Task {
    link: LinkRef,
    outbox: Outbox,
    socket: Socket,
    sending: Sending,
    /// Something was given to the socket that may still lie in it.
    unflushed: bool,
    /// Who asked whether the agent is there.
    asked: Vec<oneshot::Sender<()>>,
    /// Who hears what comes, once the agent was let in.
    host: Option<ActorRef<host::Msg>>,
    /// When anything came last.
    heard: Instant,
    /// When the next ping is due.
    ping: Instant,
    /// Rings for the next ping, or for too much silence; one that rings early looks again.
    timer: Pin<Box<Sleep>>,
    malformed: u32,
    minute: Instant,
    /// Message types that were told of.
    unknown: Vec<String>,
    pace: Pace,
    /// Bytes of the last frame.
    length: usize,
    /// What came broke the protocol: nothing more of it can be read.
    broken: bool,
}

impl Task {
    async fn live(&mut self, tell: impl Fn(LinkNews) + Send + Sync + 'static) {
        let id = self.link.id();
        match self.run(&tell).await {
            Ok(never) => match never {},
            Err(End::Sent) => Box::pin(self.drain()).await,
            Err(End::Cut) => tracing::info!(link = id, "the agent does not read, cut off"),
            Err(End::Silent) => tracing::info!(link = id, "silent for {SILENCE:?}, dropped"),
            Err(End::Gone) => {}
        }
        if let Some(host) = self.host.take()
            && host.cast(host::Msg::LinkDown { link: id }).is_err()
        {
            tracing::debug!(link = id, "host actor is gone");
        }
        tell(LinkNews::Ended { link: id });
    }

    async fn run(&mut self, tell: &(impl Fn(LinkNews) + Sync)) -> Result<std::convert::Infallible, End> {
        // In a box: what the beginning needs is given back.
        let host = Box::pin(self.begin(tell)).await?;
        self.host = Some(host.clone());
        let permits = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        loop {
            let message = self.next().await?;
            let weight = u32::try_from(self.length / 1024).unwrap_or(IN_FLIGHT).clamp(SMALLEST, IN_FLIGHT);
            let permit = if let Ok(permit) = Arc::clone(&permits).try_acquire_many_owned(weight) {
                permit
            } else {
                // In a box: it is rare, and takes room for as long as the link lives.
                let waiting = Arc::clone(&permits).acquire_many_owned(weight);
                Box::pin(self.meanwhile(waiting)).await?.map_err(|_| End::Gone)?
            };
            if host.cast(host::Msg::FromAgent { link: self.link.id(), message, permit }).is_err() {
                return Err(self.end(close::RESTART, "the host is being restarted, come back").await);
            }
        }
    }

    /// Until the agent said who it is, and was let in: its host's actor.
    async fn begin(&mut self, tell: &(impl Fn(LinkNews) + Sync)) -> Result<ActorRef<host::Msg>, End> {
        let register = match tokio::time::timeout(REGISTER_WITHIN, self.next()).await {
            Ok(Ok(AgentMessage::Register(register))) => register,
            Ok(Err(end @ (End::Sent | End::Cut))) => return Err(end),
            Ok(_) | Err(_) => return Err(self.end(close::POLICY, "the first message must be register").await),
        };
        let (attach, attached) = ractor::concurrency::oneshot();
        tell(LinkNews::Registered { link: self.link.clone(), register, attach: attach.into() });
        match self.meanwhile(attached).await? {
            Ok(host) => Ok(host),
            // Refused: the close frame that says why is on its way already.
            Err(_) => Err(self.end(close::NOT_ALLOWED, "refused").await),
        }
    }

    /// The next message in good form.
    async fn next(&mut self) -> Result<AgentMessage, End> {
        loop {
            let frame = match future::poll_fn(|cx| self.poll(cx)).await? {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::debug!(link = self.link.id(), %error, "link broke");
                    let Some((code, reason)) = socket::fault(&error) else { return Err(End::Gone) };
                    self.broken = true;
                    return Err(self.end(code, reason).await);
                }
            };
            self.heard();
            self.length = frame.len();
            let frame = match frame {
                Message::Text(text) => codec::decode_agent(text.as_str()),
                Message::Binary(_) => Decoded::Malformed("binary frame".to_owned()),
                Message::Close(_) => return Err(End::Gone),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    self.keep_pace().await?;
                    continue;
                }
            };
            match frame {
                // Output has a pace of its own: what is on disk.
                Decoded::Message(message @ AgentMessage::Output(_)) => return Ok(message),
                Decoded::Message(message) => {
                    self.keep_pace().await?;
                    return Ok(message);
                }
                Decoded::UnknownType(kind) => {
                    self.keep_pace().await?;
                    if self.unknown.len() < 20 && !self.unknown.contains(&kind) {
                        tracing::info!(link = self.link.id(), kind, "unknown message type, ignored");
                        self.unknown.push(kind);
                    }
                }
                Decoded::Malformed(why) => {
                    if self.too_many_malformed(&why) {
                        return Err(self.end(close::POLICY, "too many malformed messages").await);
                    }
                }
            }
        }
    }

    /// Anything that comes proves that the agent is there.
    fn heard(&mut self) {
        self.heard = Instant::now();
        for told in self.asked.drain(..) {
            if told.send(()).is_err() {
                tracing::trace!("nobody waits for this pong any more");
            }
        }
    }

    async fn keep_pace(&mut self) -> Result<(), End> {
        if let Some(ahead) = self.pace.take() {
            // In a box: it is rare, and a timer is large.
            Box::pin(self.meanwhile(tokio::time::sleep(ahead))).await?;
        }
        Ok(())
    }

    fn too_many_malformed(&mut self, why: &str) -> bool {
        if self.minute.elapsed() > Duration::from_mins(1) {
            self.minute = Instant::now();
            self.malformed = 0;
        }
        self.malformed += 1;
        tracing::debug!(link = self.link.id(), why, count = self.malformed, "malformed message, ignored");
        self.malformed > MALFORMED_PER_MINUTE
    }

    /// Sends a close frame, and sees it off for a second at most.
    async fn end(&mut self, code: u16, reason: &str) -> End {
        self.link.close(code, reason);
        let second = Box::pin(self.meanwhile(tokio::time::sleep(Duration::from_secs(1)))).await;
        second.err().unwrap_or(End::Gone)
    }

    /// Reads on until the agent closes, a second at most.
    async fn drain(&mut self) {
        if self.broken {
            // Nothing of it can be read. It gets the time to read why, before what it sent resets the connection.
            return tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let over = async { while let Some(Ok(_)) = self.socket.next().await {} };
        if tokio::time::timeout(Duration::from_secs(1), over).await.is_err() {
            tracing::debug!(link = self.link.id(), "agent did not answer the close");
        }
    }

    /// Waits for something else, and goes on sending. Nothing is read: silence is ours then, and not the agent's.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Result<T, End> {
        let other = std::pin::pin!(other);
        let sending = future::poll_fn(|cx| {
            self.heard = Instant::now();
            self.poll_send(cx)
        });
        match future::select(other, sending).await {
            Either::Left((done, _)) => {
                self.heard = Instant::now();
                Ok(done)
            }
            Either::Right((end, _)) => Err(end),
        }
    }

    /// Sends what there is to send, and gives the next frame.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Result<Message, Error>, End>> {
        if let Poll::Ready(end) = self.poll_send(cx) {
            return Poll::Ready(Err(end));
        }
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(frame)) => Poll::Ready(Ok(frame)),
            Poll::Ready(None) => Poll::Ready(Err(End::Gone)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends what there is to send. Ready when that is over, or the link is.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let silent = self.heard + SILENCE;
            if silent <= now {
                return Poll::Ready(End::Silent);
            }
            if self.ping <= now {
                self.ping = now + PING_EVERY;
                self.outbox.ping();
            }
            let next = self.ping.min(silent);
            self.timer.as_mut().reset(next);
        }
        match self.poll_outbox(cx) {
            Poll::Ready(Ok(end)) => Poll::Ready(end),
            Poll::Ready(Err(error)) => {
                tracing::debug!(link = self.link.id(), %error, "link can't be written");
                self.sending = Sending::Over;
                Poll::Ready(End::Sent)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Error>> {
        loop {
            if self.sending == Sending::Over {
                return Poll::Ready(Ok(End::Sent));
            }
            // Before the socket is asked: who does not read is cut off while the socket is full.
            if self.outbox.listen(cx.waker()) {
                return Poll::Ready(Ok(End::Cut));
            }
            let Poll::Ready(ready) = self.socket.poll_ready_unpin(cx) else { return Poll::Pending };
            ready?;
            if self.sending == Sending::Open
                && let Some(taken) = self.outbox.take()
            {
                self.send(taken)?;
                self.unflushed = true;
                continue;
            }
            if self.unflushed {
                let Poll::Ready(flushed) = self.socket.poll_flush_unpin(cx) else { return Poll::Pending };
                flushed?;
                self.unflushed = false;
            }
            if self.sending == Sending::Open {
                return Poll::Pending;
            }
            self.sending = Sending::Over;
        }
    }

    fn send(&mut self, taken: Taken) -> Result<(), Error> {
        let message = match taken {
            Taken::Ping => Message::Ping(Vec::new().into()),
            Taken::Outgoing(Outgoing::Frame(message)) => Message::text(codec::encode(&message)),
            Taken::Outgoing(Outgoing::Ping(told)) => {
                self.asked.push(told);
                Message::Ping(Vec::new().into())
            }
            Taken::Outgoing(Outgoing::Close { code, reason }) => {
                self.sending = Sending::Closing;
                Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
            }
        };
        Pin::new(&mut self.socket).start_send(message)
    }
}
