//! Quiet hours: a part of each day, by the clocks of one place. The place's rules are an argument; days on which its
//! clocks are moved are its own business.

use jiff::civil::Time as Clock;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use nixfleet_protocol::Time;

/// From when to when nothing is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Quiet {
    from: Clock,
    to: Clock,
    zone: TimeZone,
}

/// The text names no hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadQuiet;

impl Quiet {
    /// From `22:00-07:00`, by the clocks of a place. Hours that end where they begin are none.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, BadQuiet> {
        let clock = |text: &str| {
            let (hour, minute) = text.trim().split_once(':').ok_or(BadQuiet)?;
            let number = |text: &str| {
                let digits = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
                if digits { text.parse::<i8>().map_err(|_| BadQuiet) } else { Err(BadQuiet) }
            };
            Clock::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| BadQuiet)
        };
        let (from, to) = text.split_once('-').ok_or(BadQuiet)?;
        let (from, to) = (clock(from)?, clock(to)?);
        if from == to { Err(BadQuiet) } else { Ok(Self { from, to, zone }) }
    }

    /// Whether this moment is in them.
    pub fn covers(&self, at: Time) -> bool {
        self.local(at).is_some_and(|local| self.holds(local.time()))
    }

    /// When those end that this moment is in; none: it is in none.
    pub fn end(&self, at: Time) -> Option<Time> {
        let local = self.local(at).filter(|local| self.holds(local.time()))?;
        let day = if local.time() < self.to { local.date() } else { local.date().checked_add(1.day()).ok()? };
        let end = day.to_datetime(self.to).to_zoned(self.zone.clone()).ok()?;
        let end = Time::from_millis(end.timestamp().as_millisecond());
        // On a day when clocks are moved the end may be where the moment is: a moment later is late enough.
        Some(end.max(at.plus(std::time::Duration::from_secs(1))))
    }

    fn holds(&self, clock: Clock) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&clock) } else { clock >= self.from || clock < self.to }
    }

    fn local(&self, at: Time) -> Option<Zoned> {
        Some(Timestamp::from_millisecond(at.millis()).ok()?.to_zoned(self.zone.clone()))
    }
}

impl std::fmt::Display for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, zone } = self;
        write!(f, "{:02}:{:02} to {:02}:{:02}", from.hour(), from.minute(), to.hour(), to.minute())?;
        match zone.iana_name() {
            Some(name) => write!(f, " ({name})"),
            None => match zone.to_fixed_offset() {
                Ok(offset) => write!(f, " (UTC{offset})"),
                Err(_) => Ok(()),
            },
        }
    }
}
