//! The format of a backup: one file, a stream of zstd, read from its beginning to its end without going back.
//!
//! ```text
//! head      JSON: format, version of NixFleet, schema, when
//! record …  tree, key, value: as they lie in the store, each with its own envelope and checksum
//! log …     JSON: host, command, length; then its pieces: offset, bytes (holes are left out)
//! end       JSON: how many records, logs and bytes; what could not be read
//!
//! each:  kind (1)  length (4)  payload  crc32 (4) over number of the frame, kind, length and payload
//! ```
//!
//! A file that was cut has no end; a frame that is changed, missing, doubled or moved does not match its checksum.

use std::io::{self, BufReader, BufWriter, Read, Write};

use nixfleet_protocol::{CommandId, HostId, Time};
use serde::{Deserialize, Serialize};

use super::trees::Tree;

/// What a head says.
const FORMAT: &str = "nixfleet-backup";
/// The version of the format.
const VERSION: u32 = 1;
/// The longest payload: a piece of a log with its offset.
const LONGEST: usize = 512 * 1024;
/// Records are small and many, logs mostly compressed before: more than this gains little.
const LEVEL: i32 = 3;

const HEAD: u8 = 1;
const RECORD: u8 = 2;
const LOG: u8 = 3;
const PIECE: u8 = 4;
const END: u8 = 5;

/// Where a backup comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: String,
    version: u32,
    /// The version of NixFleet that made it.
    pub nixfleet: String,
    /// The store's schema.
    pub schema: u64,
    /// The moment that its records are of.
    pub made_at: Time,
    /// Whether the logs are in it.
    pub logs: bool,
}

impl Head {
    pub(super) fn new(schema: u64, made_at: Time, logs: bool) -> Self {
        let nixfleet = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT.to_owned(), version: VERSION, nixfleet, schema, made_at, logs }
    }
}

/// A log that follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogHead {
    pub(super) host: HostId,
    pub(super) command: CommandId,
    /// Its length in plain bytes, holes included.
    pub(super) length: u64,
}

/// What a whole backup has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records, indexes and parts.
    pub records: u64,
    /// Logs.
    pub logs: u64,
    /// Bytes of them all, plain and without holes.
    pub bytes: u64,
    /// What could not be read when it was made, one sentence each.
    pub missing: Vec<String>,
}

/// A part of a backup.
#[derive(Debug)]
pub(super) enum Part {
    Record { tree: Tree, key: Vec<u8>, value: Vec<u8> },
    Log(LogHead),
    Piece { at: u64, bytes: Vec<u8> },
    End(Totals),
}

/// Why a backup can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadBackup {
    /// It is something else.
    #[error("it is no backup of NixFleet")]
    Foreign,
    /// A later NixFleet made it.
    #[error("it was made by NixFleet {nixfleet}, in a format that this version does not know; use that version")]
    Newer {
        /// Which.
        nixfleet: String,
    },
    /// It is cut, or bytes in it changed.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The disk.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// What goes on where another writer stopped: a backup is written in two parts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    frames: u64,
    records: u64,
    bytes: u64,
}

/// Writes a backup.
pub(super) struct Writer<W: Write> {
    out: zstd::stream::write::Encoder<'static, BufWriter<W>>,
    place: Place,
    totals: Totals,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    pub(super) fn new(out: W, head: &Head) -> io::Result<Self> {
        let mut writer = Self::resumed(out, Place::default())?;
        writer.json(HEAD, head)?;
        Ok(writer)
    }

    /// Goes on with one whose first part was [paused](Self::pause).
    pub(super) fn resumed(out: W, place: Place) -> io::Result<Self> {
        let totals = Totals { records: place.records, bytes: place.bytes, ..Totals::default() };
        let out = zstd::stream::write::Encoder::new(BufWriter::with_capacity(64 * 1024, out), LEVEL)?;
        Ok(Self { out, place, totals })
    }

    /// Ends the first part.
    pub(super) fn pause(self) -> io::Result<(W, Place)> {
        let place = Place { frames: self.place.frames, records: self.totals.records, bytes: self.totals.bytes };
        let out = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((out, place))
    }

    pub(super) fn record(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut payload = Vec::with_capacity(key.len() + value.len() + 3);
        payload.push(tree.tag());
        payload.extend_from_slice(&u16::try_from(key.len()).map_err(io::Error::other)?.to_le_bytes());
        payload.extend_from_slice(key);
        payload.extend_from_slice(value);
        self.totals.records += 1;
        self.totals.bytes += (key.len() + value.len()) as u64;
        self.frame(RECORD, &payload)
    }

    pub(super) fn log(&mut self, head: &LogHead) -> io::Result<()> {
        self.totals.logs += 1;
        self.json(LOG, head)
    }

    pub(super) fn piece(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut payload = at.to_le_bytes().to_vec();
        payload.extend_from_slice(bytes);
        self.totals.bytes += bytes.len() as u64;
        self.frame(PIECE, &payload)
    }

    /// Notes what could not be read.
    pub(super) fn missing(&mut self, what: String) {
        self.totals.missing.push(what);
    }

    /// Ends it.
    pub(super) fn end(mut self) -> io::Result<(W, Totals)> {
        let totals = std::mem::take(&mut self.totals);
        self.json(END, &totals)?;
        let mut out = self.out.finish()?;
        out.flush()?;
        Ok((out.into_inner().map_err(io::IntoInnerError::into_error)?, totals))
    }

    fn json(&mut self, kind: u8, value: &impl Serialize) -> io::Result<()> {
        let payload = serde_json::to_vec(value)?;
        self.frame(kind, &payload)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let crc = checksum(self.place.frames, kind, length, payload);
        self.place.frames += 1;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(payload)?;
        self.out.write_all(&crc.to_le_bytes())
    }
}

fn checksum(number: u64, kind: u8, length: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(&[kind]);
    crc.update(&length.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Reads a backup.
pub(super) struct Reader<R: Read> {
    input: zstd::stream::read::Decoder<'static, BufReader<R>>,
    frames: u64,
    totals: Totals,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    pub(super) fn new(input: R) -> Result<(Self, Head), BadBackup> {
        let input = zstd::stream::read::Decoder::new(input)?;
        let mut reader = Self { input, frames: 0, totals: Totals::default(), ended: false };
        // What is no zstd, or no frame of ours, is something else; a head that is ours says which version it is of.
        let (kind, payload) = reader.frame().map_err(|error| match error {
            BadBackup::Damaged(_) => BadBackup::Foreign,
            other => other,
        })?;
        let head: Head = serde_json::from_slice(&payload).map_err(|_| BadBackup::Foreign)?;
        if kind != HEAD || head.format != FORMAT {
            return Err(BadBackup::Foreign);
        }
        if head.version != VERSION || head.schema > super::migrations::SCHEMA {
            return Err(BadBackup::Newer { nixfleet: head.nixfleet });
        }
        Ok((reader, head))
    }

    /// The next part; none behind the end.
    pub(super) fn next(&mut self) -> Result<Option<Part>, BadBackup> {
        if self.ended {
            return Ok(None);
        }
        let (kind, payload) = self.frame()?;
        let damaged = |what: &str| BadBackup::Damaged(what.to_owned());
        let part = match kind {
            RECORD => {
                let (tag, rest) = payload.split_first().ok_or_else(|| damaged("an empty record"))?;
                let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("half a record"))?;
                let (key, value) = rest
                    .split_at_checked(usize::from(u16::from_le_bytes(*length)))
                    .ok_or_else(|| damaged("half a key"))?;
                let tree = Tree::ALL
                    .into_iter()
                    .find(|tree| tree.tag() == *tag)
                    .ok_or_else(|| damaged("a record of an unknown tree"))?;
                self.totals.records += 1;
                self.totals.bytes += (key.len() + value.len()) as u64;
                Part::Record { tree, key: key.to_vec(), value: value.to_vec() }
            }
            LOG => {
                self.totals.logs += 1;
                Part::Log(serde_json::from_slice(&payload).map_err(|_| damaged("a log without a name"))?)
            }
            PIECE => {
                let (at, bytes) = payload.split_first_chunk::<8>().ok_or_else(|| damaged("half a piece of a log"))?;
                self.totals.bytes += bytes.len() as u64;
                Part::Piece { at: u64::from_le_bytes(*at), bytes: bytes.to_vec() }
            }
            END => {
                let said: Totals = serde_json::from_slice(&payload).map_err(|_| damaged("its end makes no sense"))?;
                let read = Totals { missing: said.missing.clone(), ..self.totals.clone() };
                if said != read {
                    return Err(BadBackup::Damaged(format!(
                        "{} records and {} logs are there, {} and {} were written",
                        read.records, read.logs, said.records, said.logs
                    )));
                }
                let mut more = [0];
                if self.input.read(&mut more)? > 0 {
                    return Err(damaged("it goes on behind its end"));
                }
                self.ended = true;
                Part::End(said)
            }
            other => return Err(BadBackup::Damaged(format!("a part of the unknown kind {other}"))),
        };
        Ok(Some(part))
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), BadBackup> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length as usize > LONGEST {
            return Err(BadBackup::Damaged(format!("a part of {length} bytes is longer than any")));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        let mut crc = [0; 4];
        self.fill(&mut crc)?;
        if u32::from_le_bytes(crc) != checksum(self.frames, kind, length, &payload) {
            return Err(BadBackup::Damaged(format!("the checksum of its part {} does not match", self.frames)));
        }
        self.frames += 1;
        Ok((kind, payload))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BadBackup> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BadBackup::Damaged("it was cut off".to_owned()),
            // What zstd says of bytes that are none of its own.
            io::ErrorKind::Other | io::ErrorKind::InvalidData => BadBackup::Damaged(error.to_string()),
            _ => BadBackup::Io(error),
        })
    }
}
