//! Who may come in: how often a password may be tried, which TOTP codes are still good, what a token opens,
//! when a login ends. Time is an argument; secrets and their hashes never come here.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use nixfleet_protocol::Time;
use serde::{Deserialize, Serialize};

/// How far back attempts count.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Attempts in the window for one address.
pub const PER_ADDRESS: usize = 5;
/// Attempts in the window for the account, from everywhere.
pub const PER_ACCOUNT: usize = 20;

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// Names one attempt, to give it back when it succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(u64);

/// The attempts of the last minute: passwords, and TOTP codes wherever one is asked for. It remembers no more
/// than the account's limit, whoever knocks.
#[derive(Clone, Debug, Default)]
pub struct LoginLimits {
    attempts: VecDeque<(u64, Time, IpAddr)>,
    made: u64,
}

impl LoginLimits {
    /// An attempt begins. It counts from now on, so that many at once are not more than the limit.
    pub fn attempt(&mut self, address: IpAddr, now: Time) -> Result<Attempt, TooMany> {
        // A clock that was set back must not lock anyone out: what lies in the future is forgotten.
        self.attempts.retain(|(_, at, _)| *at <= now && now.since(*at) < WINDOW);
        let address = one_source(address);
        let oldest_here = self.attempts.iter().filter(|(_, _, from)| *from == address).map(|(_, at, _)| *at);
        let here = oldest_here.clone().count();
        let wait_for = if self.attempts.len() >= PER_ACCOUNT {
            self.attempts.front().map(|(_, at, _)| *at)
        } else if here >= PER_ADDRESS {
            oldest_here.min()
        } else {
            None
        };
        if let Some(oldest) = wait_for {
            return Err(TooMany { retry_after: WINDOW.saturating_sub(now.since(oldest)) });
        }
        self.made += 1;
        self.attempts.push_back((self.made, now, address));
        Ok(Attempt(self.made))
    }

    /// It was the right one: it does not count.
    pub fn succeeded(&mut self, attempt: Attempt) {
        self.attempts.retain(|(number, _, _)| *number != attempt.0);
    }

    /// How many count now.
    pub fn counted(&self) -> usize {
        self.attempts.len()
    }
}

/// What counts as one address in every limit: whoever has one IPv6 address has a whole /64 of them.
pub fn one_source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

/// How long a TOTP step is.
pub const TOTP_STEP: Duration = Duration::from_secs(30);

/// The TOTP step that a moment lies in.
pub fn totp_step(now: Time) -> u64 {
    u64::try_from(now.millis()).unwrap_or(0) / 30_000
}

/// Which TOTP codes are still good. The last step that was used is durable: a code is good once, also after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotpSteps {
    last: Option<u64>,
}

impl TotpSteps {
    /// As it was stored.
    pub fn from_last(last: Option<u64>) -> Self {
        Self { last }
    }

    /// Takes the code if it is right and was not used. `is` says whether the code is that of a step; it is asked for
    /// all steps, whatever it answers, so that the time tells nothing.
    pub fn take(&mut self, now: Time, is: impl Fn(u64) -> bool) -> Option<u64> {
        let step = totp_step(now);
        let mut found = None;
        // One step of drift either way.
        for candidate in step.saturating_sub(1)..=step + 1 {
            let fresh = self.last.is_none_or(|last| candidate > last);
            if is(candidate) && fresh && found.is_none() {
                found = Some(candidate);
            }
        }
        if found.is_some() {
            self.last = found;
        }
        found
    }
}

/// What an API token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look.
    Read,
    /// Start and stop commands.
    Operate,
    /// Everything.
    Admin,
    /// `/metrics`.
    Metrics,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Operate, Self::Admin, Self::Metrics];

    /// Whether a token with these scopes may do what needs `self`. Who may operate may look; admin may everything.
    pub fn is_covered_by(self, scopes: &[Self]) -> bool {
        scopes.iter().any(|scope| match scope {
            Self::Admin => true,
            Self::Operate => matches!(self, Self::Operate | Self::Read),
            Self::Read => self == Self::Read,
            Self::Metrics => self == Self::Metrics,
        })
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }

    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Whether what ends at `expires_at` is over.
pub fn is_over(expires_at: Option<Time>, now: Time) -> bool {
    expires_at.is_some_and(|end| end <= now)
}

/// Whether a use of something should be written down: to the minute is enough.
pub fn is_another_minute(last: Option<Time>, now: Time) -> bool {
    last.is_none_or(|last| last.millis().div_euclid(60_000) != now.millis().div_euclid(60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_795_240_000_000 + seconds * 1000)
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn five_a_minute_from_one_address() {
        let mut limits = LoginLimits::default();
        for second in 0..5 {
            assert!(limits.attempt(from(1), at(second)).is_ok());
        }
        let refused = limits.attempt(from(1), at(10)).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(50));
        assert!(limits.attempt(from(2), at(10)).is_ok());
        assert!(limits.attempt(from(1), at(60)).is_ok());
        assert!(limits.attempt(from(1), at(60)).is_err());
    }

    #[test]
    fn twenty_a_minute_from_everywhere() {
        let mut limits = LoginLimits::default();
        for address in 0..20 {
            assert!(limits.attempt(from(address), at(0)).is_ok());
        }
        assert!(limits.attempt(from(99), at(59)).is_err());
        assert!(limits.attempt(from(99), at(60)).is_ok());
        assert!(limits.counted() <= PER_ACCOUNT);
    }

    #[test]
    fn a_good_one_does_not_count() {
        let mut limits = LoginLimits::default();
        for _ in 0..100 {
            let attempt = limits.attempt(from(1), at(0)).unwrap();
            limits.succeeded(attempt);
        }
        assert_eq!(limits.counted(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut limits = LoginLimits::default();
        for _ in 0..5 {
            limits.attempt(from(1), at(3600)).unwrap();
        }
        assert!(limits.attempt(from(1), at(0)).is_ok());
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let mut limits = LoginLimits::default();
        for host in 1..=5 {
            limits.attempt(format!("2001:db8::{host}").parse().unwrap(), at(0)).unwrap();
        }
        assert!(limits.attempt("2001:db8::6".parse().unwrap(), at(0)).is_err());
        assert!(limits.attempt("2001:db8:0:1::6".parse().unwrap(), at(0)).is_ok());
        for _ in 0..5 {
            limits.attempt(from(1), at(0)).unwrap();
        }
        assert!(limits.attempt("::ffff:192.0.2.1".parse().unwrap(), at(0)).is_err());
    }

    #[test]
    fn a_code_is_good_once_and_one_step_around() {
        let now = at(0);
        let step = totp_step(now);
        for (drift, good) in [(-2_i64, false), (-1, true), (0, true), (1, true), (2, false)] {
            let code = step.checked_add_signed(drift).unwrap();
            let mut steps = TotpSteps::default();
            assert_eq!(steps.take(now, |candidate| candidate == code).is_some(), good, "{drift}");
            assert_eq!(steps.take(now, |candidate| candidate == code), None);
        }
    }

    #[test]
    fn an_older_code_is_not_good_after_a_newer_one() {
        let now = at(0);
        let step = totp_step(now);
        let mut steps = TotpSteps::from_last(Some(step));
        assert_eq!(steps.take(now, |candidate| candidate == step - 1), None);
        assert_eq!(steps.take(now, |candidate| candidate == step), None);
        assert_eq!(steps.take(now, |candidate| candidate == step + 1), Some(step + 1));
    }

    #[test]
    fn scopes() {
        use Scope::{Admin, Metrics, Operate, Read};
        for (needed, having, may) in [
            (Read, vec![Read], true),
            (Read, vec![Operate], true),
            (Read, vec![Admin], true),
            (Read, vec![Metrics], false),
            (Read, vec![], false),
            (Operate, vec![Read], false),
            (Operate, vec![Read, Metrics], false),
            (Operate, vec![Operate], true),
            (Admin, vec![Read, Operate, Metrics], false),
            (Admin, vec![Admin], true),
            (Metrics, vec![Read, Operate], false),
            (Metrics, vec![Metrics], true),
            (Metrics, vec![Admin], true),
        ] {
            assert_eq!(needed.is_covered_by(&having), may, "{needed:?} by {having:?}");
        }
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
    }

    #[test]
    fn the_minute_counts() {
        assert!(is_another_minute(None, at(0)));
        assert!(!is_another_minute(Some(at(0)), at(0)));
        assert!(is_another_minute(Some(at(0)), at(60)));
    }
}
