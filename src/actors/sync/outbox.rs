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
/// Bytes of deltas that may wait for it, and bytes of states, where it is more than one frame: states are large, and a
/// tab may ask for many. Each has its own room: a delta right behind the state of a large fleet has to find some, or
/// the tab would be sent state after state until once nothing happens meanwhile.
const ROOM_BYTES: usize = 1024 * 1024;

/// The sending side, held by sync.
#[derive(Clone, Debug)]
pub struct Outbox {
    frames: mpsc::Sender<(Kind, Frame)>,
    lagging: Arc<AtomicBool>,
    waiting: Arc<Waiting>,
}

/// The reading side, held by the task that writes to the socket.
#[derive(Debug)]
pub struct OutboxReader {
    frames: mpsc::Receiver<(Kind, Frame)>,
    lagging: Arc<AtomicBool>,
    waiting: Arc<Waiting>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Delta,
    State,
}

/// Bytes that wait.
#[derive(Debug, Default)]
struct Waiting {
    deltas: AtomicUsize,
    states: AtomicUsize,
}

impl Waiting {
    fn of(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Delta => &self.deltas,
            Kind::State => &self.states,
        }
    }
}

/// An outbox and its reader.
pub fn outbox() -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let (lagging, waiting) = (Arc::<AtomicBool>::default(), Arc::<Waiting>::default());
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
        if !self.is_lagging() && !self.put(Kind::Delta, frame) {
            self.lagging.store(true, Ordering::Release);
        }
    }

    /// `false`: there is no room.
    fn put(&self, kind: Kind, frame: &Frame) -> bool {
        // Counted before it is there, so that its reader never takes off what was not put on.
        let waiting = self.waiting.of(kind);
        let before = waiting.fetch_add(frame.len(), Ordering::AcqRel);
        let room = before == 0 || before.saturating_add(frame.len()) <= ROOM_BYTES;
        let put = room && self.frames.try_send((kind, frame.clone())).is_ok();
        if !put {
            waiting.fetch_sub(frame.len(), Ordering::AcqRel);
        }
        put
    }

    /// Puts a frame in that makes good for all that was left out.
    pub(super) fn catch_up(&self, frame: &Frame) {
        self.lagging.store(!self.put(Kind::State, frame), Ordering::Release);
    }

    /// Whether deltas were left out.
    pub(super) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Acquire)
    }
}

impl OutboxReader {
    /// The next frame; `None` when sync has dropped its side.
    pub async fn next(&mut self) -> Option<Frame> {
        let (kind, frame) = self.frames.recv().await?;
        self.waiting.of(kind).fetch_sub(frame.len(), Ordering::AcqRel);
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
        assert_eq!(reader.waiting.states.load(Ordering::Acquire), state.len(), "one state waits, and no hundred");
        assert_eq!(reader.next().await, Some(state.clone()));
        assert!(reader.needs_state(), "what was asked for afterwards is owed");
        let large: Frame = "l".repeat(5 * ROOM_BYTES).into();
        outbox.catch_up(&large);
        assert!(!outbox.is_lagging(), "one that is larger than the room has it for itself");
        assert_eq!(reader.next().await, Some(large));
    }

    #[tokio::test]
    async fn a_delta_right_behind_a_large_state_is_no_reason_for_another_state() {
        let (outbox, mut reader) = outbox();
        let large: Frame = "l".repeat(5 * ROOM_BYTES).into();
        outbox.catch_up(&large);
        outbox.offer(&"next".into());
        assert!(!outbox.is_lagging());
        assert_eq!(reader.next().await, Some(large));
        assert_eq!(reader.next().await, Some("next".into()));
        assert!(!reader.needs_state());
        // Deltas have a bound of their own.
        let delta: Frame = "d".repeat(ROOM_BYTES / 4).into();
        for _ in 0..5 {
            outbox.offer(&delta);
        }
        assert!(outbox.is_lagging());
    }
}
