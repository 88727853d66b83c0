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
/// Bytes of deltas that may wait for it. Behind a whole state too, which may be larger than this: while it is read,
/// the fleet goes on.
const ROOM_BYTES: usize = 1024 * 1024;

/// What waits for a tab.
#[derive(Debug)]
enum Waiting {
    /// A change.
    Delta(Frame),
    /// All there is, or all that was missed. A tab may ask for many, and is owed one.
    Whole(Frame),
}

/// The sending side, held by sync.
#[derive(Clone, Debug)]
pub struct Outbox {
    frames: mpsc::Sender<Waiting>,
    lagging: Arc<AtomicBool>,
    /// Bytes of deltas that wait.
    deltas: Arc<AtomicUsize>,
    /// A whole state waits.
    whole: Arc<AtomicBool>,
}

/// The reading side, held by the task that writes to the socket.
#[derive(Debug)]
pub struct OutboxReader {
    frames: mpsc::Receiver<Waiting>,
    lagging: Arc<AtomicBool>,
    deltas: Arc<AtomicUsize>,
    whole: Arc<AtomicBool>,
}

/// An outbox and its reader.
pub fn outbox() -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let outbox = Outbox { frames: sender, lagging: Arc::default(), deltas: Arc::default(), whole: Arc::default() };
    let (lagging, deltas, whole) = (Arc::clone(&outbox.lagging), Arc::clone(&outbox.deltas), Arc::clone(&outbox.whole));
    (outbox, OutboxReader { frames: receiver, lagging, deltas, whole })
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
        let before = self.deltas.fetch_add(frame.len(), Ordering::AcqRel);
        let room = before == 0 || before.saturating_add(frame.len()) <= ROOM_BYTES;
        let put = room && self.frames.try_send(Waiting::Delta(frame.clone())).is_ok();
        if !put {
            self.deltas.fetch_sub(frame.len(), Ordering::AcqRel);
        }
        put
    }

    /// Puts a frame in that makes good for all that was left out.
    pub(super) fn catch_up(&self, frame: &Frame) {
        let first = !self.whole.swap(true, Ordering::AcqRel);
        let put = first && self.frames.try_send(Waiting::Whole(frame.clone())).is_ok();
        if first && !put {
            self.whole.store(false, Ordering::Release);
        }
        self.lagging.store(!put, Ordering::Release);
    }

    /// Whether the whole state waits to be taken. Then this reader lags, and asks when it has.
    pub(super) fn has_whole(&self) -> bool {
        let waits = self.whole.load(Ordering::Acquire);
        if waits {
            self.lagging.store(true, Ordering::Release);
        }
        waits
    }

    /// Whether deltas were left out.
    pub(super) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Acquire)
    }
}

impl OutboxReader {
    /// The next frame; `None` when sync has dropped its side.
    pub async fn next(&mut self) -> Option<Frame> {
        match self.frames.recv().await? {
            Waiting::Delta(frame) => {
                self.deltas.fetch_sub(frame.len(), Ordering::AcqRel);
                Some(frame)
            }
            Waiting::Whole(frame) => {
                self.whole.store(false, Ordering::Release);
                Some(frame)
            }
        }
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
        assert_eq!(reader.frames.len(), 1, "one state waits, and no hundred");
        assert_eq!(reader.next().await, Some(state.clone()));
        assert!(reader.needs_state(), "what was asked for afterwards is owed");
    }

    #[tokio::test]
    async fn what_happens_while_a_large_state_is_read_waits_behind_it() {
        let (outbox, mut reader) = outbox();
        let large: Frame = "l".repeat(5 * ROOM_BYTES).into();
        let delta: Frame = "d".repeat(4096).into();
        outbox.catch_up(&large);
        for _ in 0..100 {
            outbox.offer(&delta);
        }
        assert!(!outbox.is_lagging(), "the tab of a large fleet would else never get further than its state");
        assert_eq!(reader.next().await, Some(large));
        assert_eq!(reader.next().await, Some(delta.clone()));
        for _ in 0..ROOM {
            outbox.offer(&"d".repeat(ROOM_BYTES / 16).into());
        }
        assert!(outbox.is_lagging(), "and it has a bound of its own");
        assert!(reader.deltas.load(Ordering::Acquire) <= ROOM_BYTES);
    }
}
