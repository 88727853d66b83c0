//! Lines by their number: where each thousandth begins, so that a log of a million lines is read from any line on
//! without going through what is before it. An index lives in memory only, is made when somebody asks for a line, and
//! goes on where it stopped when the log has grown. All of this blocks.
//!
//! ```text
//! marks   line 1 ────── line 1,001 ────── line 2,001 ── … ── how far the log was gone through
//!           └ offset 0     └ offset 83,411
//! ```
//!
//! A line is what ends with a line end, however many records it takes; a mark counts as one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nixfleet_protocol::api::{LogLine, LogWindow};
use nixfleet_protocol::sgr::Pen;

use super::LogFile;
use super::scan::{At, scan};

/// Lines between two marks.
const EVERY: u64 = 1000;
/// Bytes between two marks, at most: where lines are long, fewer are gone through.
const FAR: u64 = 1024 * 1024;
/// What is read at a time while a log is gone through.
const PIECE: usize = 1024 * 1024;
/// What is read at a time for a screen of lines.
const SCREEN: usize = 64 * 1024;
/// Logs whose indexes are kept; an index is some kilobytes.
const KEPT: usize = 64;
/// The longest text of a line in a window. What a person reads is shorter; the download has all of it.
const LONG: usize = 16 * 1024;

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the line that begins, or goes on, here.
    pub line: u64,
    /// Its offset.
    pub offset: u64,
    /// How its text begins to be written.
    pub pen: Pen,
}

impl Default for Place {
    fn default() -> Self {
        Self { line: 1, offset: 0, pen: Pen::default() }
    }
}

/// Where the lines of one log are.
#[derive(Clone, Debug, Default)]
struct Index {
    /// In order; the beginning is not among them.
    marks: Vec<Place>,
    /// Whole lines so far.
    done: u64,
    /// The last record goes on in the next one.
    open: bool,
    /// How the next text begins to be written.
    pen: Pen,
    /// From where to go on.
    next: u64,
    /// Length of the file when it was looked at last.
    length: u64,
}

impl Index {
    /// Goes through what was added.
    fn catch_up(&mut self, file: &LogFile) -> io::Result<()> {
        let length = file.length()?;
        if length < self.length {
            // Its end was cut: a machine died while it was written.
            *self = Self::default();
        } else if length == self.length {
            return Ok(());
        }
        let mut last = self.marks.last().copied().unwrap_or_default();
        let (marks, done, open, pen) = (&mut self.marks, &mut self.done, &mut self.open, &mut self.pen);
        self.next = scan(file, self.next, PIECE, |at| {
            if !*open && (*done + 1 - last.line >= EVERY || at.offset - last.offset >= FAR) {
                last = Place { line: *done + 1, offset: at.offset, pen: *pen };
                marks.push(last);
            }
            pen.pass(at.record.text);
            *open = at.record.partial;
            *done += u64::from(!at.record.partial);
            true
        })?;
        self.length = length;
        Ok(())
    }

    fn lines(&self) -> u64 {
        self.done + u64::from(self.open)
    }

    /// The last mark at or before a line.
    fn at_line(&self, line: u64) -> Place {
        let after = self.marks.partition_point(|mark| mark.line <= line);
        after.checked_sub(1).map(|at| self.marks[at]).unwrap_or_default()
    }

    /// The last mark at or before an offset.
    fn at_offset(&self, offset: u64) -> Place {
        let after = self.marks.partition_point(|mark| mark.offset <= offset);
        after.checked_sub(1).map(|at| self.marks[at]).unwrap_or_default()
    }

    /// Where a line begins; the end where there is no such line.
    fn find_line(&self, file: &LogFile, line: u64) -> io::Result<Place> {
        self.walk(file, self.at_line(line), |place| place.line < line)
    }

    /// From a mark on, record by record, as long as wanted.
    fn walk(&self, file: &LogFile, mark: Place, on: impl Fn(&Place) -> bool) -> io::Result<Place> {
        let mut place = mark;
        if on(&place) {
            scan(file, mark.offset, SCREEN, |at| {
                if at.offset >= self.next {
                    return false;
                }
                place.pen.pass(at.record.text);
                place.line += u64::from(!at.record.partial);
                place.offset = at.end;
                on(&place)
            })?;
        }
        Ok(place)
    }
}

/// Lines of a log, put together of their records.
#[derive(Debug, Default)]
pub struct Joined {
    /// In order.
    pub lines: Vec<LogLine>,
}

impl Joined {
    /// The next record. What is beyond the longest text is left out.
    pub fn push(&mut self, mut record: LogLine) {
        match self.lines.last_mut().filter(|line| line.partial) {
            None => {
                record.line.truncate(cut(&record.line).len());
                self.lines.push(record);
            }
            Some(line) => {
                if line.line.len() < LONG {
                    line.line.push_str(&record.line);
                    let kept = cut(&line.line).len();
                    line.line.truncate(kept);
                }
                line.end = record.end;
                line.partial = record.partial;
            }
        }
    }
}

/// From where on a log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A byte.
    Offset(u64),
    /// A line.
    Line(u64),
}

/// A log and its index.
type Known = (PathBuf, Arc<Mutex<Index>>);

/// The indexes of the logs that were asked for, the last ones.
#[derive(Clone, Debug, Default)]
pub struct Indexes(Arc<Mutex<Vec<Known>>>);

impl Indexes {
    /// Runs with the index of a log, as far as the log is now. None: there is no log.
    fn with<R>(&self, path: &Path, run: impl FnOnce(&LogFile, &Index) -> io::Result<R>) -> io::Result<Option<R>> {
        let Some(file) = LogFile::open(path)? else { return Ok(None) };
        let index = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = kept.iter().position(|(other, _)| other == path).map(|at| kept.remove(at));
            let one = known.unwrap_or_else(|| (path.to_owned(), Arc::default()));
            if kept.len() == KEPT {
                kept.remove(0);
            }
            let index = Arc::clone(&one.1);
            kept.push(one);
            index
        };
        let now = {
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            index.catch_up(&file)?;
            // A copy, so that nobody waits for a search.
            index.clone()
        };
        run(&file, &now).map(Some)
    }

    /// Lines from one on, no more than `most`. From the end, where `line` is none. With how their text begins.
    pub fn window(&self, path: &Path, line: Option<u64>, most: u64) -> io::Result<(LogWindow, Pen)> {
        let window = self.with(path, |file, index| {
            let count = index.lines();
            let line = line.unwrap_or_else(|| (count + 1).saturating_sub(most)).max(1);
            let begin = index.find_line(file, line.min(count + 1))?;
            let mut joined = Joined::default();
            let mut next = begin.offset;
            if line <= count && most > 0 {
                let mut left = most;
                scan(file, begin.offset, SCREEN, |at| {
                    if at.offset >= index.next {
                        return false;
                    }
                    next = at.end;
                    left -= u64::from(!at.record.partial);
                    joined.push(at.to_line());
                    left > 0
                })?;
            }
            Ok((LogWindow { line, count, next, lines: joined.lines, html: None }, begin.pen))
        })?;
        let nothing = LogWindow { line: 1, count: 0, next: 0, lines: Vec::new(), html: None };
        Ok(window.unwrap_or((nothing, Pen::default())))
    }

    /// Where to begin for who has everything before `from` and wants at most the last `most` lines of what follows;
    /// a line that is not whole yet is one more.
    pub fn place(&self, path: &Path, from: From, most: u64) -> io::Result<Place> {
        let place = self.with(path, |file, index| {
            let place = match from {
                From::Offset(offset) => index.walk(file, index.at_offset(offset), |place| place.offset < offset)?,
                From::Line(line) => index.find_line(file, line.max(1))?,
            };
            let first = (index.done + 1).saturating_sub(most).max(1);
            if place.line >= first { Ok(place) } else { index.find_line(file, first) }
        })?;
        Ok(place.unwrap_or_default())
    }

    /// Shows every line from one on: its number, and its first record. Pieces of a line come one by one.
    pub(super) fn each(&self, path: &Path, from: u64, mut visit: impl FnMut(u64, &At<'_>)) -> io::Result<u64> {
        let count = self.with(path, |file, index| {
            let mark = index.at_line(from);
            let mut line = mark.line;
            scan(file, mark.offset, PIECE, |at| {
                if at.offset >= index.next {
                    return false;
                }
                if line >= from {
                    visit(line, at);
                }
                line += u64::from(!at.record.partial);
                true
            })?;
            Ok(index.lines())
        })?;
        Ok(count.unwrap_or_default())
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONG)]
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
