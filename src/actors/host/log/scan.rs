//! Goes through the records of a log, one after the other, without keeping any.

use std::io;

use memchr::memchr;
use nixfleet_protocol::api::LogLine;
use nixfleet_protocol::log::{MAX_RECORD, RecordRef};

use super::{LogFile, begins_a_record};

/// A record and its place.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Where it begins.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Itself.
    pub record: RecordRef<'a>,
}

impl At<'_> {
    /// As everyone is told.
    pub fn to_line(self) -> LogLine {
        LogLine {
            offset: self.offset,
            end: self.end,
            time: self.record.time,
            stream: self.record.stream,
            line: self.record.text.to_owned(),
            partial: self.record.partial,
        }
    }
}

/// Shows every whole record from an offset on, until the log ends or `visit` has seen enough (`false`). Answers from
/// where to go on. An offset inside a record or a hole means the next record; what is no record is passed over. About
/// `piece` bytes are read at a time.
pub(super) fn scan(file: &LogFile, from: u64, piece: usize, mut visit: impl FnMut(&At<'_>) -> bool) -> io::Result<u64> {
    let mut buffer = vec![0; piece + MAX_RECORD];
    let mut walk = Walk { next: from, aligned: begins_a_record(file, from)? };
    loop {
        let before = walk.next;
        let length = file.read_at(&mut buffer, before)?;
        let bytes = &buffer[..length];
        if !walk.through(bytes, &mut visit) || walk.next == before {
            return Ok(walk.next);
        }
        if bytes.first() == Some(&0) && bytes.iter().all(|byte| *byte == 0) {
            match file.next_data(walk.next)? {
                Some(data) => walk.next = data,
                // Nothing but a hole follows: what is written later may begin within.
                None => return Ok(before),
            }
        }
    }
}

struct Walk {
    next: u64,
    /// A record begins here.
    aligned: bool,
}

impl Walk {
    /// Through what was read at `next`. `false`: it was enough.
    fn through(&mut self, bytes: &[u8], visit: &mut impl FnMut(&At<'_>) -> bool) -> bool {
        let base = self.next;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if rest[0] == 0 {
                // A hole, or what a power cut left: the next record begins after it.
                at += rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
                self.aligned = true;
                self.next = base + at as u64;
                continue;
            }
            let Some(end) = memchr(b'\n', rest) else {
                // Half a record, which will be whole later; or one longer than any, which never will.
                if rest.len() >= MAX_RECORD {
                    self.next = base + bytes.len() as u64;
                }
                return true;
            };
            let (offset, length) = (base + at as u64, end + 1);
            at += length;
            self.next = offset + length as u64;
            if std::mem::replace(&mut self.aligned, true)
                && let Ok(record) = RecordRef::parse(&rest[..end])
            {
                let end = record.end(offset, length);
                at = usize::try_from(end - base).unwrap_or(usize::MAX);
                self.next = end;
                if !visit(&At { offset, end, record }) {
                    return false;
                }
            }
        }
        true
    }
}
