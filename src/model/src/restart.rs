//! What a supervisor does when a child died: start it again soon, later, or much later. A value for each
//! child, asked at each death; the clock is an argument.
//!
//! ```text
//! died → After(1 ms)                                      the first time at once: neighbours hardly notice
//!        After(100 ms), After(200 ms) … After(10 s)       then the wait doubles; a calm minute forgives everything
//! the fifth death within the window → Quarantine(1 min)   reported, and tried again; then 2 min … 30 min
//! ```
//!
//! The store has no quarantine: without it nothing may be acknowledged. Its [`Policy::vital`] says that the
//! quarantine is the end of the process, and the service manager starts that again.

use std::collections::VecDeque;
use std::time::Duration;

use nixfleet_protocol::Time;

/// How patient a supervisor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The wait after the first death.
    pub first: Duration,
    /// The wait after the second, which doubles from then on.
    pub again: Duration,
    /// The longest wait before quarantine.
    pub longest: Duration,
    /// A child that lived this long is well again.
    pub calm: Duration,
    /// Deaths are counted within this span.
    pub window: Duration,
    /// This many of them within the window mean quarantine.
    pub deaths: usize,
    /// The first quarantine.
    pub quarantine: Duration,
    /// The longest quarantine.
    pub longest_quarantine: Duration,
    /// Nothing goes on without it: instead of its quarantine the process ends.
    pub vital: bool,
}

impl Policy {
    /// For every child but the store.
    pub const CHILD: Self = Self {
        first: Duration::from_millis(1),
        again: Duration::from_millis(100),
        longest: Duration::from_secs(10),
        calm: Duration::from_mins(1),
        window: Duration::from_mins(2),
        deaths: 5,
        quarantine: Duration::from_mins(1),
        longest_quarantine: Duration::from_mins(30),
        vital: false,
    };

    /// For the store: less patience with it than with the others helps nobody, more hides a broken disk.
    pub const STORE: Self = Self { vital: true, ..Self::CHILD };
}

/// What to do with a child that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this long.
    After(Duration),
    /// It keeps failing: report it, leave it alone, and try again after this long.
    /// For a [vital](Policy::vital) child: end the process.
    Quarantine {
        /// When to try again.
        retry_after: Duration,
    },
}

/// The deaths of one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    policy: Policy,
    deaths: VecDeque<Time>,
    in_a_row: u32,
    quarantines: u32,
    lives_since: Option<Time>,
}

impl Default for Restarts {
    fn default() -> Self {
        Self::new(Policy::CHILD)
    }
}

impl Restarts {
    /// A child that never died.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, deaths: VecDeque::new(), in_a_row: 0, quarantines: 0, lives_since: None }
    }

    /// Whether a quarantine of it is the end of the process.
    pub const fn is_vital(&self) -> bool {
        self.policy.vital
    }

    /// Whether it came back from quarantine and has not been calm since.
    pub const fn on_probation(&self) -> bool {
        self.quarantines > 0
    }

    /// It died, or could not be started.
    pub fn died(&mut self, now: Time) -> Verdict {
        if self.lives_since.is_some_and(|since| now.since(since) >= self.policy.calm) {
            *self = Self::new(self.policy);
        }
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|death| now.since(*death) > self.policy.window) {
            self.deaths.pop_front();
        }
        let verdict = if self.quarantines > 0 || self.deaths.len() >= self.policy.deaths {
            let retry_after = doubled(self.policy.quarantine, self.quarantines, self.policy.longest_quarantine);
            self.deaths.clear();
            self.in_a_row = 0;
            self.quarantines = self.quarantines.saturating_add(1);
            Verdict::Quarantine { retry_after }
        } else {
            let wait = match self.in_a_row.checked_sub(1) {
                None => self.policy.first,
                Some(times) => doubled(self.policy.again, times, self.policy.longest),
            };
            self.in_a_row = self.in_a_row.saturating_add(1);
            Verdict::After(wait)
        };
        let (Verdict::After(wait) | Verdict::Quarantine { retry_after: wait }) = verdict;
        self.lives_since = Some(now.plus(wait));
        verdict
    }
}

/// `first`, doubled `times` times, at most `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Deaths after these many milliseconds of life each.
    fn deaths(restarts: &mut Restarts, now: &mut Time, lives: &[u64]) -> Vec<Verdict> {
        lives
            .iter()
            .map(|life| {
                *now = now.plus(ms(*life));
                let verdict = restarts.died(*now);
                let (Verdict::After(wait) | Verdict::Quarantine { retry_after: wait }) = verdict;
                *now = now.plus(wait);
                verdict
            })
            .collect()
    }

    #[test]
    fn the_wait_grows_and_the_fifth_death_is_quarantine() {
        let (mut restarts, mut now) = (Restarts::default(), Time::from_millis(0));
        assert_eq!(
            deaths(&mut restarts, &mut now, &[1, 1, 1, 1, 1]),
            [
                Verdict::After(ms(1)),
                Verdict::After(ms(100)),
                Verdict::After(ms(200)),
                Verdict::After(ms(400)),
                Verdict::Quarantine { retry_after: ms(60_000) },
            ]
        );
        assert!(restarts.on_probation());
    }

    #[test]
    fn a_quarantined_child_is_tried_again_and_waits_longer_each_time() {
        let (mut restarts, mut now) = (Restarts::default(), Time::from_millis(0));
        deaths(&mut restarts, &mut now, &[1; 5]);
        assert_eq!(
            deaths(&mut restarts, &mut now, &[1, 1]),
            [Verdict::Quarantine { retry_after: ms(120_000) }, Verdict::Quarantine { retry_after: ms(240_000) }]
        );
        deaths(&mut restarts, &mut now, &[1; 20]);
        assert_eq!(
            deaths(&mut restarts, &mut now, &[1]),
            [Verdict::Quarantine { retry_after: Policy::CHILD.longest_quarantine }]
        );
    }

    #[test]
    fn a_calm_minute_forgives_everything() {
        let (mut restarts, mut now) = (Restarts::default(), Time::from_millis(0));
        deaths(&mut restarts, &mut now, &[1; 7]);
        assert_eq!(deaths(&mut restarts, &mut now, &[60_000]), [Verdict::After(ms(1))]);
        assert!(!restarts.on_probation());
    }

    #[test]
    fn the_time_in_quarantine_is_not_calm() {
        let (mut restarts, mut now) = (Restarts::default(), Time::from_millis(0));
        deaths(&mut restarts, &mut now, &[1; 6]);
        assert_eq!(deaths(&mut restarts, &mut now, &[59_999]), [Verdict::Quarantine { retry_after: ms(240_000) }]);
    }

    #[test]
    fn seldom_deaths_are_no_quarantine() {
        let (mut restarts, mut now) = (Restarts::default(), Time::from_millis(0));
        for verdict in deaths(&mut restarts, &mut now, &[45_000; 50]) {
            assert!(matches!(verdict, Verdict::After(_)), "{verdict:?}");
        }
    }

    #[test]
    fn only_the_store_is_vital() {
        assert!(Restarts::new(Policy::STORE).is_vital());
        assert!(!Restarts::default().is_vital());
    }

    proptest! {
        #[test]
        fn no_sequence_of_deaths_waits_for_ever_or_not_at_all(times in prop::collection::vec(any::<i64>(), 0..60)) {
            let mut restarts = Restarts::default();
            for time in times {
                match restarts.died(Time::from_millis(time)) {
                    Verdict::After(wait) => prop_assert!(wait >= Policy::CHILD.first && wait <= Policy::CHILD.longest),
                    Verdict::Quarantine { retry_after } => {
                        prop_assert!(retry_after >= Policy::CHILD.quarantine);
                        prop_assert!(retry_after <= Policy::CHILD.longest_quarantine);
                    }
                }
            }
        }
    }
}
