//! The two tasks of a tab's socket.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use nixfleet_protocol::codec::{self, Decoded};
use ractor::ActorRef;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data as OpData, OpCode};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Msg;
use crate::actors::links::link::{Socket, close};
use crate::actors::socket::fault;
use crate::actors::sync::OutboxReader;

/// How often a tab is pinged; the browser answers by itself.
const PING_EVERY: Duration = Duration::from_secs(30);
/// After this much silence the tab is gone.
const SILENCE: Duration = Duration::from_secs(75);
/// The most frames of any kind that a client may send in ten seconds; a page sends a handful a minute.
const FRAMES_PER_TEN_SECONDS: u32 = 200;
/// How long the socket may take for one piece: a tab that reads nothing at all is let go, one on a slow network is not,
/// however long the whole state takes it.
const WRITE_WITHIN: Duration = Duration::from_mins(1);

/// The most that is given to the socket at once. Its buffer keeps the room of the longest frame that it ever had: with
/// the whole state in one frame a thousand tabs would hold a quarter of a gigabyte.
const PIECE: usize = 16 * 1024;

/// What the session tells the writer.
#[derive(Debug)]
pub(super) enum Control {
    /// Send a close frame; that is the end.
    Close {
        /// WebSocket close code.
        code: u16,
        /// For people.
        reason: &'static str,
    },
}

/// Starts both tasks. Their end is told as [`Msg::Ended`].
pub(super) fn start(
    socket: Socket,
    frames: OutboxReader,
    log: mpsc::Receiver<Utf8Bytes>,
    control: mpsc::Receiver<Control>,
    session: &ActorRef<Msg>,
) -> Vec<AbortHandle> {
    let (sink, stream) = socket.split();
    let (reader, writer) = (session.clone(), session.clone());
    let read = tokio::spawn(async move {
        read(stream, &reader).await;
        tell(&reader, Msg::Ended);
    });
    let write = tokio::spawn(async move {
        write(sink, frames, log, control, &writer).await;
        // The reader tells the end when the client has answered the close, or at once when it is gone.
        tokio::time::sleep(Duration::from_secs(1)).await;
        tell(&writer, Msg::Ended);
    });
    vec![read.abort_handle(), write.abort_handle()]
}

async fn read(mut stream: SplitStream<Socket>, session: &ActorRef<Msg>) {
    let (mut window, mut count) = (Instant::now(), 0);
    loop {
        let Ok(Some(frame)) = tokio::time::timeout(SILENCE, stream.next()).await else { return };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                if let Some((code, reason)) = fault(&error) {
                    end(session, code, reason).await;
                }
                return;
            }
        };
        if window.elapsed() > Duration::from_secs(10) {
            (window, count) = (Instant::now(), 0);
        }
        count += 1;
        if count > FRAMES_PER_TEN_SECONDS {
            return end(session, close::POLICY, "too many messages").await;
        }
        match frame {
            Message::Text(text) => match codec::decode_client(text.as_str()) {
                Decoded::Message(frame) => tell(session, Msg::FromClient(frame)),
                Decoded::UnknownType(kind) => tracing::debug!(kind, "unknown message type, ignored"),
                Decoded::Malformed(why) => tracing::debug!(why, "malformed message, ignored"),
            },
            Message::Close(_) => return,
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Has a close frame sent, and gives the client the time to read it.
async fn end(session: &ActorRef<Msg>, code: u16, reason: &'static str) {
    tell(session, Msg::Close { code, reason });
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn write(
    sink: SplitSink<Socket, Message>,
    mut frames: OutboxReader,
    mut log: mpsc::Receiver<Utf8Bytes>,
    mut control: mpsc::Receiver<Control>,
    session: &ActorRef<Msg>,
) {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tab = Tab { sink, ping };
    // The state was asked for and has not come: output that goes out meanwhile is no reason to ask again.
    let mut asked = false;
    loop {
        // In this order: an end is an end, and state goes before output.
        let message = tokio::select! {
            biased;
            Some(Control::Close { code, reason }) = control.recv() => {
                Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
            }
            frame = frames.next() => match frame {
                Some(frame) => {
                    asked = false;
                    Message::Text(frame)
                }
                None => return,
            },
            Some(lines) = log.recv() => Message::Text(lines),
            _ = tab.ping.tick() => Message::Ping(Vec::new().into()),
        };
        let over = matches!(message, Message::Close(_));
        if !tab.put(message).await || over {
            return;
        }
        if frames.needs_state() && !std::mem::replace(&mut asked, true) {
            tell(session, Msg::CaughtUp);
        }
    }
}

/// The sending half of a tab's socket.
struct Tab {
    sink: SplitSink<Socket, Message>,
    ping: Interval,
}

impl Tab {
    /// Sends a message; a long one in pieces, each on its way before the next is made, and a ping between them when it
    /// is time: the reader hears whether anybody is there. False: the tab is gone, or reads nothing.
    async fn put(&mut self, message: Message) -> bool {
        let Message::Text(text) = message else { return self.piece(message).await };
        if text.len() <= PIECE {
            return self.piece(Message::Text(text)).await;
        }
        let mut rest = Bytes::from(text);
        let mut kind = OpData::Text;
        while !rest.is_empty() {
            let piece = rest.split_to(PIECE.min(rest.len()));
            let frame = Frame::message(piece, OpCode::Data(kind), rest.is_empty());
            let due = self.ping.tick().now_or_never().is_some();
            if due && !self.piece(Message::Ping(Vec::new().into())).await || !self.piece(Message::Frame(frame)).await {
                return false;
            }
            kind = OpData::Continue;
        }
        true
    }

    async fn piece(&mut self, piece: Message) -> bool {
        matches!(tokio::time::timeout(WRITE_WITHIN, self.sink.send(piece)).await, Ok(Ok(())))
    }
}

fn tell(session: &ActorRef<Msg>, message: Msg) {
    if session.cast(message).is_err() {
        tracing::trace!("session is gone");
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::actors::links::link::Io;
    use crate::actors::sync::outbox;

    /// A session that only listens.
    struct Listener;

    impl Actor for Listener {
        type Msg = Msg;
        type State = mpsc::UnboundedSender<Msg>;
        type Arguments = mpsc::UnboundedSender<Msg>;

        async fn pre_start(
            &self,
            _: ActorRef<Msg>,
            heard: mpsc::UnboundedSender<Msg>,
        ) -> Result<mpsc::UnboundedSender<Msg>, ActorProcessingErr> {
            Ok(heard)
        }

        async fn handle(
            &self,
            _: ActorRef<Msg>,
            message: Msg,
            heard: &mut mpsc::UnboundedSender<Msg>,
        ) -> Result<(), ActorProcessingErr> {
            heard.send(message).unwrap();
            Ok(())
        }
    }

    /// A network that brings 2 KiB a second to the tab, and everything back at once.
    fn slow(near: DuplexStream, far: DuplexStream) {
        let ((mut from, mut back), (mut answers, mut to)) = (split(near), split(far));
        tokio::spawn(async move {
            let mut piece = [0; 2048];
            while let Ok(read @ 1..) = from.read(&mut piece).await {
                tokio::time::sleep(Duration::from_secs(1)).await;
                to.write_all(&piece[..read]).await.unwrap();
            }
        });
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    }

    #[tokio::test(start_paused = true)]
    async fn a_tab_on_a_slow_network_gets_a_long_frame_however_long_it_takes() {
        let ((server, near), (far, client)) = (duplex(2048), duplex(2048));
        slow(near, far);
        let server: Box<dyn Io> = Box::new(server);
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let (heard, mut news) = mpsc::unbounded_channel();
        let (session, _) = Actor::spawn(None, Listener, heard).await.unwrap();
        let (_outbox, frames) = outbox();
        let (log, logs) = mpsc::channel(1);
        let (_control, controls) = mpsc::channel(1);
        let _tasks = start(server, frames, logs, controls, &session);
        let text = Utf8Bytes::from("x".repeat(400 * 1024));
        let begun = Instant::now();
        log.send(text.clone()).await.unwrap();
        let whole = loop {
            match client.next().await.unwrap().unwrap() {
                Message::Text(text) => break text,
                Message::Ping(_) => {}
                other @ (Message::Binary(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {
                    panic!("{other:?}")
                }
            }
        };
        assert!(whole == text);
        assert!(begun.elapsed() > WRITE_WITHIN.max(SILENCE) * 2, "slow enough to show it: {:?}", begun.elapsed());
        assert!(news.try_recv().is_err(), "the session goes on");
    }
}
