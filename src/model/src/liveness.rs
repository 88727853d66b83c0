//! Whether a host is there: from when it was last heard, and nothing else.
//!
//! ```text
//! never ── register ─▶ online ── silent for three heartbeats ─▶ stale ── link gone for a minute ─▶ offline
//! ```

use std::time::Duration;

use nixfleet_protocol::Time;
use nixfleet_protocol::api::HostState;

use crate::host::HostRecord;

/// How long a host whose link was lost is only stale: an agent's own reconnect takes no longer.
pub const LOST_FOR: Duration = Duration::from_mins(1);

/// The shortest silence that means anything.
const SILENT_AT_LEAST: Duration = Duration::from_secs(15);

/// Seconds between heartbeats of an agent that does not say.
const USUAL_HEARTBEAT: u32 = 5;

/// How long a linked host may be silent: three heartbeats, at least 15 s.
fn patience(record: &HostRecord) -> Duration {
    let heartbeat = record.facts.heartbeat_interval.unwrap_or(USUAL_HEARTBEAT);
    Duration::from_secs(u64::from(heartbeat) * 3).max(SILENT_AT_LEAST)
}

/// Since when the link is gone. A link that nobody saw going went with the daemon's last life: what counts is
/// how long this one has been listening.
fn lost_since(record: &HostRecord, daemon_started: Time) -> Time {
    record.facts.lost_at.unwrap_or(daemon_started)
}

/// Whether the host is there.
pub fn state(record: &HostRecord, linked: bool, daemon_started: Time, now: Time) -> HostState {
    if linked {
        let heard = record.facts.last_seen.is_some_and(|heard| now.since(heard) <= patience(record));
        return if heard { HostState::Online } else { HostState::Stale };
    }
    if record.first_seen.is_none() {
        return HostState::Never;
    }
    if now.since(lost_since(record, daemon_started)) < LOST_FOR { HostState::Stale } else { HostState::Offline }
}

/// When [`state`] will say something else if nothing is heard until then; none: never.
pub fn next_change(record: &HostRecord, linked: bool, daemon_started: Time, now: Time) -> Option<Time> {
    match state(record, linked, daemon_started, now) {
        HostState::Online => {
            record.facts.last_seen.map(|heard| heard.plus(patience(record)).plus(Duration::from_millis(1)))
        }
        HostState::Stale if !linked => Some(lost_since(record, daemon_started).plus(LOST_FOR)),
        HostState::Stale | HostState::Offline | HostState::Never => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Time = Time::from_millis(1_000_000);

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_000_000 + seconds * 1000)
    }

    fn host(heartbeat: Option<u32>, last_seen: i64, lost_at: Option<i64>) -> HostRecord {
        let mut record = HostRecord::new("hsb0".parse().unwrap(), STARTED);
        record.first_seen = Some(STARTED);
        record.facts.heartbeat_interval = heartbeat;
        record.facts.last_seen = Some(at(last_seen));
        record.facts.lost_at = lost_at.map(at);
        record
    }

    #[test]
    fn a_host_is_there_as_long_as_it_is_heard() {
        for (what, (heartbeat, heard, lost), linked, now, expected) in [
            ("just heard", (Some(5), 100, None), true, 100, HostState::Online),
            ("15 s of silence", (Some(5), 100, None), true, 115, HostState::Online),
            ("more", (Some(5), 100, None), true, 116, HostState::Stale),
            ("quick heartbeats, yet 15 s", (Some(1), 100, None), true, 115, HostState::Online),
            ("slow heartbeats", (Some(60), 100, None), true, 280, HostState::Online),
            ("slow heartbeats missed", (Some(60), 100, None), true, 281, HostState::Stale),
            ("says no interval", (None, 100, None), true, 116, HostState::Stale),
            ("silent for days, linked", (Some(5), 100, None), true, 900_000, HostState::Stale),
            ("lost just now", (Some(5), 100, Some(110)), false, 169, HostState::Stale),
            ("lost a minute ago", (Some(5), 100, Some(110)), false, 170, HostState::Offline),
            ("linked when the last daemon ended", (Some(5), -500, None), false, 59, HostState::Stale),
            ("and did not come back", (Some(5), -500, None), false, 60, HostState::Offline),
            ("lost long before the daemon's start", (Some(5), -500, Some(-400)), false, 1, HostState::Offline),
            ("the clock jumped back", (Some(5), 100, None), true, 50, HostState::Online),
        ] {
            assert_eq!(state(&host(heartbeat, heard, lost), linked, STARTED, at(now)), expected, "{what}");
        }
    }

    #[test]
    fn a_host_made_for_a_token_was_never_there() {
        let record = HostRecord::new("hsb0".parse().unwrap(), STARTED);
        assert_eq!(state(&record, false, STARTED, at(5)), HostState::Never);
        assert_eq!(next_change(&record, false, STARTED, at(5)), None);
    }

    #[test]
    fn the_state_changes_when_it_was_said_and_not_before() {
        for (record, linked, now) in [
            (host(Some(5), 100, None), true, 100),
            (host(Some(60), 100, None), true, 130),
            (host(Some(5), 100, Some(110)), false, 115),
            (host(Some(5), -500, None), false, 3),
        ] {
            let before = state(&record, linked, STARTED, at(now));
            let then = next_change(&record, linked, STARTED, at(now)).unwrap();
            assert_eq!(state(&record, linked, STARTED, then.minus(Duration::from_millis(1))), before);
            assert_ne!(state(&record, linked, STARTED, then), before);
        }
    }

    #[test]
    fn what_stays_as_it_is_needs_no_second_look() {
        assert_eq!(next_change(&host(Some(5), 0, None), true, STARTED, at(500)), None);
        assert_eq!(next_change(&host(Some(5), 0, Some(1)), false, STARTED, at(500)), None);
    }
}
