//! Letters in words: one notice is its own; several of a kind are counted and named; what was held back in quiet hours
//! is one digest.

use nixfleet_protocol::Time;
use nixfleet_protocol::api::Level;

use super::{Counts, Kind, Letter, Notice};

/// Subjects in a title.
const IN_TITLE: usize = 5;
/// Lines of a text; the rest is counted.
const LINES: usize = 20;

/// How notices came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// They came when nothing stood in their way.
    Free,
    /// One of the kind had been sent less than a minute before.
    After,
    /// Over quiet hours.
    Quiet,
}

/// "a, b and 3 more".
pub(super) fn names(all: &[&str], most: usize) -> String {
    let shown = all[..all.len().min(most)].join(", ");
    if all.len() > most { format!("{shown} and {} more", all.len() - most) } else { shown }
}

/// Everything but the id and the address of the page.
pub(super) fn letter(
    id: String,
    notices: Vec<Notice>,
    beyond: &Counts,
    gathered: Gathered,
    base: Option<&str>,
) -> Letter {
    let extra: u64 = beyond.values().sum();
    let count = extra + u64::try_from(notices.len()).unwrap_or(u64::MAX);
    let first = notices.first().map(|notice| notice.kind);
    let kind = first.filter(|_| gathered != Gathered::Quiet);
    let level = notices.iter().map(|notice| notice.level).max_by_key(|level| weight(*level)).unwrap_or(Level::Info);
    let at = notices.iter().map(|notice| notice.at).max().unwrap_or_default();
    let (title, text) = match &notices[..] {
        [one] if extra == 0 => (one.title.clone(), one.text.clone()),
        _ => {
            let title = if gathered == Gathered::Quiet {
                format!("In quiet hours: {}", tally(&notices, beyond))
            } else {
                let subjects: Vec<&str> = notices.iter().map(|notice| notice.subject.as_str()).collect();
                let more = if gathered == Gathered::After { "more " } else { "" };
                let what = first.map_or(String::new(), |kind| many(kind, count, more));
                let named = names(&distinct(&subjects), IN_TITLE);
                if named.is_empty() { what } else { format!("{what}: {named}") }
            };
            (title, lines(&notices, count))
        }
    };
    let path = match &notices[..] {
        [one] => one.path.clone(),
        _ if kind == Some(Kind::CommandFailed) => "/events".to_owned(),
        _ => "/".to_owned(),
    };
    let url = base.map(|base| format!("{}{path}", base.trim_end_matches('/')));
    Letter { id, kind, level, title, text, url, at, notices, count, tries: 0 }
}

fn distinct<'a>(subjects: &[&'a str]) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for subject in subjects.iter().filter(|subject| !subject.is_empty()) {
        if !seen.contains(subject) {
            seen.push(*subject);
        }
    }
    seen
}

fn lines(notices: &[Notice], count: u64) -> String {
    let line = |notice: &Notice| {
        if notice.text.is_empty() { notice.title.clone() } else { format!("{}: {}", notice.title, notice.text) }
    };
    let mut lines: Vec<String> = notices.iter().take(LINES).map(line).collect();
    let rest = count.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    if rest > 0 {
        lines.push(format!("… and {rest} more"));
    }
    lines.join("\n")
}

/// "3 hosts gone, 1 command failed".
fn tally(notices: &[Notice], beyond: &Counts) -> String {
    let mut counts = beyond.clone();
    for notice in notices {
        *counts.entry(notice.kind).or_default() += 1;
    }
    let parts: Vec<String> = counts.into_iter().map(|(kind, count)| many(kind, count, "")).collect();
    parts.join(", ")
}

fn many(kind: Kind, count: u64, more: &str) -> String {
    let one = count == 1;
    let (single, several) = match kind {
        Kind::CommandFailed => ("command failed", "commands failed"),
        Kind::RunFinished => ("run is over", "runs are over"),
        Kind::RunHalted => ("run waits for a decision", "runs wait for a decision"),
        Kind::HostGone => ("host gone", "hosts gone"),
        Kind::HostBack => ("host back", "hosts back"),
        Kind::UpdateWaiting => ("update waits", "updates wait"),
        Kind::RemoteUnreadable => ("time the repository could not be read", "times the repository could not be read"),
        Kind::RemoteReadable => ("time it could be read again", "times it could be read again"),
    };
    format!("{count} {more}{}", if one { single } else { several })
}

/// How bad a level is.
const fn weight(level: Level) -> u8 {
    match level {
        Level::Info => 0,
        Level::Success => 1,
        Level::Warn => 2,
        Level::Error => 3,
    }
}

/// What the test button sends.
pub fn test_letter(id: String, channel: &str, base: Option<&str>, now: Time) -> Letter {
    Letter {
        id,
        kind: None,
        level: Level::Info,
        title: "NixFleet can reach you".to_owned(),
        text: format!("A test of the channel {channel}. Somebody pressed the button in the settings."),
        url: base.map(|base| format!("{}/settings", base.trim_end_matches('/'))),
        at: now,
        notices: Vec::new(),
        count: 0,
        tries: 0,
    }
}
