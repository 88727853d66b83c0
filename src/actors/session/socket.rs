//! The two tasks of a tab's socket.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use nixfleet_protocol::codec::{self, Decoded};
use ractor::ActorRef;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data as OpData, OpCode};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

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
/// How long one frame may take to be written: a tab that reads nothing at all is let go.
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
    mut sink: SplitSink<Socket, Message>,
    mut frames: OutboxReader,
    mut log: mpsc::Receiver<Utf8Bytes>,
    mut control: mpsc::Receiver<Control>,
    session: &ActorRef<Msg>,
) {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            _ = ping.tick() => Message::Ping(Vec::new().into()),
        };
        let over = matches!(message, Message::Close(_));
        match tokio::time::timeout(WRITE_WITHIN, put(&mut sink, message)).await {
            Ok(Ok(())) if !over => {}
            Ok(_) | Err(_) => return,
        }
        if frames.needs_state() && !std::mem::replace(&mut asked, true) {
            tell(session, Msg::CaughtUp);
        }
    }
}

/// Sends a message; a long one in pieces, each on its way before the next is made.
async fn put(sink: &mut SplitSink<Socket, Message>, message: Message) -> Result<(), tungstenite::Error> {
    let Message::Text(text) = message else { return sink.send(message).await };
    if text.len() <= PIECE {
        return sink.send(Message::Text(text)).await;
    }
    let mut rest = Bytes::from(text);
    let mut kind = OpData::Text;
    while !rest.is_empty() {
        let piece = rest.split_to(PIECE.min(rest.len()));
        let frame = Frame::message(piece, OpCode::Data(kind), rest.is_empty());
        sink.send(Message::Frame(frame)).await?;
        kind = OpData::Continue;
    }
    Ok(())
}

fn tell(session: &ActorRef<Msg>, message: Msg) {
    if session.cast(message).is_err() {
        tracing::trace!("session is gone");
    }
}
