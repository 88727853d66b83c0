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

    /// When those end that this moment is in; none: it is in none. That is the first moment that is not covered, also
    /// where the clocks jump over the end, or come to it twice.
    pub fn end(&self, at: Time) -> Option<Time> {
        let now = self.local(at).filter(|local| self.holds(local.time()))?;
        let days = [now.date(), now.date().saturating_add(1.day()), now.date().saturating_add(2.days())];
        let ends = days.into_iter().flat_map(|day| {
            let end = self.zone.to_ambiguous_timestamp(day.to_datetime(self.to));
            [end.earlier().ok(), end.later().ok()]
        });
        let horizon = now.timestamp().saturating_add(72.hours()).ok()?;
        let moved = self.zone.following(now.timestamp()).map(|moved| moved.timestamp());
        let moments = ends.flatten().chain(moved.take_while(|moved| *moved <= horizon));
        let moments = moments.map(|moment| Time::from_millis(moment.as_millisecond()));
        moments.filter(|moment| *moment > at && !self.covers(*moment)).min()
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
