//! Looks for a text in a whole log, and for the line where a failure begins. Both block.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use memchr::{memchr, memchr2_iter};
use nixfleet_model::first_error::FirstError;
use nixfleet_protocol::api::LogFound;
use nixfleet_protocol::text::plain;

use super::index::Indexes;

/// Lines that are named; all are counted.
const NAMED: usize = 10_000;
/// The longest text of a line that is looked at: sixteen records of the longest kind.
const LONGEST: usize = 1024 * 1024;

/// The lines from one on that have a text, whatever its case, in what is shown of them: colours are not looked at.
pub fn search(indexes: &Indexes, path: &Path, text: &str, from: u64) -> io::Result<LogFound> {
    let wanted = Wanted::new(text);
    let mut found = LogFound::default();
    let mut add = |line| {
        found.count += 1;
        if found.lines.len() < NAMED {
            found.lines.push(line);
        }
    };
    let mut pieces = String::new();
    found.seen = indexes.each(path, from, |line, at| {
        let text = at.record.text;
        if at.record.partial || !pieces.is_empty() {
            if pieces.len() + text.len() <= LONGEST {
                pieces.push_str(text);
            }
            if at.record.partial {
                return;
            }
            if wanted.is_in(&shown(&pieces)) {
                add(line);
            }
            pieces.clear();
        } else if wanted.is_in(&shown(text)) {
            add(line);
        }
    })?;
    Ok(found)
}

/// The line where the failure begins; which one it is, the model says.
pub fn first_error(indexes: &Indexes, path: &Path) -> io::Result<LogFound> {
    let mut first = FirstError::default();
    let mut going_on = false;
    let seen = indexes.each(path, 1, |line, at| {
        if !std::mem::replace(&mut going_on, at.record.partial) {
            first.take(line, at.record.stream, &shown(at.record.text));
        }
    })?;
    let lines: Vec<u64> = first.line().into_iter().collect();
    Ok(LogFound { count: lines.len() as u64, lines, seen })
}

/// A line as it is read: without its colours.
fn shown(text: &str) -> Cow<'_, str> {
    if memchr(0x1b, text.as_bytes()).is_some() { plain(text).into() } else { text.into() }
}

/// What is looked for.
struct Wanted {
    lower: String,
    /// Its first byte in both cases, where it is plain ASCII.
    first: Option<(u8, u8)>,
}

impl Wanted {
    fn new(text: &str) -> Self {
        let first = text.bytes().next().filter(|_| text.is_ascii());
        let first = first.map(|first| (first.to_ascii_lowercase(), first.to_ascii_uppercase()));
        Self { lower: text.to_lowercase(), first }
    }

    fn is_in(&self, line: &str) -> bool {
        let Some((lower, upper)) = self.first else { return line.to_lowercase().contains(&self.lower) };
        let (line, wanted) = (line.as_bytes(), self.lower.as_bytes());
        memchr2_iter(lower, upper, line)
            .any(|at| line.get(at..at + wanted.len()).is_some_and(|part| part.eq_ignore_ascii_case(wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_whatever_its_case_and_colours() {
        for (text, line, there) in [
            ("error", "an ERROR: no", true),
            ("Error:", "error", false),
            ("größe", "GRÖSSE und GRÖßE", true),
            ("GRÖßE", "die größe", true),
            ("is red", "this \u{1b}[31mis\u{1b}[0m red", true),
            ("31m", "this \u{1b}[31mis\u{1b}[0m red", false),
            ("aab", "aaab", true),
        ] {
            assert_eq!(Wanted::new(text).is_in(&shown(line)), there, "{text} in {line:?}");
        }
    }
}
