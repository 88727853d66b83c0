//! A subscriber's outbox: bounded, never waited for. When it is full the subscriber is lagging: it gets no
//! deltas until it has read what it has, and then the full state in one frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nixfleet_protocol::{Epoch, Version};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A frame's text, made once and shared.
pub(super) type Frame = Utf8Bytes;

/// Frames that may wait for a slow tab: a burst of a busy fleet, a quarter of a megabyte at most.
const ROOM: usize = 256;

/// The sending side, held by sync.
#[derive(Clone, Debug)]
pub struct Outbox {
    frames: mpsc::Sender<Frame>,
    lagging: Arc<AtomicBool>,
}

/// The reading side, held by the task that writes to the socket.
#[derive(Debug)]
pub struct OutboxReader {
    frames: mpsc::Receiver<Frame>,
    lagging: Arc<AtomicBool>,
}

/// An outbox and its reader.
pub fn outbox() -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let lagging = Arc::new(AtomicBool::new(false));
    (Outbox { frames: sender, lagging: Arc::clone(&lagging) }, OutboxReader { frames: receiver, lagging })
}

#[derive(Serialize)]
struct Wire<'a, P> {
    #[serde(rename = "type")]
    kind: &'a str,
    version: Version,
    epoch: Epoch,
    payload: &'a P,
}

/// The text of a frame. Written in one go: a tree of values between costs three times as much.
pub(crate) fn frame(kind: &str, version: Version, epoch: Epoch, payload: &impl Serialize) -> Frame {
    let text = serde_json::to_string(&Wire { kind, version, epoch, payload });
    text.unwrap_or_else(|error| {
        // Only maps with keys that are no text can fail, and no payload of ours has one.
        tracing::error!(%error, kind, "a frame can't be written as JSON");
        String::new()
    })
    .into()
}

impl Outbox {
    /// Puts a frame in, unless the subscriber lags or begins to.
    pub(super) fn offer(&self, frame: &Frame) {
        if !self.is_lagging() && self.frames.try_send(frame.clone()).is_err() {
            self.lagging.store(true, Ordering::Release);
        }
    }

    /// Puts a frame in that makes good for all that was left out.
    pub(super) fn catch_up(&self, frame: &Frame) {
        self.lagging.store(self.frames.try_send(frame.clone()).is_err(), Ordering::Release);
    }

    /// Whether deltas were left out.
    pub(super) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Acquire)
    }
}

impl OutboxReader {
    /// The next frame; `None` when sync has dropped its side.
    pub async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// Whether all is read and something was left out: time to ask for the full state.
    pub fn needs_state(&self) -> bool {
        self.lagging.load(Ordering::Acquire) && self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_outbox_drops_deltas_until_the_full_state() {
        let (outbox, mut reader) = outbox();
        for n in 0..ROOM + 10 {
            outbox.offer(&n.to_string().into());
        }
        assert!(outbox.is_lagging());
        assert!(!reader.needs_state(), "there is something to read first");
        for n in 0..ROOM {
            assert_eq!(reader.next().await, Some(n.to_string().into()));
        }
        assert!(reader.needs_state());
        outbox.offer(&"a delta".into());
        assert!(reader.needs_state(), "no delta comes before the state");
        outbox.catch_up(&"state".into());
        assert!(!reader.needs_state());
        outbox.offer(&"next".into());
        assert_eq!(reader.next().await, Some("state".into()));
        assert_eq!(reader.next().await, Some("next".into()));
    }
}
