//! Compressed logs read as plain ones do: at every offset, with marks, holes and junk; through every crash of sealing.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::api::LogLine;
use nixfleet_protocol::log::Record;
use nixfleet_protocol::{CommandId, HostId, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::sealed::{Sealed, sealed_path};
use super::{LogFile, log_path, read};
use crate::actors::host::tail::{Seal, seal};

#[derive(Clone, Debug)]
enum Part {
    /// So many lines of this length; letters and digits, so that not all of it compresses away.
    Lines(u16, u16),
    /// A mark that leads so far.
    Mark(u32),
    /// Bytes that are no record.
    Junk(u16),
    /// Zeros that no mark leads over: what a power cut leaves.
    Zeros(u16),
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => (1..200_u16, 0..2500_u16).prop_map(|(lines, length)| Part::Lines(lines, length)),
        2 => (0..3_000_000_u32).prop_map(Part::Mark),
        1 => (1..9000_u16).prop_map(Part::Junk),
        1 => (1..9000_u16).prop_map(Part::Zeros),
    ]
}

fn write(path: &Path, parts: &[Part]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    let (mut at, mut seed) = (0_u64, 12_345_u32);
    let put = |bytes: &[u8], at: &mut u64| {
        file.write_all_at(bytes, *at).unwrap();
        *at += bytes.len() as u64;
    };
    for part in parts {
        match part {
            Part::Lines(count, length) => {
                for number in 0..*count {
                    let text: String = (0..*length)
                        .map(|_| {
                            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            char::from(b'a' + u8::try_from((seed >> 24) % 26).unwrap())
                        })
                        .collect();
                    let record = Record::line(Time::from_millis(i64::from(number)), Stream::Stdout, text);
                    put(record.encode().as_bytes(), &mut at);
                }
            }
            Part::Mark(over) => {
                let mark = Record::mark(Time::from_millis(5), at + u64::from(*over), "cut").encode();
                let end = Record::decode(mark.as_bytes()).unwrap().0.end(at, mark.len());
                put(mark.as_bytes(), &mut at);
                at = end;
            }
            Part::Junk(length) => put(format!("{}\n", "j".repeat((*length).into())).as_bytes(), &mut at),
            Part::Zeros(length) => at += u64::from(*length),
        }
    }
    put(Record::line(Time::from_millis(9), Stream::Stderr, "the last").encode().as_bytes(), &mut at);
}

/// All lines from an offset on, in pieces of a size.
fn read_on(path: &Path, mut from: u64, max: usize) -> Vec<LogLine> {
    let mut lines = Vec::new();
    loop {
        let piece = read(path, from, max).unwrap();
        if piece.lines.is_empty() {
            return lines;
        }
        from = piece.next;
        lines.extend(piece.lines);
    }
}

struct Place {
    dir: tempfile::TempDir,
    host: HostId,
    command: CommandId,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, host: "hsb0".parse().unwrap(), command: CommandId::from_uuid(Uuid::from_u128(7)) }
    }

    fn plain(&self) -> std::path::PathBuf {
        log_path(self.dir.path(), &self.host, self.command)
    }

    fn seal(&self) -> Seal {
        seal(self.dir.path(), &self.host, self.command).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_compressed_log_reads_like_a_plain_one_from_every_offset(
        parts in vec(part(), 1..7),
        offsets in vec(any::<u32>(), 6),
        max in 1000..200_000_usize,
    ) {
        let place = Place::new();
        let plain = place.plain();
        write(&plain, &[vec![Part::Lines(3, 2000)], parts].concat());
        let length = fs::metadata(&plain).unwrap().len();
        let mut from: Vec<u64> = offsets.into_iter().map(|at| u64::from(at) % (length + 10)).collect();
        from.extend([0, 1, length - 1, length, length + 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1]);
        let before: Vec<_> = from.iter().map(|at| read_on(&plain, *at, max)).collect();
        let copy = fs::read(&plain).unwrap();
        prop_assert_eq!(place.seal(), Seal::Done);
        prop_assert!(!plain.exists());
        // How many records come at a time depends on where the holes of the file begin; what comes does not.
        for (at, before) in from.iter().zip(&before) {
            let after = read_on(&plain, *at, max);
            prop_assert!(*before == after, "from {at}: {} and {} lines", before.len(), after.len());
        }

        // All of it, and back again.
        let sealed = LogFile::open(&plain).unwrap().unwrap();
        let mut all = vec![0; usize::try_from(sealed.length().unwrap()).unwrap()];
        for piece in sealed.pieces(u64::MAX) {
            let (at, bytes) = piece.unwrap();
            let at = usize::try_from(at).unwrap();
            all[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        prop_assert!(all == copy);
        super::sealed::unseal(&plain).unwrap();
        prop_assert!(fs::read(&plain).unwrap() == copy);
        prop_assert!(!sealed_path(&plain).exists());
    }

    #[test]
    fn a_flipped_bit_in_a_compressed_log_is_an_error_or_changes_nothing(place_of in any::<u32>(), bit in 0..8_u32) {
        let place = Place::new();
        write(&place.plain(), &[Part::Lines(300, 1500), Part::Mark(100_000), Part::Lines(10, 100)]);
        let all = |path: &Path| -> std::io::Result<Vec<_>> {
            let (mut lines, mut from) = (Vec::new(), 0);
            loop {
                let piece = read(path, from, 1 << 20)?;
                if piece.next == from {
                    return Ok(lines);
                }
                from = piece.next;
                lines.extend(piece.lines);
            }
        };
        let before = all(&place.plain()).unwrap();
        place.seal();
        let path = sealed_path(&place.plain());
        let mut bytes = fs::read(&path).unwrap();
        let at = place_of as usize % bytes.len();
        bytes[at] ^= 1 << bit;
        fs::write(&path, bytes).unwrap();
        if let Ok(after) = all(&place.plain()) {
            prop_assert!(after == before);
        }
    }
}

#[test]
fn a_hole_of_a_terabyte_costs_nothing() {
    let place = Place::new();
    write(&place.plain(), &[Part::Lines(100, 100)]);
    let file = fs::File::options().write(true).open(place.plain()).unwrap();
    let at = file.metadata().unwrap().len();
    let mark = Record::mark(Time::from_millis(1), 1 << 40, "a lot was cut").encode();
    file.write_all_at(mark.as_bytes(), at).unwrap();
    file.write_all_at(b"7 o behind it\n", 1 << 40).unwrap();
    drop(file);
    assert_eq!(place.seal(), Seal::Done);
    let read = read(&place.plain(), at, 1000).unwrap();
    assert_eq!(read.lines.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(), ["a lot was cut"]);
    let read = super::read(&place.plain(), read.next, 1000).unwrap();
    assert_eq!(read.lines[0].line, "behind it");
    assert_eq!(super::read(&place.plain(), 1 << 39, 1000).unwrap().lines[0].line, "behind it");
    assert!(fs::metadata(sealed_path(&place.plain())).unwrap().len() < 10_000);
}

#[test]
fn a_mark_at_the_end_of_a_compressed_log_says_where_it_goes_on() {
    let place = Place::new();
    write(&place.plain(), &[Part::Lines(100, 100)]);
    let at = fs::metadata(place.plain()).unwrap().len();
    let mark = Record::mark(Time::from_millis(1), at + 5000, "cut").encode();
    fs::File::options()
        .append(true)
        .open(place.plain())
        .and_then(|mut file| {
            use std::io::Write as _;
            file.write_all(mark.as_bytes())
        })
        .unwrap();
    place.seal();
    let sealed = Sealed::open(&sealed_path(&place.plain())).unwrap();
    assert_eq!((sealed.length(), sealed.end()), (at + mark.len() as u64, at + 5000));
}

#[test]
fn short_logs_and_logs_in_use_stay_as_they_are() {
    let place = Place::new();
    assert_eq!(place.seal(), Seal::Nothing);
    write(&place.plain(), &[]);
    assert_eq!(place.seal(), Seal::Nothing);
    write(&place.plain(), &[Part::Lines(100, 100)]);
    let file = fs::File::open(place.plain()).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(place.seal(), Seal::InUse);
    drop(file);
    assert_eq!(place.seal(), Seal::Done);
    assert_eq!(place.seal(), Seal::Nothing);
}

/// Not a test of its own: a process that dies at a step of sealing.
#[test]
fn child_that_dies_sealing() {
    let Some(dir) = std::env::var_os("NIXFLEET_TEST_SEAL_IN") else { return };
    let place = Place::new();
    seal(Path::new(&dir), &place.host, place.command).unwrap();
}

#[test]
fn a_crash_at_any_step_of_sealing_leaves_one_true_log() {
    for step in ["written", "renamed", "removed"] {
        let place = Place::new();
        write(&place.plain(), &[Part::Lines(500, 1000), Part::Mark(9999), Part::Lines(5, 5)]);
        let before = read(&place.plain(), 0, 1 << 20).unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "actors::host::log::sealed_tests::child_that_dies_sealing"])
            .env("NIXFLEET_TEST_SEAL_IN", place.dir.path())
            .env("NIXFLEET_TEST_DIE_SEALING", step)
            .output()
            .unwrap();
        assert!(!output.status.success(), "it died at {step}");
        assert!(read(&place.plain(), 0, 1 << 20).unwrap() == before, "{step}");
        // The next one finishes it.
        assert_eq!(place.seal(), if step == "removed" { Seal::Nothing } else { Seal::Done }, "{step}");
        assert!(read(&place.plain(), 0, 1 << 20).unwrap() == before, "{step}");
        assert!(!place.plain().exists());
    }
}
