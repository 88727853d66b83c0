//! The envelope of every value: a marker, the record's kind and version, a count of its parts, and a checksum
//! of its own over all of it and over the place where it lies. sled's own checks let some flipped bits pass.
//!
//! ```text
//!  0      1     2         4       6       10     14
//!  marker kind  version   parts   length  crc32  payload …          all numbers little-endian
//! ```
//!
//! sled puts values over some kilobytes into files that it never syncs, so no value is longer than
//! [`VALUE`]: what is longer goes on in the tree `parts`, written in the same transaction.

use super::trees::{self, Tree};

/// The first byte of every record of ours.
const MARKER: u8 = 0xF1;
/// Length of the envelope.
const HEAD: usize = 14;
/// The longest value that sled is given.
pub(super) const VALUE: usize = 4000;
/// The longest record. Far more than any message that comes in, so whoever meets it has a defect.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;

/// What a record is. The numbers are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number in `meta`.
    Number,
    /// The store's epoch.
    Epoch,
    /// A host.
    Host,
    /// A command.
    Command,
    /// The remote.
    Remote,
    /// A setting.
    Setting,
    /// An event.
    Event,
    /// A login session.
    Session,
    /// A token.
    Token,
    /// A notification.
    Notification,
    /// A run.
    Run,
    /// A host of a run.
    RunHost,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Number,
        Self::Epoch,
        Self::Host,
        Self::Command,
        Self::Remote,
        Self::Setting,
        Self::Event,
        Self::Session,
        Self::Token,
        Self::Notification,
        Self::Run,
        Self::RunHost,
    ];

    const fn tag(self) -> u8 {
        match self {
            Self::Number => 1,
            Self::Epoch => 2,
            Self::Host => 3,
            Self::Command => 4,
            Self::Remote => 5,
            Self::Setting => 6,
            Self::Event => 7,
            Self::Session => 8,
            Self::Token => 9,
            Self::Notification => 14,
            Self::Run => 10,
            Self::RunHost => 11,
        }
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// In which tree.
    pub(super) tree: Tree,
    /// Under which key.
    pub(super) key: &'a [u8],
}

/// Why a record can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRecord {
    /// No record of ours, or of a version that does not exist yet: the start stops.
    #[error(
        "the record {key:?} in the tree {tree:?} has {what}, which this version of NixFleet does not know; \
         nothing was changed: start the version that wrote it, or restore a backup"
    )]
    Unknown { tree: &'static str, key: String, what: String },
    /// The bytes are not those that were written: the record is lost.
    #[error("the record {key:?} in the tree {tree:?} is damaged: {what}")]
    Damaged { tree: &'static str, key: String, what: String },
}

impl BadRecord {
    fn unknown(place: Place<'_>, what: String) -> Self {
        Self::Unknown { tree: place.tree.name(), key: trees::show(place.key), what }
    }

    pub(super) fn damaged(place: Place<'_>, what: impl Into<String>) -> Self {
        Self::Damaged { tree: place.tree.name(), key: trees::show(place.key), what: what.into() }
    }
}

/// The record is longer than any record of ours can be.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the record {key:?} for the tree {tree:?} has {len} bytes, more than {LONGEST}")]
pub(super) struct TooLong {
    tree: &'static str,
    key: String,
    len: usize,
}

/// A record as it goes to sled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The value of its key.
    pub(super) value: Vec<u8>,
    /// What did not fit, in order.
    pub(super) parts: Vec<Vec<u8>>,
}

/// Puts a payload into its envelope.
pub(super) fn seal(place: Place<'_>, kind: Kind, version: u16, payload: &[u8]) -> Result<Sealed, TooLong> {
    let too_long = || TooLong { tree: place.tree.name(), key: trees::show(place.key), len: payload.len() };
    if payload.len() > LONGEST {
        return Err(too_long());
    }
    let (first, rest) = payload.split_at(payload.len().min(VALUE - HEAD));
    let parts: Vec<Vec<u8>> = rest.chunks(VALUE).map(<[u8]>::to_vec).collect();
    let count = u16::try_from(parts.len()).map_err(|_| too_long())?;
    let length = u32::try_from(payload.len()).map_err(|_| too_long())?;

    let mut value = Vec::with_capacity(HEAD + first.len());
    value.push(MARKER);
    value.push(kind.tag());
    value.extend_from_slice(&version.to_le_bytes());
    value.extend_from_slice(&count.to_le_bytes());
    value.extend_from_slice(&length.to_le_bytes());
    let mut crc = checksum(place, &value);
    crc.update(payload);
    value.extend_from_slice(&crc.finalize().to_le_bytes());
    value.extend_from_slice(first);
    Ok(Sealed { value, parts })
}

/// A record's envelope, read.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Its version.
    pub(super) version: u16,
    /// In how many parts it goes on.
    pub(super) parts: u16,
    length: usize,
    crc: u32,
    bytes: &'a [u8],
    first: &'a [u8],
}

/// Reads the envelope alone: marker, kind and version. `newest` is the newest version that is known.
pub(super) fn head<'a>(place: Place<'_>, kind: Kind, newest: u16, value: &'a [u8]) -> Result<Head<'a>, BadRecord> {
    let Some((bytes, first)) = value.split_at_checked(HEAD) else {
        return Err(BadRecord::damaged(place, format!("{} bytes are no whole envelope", value.len())));
    };
    if bytes[0] != MARKER {
        return Err(BadRecord::unknown(place, format!("the marker {:#04x}", bytes[0])));
    }
    let version = u16::from_le_bytes([bytes[2], bytes[3]]);
    let Some(found) = Kind::ALL.into_iter().find(|known| known.tag() == bytes[1]) else {
        return Err(BadRecord::unknown(place, format!("the kind {} in version {version}", bytes[1])));
    };
    if found != kind {
        return Err(BadRecord::damaged(place, format!("it is a {found:?} and should be a {kind:?}")));
    }
    if version == 0 || version > newest {
        return Err(BadRecord::unknown(place, format!("the version {version} of {kind:?} (known: 1 to {newest})")));
    }
    Ok(Head {
        version,
        parts: u16::from_le_bytes([bytes[4], bytes[5]]),
        length: u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]) as usize,
        crc: u32::from_le_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]),
        bytes: &bytes[..10],
        first,
    })
}

/// In how many parts a value that was written by us goes on; 0 when it is none of ours.
pub(super) fn parts_of(value: &[u8]) -> u16 {
    if value.len() < HEAD || value[0] != MARKER { 0 } else { u16::from_le_bytes([value[4], value[5]]) }
}

impl Head<'_> {
    /// The whole payload, proven to be what was written.
    pub(super) fn payload(
        &self,
        place: Place<'_>,
        mut part: impl FnMut(u16) -> sled::Result<Option<sled::IVec>>,
    ) -> Result<Vec<u8>, Unreadable> {
        let mut payload = self.first.to_vec();
        for number in 0..self.parts {
            let Some(bytes) = part(number)? else {
                let what = format!("part {number} of {} is missing", self.parts);
                return Err(BadRecord::damaged(place, what).into());
            };
            payload.extend_from_slice(&bytes);
        }
        if payload.len() != self.length {
            let what = format!("{} bytes are there, {} were written", payload.len(), self.length);
            return Err(BadRecord::damaged(place, what).into());
        }
        let mut crc = checksum(place, self.bytes);
        crc.update(&payload);
        if crc.finalize() != self.crc {
            return Err(BadRecord::damaged(place, "its checksum does not match").into());
        }
        Ok(payload)
    }
}

/// Why reading did not go well.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The record itself.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// sled, or the disk under it.
    #[error(transparent)]
    Sled(#[from] sled::Error),
}

/// Begins with what names the record, so that a good record in a wrong place is found out as well.
fn checksum(place: Place<'_>, bytes: &[u8]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[place.tree.tag()]);
    crc.update(place.key);
    crc.update(bytes);
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { tree: Tree::Hosts, key: b"hsb0" };

    fn open(place: Place<'_>, sealed: &Sealed) -> Result<Vec<u8>, Unreadable> {
        let head = head(place, Kind::Host, 1, &sealed.value)?;
        head.payload(place, |number| Ok(sealed.parts.get(usize::from(number)).map(|part| part.as_slice().into())))
    }

    #[test]
    fn every_length_reads_back_and_no_value_is_too_long_for_sled() {
        for len in [0, 1, VALUE - HEAD, VALUE - HEAD + 1, 2 * VALUE, 128 * 1024, LONGEST] {
            let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let sealed = seal(PLACE, Kind::Host, 1, &payload).unwrap();
            assert!(sealed.value.len() <= VALUE && sealed.parts.iter().all(|part| part.len() <= VALUE));
            assert_eq!(open(PLACE, &sealed).unwrap(), payload, "{len}");
        }
        assert!(seal(PLACE, Kind::Host, 1, &vec![0; LONGEST + 1]).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = seal(PLACE, Kind::Host, 1, b"what was written").unwrap();
        for bit in 0..sealed.value.len() * 8 {
            let mut value = sealed.value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            assert!(open(PLACE, &Sealed { value, parts: vec![] }).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_in_a_wrong_place_is_noticed() {
        let sealed = seal(PLACE, Kind::Host, 1, b"host").unwrap();
        assert!(open(Place { tree: Tree::Hosts, key: b"hsb1" }, &sealed).is_err());
        assert!(open(Place { tree: Tree::Tokens, key: b"hsb0" }, &sealed).is_err());
    }

    #[test]
    fn an_unknown_marker_or_version_names_tree_and_key() {
        let mut sealed = seal(PLACE, Kind::Host, 2, b"host").unwrap();
        let error = open(PLACE, &sealed).unwrap_err().to_string();
        assert!(error.contains("hsb0") && error.contains("hosts") && error.contains("version 2"), "{error}");
        sealed.value[0] = 0x00;
        let error = open(PLACE, &sealed).unwrap_err().to_string();
        assert!(error.contains("hsb0") && error.contains("hosts") && error.contains("marker 0x00"), "{error}");
    }
}
