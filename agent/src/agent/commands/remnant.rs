//! What a runner that died, or a power cut, left of a log: its whole records count, and nothing behind them.

use std::io;

use crate::journal::entry::Entry;

/// Cuts half a record off the end of a log whose writer died. Returns the length that is left.
pub(super) fn cut_log(entry: &Entry) -> io::Result<u64> {
    let path = entry.file(crate::journal::entry::LOG);
    let (file, ours) = match std::fs::OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => (file, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        // A runner that was root wrote it: what is behind its whole records stays there, and is not told.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (std::fs::File::open(&path)?, false),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let hole = crate::transcript::hole(entry.dir());
    let mut whole = whole_records(&file, length)?;
    // Nothing is left behind the hole: the mark in front of it leads to its end, so there the log ends.
    if let Some((from, to)) = hole
        && from < whole
    {
        whole = whole.max(to);
    }
    if whole != length && ours {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(whole)
}

/// How much of a log is whole records. What a power cut left behind the last of them is half a record, or blocks of
/// zeros that never reached the disk, however many.
fn whole_records(file: &std::fs::File, length: u64) -> io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut end = length;
    let mut block = vec![0; nixfleet_protocol::log::MAX_RECORD];
    while end > 0 {
        let from = end.saturating_sub(block.len() as u64);
        let piece = &mut block[..usize::try_from(end - from).unwrap_or_default()];
        file.read_exact_at(piece, from)?;
        // A line end in front of which a zero stands ends no record: our texts hold none.
        let zeros = piece.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let whole = nixfleet_protocol::log::whole_length(&piece[..zeros]);
        if whole > 0 {
            return Ok(from + whole as u64);
        }
        end = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::{CommandId, Time};
    use uuid::Uuid;

    use super::*;

    fn log_of(bytes: &[u8]) -> (tempfile::TempDir, Entry) {
        let dir = tempfile::tempdir().unwrap();
        let entry = Entry::at(dir.path().to_owned(), CommandId::from_uuid(Uuid::from_u128(7)));
        std::fs::write(entry.file(crate::journal::entry::LOG), bytes).unwrap();
        (dir, entry)
    }

    #[test]
    fn what_a_power_cut_left_of_a_log_ends_at_its_last_whole_record() {
        let zeros = vec![0; 300_000];
        for (log, whole) in [
            (b"1 o a\n2 o b\n".to_vec(), 12),
            (b"1 o a\n2 o".to_vec(), 6),
            ([&b"1 o a\n2 o b"[..], &zeros].concat(), 6),
            ([&b"1 o a\n"[..], &zeros].concat(), 6),
            (zeros.clone(), 0),
            (b"1 o a".to_vec(), 0),
            (Vec::new(), 0),
        ] {
            let (_dir, entry) = log_of(&log);
            assert_eq!(cut_log(&entry).unwrap(), whole, "{} bytes", log.len());
            assert_eq!(entry.log_length(), whole);
        }
    }

    #[test]
    fn a_log_whose_end_behind_the_hole_is_lost_ends_where_its_mark_leads() {
        let mark = nixfleet_protocol::log::Record::mark(Time::from_millis(2), 20_000_000, "cut").encode();
        let kept = format!("1 o a\n{mark}");
        for length in [kept.len() as u64, 9_000_000, 20_000_000] {
            let (_dir, entry) = log_of(kept.as_bytes());
            std::fs::File::options()
                .write(true)
                .open(entry.file(crate::journal::entry::LOG))
                .unwrap()
                .set_len(length)
                .unwrap();
            std::fs::write(entry.file(crate::journal::entry::HOLE), "6 20000000").unwrap();
            assert_eq!(cut_log(&entry).unwrap(), 20_000_000);
            // A reader gets there from the beginning, and from the middle of the hole, over more than 8 MiB.
            let transcript = crate::transcript::Transcript::open(entry.dir()).unwrap().unwrap();
            let ends = |from| transcript.read(from, 1 << 16).unwrap().last().unwrap().end;
            assert_eq!((ends(0), ends(6), ends(10_000_001)), (20_000_000, 20_000_000, 20_000_000));
            assert!(transcript.read(20_000_000, 1 << 16).unwrap().is_empty());
        }
    }
}
