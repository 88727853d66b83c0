//! Writes a command's log: records appended in big pieces, one flush to disk at the end, bounded in size.
//!
//! The log keeps its first 32 MiB and its last 28 to 32: between them a hole that grows forward, so that offsets
//! stay positions in the file. Its beginning is a mark that names where the log goes on; the file `hole` says the
//! same to a reader that stood inside. Where holes can't be punched, the middle is never written at all: the end
//! of the log is kept in memory, 256 KiB of it, and written behind the mark when the command is over.
//!
//! A disk that fails costs the log, never the command. What could not be written is written again, at the same place,
//! when there is room: somebody may have read a part of it. What does not fit into memory until then is counted, and a
//! note says so where it is missing.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixfleet_protocol::Time;
use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::log::{MAX_RECORD, Record};

use crate::durable;
use crate::journal::entry::{HOLE, LOG};

/// How much a log is allowed to be, and how it is cut. Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What is kept from the beginning.
    pub head: u64,
    /// What is kept from the end, right after a cut.
    pub tail: u64,
    /// What may be there in all before it is cut.
    pub most: u64,
}

/// 64 MiB a command.
pub const BOUNDS: Bounds = Bounds { head: 32 << 20, tail: 28 << 20, most: 64 << 20 };

/// Records wait here until they are this many bytes, or until the caller has nothing more.
const BUFFER: usize = 64 * 1024;

/// What waits in memory while the disk can't be written, in bytes. What comes then is counted and not kept.
const HELD: usize = 1024 * 1024;

/// How often a disk that can't be written is tried.
const AGAIN: Duration = Duration::from_millis(100);

/// What is kept of the end where holes can't be punched.
const REMEMBERED: usize = 256 * 1024;

/// The log of one command, being written.
#[derive(Debug)]
pub struct LogFile {
    dir: PathBuf,
    file: File,
    bounds: Bounds,
    buffer: Vec<u8>,
    /// Where the next record begins.
    end: u64,
    /// The first record's end behind the head: where a hole may begin.
    hole_from: Option<u64>,
    /// Where the hole ends.
    hole_to: Option<u64>,
    /// Records that were not written, because holes can't be punched here.
    held_back: Option<VecDeque<Vec<u8>>>,
    failure: Option<io::Error>,
    /// When the disk that can't be written is tried again.
    again_at: Option<Instant>,
    /// Lines that did not fit into memory meanwhile.
    lost: u64,
    /// All such lines so far.
    lost_in_all: u64,
}

impl LogFile {
    /// Makes the log of a command folder.
    pub fn create(dir: &Path, bounds: Bounds) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o644).open(dir.join(LOG))?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
            bounds,
            buffer: Vec::with_capacity(BUFFER),
            end: 0,
            hole_from: None,
            hole_to: None,
            held_back: None,
            failure: None,
            again_at: None,
            lost: 0,
            lost_in_all: 0,
        })
    }

    /// Adds a line, or a piece of one.
    pub fn add(&mut self, stream: Stream, text: &str, partial: bool) {
        if self.again_at.is_some() && self.buffer.len() >= HELD {
            self.flush();
            if self.again_at.is_some() {
                self.lost += 1;
                self.lost_in_all += 1;
                return;
            }
        }
        let record = Record { time: Time::now(), stream, partial, skip_to: None, text: text.to_owned() };
        let bytes = record.encode().into_bytes();
        self.end += bytes.len() as u64;
        if self.hole_from.is_none() && self.end >= self.bounds.head {
            self.hole_from = Some(self.end);
        }
        if let Some(held) = &mut self.held_back {
            held.push_back(bytes);
            let mut kept: usize = held.iter().map(Vec::len).sum();
            while kept > REMEMBERED {
                kept -= held.pop_front().map_or(kept, |first| first.len());
            }
            return;
        }
        self.buffer.extend_from_slice(&bytes);
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// A line of the runner itself.
    pub fn note(&mut self, text: &str) {
        self.add(Stream::Note, text, false);
        self.flush();
    }

    /// Hands what waits to the system, so that the agent sees it.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.again_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let at = self.end - self.buffer.len() as u64;
        if let Err(error) = self.file.write_all_at(&self.buffer, at) {
            tracing::warn!(%error, "the log can't be written, trying again");
            self.again_at = Some(Instant::now() + AGAIN);
            return;
        }
        self.again_at = None;
        self.buffer.clear();
        if let Err(error) = self.cut_if_too_long() {
            self.failure.get_or_insert(error);
        }
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            self.note(&format!("{lost} lines could not be kept: the disk could not be written"));
        }
    }

    fn cut_if_too_long(&mut self) -> io::Result<()> {
        let Some(from) = self.hole_from else { return Ok(()) };
        let hole = self.hole_to.map_or(0, |to| to - from);
        if self.end - hole <= self.bounds.most {
            return Ok(());
        }
        let to = self.record_after(self.end - self.bounds.tail)?;
        self.cut(from, to)?;
        if !punch(&self.file, from + MAX_RECORD as u64, to)? {
            self.held_back = Some(VecDeque::new());
        }
        Ok(())
    }

    /// First the `hole` file, then the mark: a reader that meets neither a record nor a mark looks there.
    fn cut(&mut self, from: u64, to: u64) -> io::Result<()> {
        durable::write_lightly(&self.dir.join(HOLE), format!("{from} {to}").as_bytes())?;
        let mark = Record::mark(Time::now(), to, format!("{} bytes were cut here", to - from)).encode();
        self.file.write_all_at(mark.as_bytes(), from)?;
        self.hole_to = Some(to);
        Ok(())
    }

    /// The beginning of the first record behind a position.
    fn record_after(&self, position: u64) -> io::Result<u64> {
        let mut bytes = vec![0; MAX_RECORD + 1];
        let count = self.file.read_at(&mut bytes, position)?;
        let line_end = bytes[..count].iter().position(|byte| *byte == b'\n');
        line_end.map(|at| position + at as u64 + 1).ok_or_else(|| io::Error::other("no record ends where one should"))
    }

    /// What still waits is lost. The log ends behind the last record that is whole: the agent can't wait for more.
    fn give_up(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let at = self.end - self.buffer.len() as u64;
        let written = self.file.metadata().map_or(0, |meta| meta.len()).saturating_sub(at);
        let written = usize::try_from(written).unwrap_or(usize::MAX).min(self.buffer.len());
        self.end = at + nixfleet_protocol::log::whole_length(&self.buffer[..written]) as u64;
        self.buffer.clear();
        let cut = self.file.set_len(self.end);
        self.failure.get_or_insert(cut.err().unwrap_or_else(|| io::ErrorKind::StorageFull.into()));
    }

    /// Ends the log, on disk. Returns its length and, if lines were lost to a failing disk, why.
    pub fn finish(mut self) -> (u64, Option<io::Error>) {
        self.again_at = None;
        self.flush();
        self.give_up();
        if let (Some(held), Some(from)) = (self.held_back.take(), self.hole_from) {
            let tail: Vec<u8> = held.into_iter().flatten().collect();
            let to = self.end - tail.len() as u64;
            let written = self.cut(from, to).and_then(|()| self.file.write_all_at(&tail, to));
            if let Err(error) = written {
                self.failure.get_or_insert(error);
            }
        }
        let flushed = self.file.flush().and_then(|()| self.file.sync_all());
        if self.lost_in_all > 0 {
            self.failure.get_or_insert_with(|| io::Error::other(format!("{} lines are missing", self.lost_in_all)));
        }
        (self.end, self.failure.or(flushed.err()))
    }
}

/// Gives the blocks between two positions back. `false`: this system can't.
#[cfg(target_os = "linux")]
fn punch(file: &File, from: u64, to: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    let Some(length) = to.checked_sub(from).filter(|length| *length > 0) else { return Ok(true) };
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, length) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the blocks between two positions back. `false`: this system can't.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Linux")]
fn punch(_file: &File, _from: u64, _to: u64) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::Transcript;
    use std::os::unix::fs::MetadataExt as _;

    fn read_all(dir: &Path, mut from: u64) -> Vec<(u64, u64, Record)> {
        let transcript = Transcript::open(dir).unwrap().unwrap();
        let mut out = Vec::new();
        loop {
            let got = transcript.read(from, 1 << 16).unwrap();
            if got.is_empty() {
                return out;
            }
            from = got.last().unwrap().end;
            out.extend(got.into_iter().map(|piece| (piece.offset, piece.end, piece.record)));
        }
    }

    #[test]
    fn what_is_added_reads_back_and_offsets_join() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::create(dir.path(), BOUNDS).unwrap();
        for n in 0..5000 {
            log.add(Stream::Stdout, &format!("line {n}"), false);
        }
        log.note("done");
        let (end, failure) = log.finish();
        assert!(failure.is_none());
        let records = read_all(dir.path(), 0);
        assert_eq!(records.len(), 5001);
        assert_eq!(records.last().unwrap().1, end);
        assert!(records.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }

    /// A file that has never room.
    fn full() -> File {
        OpenOptions::new().write(true).open("/dev/full").unwrap()
    }

    #[test]
    fn a_disk_that_is_full_for_a_while_costs_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::create(dir.path(), BOUNDS).unwrap();
        log.note("before");
        let there = std::mem::replace(&mut log.file, full());
        log.note("meanwhile");
        // A part of it reached the disk, and perhaps the agent.
        there.write_all_at(b"17", log.end - log.buffer.len() as u64).unwrap();
        log.file = there;
        log.again_at = None;
        log.note("behind");
        let (end, failure) = log.finish();
        assert!(failure.is_none(), "{failure:?}");
        let records = read_all(dir.path(), 0);
        let texts: Vec<&str> = records.iter().map(|(_, _, record)| record.text.as_str()).collect();
        assert_eq!(texts, ["before", "meanwhile", "behind"]);
        assert_eq!(records.last().unwrap().1, end);
    }

    #[test]
    fn what_does_not_fit_into_memory_is_counted_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::create(dir.path(), BOUNDS).unwrap();
        let there = std::mem::replace(&mut log.file, full());
        let text = "x".repeat(1000);
        for _ in 0..2000 {
            log.add(Stream::Stdout, &text, false);
        }
        assert!(log.buffer.len() < HELD + 2 * text.len());
        log.file = there;
        log.again_at = None;
        log.note("behind");
        let (end, failure) = log.finish();
        assert!(failure.unwrap().to_string().contains("lines are missing"));
        let records = read_all(dir.path(), 0);
        assert!(records.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let said = records.iter().filter(|(_, _, record)| record.text.contains("could not be kept")).count();
        assert_eq!((said, records.last().unwrap().1), (1, end));
    }

    #[test]
    fn a_log_on_a_disk_that_stays_full_ends_with_a_whole_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::create(dir.path(), BOUNDS).unwrap();
        log.note("before");
        let end = log.end;
        let there = std::mem::replace(&mut log.file, full());
        log.note("never");
        log.file = there;
        log.file.write_all_at(b"1795240944007 n ne", end).unwrap();
        log.give_up();
        let (at, failure) = log.finish();
        assert_eq!((at, failure.is_some()), (end, true));
        assert_eq!(std::fs::metadata(dir.path().join(LOG)).unwrap().len(), end);
    }

    #[test]
    fn a_log_that_is_too_long_is_cut_in_the_middle_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds { head: 1 << 20, tail: 1 << 20, most: 3 << 20 };
        let mut log = LogFile::create(dir.path(), bounds).unwrap();
        let text = "x".repeat(1000);
        for n in 0..20_000 {
            log.add(Stream::Stdout, &format!("{n} {text}"), false);
        }
        let (end, failure) = log.finish();
        assert!(failure.is_none(), "{failure:?}");
        assert!(end > 20_000_000);
        let blocks = std::fs::metadata(dir.path().join(LOG)).unwrap().blocks() * 512;
        assert!(blocks < 4 << 20, "{blocks} bytes on disk");
        let records = read_all(dir.path(), 0);
        assert_eq!(records.iter().filter(|(_, _, record)| record.stream == Stream::Mark).count(), 1);
        assert!(records.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert!(records[0].2.text.starts_with("0 "));
        assert!(records.last().unwrap().2.text.starts_with("19999 "));
        assert_eq!(records.last().unwrap().1, end);
        // A reader that stood in the middle when it was cut away is led to where the log goes on.
        let inside = read_all(dir.path(), 9_000_001);
        assert_eq!((inside[0].0, inside[0].2.stream), (9_000_001, Stream::Mark));
        assert_eq!(inside.last().unwrap().1, end);
    }
}
