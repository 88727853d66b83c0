//! One agent's socket: two tasks, a reader and a writer (an actor costs 9 KiB, a task 1). The links actor owns
//! both; what the reader reads goes to the host's actor, what the host's actor sends comes by a bounded outbox.
//!
//! Backpressure: each message that is cast carries a permit by its size, and the reader stops reading when all are
//! out. What is no output is read at a pace besides: each such message may make a delta for every tab.
//! When the host's actor dies the link is closed with 1012: the agent comes back and tells the truth.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Register};
use nixfleet_protocol::codec::{self, Decoded};
use ractor::{ActorRef, RpcReplyPort};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

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
/// Messages that may wait for a slow agent; commands and acknowledgements are few and small.
const OUTBOX: usize = 1024;
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
    /// A message. In a box: each link has room for 32 of these from its beginning.
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

/// One link, for those who send to it.
#[derive(Clone, Debug)]
pub struct LinkRef {
    id: u64,
    outbox: mpsc::Sender<Outgoing>,
    /// Its agent does not read: the link is cut, so that it comes back and tells again.
    cut: Arc<Notify>,
}

impl LinkRef {
    /// Over a bounded outbox.
    pub fn new(id: u64, outbox: mpsc::Sender<Outgoing>) -> Self {
        Self { id, outbox, cut: Arc::default() }
    }

    /// Its number: no two links of a daemon's life share one.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sends. `false`: the link is gone, or its agent does not read and it is cut now, because a frame that is
    /// lost must not be lost on a link that stays; the host will hear of its end.
    pub fn send(&self, message: DashboardMessage) -> bool {
        self.put(Outgoing::Frame(Box::new(message)))
    }

    /// Ends the link.
    pub fn close(&self, code: u16, reason: &str) {
        if !self.put(Outgoing::Close { code, reason: reason.to_owned() }) {
            tracing::debug!(link = self.id, code, "link is gone or does not read");
        }
    }

    fn put(&self, outgoing: Outgoing) -> bool {
        let put = self.outbox.try_send(outgoing);
        if matches!(put, Err(TrySendError::Full(_))) {
            self.cut.notify_one();
        }
        put.is_ok()
    }

    /// Whether the agent answers within `limit`.
    pub async fn answers(&self, limit: Duration) -> bool {
        let (told, pong) = oneshot::channel();
        if self.outbox.try_send(Outgoing::Ping(told)).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(limit, pong).await, Ok(Ok(())))
    }
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

/// Starts the two tasks of a link. `tell` is called from them and must not block.
pub fn start(id: u64, socket: Socket, tell: impl Fn(LinkNews) + Send + Sync + 'static) -> LinkRef {
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let link = LinkRef::new(id, outbox);
    let (sink, stream) = socket.split();
    let asked = Arc::<Asked>::default();
    let mut writer = tokio::spawn(write(sink, outgoing, Arc::clone(&asked)));
    let cut = Arc::clone(&link.cut);
    let mut reader = Reader::new(link.clone(), stream, asked);
    tokio::spawn(async move {
        tokio::select! {
            () = reader.run(&tell) => {}
            // Closed by us, or broken: the agent gets a moment to answer the close frame.
            _ = &mut writer => reader.drain().await,
            () = cut.notified() => tracing::info!(link = id, "the agent does not read, cut off"),
        }
        writer.abort();
        if let Some(host) = reader.host
            && host.cast(host::Msg::LinkDown { link: id }).is_err()
        {
            tracing::debug!(link = id, "host actor is gone");
        }
        tell(LinkNews::Ended { link: id });
    });
    link
}

/// Who asked whether the agent is there. The writer puts them in, the reader answers with the next frame; a heartbeat
/// that nobody asked about wakes no second task.
#[derive(Debug, Default)]
struct Asked {
    any: AtomicBool,
    told: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Asked {
    fn add(&self, told: oneshot::Sender<()>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        self.any.store(true, Ordering::Release);
    }

    /// Anything that comes proves that the agent is there.
    fn heard(&self) {
        if !self.any.swap(false, Ordering::AcqRel) {
            return;
        }
        for told in self.told.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if told.send(()).is_err() {
                tracing::trace!("nobody waits for this pong any more");
            }
        }
    }
}

struct Reader {
    link: LinkRef,
    stream: SplitStream<Socket>,
    asked: Arc<Asked>,
    /// Who hears what comes, once the agent was let in.
    host: Option<ActorRef<host::Msg>>,
    malformed: u32,
    minute: Instant,
    unknown: HashSet<String>,
    pace: Pace,
    /// Fires when the link may have been silent for too long; a timer for each frame would cost more.
    silence: Pin<Box<Sleep>>,
    /// Bytes of the last frame.
    length: usize,
    /// What it sent broke the rules of WebSocket.
    broken: bool,
}

impl Reader {
    fn new(link: LinkRef, stream: SplitStream<Socket>, asked: Arc<Asked>) -> Self {
        Self {
            link,
            stream,
            asked,
            host: None,
            malformed: 0,
            minute: Instant::now(),
            unknown: HashSet::new(),
            pace: Pace::new(BURST, ONE_IN),
            silence: Box::pin(tokio::time::sleep(SILENCE)),
            length: 0,
            broken: false,
        }
    }

    async fn run(&mut self, tell: &(impl Fn(LinkNews) + Sync)) {
        let Ok(Some(register)) = tokio::time::timeout(REGISTER_WITHIN, self.register()).await else {
            self.end(close::POLICY, "the first message must be register").await;
            return;
        };
        let (attach, attached) = ractor::concurrency::oneshot();
        tell(LinkNews::Registered { link: self.link.clone(), register, attach: attach.into() });
        let Ok(host) = attached.await else {
            // Refused: the close frame that says why is on its way already.
            self.end(close::NOT_ALLOWED, "refused").await;
            return;
        };
        self.host = Some(host.clone());
        let permits = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        while let Some(message) = self.next().await {
            let weight = u32::try_from(self.length / 1024).unwrap_or(IN_FLIGHT).clamp(SMALLEST, IN_FLIGHT);
            let Ok(permit) = Arc::clone(&permits).acquire_many_owned(weight).await else { break };
            if host.cast(host::Msg::FromAgent { link: self.link.id(), message, permit }).is_err() {
                self.end(close::RESTART, "the host is being restarted, come back").await;
                break;
            }
        }
    }

    async fn register(&mut self) -> Option<Box<Register>> {
        match self.next().await? {
            AgentMessage::Register(register) => Some(register),
            AgentMessage::Heartbeat(_)
            | AgentMessage::Accepted(_)
            | AgentMessage::Output(_)
            | AgentMessage::Status(_)
            | AgentMessage::CommandRejected(_)
            | AgentMessage::OperationProgress(_)
            | AgentMessage::TestProgress(_)
            | AgentMessage::Progress(_) => None,
        }
    }

    /// The next message in good form; `None` when the link is over.
    async fn next(&mut self) -> Option<AgentMessage> {
        loop {
            let frame = match self.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    tracing::debug!(link = self.link.id(), %error, "link broke");
                    if let Some((code, reason)) = socket::fault(&error) {
                        self.broken = true;
                        self.end(code, reason).await;
                    }
                    return None;
                }
                None => return None,
            };
            self.asked.heard();
            self.length = frame.len();
            let frame = match frame {
                Message::Text(text) => codec::decode_agent(text.as_str()),
                Message::Binary(_) => Decoded::Malformed("binary frame".to_owned()),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    self.pace.keep().await;
                    continue;
                }
            };
            match frame {
                // Output has a pace of its own: what is on disk.
                Decoded::Message(message @ AgentMessage::Output(_)) => return Some(message),
                Decoded::Message(message) => {
                    self.pace.keep().await;
                    return Some(message);
                }
                Decoded::UnknownType(kind) => {
                    self.pace.keep().await;
                    if self.unknown.len() < 20 && self.unknown.insert(kind.clone()) {
                        tracing::info!(link = self.link.id(), kind, "unknown message type, ignored");
                    }
                }
                Decoded::Malformed(why) => {
                    if self.too_many_malformed(&why) {
                        self.end(close::POLICY, "too many malformed messages").await;
                        return None;
                    }
                }
            }
        }
    }

    /// The next frame; `None` when the link is over, or was silent for too long.
    async fn frame(&mut self) -> Option<Result<Message, Error>> {
        let silent = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                biased;
                frame = self.stream.next() => return frame,
                () = self.silence.as_mut() => {
                    // It was set for a frame before this one: it fires early, and looks again.
                    if silent <= Instant::now() {
                        tracing::info!(link = self.link.id(), "silent for {SILENCE:?}, dropped");
                        return None;
                    }
                    self.silence.as_mut().reset(silent);
                }
            }
        }
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

    /// Sends a close frame; the writer ends with it, and that ends the reader.
    async fn end(&mut self, code: u16, reason: &str) {
        self.link.close(code, reason);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Reads on until the agent closes, a second at most.
    async fn drain(&mut self) {
        if self.broken {
            // Nothing of it can be read. It gets the time to read why, before what it sent resets the connection.
            return tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let over = async { while let Some(Ok(_)) = self.stream.next().await {} };
        if tokio::time::timeout(Duration::from_secs(1), over).await.is_err() {
            tracing::debug!(link = self.link.id(), "agent did not answer the close");
        }
    }
}

async fn write(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::Receiver<Outgoing>, asked: Arc<Asked>) {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            next = outgoing.recv() => match next {
                Some(Outgoing::Frame(message)) => sink.send(Message::text(codec::encode(&message))).await,
                Some(Outgoing::Ping(told)) => {
                    asked.add(told);
                    sink.send(Message::Ping(Vec::new().into())).await
                }
                Some(Outgoing::Close { code, reason }) => {
                    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
                    // Whether it comes through or not, this is the end.
                    if let Err(error) = sink.send(Message::Close(Some(frame))).await {
                        tracing::debug!(%error, "close frame not sent");
                    }
                    return;
                }
                None => return,
            },
            _ = ping.tick() => sink.send(Message::Ping(Vec::new().into())).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "link can't be written");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_link_is_dropped_a_minute_after_its_last_frame() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let ours: Box<dyn Io> = Box::new(ours);
        let (_, stream) = WebSocketStream::from_raw_socket(ours, Role::Server, None).await.split();
        let mut reader = Reader::new(LinkRef::new(1, mpsc::channel(1).0), stream, Arc::default());
        let agent = tokio::spawn(async move {
            let mut agent = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
            for _ in 0..5 {
                tokio::time::sleep(SILENCE / 6 * 5).await;
                agent.send(Message::text("{}")).await.unwrap();
            }
            agent
        });
        for _ in 0..5 {
            assert!(matches!(reader.frame().await, Some(Ok(Message::Text(_)))));
        }
        let _connected = agent.await.unwrap();
        // A moment that the host's actor took is no silence of the agent.
        tokio::time::sleep(SILENCE * 2).await;
        let quiet = Instant::now();
        assert!(reader.frame().await.is_none());
        let silent = quiet.elapsed();
        assert!(silent >= SILENCE && silent < SILENCE + Duration::from_secs(1), "{silent:?}");
    }
}
