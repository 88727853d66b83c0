//! When to dial again: a pure decision over what went wrong, how long the trouble lasts, and one random number.
//!
//! Full jitter, so that a thousand agents do not come back in step: 1 s doubling to 60 s. In the first ten seconds
//! of trouble, and when the dashboard says that it restarts, the moment is within 2 s.

use std::time::Duration;

/// The first span of the full jitter.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_mins(1);
/// How soon a dashboard that restarts is tried again, at most.
const SOON: Duration = Duration::from_secs(2);
/// Trouble is young for so long.
const YOUNG: Duration = Duration::from_secs(10);
/// A token that was refused is not better a second later.
const UNAUTHORISED: Duration = Duration::from_secs(30);
/// A link that was registered for so long ends the trouble.
pub const SETTLED: Duration = Duration::from_secs(10);

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody listens, or the listener turned us away with a 5xx.
    Refused,
    /// The dashboard restarts (1012), or it is full for now (1013).
    Restarting,
    /// The token is not accepted (401, 403, or close 4001).
    Unauthorised,
    /// Another machine has our name (4009), or the name can't be (4008): a person must act.
    NotWelcome,
    /// Anything else: no route, no name, a broken link, silence.
    Lost,
}

/// What a close code means.
pub const fn of_close(code: u16) -> Trouble {
    match code {
        1012 | 1013 => Trouble::Restarting,
        4001 => Trouble::Unauthorised,
        4008 | 4009 => Trouble::NotWelcome,
        _ => Trouble::Lost,
    }
}

/// How the trouble stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The link was good for long enough: the next trouble is a new one.
    pub const fn settle(&mut self) {
        self.failures = 0;
    }

    /// How long to wait. `since` is how long the trouble lasts, `random` is in `0.0..1.0`.
    pub fn after(&mut self, trouble: Trouble, since: Duration, random: f64) -> Duration {
        let span = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        match trouble {
            // The quick tries of a restart do not count: the doubling begins when it turns out to be more.
            Trouble::Restarting => return SOON.mul_f64(random),
            Trouble::Refused if since < YOUNG => return SOON.mul_f64(random),
            Trouble::Refused | Trouble::Unauthorised | Trouble::NotWelcome | Trouble::Lost => {}
        }
        self.failures = self.failures.saturating_add(1).min(16);
        match trouble {
            Trouble::Unauthorised | Trouble::NotWelcome => UNAUTHORISED + span.mul_f64(random),
            Trouble::Refused | Trouble::Restarting | Trouble::Lost => span.mul_f64(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wait_depends_on_the_trouble() {
        // Failures before, trouble, seconds since it began → the longest wait in seconds, failures after.
        for (failures, trouble, since, longest, after) in [
            (0, Trouble::Lost, 0, 1, 1),
            (1, Trouble::Lost, 1, 2, 2),
            (5, Trouble::Lost, 60, 32, 6),
            (6, Trouble::Lost, 60, 60, 7),
            (16, Trouble::Lost, 9999, 60, 16),
            (0, Trouble::Refused, 0, 2, 0),
            (0, Trouble::Refused, 9, 2, 0),
            (0, Trouble::Refused, 10, 1, 1),
            (4, Trouble::Refused, 99, 16, 5),
            (9, Trouble::Restarting, 500, 2, 9),
            (0, Trouble::Unauthorised, 0, 31, 1),
            (9, Trouble::Unauthorised, 0, 90, 10),
            (0, Trouble::NotWelcome, 0, 31, 1),
        ] {
            let mut backoff = Backoff { failures };
            let wait = backoff.after(trouble, Duration::from_secs(since), 1.0);
            assert_eq!(
                (wait, backoff.failures),
                (Duration::from_secs(longest), after),
                "{failures} {trouble:?} {since}"
            );
        }
    }

    #[test]
    fn close_codes_mean_trouble_of_their_kind() {
        for (code, trouble) in [
            (1000, Trouble::Lost),
            (1001, Trouble::Lost),
            (1008, Trouble::Lost),
            (1012, Trouble::Restarting),
            (1013, Trouble::Restarting),
            (4001, Trouble::Unauthorised),
            (4008, Trouble::NotWelcome),
            (4009, Trouble::NotWelcome),
        ] {
            assert_eq!(of_close(code), trouble, "{code}");
        }
    }

    proptest! {
        #[test]
        fn a_refused_token_is_never_shown_faster_than_every_thirty_seconds(failures in 0_u32..40, random in 0.0..1.0) {
            let mut backoff = Backoff { failures };
            let wait = backoff.after(Trouble::Unauthorised, Duration::ZERO, random);
            prop_assert!(wait >= UNAUTHORISED && wait <= UNAUTHORISED + LONGEST);
        }

        #[test]
        fn no_wait_is_longer_than_a_minute(failures in 0_u32..40, since in 0_u64..100_000, random in 0.0..1.0) {
            let mut backoff = Backoff { failures };
            for trouble in [Trouble::Lost, Trouble::Refused, Trouble::Restarting] {
                prop_assert!(backoff.after(trouble, Duration::from_secs(since), random) <= LONGEST);
            }
        }
    }
}
