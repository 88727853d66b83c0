//! A subscriber's outbox: bounded, never waited for. When it is full the subscriber is lagging: it gets no
//! deltas until it has read what it has, and then the full state in one frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nixfleet_protocol::{Epoch, Version};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A frame's text, made once and shared.
pub(super) type Frame = Utf8Bytes;

/// Frames that may wait for a slow tab: a burst of a busy fleet.
const ROOM: usize = 256;
/// Bytes that may wait for it, where it is more than one frame: states are large, and a tab may ask for many.
const ROOM_BYTES: usize = 1024 * 1024;

/// The sending side, held by sync.
#[derive(Clone, Debug)]
pub struct Outbox {
    frames: mpsc::Sender<Frame>,
    lagging: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

/// The reading side, held by the task that writes to the socket.
#[derive(Debug)]
pub struct OutboxReader {
    frames: mpsc::Receiver<Frame>,
    lagging: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

/// An outbox and its reader.
pub fn outbox() -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let (lagging, waiting) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let outbox = Outbox { frames: sender, lagging: Arc::clone(&lagging), waiting: Arc::clone(&waiting) };
    (outbox, OutboxReader { frames: receiver, lagging, waiting })
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
        if !self.is_lagging() && !self.put(frame) {
            self.lagging.store(true, Ordering::Release);
        }
    }

    /// `false`: there is no room.
    fn put(&self, frame: &Frame) -> bool {
        // Counted before it is there, so that its reader never takes off what was not put on.
        let before = self.waiting.fetch_add(frame.len(), Ordering::AcqRel);
        let room = before == 0 || before.saturating_add(frame.len()) <= ROOM_BYTES;
        let put = room && self.frames.try_send(frame.clone()).is_ok();
        if !put {
            self.waiting.fetch_sub(frame.len(), Ordering::AcqRel);
        }
        put
    }

    /// Puts a frame in that makes good for all that was left out.
    pub(super) fn catch_up(&self, frame: &Frame) {
        self.lagging.store(!self.put(frame), Ordering::Release);
    }

    /// Whether deltas were left out.
    pub(super) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Acquire)
    }
}

impl OutboxReader {
    /// The next frame; `None` when sync has dropped its side.
    pub async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Ordering::AcqRel);
        Some(frame)
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

    #[tokio::test]
    async fn a_tab_that_asks_for_everything_and_does_not_read_is_owed_it_once() {
        let (outbox, mut reader) = outbox();
        let state: Frame = "s".repeat(700 * 1024).into();
        for _ in 0..100 {
            outbox.catch_up(&state);
        }
        assert_eq!(reader.waiting.load(Ordering::Acquire), state.len(), "one state waits, and no hundred");
        assert_eq!(reader.next().await, Some(state.clone()));
        assert!(reader.needs_state(), "what was asked for afterwards is owed");
        let large: Frame = "l".repeat(5 * ROOM_BYTES).into();
        outbox.catch_up(&large);
        assert!(!reader.needs_state(), "one that is larger than the room has it for itself");
        outbox.offer(&"next".into());
        assert!(outbox.is_lagging());
        assert_eq!(reader.next().await, Some(large));
    }
}
