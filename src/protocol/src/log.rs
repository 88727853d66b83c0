//! The record format of a command's log: one format in the agent's file, in the dashboard's file, in the
//! offsets on the wire, in `log_bytes` and in `?from=`, so that one number means the same everywhere.
//!
//! A record is one line of text:
//!
//! ```text
//! 1795240944007 o copying path '/nix/store/…'
//! └ ms since 1970 └ stream: o stdout, e stderr, n note of the runner; upper case: the line goes on in the next record
//! 1795240944007 m 73400320 8388608 bytes were cut here
//!                 └ a mark: the log goes on at this offset; what lies between is a hole in the file
//! ```
//!
//! Offsets are physical positions in the file, so a cut leaves a hole and moves nothing. A file that was
//! being written when its machine died ends in half a record; [`whole_length`] says where to cut it.

use std::fmt::Write as _;

use crate::agent::Stream;
use crate::time::Time;

/// The longest text of one record, in bytes. A longer line is cut into several records, never lost.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest a whole record can be: time, stream, offset of a mark, text and separators.
pub const MAX_RECORD: usize = MAX_LINE + 64;

/// One line of output, or one piece of a long line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was printed.
    pub time: Time,
    /// Where it comes from.
    pub stream: Stream,
    /// The line goes on in the next record.
    pub partial: bool,
    /// For a mark: the offset where the log goes on.
    pub skip_to: Option<u64>,
    /// The text, without a line end.
    pub text: String,
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// There is no line end yet.
    #[error("the record is not complete")]
    Incomplete,
    /// There is a line, and it is not in the format.
    #[error("not a log record: {0:?}")]
    Malformed(String),
}

impl Record {
    /// A line of a stream.
    pub fn line(time: Time, stream: Stream, text: impl Into<String>) -> Self {
        Self { time, stream, partial: false, skip_to: None, text: text.into() }
    }

    /// A mark: from here to `skip_to` bytes were cut.
    pub fn mark(time: Time, skip_to: u64, text: impl Into<String>) -> Self {
        Self { time, stream: Stream::Mark, partial: false, skip_to: Some(skip_to), text: text.into() }
    }

    /// The record's bytes, with its line end. Line ends inside the text become spaces: a record is one line.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + 32);
        let letter = match (self.stream, self.partial) {
            (Stream::Stdout, false) => 'o',
            (Stream::Stdout, true) => 'O',
            (Stream::Stderr, false) => 'e',
            (Stream::Stderr, true) => 'E',
            (Stream::Note, false) => 'n',
            (Stream::Note, true) => 'N',
            (Stream::Mark, _) => 'm',
        };
        // Writing to a String can't fail.
        let _ = write!(out, "{} {letter} ", self.time.millis());
        if self.stream == Stream::Mark {
            let _ = write!(out, "{} ", self.skip_to.unwrap_or_default());
        }
        if self.text.bytes().any(|b| b == b'\n' || b == b'\r') {
            out.extend(self.text.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
        } else {
            out.push_str(&self.text);
        }
        out.push('\n');
        out
    }

    /// The record at the beginning of `bytes`, and how many bytes it takes.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), BadRecord> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(BadRecord::Incomplete)?;
        let RecordRef { time, stream, partial, skip_to, text } = RecordRef::parse(&bytes[..end])?;
        Ok((Self { time, stream, partial, skip_to, text: text.to_owned() }, end + 1))
    }

    /// Where the next record begins, for a record of `length` bytes at `offset`. A mark never leads backwards.
    pub fn end(&self, offset: u64, length: usize) -> u64 {
        end(self.skip_to, offset, length)
    }
}

/// A record as it stands in the file: for who looks at many and keeps few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// When it was printed.
    pub time: Time,
    /// Where it comes from.
    pub stream: Stream,
    /// The line goes on in the next record.
    pub partial: bool,
    /// For a mark: the offset where the log goes on.
    pub skip_to: Option<u64>,
    /// The text, without a line end.
    pub text: &'a str,
}

impl<'a> RecordRef<'a> {
    /// Reads a line of the file, given without its line end.
    pub fn parse(line: &'a [u8]) -> Result<Self, BadRecord> {
        let malformed = || BadRecord::Malformed(String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned());
        let text = std::str::from_utf8(line).map_err(|_| malformed())?;
        let (millis, rest) = text.split_once(' ').ok_or_else(malformed)?;
        let time = Time::from_millis(millis.parse().map_err(|_| malformed())?);
        let (letter, rest) = rest.split_once(' ').ok_or_else(malformed)?;
        let (stream, partial) = match letter {
            "o" => (Stream::Stdout, false),
            "O" => (Stream::Stdout, true),
            "e" => (Stream::Stderr, false),
            "E" => (Stream::Stderr, true),
            "n" => (Stream::Note, false),
            "N" => (Stream::Note, true),
            "m" => (Stream::Mark, false),
            _ => return Err(malformed()),
        };
        let (skip_to, text) = if stream == Stream::Mark {
            let (skip_to, text) = rest.split_once(' ').ok_or_else(malformed)?;
            (Some(skip_to.parse().map_err(|_| malformed())?), text)
        } else {
            (None, rest)
        };
        Ok(Self { time, stream, partial, skip_to, text })
    }

    /// As [`Record::end`].
    pub fn end(&self, offset: u64, length: usize) -> u64 {
        end(self.skip_to, offset, length)
    }
}

fn end(skip_to: Option<u64>, offset: u64, length: usize) -> u64 {
    let end = offset.saturating_add(length as u64);
    skip_to.map_or(end, |skip_to| skip_to.max(end))
}

/// How many of `bytes` are whole records: what comes after the last line end was never finished.
pub fn whole_length(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let time = Time::from_millis(1_795_240_944_007);
        for record in [
            Record::line(time, Stream::Stdout, "copying path"),
            Record::line(time, Stream::Stderr, ""),
            Record::line(time, Stream::Note, " leading and trailing "),
            Record { partial: true, ..Record::line(time, Stream::Stdout, "half") },
            Record::mark(time, 73_400_320, "8 MiB were cut here"),
        ] {
            let bytes = record.encode();
            assert_eq!(Record::decode(bytes.as_bytes()).unwrap(), (record, bytes.len()));
        }
    }

    #[test]
    fn a_line_end_inside_a_text_does_not_make_two_records() {
        let bytes = Record::line(Time::from_millis(1), Stream::Stdout, "a\nb\rc").encode();
        assert_eq!(bytes, "1 o a b c\n");
    }

    #[test]
    fn half_a_record_is_cut_off() {
        assert_eq!(whole_length(b"1 o a\n2 o b"), 6);
        assert_eq!(whole_length(b"1 o"), 0);
        assert_eq!(Record::decode(b"1 o a"), Err(BadRecord::Incomplete));
        assert!(matches!(Record::decode(b"x\n"), Err(BadRecord::Malformed(_))));
        assert!(matches!(Record::decode(b"1 o \xff\n"), Err(BadRecord::Malformed(_))));
    }

    #[test]
    fn a_mark_leads_over_the_hole_and_never_backwards() {
        let mark = Record::mark(Time::from_millis(1), 500, "cut");
        assert_eq!(mark.end(100, 20), 500);
        assert_eq!(mark.end(600, 20), 620);
    }
}
