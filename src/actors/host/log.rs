//! The dashboard's log files: where they lie, and how they are read. One file for each command, in the format of
//! [`nixfleet_protocol::log`], addressed by the byte. These functions block: call them off the runtime's threads.
//!
//! When a command is over its log is compressed ([`sealed`]); whoever reads it sees the same bytes at the same
//! offsets as before.
//!
//! A reader may meet anything: a file that grows, half a record at its end, holes that marks lead over, damage.
//! It answers with whole records and never fails for what it finds in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nixfleet_protocol::api::LogLine;
use nixfleet_protocol::{CommandId, HostId};
use rustix::fs::SeekFrom;

pub mod index;
mod scan;
pub mod sealed;
pub mod search;

pub use self::scan::At;
use self::scan::scan;
use self::sealed::{Sealed, sealed_path};

/// The most that is read at a time, whatever a caller asks for.
const MAX_READ: usize = 1024 * 1024;

/// How far a log has come, for those who follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Bytes that are on disk.
    pub bytes: u64,
    /// The command is over: nothing will be added.
    pub over: bool,
}

/// A piece of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLines {
    /// Its lines.
    pub lines: Vec<LogLine>,
    /// From where to read on.
    pub next: u64,
}

/// Where a command's log lies.
pub fn log_path(data_dir: &Path, host: &HostId, command: CommandId) -> PathBuf {
    data_dir.join("logs").join(host.as_str()).join(format!("{command}.log"))
}

/// Where a log, or its compressed form, is put aside when it can't be read.
pub fn damaged_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

/// Beginning of the names of folders whose host was removed.
const REMOVED: &str = ".removed-";

/// Forgets the logs of a host that was removed. The folder is put aside at once: a host of the same name that comes
/// a moment later has nothing to do with it. What is aside is deleted in its own time, or at the next start.
pub(super) fn forget(data_dir: &Path, host: &HostId) {
    let logs = data_dir.join("logs");
    let aside = logs.join(format!("{REMOVED}{}", uuid::Uuid::now_v7()));
    match std::fs::rename(logs.join(host.as_str()), &aside) {
        Ok(()) => delete(aside),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%host, %error, "the logs of a removed host can't be put aside"),
    }
}

/// Deletes what a daemon before this one put aside.
pub fn sweep(data_dir: &Path) {
    let Ok(folders) = std::fs::read_dir(data_dir.join("logs")) else { return };
    for folder in folders.flatten().filter(|folder| folder.file_name().to_string_lossy().starts_with(REMOVED)) {
        delete(folder.path());
    }
}

fn delete(folder: PathBuf) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = std::fs::remove_dir_all(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "the logs of a removed host can't be deleted");
        }
    });
}

/// A log that is open for reading.
#[derive(Debug)]
pub enum LogFile {
    /// It grows, or was not compressed yet.
    Plain(File),
    /// Its command is over.
    Sealed(Sealed),
}

impl LogFile {
    /// Opens a log; none: there is none. The plain file is the true one where there are both.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        // Once more: between the two looks it may have become a plain one again.
        for _ in 0..2 {
            match File::open(path) {
                Ok(file) => return Ok(Some(Self::Plain(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            match Sealed::open(&sealed_path(path)) {
                Ok(sealed) => return Ok(Some(Self::Sealed(sealed))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Its length in plain bytes, holes included.
    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len()),
            Self::Sealed(sealed) => Ok(sealed.length()),
        }
    }

    /// All its bytes up to a length, in pieces with their offsets; holes are left out.
    pub fn pieces(&self, length: u64) -> Box<dyn Iterator<Item = io::Result<(u64, Vec<u8>)>> + '_> {
        match self {
            Self::Plain(file) => Box::new(sealed::pieces_of(file, length)),
            Self::Sealed(sealed) => Box::new(sealed.pieces()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => read_at(file, buffer, offset),
            Self::Sealed(sealed) => sealed.read_at(buffer, offset),
        }
    }

    /// Where the next bytes begin that are in no hole.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match self {
            Self::Plain(file) => match rustix::fs::seek(file, SeekFrom::Data(offset)) {
                Ok(data) => Ok(Some(data)),
                Err(rustix::io::Errno::NXIO) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Sealed(sealed) => Ok(sealed.next_data(offset)),
        }
    }
}

/// Reads whole records from an offset on, about `max_bytes` of them, at least one where there is one. An offset
/// inside a record or a hole means the next record. A file that does not exist is an empty log.
pub fn read(path: &Path, from: u64, max_bytes: usize) -> io::Result<LogLines> {
    let Some(file) = LogFile::open(path)? else { return Ok(LogLines { lines: Vec::new(), next: from }) };
    let max_bytes = max_bytes.clamp(1, MAX_READ);
    let mut lines = Vec::new();
    let mut begin = None;
    let next = scan(&file, from, max_bytes, |at| {
        lines.push(at.to_line());
        at.end - *begin.get_or_insert(at.offset) < max_bytes as u64
    })?;
    Ok(LogLines { lines, next })
}

/// Whether a record may begin at this offset: behind another's end, or behind a hole.
fn begins_a_record(file: &LogFile, at: u64) -> io::Result<bool> {
    let Some(before) = at.checked_sub(1) else { return Ok(true) };
    let mut byte = [b'\n'];
    file.read_at(&mut byte, before)?;
    Ok(matches!(byte[0], b'\n' | 0))
}

/// Fills the buffer from an offset on, as far as the file goes.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    // No file reaches so far, and the system would refuse to look.
    if offset.checked_add(buffer.len() as u64).is_none_or(|end| i64::try_from(end).is_err()) {
        return Ok(0);
    }
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod sealed_tests;

#[cfg(test)]
mod tests {
    use nixfleet_protocol::Time;
    use nixfleet_protocol::agent::Stream;
    use nixfleet_protocol::log::Record;

    use super::*;

    fn line(text: &str) -> String {
        Record::line(Time::from_millis(1), Stream::Stdout, text).encode()
    }

    fn texts(read: &LogLines) -> Vec<&str> {
        read.lines.iter().map(|line| line.line.as_str()).collect()
    }

    #[test]
    fn a_log_that_does_not_exist_is_empty() {
        let read = read(Path::new("/nonexistent/log"), 7, 100).unwrap();
        assert_eq!(read, LogLines { lines: Vec::new(), next: 7 });
    }

    #[test]
    fn whole_records_are_read_from_any_offset() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}{}{}1 o hal", line("a"), line("b"), line("c"))).unwrap();
        let all = read(file.path(), 0, 1000).unwrap();
        assert_eq!(texts(&all), ["a", "b", "c"]);
        assert_eq!(all.next, 18, "half a record is not read");
        assert_eq!(read(file.path(), 18, 1000).unwrap(), LogLines { lines: Vec::new(), next: 18 });
        assert_eq!(texts(&read(file.path(), 3, 1000).unwrap()), ["b", "c"], "inside a record: the next one");
        for far in [1 << 40, i64::MAX as u64, u64::MAX - 1, u64::MAX] {
            assert_eq!(read(file.path(), far, 1000).unwrap(), LogLines { lines: Vec::new(), next: far }, "{far}");
        }
        let one = read(file.path(), 0, 1).unwrap();
        assert_eq!((texts(&one), one.next), (vec!["a"], 6));
    }

    #[test]
    fn marks_lead_over_holes_and_junk_is_passed_over() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mark = Record::mark(Time::from_millis(1), 3_000_000, "cut").encode();
        let out = std::fs::File::options().write(true).open(file.path()).unwrap();
        out.write_all_at(format!("{}{mark}", line("a")).as_bytes(), 0).unwrap();
        out.write_all_at(format!("{}junk\n{}", line("b"), line("c")).as_bytes(), 3_000_000).unwrap();
        let mut next = 0;
        let mut seen = Vec::new();
        loop {
            let piece = read(file.path(), next, 100).unwrap();
            if piece.next == next {
                break;
            }
            next = piece.next;
            seen.extend(piece.lines.into_iter().map(|line| line.line));
        }
        assert_eq!(seen, ["a", "cut", "b", "c"]);
        assert_eq!(texts(&read(file.path(), 1_000_000, 100).unwrap())[0], "b", "from inside the hole");
    }
}
