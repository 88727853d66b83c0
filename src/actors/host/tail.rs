//! The end of one log file: where records are appended. Blocks; the writer task calls it off the runtime's threads.
//!
//! Invariants: a record stands exactly where its agent has it; nothing is written twice; what is reported as the
//! end is on disk (`fdatasync`), also after a power cut. A file is cut at its last whole record when it is opened.
//! A log has one `Tail` at a time: it holds a lock on the file, and only who holds it may compress the log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixfleet_protocol::agent::{Output, Stream};
use nixfleet_protocol::log::{MAX_LINE, Record};
use nixfleet_protocol::text::only_sgr;
use nixfleet_protocol::{CommandId, HostId, Time};
use rustix::fs::{FlockOperation, flock};

use super::cut;
use super::log::{self, log_path, read_at, sealed};

/// How much of a file's end is proven when it is opened: more than was ever written at once.
const PROVEN: u64 = 8 * 1024 * 1024;
/// Bytes that are written at once.
const RUN: usize = 1024 * 1024;
/// The most that one log takes on disk: beyond this its middle is cut out, and marked. Agents cut theirs at 64 MiB; here
/// is what was followed meanwhile, and what old agents print.
const MAX_LOG: u64 = 256 * 1024 * 1024;
/// No log is longer than this, holes included.
const MAX_END: u64 = 1 << 40;
/// How long the one before may take to let go of the file.
const LET_GO: Duration = Duration::from_secs(1);

/// The end of a log.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    end: u64,
    stored: u64,
    /// How much it may take.
    most: u64,
    /// Where the middle can't be cut out, nothing is kept that goes beyond: where the mark stands that says so.
    full_at: Option<u64>,
}

impl Tail {
    fn new(file: File, end: u64, stored: u64) -> Self {
        Self { file, end, stored, most: MAX_LOG, full_at: None }
    }

    /// Opens a log that exists, and cuts what is not whole at its end. None: there is no such file.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = locked(path, LET_GO)? else { return Ok(None) };
        let metadata = file.metadata()?;
        let (physical, end) = proven_end(&file, metadata.len())?;
        if physical < metadata.len() {
            file.set_len(physical)?;
            file.sync_data()?;
        }
        Ok(Some(Self::new(file, end, metadata.blocks() * 512)))
    }

    /// Opens a log, makes it when it is not there.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        if let Some(tail) = Self::open(path)? {
            return Ok(tail);
        }
        sealed::unseal(path)?;
        if let Some(tail) = Self::open(path)? {
            return Ok(tail);
        }
        let parent: PathBuf = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // The names too must be on disk before anything is acknowledged.
        for folder in parent.ancestors().take(3).filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self::new(file, 0, 0))
    }

    /// Where the next record begins.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends what follows on what is there, and makes it durable. After an error nothing is counted as written,
    /// and the same lines can be appended again.
    pub(super) fn append<'a>(&mut self, lines: impl Iterator<Item = &'a (Output, Time)>) -> io::Result<()> {
        let mut run = Run { offset: self.end, bytes: Vec::new() };
        let (mut end, mut stored) = (self.end, self.stored);
        let mut last = Time::from_millis(0);
        for (output, now) in lines {
            last = *now;
            let offset = output.offset.unwrap_or(end);
            // Lower: a repetition. Higher: something is missing, and is noticed when the result comes.
            if offset != end {
                continue;
            }
            let Some((bytes, next)) = record(output, offset, *now) else { continue };
            if self.full_at.is_none() && stored.saturating_add(bytes.len() as u64) > self.most {
                run.write(&self.file)?;
                run = Run { offset, bytes: Vec::new() };
                match cut::middle(&self.file, offset, self.most, *now)? {
                    Some(left) => stored = left,
                    None => self.full_at = Some(cut::before(&self.file, offset)?),
                }
            }
            if self.full_at.is_none() {
                stored += bytes.len() as u64;
                if run.offset + run.bytes.len() as u64 != offset || run.bytes.len() >= RUN {
                    run.write(&self.file)?;
                    run = Run { offset, bytes: Vec::new() };
                }
                run.bytes.extend_from_slice(bytes.as_bytes());
            }
            end = next;
        }
        if end != self.end {
            run.write(&self.file)?;
            if let Some(at) = self.full_at {
                self.file.write_all_at(cut::mark(at, end, last).as_bytes(), at)?;
            }
            self.file.sync_data()?;
            (self.end, self.stored) = (end, stored);
        }
        Ok(())
    }
}

/// Opens a log that exists and takes its lock. None: there is no such file. Waits a while for who has the lock: the
/// writer of an actor that died, who ends by himself, or sealing. Then it is `WouldBlock`.
fn locked(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let begun = Instant::now();
    loop {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Who had the lock before may have compressed it and removed the name.
            Ok(())
                if std::fs::metadata(path)
                    .is_ok_and(|named| file.metadata().is_ok_and(|it| it.ino() == named.ino())) =>
            {
                return Ok(Some(file));
            }
            Err(error) if error != rustix::io::Errno::WOULDBLOCK || begun.elapsed() >= patience => {
                return Err(error.into());
            }
            Ok(()) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What became of a log whose command is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// It was compressed.
    Done,
    /// There is nothing to do: no plain log, or one that is too short to gain by it.
    Nothing,
    /// Somebody still writes it.
    InUse,
}

/// Compresses the log of a command that is over. Blocks.
pub fn seal(data_dir: &Path, host: &HostId, command: CommandId) -> io::Result<Seal> {
    let path = log_path(data_dir, host, command);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.len() > sealed::WORTH => {}
        Ok(_) => return Ok(Seal::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seal::Nothing),
        Err(error) => return Err(error),
    }
    match locked(&path, Duration::ZERO) {
        // Nothing is cut: what is in it was read like this by everyone so far.
        Ok(Some(file)) => {
            let end = proven_end(&file, file.metadata()?.len())?.1;
            sealed::seal(&path, &file, end).map(|()| Seal::Done)
        }
        Ok(None) => Ok(Seal::Nothing),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Seal::InUse),
        Err(error) => Err(error),
    }
}

/// Where a plain log ends: behind its last whole record, or where a mark there leads. Changes nothing.
pub fn end(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    Ok(proven_end(&file, file.metadata()?.len())?.1)
}

/// Where a compressed log ends; 0: there is none.
pub(super) fn end_of(path: &Path) -> io::Result<u64> {
    match sealed::Sealed::open(&sealed::sealed_path(path)) {
        Ok(sealed) => Ok(sealed.end()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whether an error in opening a log is the log's own, and not one of a disk that is full or of a machine that is short
/// of something: those are over one day.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let short = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOBUFS];
    let passes = matches!(
        error.kind(),
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::OutOfMemory
            | Kind::WouldBlock
            | Kind::Interrupted
            | Kind::StaleNetworkFileHandle
    );
    !passes && !short.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Puts aside what there is of a log, for who wants to look into it; the janitor removes it with its command.
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    for there in [path.to_owned(), sealed::sealed_path(path)] {
        match std::fs::rename(&there, log::damaged_path(&there)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Bytes that follow on each other.
struct Run {
    offset: u64,
    bytes: Vec<u8>,
}

impl Run {
    fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.bytes, self.offset)
    }
}

/// The bytes of a line's record, and where the next record begins. None: it can't stand there.
fn record(output: &Output, offset: u64, now: Time) -> Option<(String, u64)> {
    let mut text = only_sgr(&output.line).into_owned();
    text.truncate(floor_char_boundary(&text, MAX_LINE));
    let stream = match (output.stream, output.is_error) {
        (Stream::Stdout, true) => Stream::Stderr,
        (stream, _) => stream,
    };
    let time = output.time.unwrap_or(now);
    let said_end = output.end.filter(|_| output.offset.is_some());
    if stream == Stream::Mark {
        let skip_to = said_end.unwrap_or(offset).min(MAX_END);
        let record = Record { time, stream, partial: false, skip_to: Some(skip_to), text };
        let bytes = record.encode();
        let end = record.end(offset, bytes.len());
        return Some((bytes, end));
    }
    let mut record = Record { time, stream, partial: output.partial, skip_to: None, text };
    let mut bytes = record.encode();
    let Some(end) = said_end else {
        let end = offset + bytes.len() as u64;
        return Some((bytes, end));
    };
    // The record takes the room that it takes at the agent, whatever was dropped from its text.
    let room = usize::try_from(end.checked_sub(offset)?).ok().filter(|room| *room <= MAX_LINE + 64)?;
    if bytes.len() > room {
        let keep = record.text.len().checked_sub(bytes.len() - room)?;
        record.text.truncate(floor_char_boundary(&record.text, keep));
        bytes = record.encode();
    }
    bytes.pop();
    bytes.extend(std::iter::repeat_n(' ', (room - 1).saturating_sub(bytes.len())));
    bytes.push('\n');
    Some((bytes, end))
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// How much of a file's end is whole: the length to cut it to, and where the log goes on.
fn proven_end(file: &File, length: u64) -> io::Result<(u64, u64)> {
    let from = length.saturating_sub(PROVEN);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or_default()];
    let read = read_at(file, &mut bytes, from)?;
    bytes.truncate(read);
    // What is proven begins behind the first whole record, unless it is the whole file.
    let mut at = if from == 0 { 0 } else { bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1) };
    let mut end = from + at as u64;
    while at < bytes.len() {
        let Ok((record, length)) = Record::decode(&bytes[at..]) else { break };
        end = record.end(from + at as u64, length);
        at += length;
        let Ok(jump) = usize::try_from(end - from) else { break };
        if jump > at {
            if jump >= bytes.len() {
                break;
            }
            at = jump;
        }
    }
    Ok((from + at as u64, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(line: &str, offset: Option<u64>, end: Option<u64>) -> (Output, Time) {
        let time = Some(Time::from_millis(7));
        (Output { line: line.into(), offset, end, time, ..Output::default() }, Time::from_millis(9))
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/h/c.log");
        (dir, path)
    }

    fn texts(path: &Path) -> Vec<String> {
        log::read(path, 0, 1 << 20).unwrap().lines.into_iter().map(|line| line.line).collect()
    }

    #[test]
    fn a_line_is_taken_where_it_follows_and_only_there() {
        let (_dir, path) = place();
        let mut tail = Tail::make(&path).unwrap();
        tail.append(
            [output("a", Some(0), Some(6)), output("a", Some(0), Some(6)), output("c", Some(12), Some(18))].iter(),
        )
        .unwrap();
        assert_eq!((tail.end(), texts(&path)), (6, vec!["a".to_owned()]), "the repetition and what is too far are not");
        tail.append([output("b", Some(6), Some(12)), output("c", Some(12), Some(18))].iter()).unwrap();
        assert_eq!((tail.end(), texts(&path).len()), (18, 3));
    }

    #[test]
    fn an_old_agents_lines_get_offsets_here() {
        let (_dir, path) = place();
        let mut tail = Tail::make(&path).unwrap();
        tail.append([output("a", None, None), output("b", None, None)].iter()).unwrap();
        assert_eq!((tail.end(), texts(&path)), (12, vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_dropped_escape_moves_nothing() {
        let (_dir, path) = place();
        let mut tail = Tail::make(&path).unwrap();
        let raw = "x\u{1b}[2Jy\u{1b}[31mz";
        let end = Record::line(Time::from_millis(7), Stream::Stdout, raw).encode().len() as u64;
        tail.append([output(raw, Some(0), Some(end)), output("b", Some(end), Some(end + 6))].iter()).unwrap();
        assert_eq!(tail.end(), end + 6);
        let texts = texts(&path);
        assert_eq!((texts[0].trim_end(), texts[1].as_str()), ("xy\u{1b}[31mz", "b"));
    }

    #[test]
    fn a_mark_leads_on_and_its_end_is_found_again() {
        let (_dir, path) = place();
        let mut tail = Tail::make(&path).unwrap();
        let (mut mark, now) = output("cut", Some(6), Some(5000));
        mark.stream = Stream::Mark;
        tail.append([output("a", Some(0), Some(6)), (mark, now)].iter()).unwrap();
        assert_eq!(tail.end(), 5000);
        drop(tail);
        assert_eq!(Tail::open(&path).unwrap().unwrap().end(), 5000, "a mark at the end says where the log goes on");
        let mut tail = Tail::open(&path).unwrap().unwrap();
        tail.append([output("b", Some(5000), Some(5006))].iter()).unwrap();
        drop(tail);
        assert_eq!(Tail::open(&path).unwrap().unwrap().end(), 5006);
    }

    fn lines_of(path: &Path) -> Vec<(bool, String)> {
        let mut lines = Vec::new();
        let mut from = 0;
        loop {
            let read = log::read(path, from, 1 << 20).unwrap();
            if read.lines.is_empty() {
                return lines;
            }
            from = read.next;
            lines.extend(read.lines.into_iter().map(|line| (line.stream == Stream::Mark, line.line)));
        }
    }

    #[test]
    fn a_log_that_is_longer_than_it_may_be_has_one_mark_and_its_last_line() {
        for restarts in [false, true] {
            let (_dir, path) = place();
            let mut tail = Tail::make(&path).unwrap();
            tail.most = 1 << 20;
            let line = |number: u32| output(&format!("{number:06} {}", "x".repeat(90)), None, None);
            for batch in 0..60 {
                let lines: Vec<_> = (batch * 1000..(batch + 1) * 1000).map(line).collect();
                tail.append(lines.iter()).unwrap();
                let taken = std::fs::metadata(&path).unwrap().blocks() * 512;
                assert!(taken <= (1 << 20) + 8192, "{taken} after {batch}");
                if restarts {
                    let end = tail.end();
                    drop(tail);
                    tail = Tail::open(&path).unwrap().unwrap();
                    assert_eq!(tail.end(), end, "the end is where it was");
                    tail.most = 1 << 20;
                }
            }
            let lines = lines_of(&path);
            assert_eq!(lines.iter().filter(|(mark, _)| *mark).count(), 1, "one mark");
            let numbers: Vec<u32> =
                lines.iter().filter(|(mark, _)| !mark).map(|(_, line)| line[..6].parse().unwrap()).collect();
            assert_eq!((numbers[0], *numbers.last().unwrap()), (0, 59_999));
            let gaps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
            assert_eq!(gaps, 1, "nothing is missing but where the mark stands");
            assert!(numbers.len() > 6000, "and no more than has to be: {}", numbers.len());
        }
    }

    #[test]
    fn where_holes_can_not_be_made_a_mark_stands_for_the_rest() {
        let (_dir, path) = place();
        let mut tail = Tail::make(&path).unwrap();
        tail.append([output("one", Some(0), Some(8)), output("two", Some(8), Some(16))].iter()).unwrap();
        tail.full_at = Some(cut::before(&tail.file, 16).unwrap());
        for offset in (16..320).step_by(8) {
            tail.append([output("end", Some(offset), Some(offset + 8))].iter()).unwrap();
        }
        assert_eq!(tail.end(), 320);
        drop(tail);
        let lines = lines_of(&path);
        assert!(lines.len() == 1 && lines[0].0, "{lines:?}");
        assert_eq!(Tail::open(&path).unwrap().unwrap().end(), 320);
    }

    #[test]
    fn what_a_power_cut_left_is_cut_off() {
        let (_dir, path) = place();
        Tail::make(&path).unwrap().append([output("a", None, None)].iter()).unwrap();
        for rest in ["7 o hal", "\0\0\0\0", "junk\n7 o b\n"] {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(6);
            bytes.extend_from_slice(rest.as_bytes());
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Tail::open(&path).unwrap().unwrap().end(), 6, "{rest:?}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 6, "{rest:?}");
        }
    }
}
