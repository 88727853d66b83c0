//! What the sockets of agents and of tabs have in common: what breaks the rules of the protocol below ours ends with
//! the code that says so, and who sends too fast is read slower.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

/// Close codes of the WebSocket protocol itself.
const BROKEN: u16 = 1002;
const NOT_TEXT: u16 = 1007;
const TOO_LARGE: u16 = 1009;

/// With which code and words a socket ends that can't be read; `None` where there is nobody left to tell.
pub(super) fn fault(error: &Error) -> Option<(u16, &'static str)> {
    if matches!(error, Error::Capacity(_)) {
        return Some((TOO_LARGE, "the message is too large"));
    }
    if matches!(error, Error::Utf8(_)) {
        return Some((NOT_TEXT, "the text is not UTF-8"));
    }
    let broken = matches!(error, Error::Protocol(what) if !matches!(what, ProtocolError::ResetWithoutClosingHandshake));
    broken.then_some((BROKEN, "that is not the WebSocket protocol"))
}

/// How fast one socket is read: a burst at once, the rest at a rate.
#[derive(Debug)]
pub(super) struct Pace {
    each: Duration,
    burst: u32,
    /// When the bucket is full again.
    full: Instant,
}

impl Pace {
    /// So many at once, and then one for each of these moments.
    pub(super) fn new(burst: u32, each: Duration) -> Self {
        Self { each, burst, full: Instant::now() }
    }

    /// Takes one; how long to wait, where they come too fast.
    pub(super) fn take(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.full = self.full.max(now) + self.each;
        let ahead = self.full.duration_since(now).saturating_sub(self.each * self.burst);
        (!ahead.is_zero()).then_some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Pace {
        async fn keep(&mut self) {
            if let Some(ahead) = self.take() {
                tokio::time::sleep(ahead).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_a_flood_is_slowed() {
        let mut pace = Pace::new(100, Duration::from_millis(20));
        let began = Instant::now();
        for _ in 0..100 {
            pace.keep().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "a burst costs nothing");
        for _ in 0..500 {
            pace.keep().await;
        }
        let slowed = began.elapsed();
        assert!(slowed >= Duration::from_secs(9) && slowed <= Duration::from_secs(11), "{slowed:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let calm = Instant::now();
        for _ in 0..100 {
            pace.keep().await;
        }
        assert_eq!(calm.elapsed(), Duration::ZERO, "who was calm may hurry again");
    }
}
