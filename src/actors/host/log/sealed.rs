//! A compressed log: what a log becomes when its command is over. Read like a plain one, at any offset of it.
//!
//! ```text
//! frame frame frame …    a zstd frame for each piece of at most 256 KiB; a hole has none
//! index                  a skippable frame: for each piece its place, its lengths and its crc32
//!   └ trailer            how many pieces, length and logical end of the plain log, crc32 of all this, magic
//! ```
//!
//! `zstd -dc` shows such a file too, without its holes. Sealing writes a new file, syncs it, renames it, and only then
//! removes the plain one: a crash in between leaves both, and **the plain one is the true one wherever it exists**.
//! Who writes a log holds a lock on it ([`super::super::tail::Tail`]); sealing needs that lock, so it never meets a
//! log that grows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::read_at;

/// Plain bytes of a piece: what is read again for one line, and what one frame is compressed over.
pub(super) const PIECE: usize = 256 * 1024;
/// A log that takes one block of the disk would take one block compressed too.
pub const WORTH: u64 = 4096;
/// Half a millisecond for a piece, and most of what higher levels gain.
const LEVEL: i32 = 3;
/// The magic number of a skippable frame (any of sixteen), which zstd passes over.
const SKIPPABLE: u32 = 0x184D_2A5E;
/// Ends the file.
const MAGIC: &[u8; 8] = b"nflog 1\n";
/// Length of an entry of the index.
const ENTRY: usize = 20;
/// Length of the trailer.
const TRAILER: usize = 32;

/// Where the compressed form of a log lies.
pub fn sealed_path(plain: &Path) -> PathBuf {
    with_end(plain, ".zst")
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the compressed log is damaged: {}", what.into()))
}

/// A piece of the plain log.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its offset in the plain log.
    at: u64,
    /// Its plain bytes.
    plain: u32,
    /// Where its frame begins.
    packed_at: u64,
    /// Bytes of its frame.
    packed: u32,
    crc: u32,
}

impl Entry {
    fn end(&self) -> u64 {
        self.at.saturating_add(u64::from(self.plain))
    }
}

/// An open compressed log.
#[derive(Debug)]
pub struct Sealed {
    file: File,
    entries: Vec<Entry>,
    length: u64,
    end: u64,
}

impl Sealed {
    /// Opens one, and proves its index.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        let mut trailer = [0; TRAILER];
        let trailer_at = total.checked_sub(TRAILER as u64).ok_or_else(|| damaged("it is too short"))?;
        if read_at(&file, &mut trailer, trailer_at)? < TRAILER || &trailer[24..] != MAGIC {
            return Err(damaged("its end is missing"));
        }
        let count = u32_at(&trailer, 0);
        let (length, end) = (u64_at(&trailer, 4), u64_at(&trailer, 12));
        let index_at = trailer_at
            .checked_sub(u64::from(count) * ENTRY as u64)
            .filter(|at| *at >= 8)
            .ok_or_else(|| damaged("its index is longer than the file"))?;
        let mut index = vec![0; usize::try_from(trailer_at - index_at).map_err(io::Error::other)?];
        let read = read_at(&file, &mut index, index_at)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&index);
        crc.update(&trailer[..20]);
        if read < index.len() || crc.finalize() != u32_at(&trailer, 20) {
            return Err(damaged("the checksum of its index does not match"));
        }
        let mut entries = Vec::with_capacity(index.len() / ENTRY);
        let mut packed_at = 0;
        let mut before = 0;
        for bytes in index.chunks_exact(ENTRY) {
            let entry = Entry {
                at: u64_at(bytes, 0),
                plain: u32_at(bytes, 8),
                packed_at,
                packed: u32_at(bytes, 12),
                crc: u32_at(bytes, 16),
            };
            packed_at += u64::from(entry.packed);
            if entry.at < before || entry.plain as usize > PIECE || entry.end() > length {
                return Err(damaged("its index makes no sense"));
            }
            before = entry.end();
            entries.push(entry);
        }
        if packed_at + 8 != index_at {
            return Err(damaged("its index does not fit its frames"));
        }
        Ok(Self { file, entries, length, end })
    }

    /// Length of the plain log's file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where the plain log went on: behind its last record, or where a mark at its end leads.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Fills the buffer with what the plain log has from an offset on, as far as it goes.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let there = self.length.saturating_sub(offset).min(buffer.len() as u64);
        let buffer = &mut buffer[..usize::try_from(there).unwrap_or(usize::MAX)];
        buffer.fill(0);
        let end = offset + there;
        let first = self.entries.partition_point(|entry| entry.end() <= offset);
        for entry in self.entries[first..].iter().take_while(|entry| entry.at < end) {
            let piece = self.piece(entry)?;
            let (from, to) = (entry.at.max(offset), entry.end().min(end));
            let place = |at: u64, base: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
            buffer[place(from, offset)..place(to, offset)]
                .copy_from_slice(&piece[place(from, entry.at)..place(to, entry.at)]);
        }
        Ok(buffer.len())
    }

    /// The next offset that is in no hole.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        let next = self.entries.get(self.entries.partition_point(|entry| entry.end() <= offset))?;
        Some(next.at.max(offset))
    }

    /// The pieces in order, each with its offset.
    pub(super) fn pieces(&self) -> impl Iterator<Item = io::Result<(u64, Vec<u8>)>> + '_ {
        self.entries.iter().map(|entry| Ok((entry.at, self.piece(entry)?)))
    }

    fn piece(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let broken = |what: &str| damaged(format!("{what} in the piece at {}", entry.at));
        let mut packed = vec![0; entry.packed as usize];
        if read_at(&self.file, &mut packed, entry.packed_at)? < packed.len() {
            return Err(broken("bytes are missing"));
        }
        let plain = zstd::bulk::decompress(&packed, entry.plain as usize).map_err(|_| broken("a broken frame"))?;
        if plain.len() != entry.plain as usize || crc32fast::hash(&plain) != entry.crc {
            return Err(broken("a wrong checksum"));
        }
        Ok(plain)
    }
}

/// The pieces of a plain log: its data, without what is a hole or nothing but zeros.
pub(super) fn pieces_of(file: &File, length: u64) -> impl Iterator<Item = io::Result<(u64, Vec<u8>)>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < length {
            match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) => at = data,
                Err(rustix::io::Errno::NXIO) => return None,
                Err(error) => return Some(Err(error.into())),
            }
            let mut piece = vec![0; usize::try_from(length.saturating_sub(at)).unwrap_or(PIECE).min(PIECE)];
            match read_at(file, &mut piece, at) {
                Ok(0) => return None,
                Ok(read) => piece.truncate(read),
                Err(error) => {
                    at = length;
                    return Some(Err(error));
                }
            }
            let begin = at;
            at += piece.len() as u64;
            if piece.iter().any(|byte| *byte != 0) {
                return Some(Ok((begin, piece)));
            }
        }
        None
    })
}

/// Compresses what an open plain log has. Whoever calls holds the log's lock. The plain file is gone afterwards.
pub(in crate::actors::host) fn seal(plain: &Path, file: &File, end: u64) -> io::Result<()> {
    let aside = with_end(plain, ".zst.new");
    let sealed = sealed_path(plain);
    write_sealed(&aside, file, end)?;
    step("written");
    fs::rename(&aside, &sealed)?;
    sync_folder(plain)?;
    step("renamed");
    fs::remove_file(plain)?;
    sync_folder(plain)?;
    step("removed");
    Ok(())
}

fn write_sealed(path: &Path, file: &File, end: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = io::BufWriter::with_capacity(PIECE, out);
    let mut index = Vec::new();
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    for piece in pieces_of(file, length) {
        let (at, plain) = piece?;
        let packed = compressor.compress(&plain)?;
        out.write_all(&packed)?;
        index.extend_from_slice(&at.to_le_bytes());
        index.extend_from_slice(&number(plain.len())?);
        index.extend_from_slice(&number(packed.len())?);
        index.extend_from_slice(&crc32fast::hash(&plain).to_le_bytes());
    }
    let mut trailer = Vec::with_capacity(TRAILER);
    trailer.extend_from_slice(&number(index.len() / ENTRY)?);
    trailer.extend_from_slice(&length.to_le_bytes());
    trailer.extend_from_slice(&end.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&index);
    crc.update(&trailer);
    trailer.extend_from_slice(&crc.finalize().to_le_bytes());
    trailer.extend_from_slice(MAGIC);
    out.write_all(&SKIPPABLE.to_le_bytes())?;
    out.write_all(&number(index.len() + TRAILER)?)?;
    out.write_all(&index)?;
    out.write_all(&trailer)?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.sync_all()
}

/// Makes a compressed log a plain one again: its agent has more to say. Nothing where there is no compressed log.
pub(in crate::actors::host) fn unseal(plain: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;

    let path = sealed_path(plain);
    let sealed = match Sealed::open(&path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let aside = with_end(plain, ".new");
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    for piece in sealed.pieces() {
        let (at, bytes) = piece?;
        out.write_all_at(&bytes, at)?;
    }
    out.set_len(sealed.length)?;
    out.sync_all()?;
    fs::rename(&aside, plain)?;
    sync_folder(plain)?;
    fs::remove_file(&path)?;
    sync_folder(plain)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn number(length: usize) -> io::Result<[u8; 4]> {
    u32::try_from(length).map(u32::to_le_bytes).map_err(io::Error::other)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(not(test))]
fn step(_: &str) {}

/// A test that ends the process at a step names it in this variable.
#[cfg(test)]
fn step(name: &str) {
    if std::env::var_os("NIXFLEET_TEST_DIE_SEALING").is_some_and(|told| told == name) {
        std::process::abort();
    }
}
