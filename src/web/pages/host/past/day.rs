//! A day of a host on a line of 24 hours: a mark for each command where it began, as wide as it took, and below it the
//! same commands by name. UTC, as everywhere: a page is the same for everyone, and its script knows no calendar.
//!
//! The line is for the eye and the pointer. Whoever comes by keyboard or listens has its sums in one sentence, and each
//! command below.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::Time;
use nixfleet_protocol::api::Command;

use super::super::super::button::Does;
use super::super::super::{Fleet, commands, words};

/// How far the days go back.
const DAYS: Duration = Duration::from_hours(7 * 24);
/// Commands of a day that are named at once; those before them unfold.
const NAMED: usize = 12;
/// From so many on the marks are smaller.
const MANY: usize = 48;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// A day and what ran on it, in the order of time.
pub(super) struct Day {
    pub(super) name: String,
    /// What the line shows, in a sentence.
    pub(super) sum: String,
    /// Half the size of a mark, in pixels.
    pub(super) size: u8,
    /// As they are drawn: what went wrong on top.
    pub(super) marks: Vec<Mark>,
    /// Those that unfold.
    pub(super) earlier: Vec<Pill>,
    pub(super) pills: Vec<Pill>,
}

/// A command on the line; its places are percent of the day.
pub(super) struct Mark {
    pub(super) look: &'static str,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) does: Does,
}

/// A command by name.
pub(super) struct Pill {
    pub(super) look: &'static str,
    pub(super) label: String,
    pub(super) time: String,
    pub(super) told: String,
    pub(super) does: Does,
}

/// `HH:MM` of a moment, and its day as `2026-11-21`.
fn clock(time: Time) -> (String, String) {
    let text = time.to_string();
    (text.get(11..16).unwrap_or_default().to_owned(), text.get(..10).unwrap_or_default().to_owned())
}

/// `Sat 21 Nov`.
fn day_name(time: Time, day: &str) -> String {
    const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const YEAR: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // The first day of all was a Thursday.
    let weekday = usize::try_from(time.millis().div_euclid(DAY).rem_euclid(7)).unwrap_or_default();
    let part = |range: std::ops::Range<usize>| day.get(range).and_then(|text| text.parse::<usize>().ok());
    let month = part(5..7).and_then(|month| YEAR.get(month.wrapping_sub(1))).unwrap_or(&"");
    format!("{} {} {month}", WEEK[weekday], part(8..10).unwrap_or_default())
}

/// The last days, the newest first, of commands that come newest first.
pub(super) fn days(fleet: &Fleet<'_>, commands: &[Arc<Command>]) -> Vec<Day> {
    let since = fleet.now.minus(DAYS);
    let recent: Vec<&Command> = commands.iter().map(Arc::as_ref).filter(|it| it.created_at >= since).collect();
    recent
        .chunk_by(|one, other| clock(one.created_at).1 == clock(other.created_at).1)
        .map(|of| day(fleet, of))
        .collect()
}

/// A day of these, newest first.
fn day(fleet: &Fleet<'_>, newest_first: &[&Command]) -> Day {
    let commands: Vec<&Command> = newest_first.iter().rev().copied().collect();
    let mut marks: Vec<Mark> = commands.iter().map(|command| mark(fleet, command)).collect();
    marks.sort_by_key(|mark| match mark.look {
        "error" => 2,
        "outdated" | "working" => 1,
        _ => 0,
    });
    let mut pills: Vec<Pill> = commands.iter().map(|command| pill(fleet, command)).collect();
    let later = pills.split_off(pills.len().saturating_sub(NAMED));
    let name = commands.first().map(|first| day_name(first.created_at, &clock(first.created_at).1));
    Day {
        name: name.unwrap_or_default(),
        sum: sum(&commands),
        size: if commands.len() < MANY { 6 } else { 4 },
        marks,
        earlier: pills,
        pills: later,
    }
}

/// `3 commands from 06:02 to 17:40 UTC: 2 Success, 1 Failed.`
fn sum(commands: &[&Command]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for command in commands {
        *counts.entry(words::ended(command).1).or_default() += 1;
    }
    let counts: Vec<_> = counts.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    let at = |command: Option<&&Command>| command.map(|it| clock(it.created_at).0).unwrap_or_default();
    let many = if commands.len() == 1 { "command" } else { "commands" };
    let (first, last) = (at(commands.first()), at(commands.last()));
    format!("{} {many} from {first} to {last} UTC: {}.", commands.len(), counts.join(", "))
}

/// Hundredths of a percent of the day, as a percentage.
fn place(millis: i64) -> String {
    let part = millis.clamp(0, DAY) * 10_000 / DAY;
    format!("{}.{:02}%", part / 100, part % 100)
}

fn mark(fleet: &Fleet<'_>, command: &Command) -> Mark {
    let (look, _) = words::ended(command);
    let from = command.started_at.unwrap_or(command.created_at);
    let begins = from.millis().rem_euclid(DAY);
    let took = command.finished_at.map_or(0, |to| to.millis().saturating_sub(from.millis()).max(0));
    // One that began at midnight of the next day stands where it was asked for.
    let begins = if clock(from).1 == clock(command.created_at).1 { begins } else { DAY };
    let told = told(fleet, command);
    Mark {
        look,
        from: place(begins),
        to: place(begins.saturating_add(took)),
        does: Does::log(command.id, commands::title(fleet, command))
            .at(format!("/commands/{}", command.id))
            .tip(told.tip),
    }
}

/// What is said of a command, after its name and on hover.
struct Told {
    after: String,
    tip: String,
}

fn told(fleet: &Fleet<'_>, command: &Command) -> Told {
    let (_, word) = words::ended(command);
    let took = command.started_at.zip(command.finished_at).map(|(from, to)| format!(" in {}", words::span(from, to)));
    let (time, _) = clock(command.created_at);
    let by = words::by(fleet, &command.actor);
    let after = format!("{word}{}, by {by}, {time} UTC", took.unwrap_or_default());
    let label = fleet.label(command.op);
    let message = commands::text(command);
    let tip = if message.is_empty() { format!("{label}: {after}.") } else { format!("{label}: {after}. {message}") };
    Told { after, tip }
}

fn pill(fleet: &Fleet<'_>, command: &Command) -> Pill {
    let (look, _) = words::ended(command);
    let told = told(fleet, command);
    Pill {
        look,
        time: clock(command.created_at).0,
        label: fleet.label(command.op).to_owned(),
        does: Does::log(command.id, commands::title(fleet, command)).tip(told.tip),
        told: told.after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_name() {
        let name = |millis| day_name(Time::from_millis(millis), &clock(Time::from_millis(millis)).1);
        assert_eq!(name(0), "Thu 1 Jan");
        assert_eq!(name(1_795_240_944_007), "Sat 21 Nov");
        assert_eq!(clock(Time::from_millis(1_795_240_944_007)), ("06:02".to_owned(), "2026-11-21".to_owned()));
        let _ = (name(i64::MIN), name(i64::MAX));
    }

    #[test]
    fn a_moment_has_its_place_on_the_line() {
        assert_eq!([place(0), place(DAY / 2), place(DAY)], ["0.00%", "50.00%", "100.00%"]);
        assert_eq!([place(-7), place(i64::MAX), place(DAY / 1_440)], ["0.00%", "100.00%", "0.06%"]);
    }
}
