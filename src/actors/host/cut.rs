//! A log that is longer than it may be: its middle goes, and a mark says so. What was printed first and what was printed
//! last stay, at the offsets that they had; between them is a hole of the file, which grows forward.
//!
//! ```text
//! first half │ mark ─────────────── hole ──────────────→ │ the last quarter, and what comes
//! ```
//!
//! Invariants: there is one mark, at a place that the bytes before it alone decide, so that it is found again after a
//! restart; the mark is on disk before anything behind it is given back; it stands in one page of the disk, so that a
//! power cut leaves the old one or the new one. Blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use nixfleet_protocol::Time;
use nixfleet_protocol::log::{MAX_RECORD, Record};

use super::log::read_at;

/// What a disk writes at once.
const PAGE: u64 = 4096;
/// No mark of ours is longer.
const MARK: u64 = 128;
/// Records that are looked at for a place for the mark.
const PLACES: usize = 64;

/// Cuts the middle out of a log that ends at `end` and may take `most` bytes of the disk. Answers how many it takes then.
/// None: this file system gives nothing back from the middle of a file.
pub(super) fn middle(file: &File, end: u64, most: u64, now: Time) -> io::Result<Option<u64>> {
    let taken = |file: &File| Ok(Some(file.metadata()?.blocks() * 512));
    let Some(at) = place(file, most / 2, end)? else { return taken(file) };
    let to = record_from(file, end.saturating_sub(most / 4).max(at), end)?.unwrap_or(end);
    let mark = mark(at, to, now);
    let behind = at + mark.len() as u64;
    if to <= behind {
        return taken(file);
    }
    file.write_all_at(mark.as_bytes(), at)?;
    file.sync_data()?;
    if !punch(file, behind, to)? {
        return Ok(None);
    }
    taken(file)
}

/// The mark that stands at `at` and leads to `to`.
pub(super) fn mark(at: u64, to: u64, now: Time) -> String {
    Record::mark(now, to, format!("{} bytes were cut here: the log is longer than it may be", to - at)).encode()
}

/// Where a mark can stand that covers the last records before `end`: behind it there is room for the longest.
pub(super) fn before(file: &File, end: u64) -> io::Result<u64> {
    let from = end.saturating_sub(2 * MAX_RECORD as u64);
    Ok(record_from(file, from, end)?.unwrap_or(end))
}

/// Where the mark stands: at the first record from `from` on that has the room for it within its page.
fn place(file: &File, from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut at = record_from(file, from, end)?;
    let first = at;
    for _ in 0..PLACES {
        match at {
            Some(place) if place % PAGE + MARK > PAGE => at = record_from(file, place + 1, end)?,
            fits @ (Some(_) | None) => return Ok(fits),
        }
    }
    Ok(first)
}

/// Where the first record begins at or behind a position; none: none does before `end`.
fn record_from(file: &File, position: u64, end: u64) -> io::Result<Option<u64>> {
    let Some(mut at) = position.checked_sub(1) else { return Ok(Some(0)) };
    let mut bytes = vec![0; MAX_RECORD + 1];
    // A hole is passed over in one step; what follows on it begins with a record.
    let mut in_hole = false;
    while at < end {
        let read = read_at(file, &mut bytes, at)?;
        if read == 0 {
            return Ok(None);
        }
        for (place, byte) in (at..).zip(&bytes[..read]) {
            let begins = (in_hole && *byte != 0 && place >= position).then_some(place);
            // A hole behind a record is what a mark leads over.
            let next = bytes[..read].get(to_index(place - at) + 1);
            let behind = *byte == b'\n' && next.is_none_or(|next| *next != 0);
            if let Some(found) = begins.or(behind.then_some(place + 1)) {
                return Ok(Some(found).filter(|found| *found < end));
            }
            in_hole = *byte == 0;
        }
        at += read as u64;
        if in_hole {
            match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) => at = data,
                Err(rustix::io::Errno::NXIO) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(None)
}

fn to_index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Gives the blocks between two positions back. `false`: this file system can't.
#[cfg(target_os = "linux")]
fn punch(file: &File, from: u64, to: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, to - from) {
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
