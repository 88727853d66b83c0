//! Reads a command's log from any offset while it is being written and, perhaps, cut.
//!
//! The agent's deliveries use it. It gives whole records only; half a record at the end is waited for. A reader
//! that stands where the middle was cut away gets a mark made for its own position, so the offsets it passes on
//! always join.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nixfleet_protocol::Time;
use nixfleet_protocol::log::{BadRecord, MAX_RECORD, Record};

use crate::journal::entry::{HOLE, LOG};

/// One record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// The record.
    pub record: Record,
}

/// Where a log's hole begins and ends, when it has one.
pub fn hole(dir: &Path) -> Option<(u64, u64)> {
    let hole = fs::read_to_string(dir.join(HOLE)).ok()?;
    let (from, to) = hole.split_once(' ')?;
    Some((from.parse().ok()?, to.trim().parse().ok()?))
}

/// An open log.
#[derive(Debug)]
pub struct Transcript {
    dir: PathBuf,
    file: File,
}

impl Transcript {
    /// Opens the log of a command's folder; `None` while there is none.
    pub fn open(dir: &Path) -> io::Result<Option<Self>> {
        match File::open(dir.join(LOG)) {
            Ok(file) => Ok(Some(Self { dir: dir.to_owned(), file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The log's length now.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The records from `from` on, about `wanted` bytes of them; nothing at the end.
    pub fn read(&self, from: u64, wanted: usize) -> io::Result<Vec<Piece>> {
        if self.length()? <= from {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; wanted.max(MAX_RECORD)];
        let count = self.file.read_at(&mut bytes, from)?;
        bytes.truncate(count);
        let (mut offset, mut at) = (from, 0);
        let mut out = Vec::new();
        while at < bytes.len() {
            match Record::decode(&bytes[at..]) {
                // A record runs into the hole when it was cut right now; no text of ours holds a zero byte.
                Ok((record, length)) if !bytes[at..at + length].contains(&0) => {
                    let end = record.end(offset, length);
                    let is_mark = record.skip_to.is_some();
                    out.push(Piece { offset, end, record });
                    at += length;
                    offset = end;
                    if is_mark {
                        break;
                    }
                }
                Err(BadRecord::Incomplete) if !bytes[at..].contains(&0) => break,
                Ok(_) | Err(BadRecord::Incomplete | BadRecord::Malformed(_)) => {
                    out.extend(self.mark_at(offset)?);
                    break;
                }
            }
        }
        Ok(out)
    }

    /// What leads out of the hole, for a reader inside it. A place that is damaged without a hole is led over to
    /// the end: nothing can be read there, and standing still for ever helps nobody.
    fn mark_at(&self, offset: u64) -> io::Result<Option<Piece>> {
        let (from, to) = hole(&self.dir).unwrap_or_default();
        let (to, text) = if from <= offset && offset < to {
            (to, format!("{} bytes were cut here", to - offset))
        } else {
            let end = self.length()?;
            (end, format!("{} bytes can't be read", end.saturating_sub(offset)))
        };
        Ok((to > offset).then(|| Piece { offset, end: to, record: Record::mark(Time::now(), to, text) }))
    }
}
