//! Words that the sentences of lights and refusals are made of.

use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{Op, Time};

use crate::command::Command;
use crate::remote::{Desired, Failing};

/// The longest piece of somebody else's text in a sentence, in characters.
const LONGEST: usize = 160;

/// "1 commit", "2 commits".
pub(crate) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// To the minute, UTC.
pub fn moment(time: Time) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        (_, _) => text,
    }
}

/// Somebody else's text on one line, cut to a length, without a full stop at its end.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > LONGEST * 4 {
            break;
        }
    }
    let cut = out.char_indices().nth(LONGEST).map(|(at, _)| at);
    if let Some(at) = cut {
        // Between two words, where there are two.
        let at = out[..at].rfind(' ').filter(|space| *space > 0).unwrap_or(at);
        out.truncate(at);
        out.push('…');
    }
    out.trim_end_matches('.').to_owned()
}

/// `1234567 "subject"`.
pub(crate) fn head(desired: &Desired) -> String {
    let subject = quoted(&desired.subject);
    let short = desired.commit.short();
    if subject.is_empty() { short.to_owned() } else { format!("{short} \"{subject}\"") }
}

/// Since when, and why, the remote can't be read.
pub(crate) fn unreadable(failing: &Failing) -> String {
    let why = quoted(&failing.why);
    let since = moment(failing.since);
    if why.is_empty() {
        format!("The remote can't be read since {since}")
    } else {
        format!("The remote can't be read since {since}: {why}")
    }
}

/// An op at the beginning of a sentence.
pub(crate) fn capital(op: Op) -> String {
    let name = op.as_str();
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// "a, b and c", "a, b, c and 4 more".
pub(crate) fn names<'a>(given: impl IntoIterator<Item = &'a String>, total: u64) -> String {
    const SHOWN: usize = 3;
    let all: Vec<&String> = given.into_iter().collect();
    let shown: Vec<String> = all.iter().take(SHOWN).map(|name| quoted(name)).collect();
    let more = total.max(all.len() as u64).saturating_sub(shown.len() as u64);
    match (shown.split_last(), more) {
        (None, _) => String::new(),
        (Some((last, [])), 0) => last.clone(),
        (Some((last, before)), 0) => format!("{} and {last}", before.join(", ")),
        (Some(_), more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What a command does now.
pub(crate) fn running(command: &Command) -> String {
    let op = capital(command.op);
    match command.state {
        CommandState::Pending | CommandState::Validating => format!("{op} is about to start."),
        CommandState::Executing => format!("{op} is running{}.", within(command)),
        CommandState::RunningWarning => format!("{op} is running{}, longer than usual.", within(command)),
        CommandState::TimeoutPending => {
            format!("{op} is past its time limit: extend it, stop it, or let it go on without one.")
        }
        CommandState::AwaitingReconnect => {
            format!("{op} waits for the host: the link is down, and what became of it is told when the host is back.")
        }
        CommandState::Killing => format!("{op} is being stopped."),
        CommandState::Blocked
        | CommandState::Success
        | CommandState::Error
        | CommandState::Partial
        | CommandState::Killed
        | CommandState::Timeout
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Orphaned
        | CommandState::Cancelled
        | CommandState::Skipped => format!("{op} is over."),
    }
}

fn within(command: &Command) -> String {
    let Some(progress) = &command.progress else { return String::new() };
    let words = if progress.text.is_empty() { &progress.phase } else { &progress.text };
    let words = quoted(words);
    match (words.is_empty(), progress.done, progress.expected) {
        (true, None, _) => String::new(),
        (true, Some(done), None) => format!(": {done} done"),
        (true, Some(done), Some(expected)) => format!(": {done} of {expected}"),
        (false, Some(done), Some(expected)) if progress.text.is_empty() => format!(": {words}, {done} of {expected}"),
        (false, _, _) => format!(": {words}"),
    }
}
