//! The rate limit of the other side: when it may be asked again, and how to make what is left last.
//!
//! GitHub counts requests by the hour and says with each answer how many are left, and when it counts anew. Beside it
//! there are limits that it tells nobody of beforehand; who runs into one waits as long as it says, or a minute, and
//! longer each time.

use std::time::Duration;

use nixfleet_protocol::Time;

/// What an answer says of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its status.
    pub status: u16,
    /// `x-ratelimit-remaining`.
    pub remaining: Option<u32>,
    /// `x-ratelimit-reset`.
    pub reset: Option<Time>,
    /// `retry-after`.
    pub retry_after: Option<Duration>,
    /// Its words name a rate limit.
    pub words: bool,
}

/// What one poll costs, with what may follow from it.
const COST: u32 = 2;
/// So many are left for people: polls stop before the last one.
const RESERVE: u32 = 5;
/// How long a limit without a word of its end is respected at first.
const FIRST: Duration = Duration::from_mins(1);
/// How long it is at most, whatever is said: their clock and ours may differ, and so may their temper.
const LONGEST: Duration = Duration::from_hours(2);

/// The limit, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    left: Option<(u32, Time)>,
    closed_until: Option<Time>,
    strikes: u32,
}

impl Limit {
    /// Takes what an answer says. Says whether it was a refusal because of the limit.
    pub fn heard(&mut self, said: &Said, now: Time) -> bool {
        if let (Some(remaining), Some(reset)) = (said.remaining, said.reset) {
            self.left = Some((remaining, reset));
        }
        let used_up = said.remaining == Some(0);
        let limited = match said.status {
            429 => true,
            403 => used_up || said.retry_after.is_some() || said.words,
            _ => false,
        };
        if !limited {
            if said.status < 400 {
                self.strikes = 0;
            }
            return false;
        }
        let wait = match (said.retry_after, said.reset.filter(|_| used_up)) {
            (Some(wait), _) => wait,
            (None, Some(reset)) => reset.since(now),
            (None, None) => FIRST.saturating_mul(1 << self.strikes.min(4)),
        };
        self.strikes = self.strikes.saturating_add(1);
        self.closed_until = Some(now.plus(wait.clamp(Duration::from_secs(1), LONGEST)));
        true
    }

    /// Until when nothing may be asked at all.
    pub fn closed(&self, now: Time) -> Option<Time> {
        self.closed_until.filter(|until| now < *until)
    }

    /// For how long nothing should be asked by itself.
    pub fn rest(&self, now: Time) -> Option<Duration> {
        if let Some(until) = self.closed(now) {
            return Some(until.since(now));
        }
        let (remaining, reset) = self.left.filter(|(_, reset)| now < *reset)?;
        let until = reset.since(now).min(LONGEST);
        let polls = remaining.saturating_sub(RESERVE) / COST;
        Some(until.checked_div(polls).unwrap_or(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_refusal_closes_until_the_moment_that_it_names() {
        let said = |status, remaining, reset: Option<i64>, retry: Option<u64>, words| Said {
            status,
            remaining,
            reset: reset.map(at),
            retry_after: retry.map(Duration::from_secs),
            words,
        };
        for (what, answer, closed) in [
            ("good", said(200, Some(4999), Some(3600), None, false), None),
            ("not modified", said(304, Some(0), Some(600), None, false), None),
            ("no right", said(403, Some(4000), Some(600), None, false), None),
            ("used up", said(403, Some(0), Some(600), None, false), Some(600)),
            ("too many", said(429, Some(0), Some(600), None, false), Some(600)),
            ("wait so long", said(403, Some(4000), Some(600), Some(30), false), Some(30)),
            ("by its words alone", said(403, Some(4000), Some(600), None, true), Some(60)),
            ("too many without a word", said(429, None, None, None, false), Some(60)),
            ("their clock is behind", said(403, Some(0), Some(-600), None, false), Some(1)),
            ("their clock is ahead", said(403, Some(0), Some(999_999), None, false), Some(7200)),
            ("broken", said(502, None, None, None, false), None),
        ] {
            let mut limit = Limit::default();
            assert_eq!(limit.heard(&answer, at(0)), closed.is_some(), "{what}");
            assert_eq!(limit.closed(at(0)), closed.map(at), "{what}");
            if let Some(until) = closed {
                assert_eq!(limit.closed(at(until)), None, "{what}: it is over");
            }
        }
    }

    #[test]
    fn who_is_refused_again_and_again_waits_longer_and_a_good_answer_forgives() {
        let mut limit = Limit::default();
        let refusal = Said { status: 429, ..Said::default() };
        let mut waits = Vec::new();
        for _ in 0..7 {
            limit.heard(&refusal, at(0));
            waits.push(limit.rest(at(0)).unwrap().as_secs());
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 960, 960]);
        limit.heard(&Said { status: 200, ..Said::default() }, at(2000));
        limit.heard(&refusal, at(2000));
        assert_eq!(limit.rest(at(2000)), Some(60 * S));
    }

    #[test]
    fn what_is_left_lasts_until_it_is_counted_anew() {
        for (remaining, left, rest) in [
            (4999, 3600, Some(1)),
            (60, 3600, Some(133)),
            (7, 3600, Some(3600)),
            (5, 3600, Some(3600)),
            (0, 60, Some(60)),
            (0, -5, None),
        ] {
            let mut limit = Limit::default();
            limit.heard(
                &Said { status: 200, remaining: Some(remaining), reset: Some(at(left)), ..Said::default() },
                at(0),
            );
            assert_eq!(limit.rest(at(0)).map(|rest| rest.as_secs()), rest, "{remaining} for {left} s");
        }
        assert_eq!(Limit::default().rest(at(0)), None);
    }
}
