//! Lines are found by their numbers: in short and long logs, in lines of many records, over holes, while a log grows,
//! after its end was cut, plain and compressed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::log::Record;
use nixfleet_protocol::{CommandId, HostId, Time};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::actors::host::log::{log_path, search};
use crate::actors::host::tail::{Seal, seal};

struct Log {
    dir: tempfile::TempDir,
    host: HostId,
    command: CommandId,
    path: PathBuf,
    end: u64,
    /// Its lines, as a person counts them.
    lines: Vec<String>,
    open: bool,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host: HostId = "h".parse().unwrap();
        let command = CommandId::from_uuid(uuid::Uuid::from_u128(1));
        let path = log_path(dir.path(), &host, command);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap();
        Self { dir, host, command, path, end: 0, lines: Vec::new(), open: false }
    }

    fn put(&mut self, record: &Record) {
        let bytes = record.encode();
        File::options().write(true).open(&self.path).unwrap().write_all_at(bytes.as_bytes(), self.end).unwrap();
        self.end = record.end(self.end, bytes.len());
        match self.lines.last_mut().filter(|_| self.open) {
            Some(line) => line.push_str(&record.text),
            None => self.lines.push(record.text.clone()),
        }
        self.open = record.partial;
    }

    fn line(&mut self, text: &str) {
        self.put(&Record::line(Time::from_millis(1), Stream::Stdout, text));
    }

    fn piece(&mut self, text: &str) {
        self.put(&Record { partial: true, ..Record::line(Time::from_millis(1), Stream::Stdout, text) });
    }

    fn many(&mut self, count: usize) {
        let mut bytes = String::new();
        for _ in 0..count {
            let text = format!("line {}", self.lines.len() + 1);
            bytes.push_str(&Record::line(Time::from_millis(1), Stream::Stdout, text.as_str()).encode());
            self.lines.push(text);
        }
        File::options().write(true).open(&self.path).unwrap().write_all_at(bytes.as_bytes(), self.end).unwrap();
        self.end += bytes.len() as u64;
    }

    /// Every way to ask gives what a person counts.
    fn check(&self, indexes: &Indexes, line: u64, most: u64) {
        let (window, _) = indexes.window(&self.path, Some(line), most).unwrap();
        let texts: Vec<&str> = window.lines.iter().map(|line| line.line.as_str()).collect();
        let skip = usize::try_from(line.max(1) - 1).unwrap();
        let expected: Vec<&str> =
            self.lines.iter().skip(skip).take(usize::try_from(most).unwrap()).map(String::as_str).collect();
        assert_eq!(texts, expected, "{most} from {line}");
        assert_eq!((window.line, window.count), (line.max(1), self.lines.len() as u64));
        if let Some(first) = window.lines.first() {
            let place = indexes.place(&self.path, From::Line(line), u64::MAX).unwrap();
            assert_eq!((place.line, place.offset), (line.max(1), first.offset));
            let again = indexes.place(&self.path, From::Offset(first.offset), u64::MAX).unwrap();
            assert_eq!((again.line, again.offset), (place.line, place.offset), "by its offset");
        }
    }
}

#[test]
fn a_log_that_is_not_there_has_no_lines() {
    let indexes = Indexes::default();
    let (window, _) = indexes.window(Path::new("/nonexistent/log"), None, 10).unwrap();
    assert_eq!((window.line, window.count, window.lines.len()), (1, 0, 0));
    assert_eq!(indexes.place(Path::new("/nonexistent/log"), From::Line(7), 10).unwrap(), Place::default());
}

#[test]
fn a_long_log_is_read_from_any_line_and_from_its_end() {
    let mut log = Log::new();
    log.many(20_000);
    let indexes = Indexes::default();
    for line in [1, 2, 400, 999, 1_000, 1_001, 1_002, 12_345, 19_999, 20_000, 20_001] {
        log.check(&indexes, line, 3);
    }
    let (end, _) = indexes.window(&log.path, None, 400).unwrap();
    assert_eq!((end.line, end.lines.len(), end.next), (19_601, 400, log.end));
    assert_eq!(end.lines[399].line, "line 20000");
    let index = indexes.0.lock().unwrap()[0].1.lock().unwrap().clone();
    assert_eq!(index.marks.len(), 19, "a mark for each thousand lines");
}

#[test]
fn a_log_that_grows_is_gone_through_once() {
    let mut log = Log::new();
    let indexes = Indexes::default();
    for _ in 0..5 {
        log.many(700);
        log.check(&indexes, log.lines.len() as u64 - 2, 10);
    }
    log.piece("half ");
    log.check(&indexes, 3_501, 10);
    log.line("whole");
    log.check(&indexes, 3_501, 10);
    assert_eq!(log.lines[3_500], "half whole");
    log.many(1);
    log.check(&indexes, 3_500, 10);
}

#[test]
fn a_log_whose_end_was_cut_is_counted_anew() {
    let mut log = Log::new();
    log.many(10);
    let indexes = Indexes::default();
    log.check(&indexes, 1, 100);
    let length = log.end;
    log.many(5);
    log.check(&indexes, 1, 100);
    File::options().write(true).open(&log.path).unwrap().set_len(length).unwrap();
    log.lines.truncate(10);
    log.check(&indexes, 1, 100);
}

#[test]
fn who_follows_begins_at_the_last_lines_or_where_it_was() {
    let mut log = Log::new();
    log.many(1_000);
    let indexes = Indexes::default();
    let at = |from, most| {
        let place = indexes.place(&log.path, from, most).unwrap();
        (place.line, place.offset)
    };
    let offset = |line| indexes.window(&log.path, Some(line), 1).unwrap().0.lines[0].offset;
    assert_eq!(at(From::Offset(0), 400), (601, offset(601)));
    assert_eq!(at(From::Line(900), 400), (900, offset(900)), "what it misses is less");
    assert_eq!(at(From::Line(1_000), 0), (1_001, log.end), "nothing but what comes");
    assert_eq!(at(From::Line(9_999), 400), (1_001, log.end), "beyond the end");
    log.piece("not whole");
    let begin = log.end;
    log.piece(" yet");
    let place = indexes.place(&log.path, From::Offset(begin), u64::MAX).unwrap();
    assert_eq!((place.line, place.offset), (1_001, begin), "in the middle of a line: its number");
    assert_eq!(indexes.place(&log.path, From::Line(1_001), 400).unwrap().line, 1_001);
}

#[test]
fn colours_go_on_over_what_is_left_out() {
    let mut log = Log::new();
    log.line("\u{1b}[31mred from here");
    log.many(2_500);
    let indexes = Indexes::default();
    for line in [2, 1_001, 1_500, 2_400] {
        assert_eq!(indexes.window(&log.path, Some(line), 1).unwrap().1.fore(), Some(1), "{line}");
    }
    assert_eq!(indexes.window(&log.path, Some(1), 1).unwrap().1.fore(), None);
}

#[test]
fn a_very_long_line_is_cut_and_one_line() {
    let mut log = Log::new();
    log.line("before");
    for _ in 0..10 {
        log.piece(&"é".repeat(5_000));
    }
    log.line("end");
    log.line("behind");
    let indexes = Indexes::default();
    let (window, _) = indexes.window(&log.path, Some(1), 10).unwrap();
    assert_eq!((window.count, window.lines.len()), (3, 3));
    assert!(window.lines[1].line.len() <= LONG && !window.lines[1].partial);
    assert_eq!(window.lines[2].line, "behind");
    let found = search::search(&indexes, &log.path, "ééend", 1).unwrap();
    assert_eq!(found.lines, [2], "the search looks at all of it");
}

#[test]
fn a_search_counts_all_lines_and_goes_on_where_it_was() {
    let mut log = Log::new();
    log.many(3_000);
    log.line("an \u{1b}[31mERROR\u{1b}[0m: here");
    let indexes = Indexes::default();
    let found = search::search(&indexes, &log.path, "error: h", 1).unwrap();
    assert_eq!((found.count, found.lines.as_slice(), found.seen), (1, [3_001].as_slice(), 3_001));
    assert_eq!(search::search(&indexes, &log.path, "LINE 2", 1).unwrap().count, 1 + 10 + 100 + 1_000);
    log.line("error: here too");
    let more = search::search(&indexes, &log.path, "error: h", found.seen + 1).unwrap();
    assert_eq!((more.count, more.lines.as_slice(), more.seen), (1, [3_002].as_slice(), 3_002));
    assert_eq!(search::first_error(&indexes, &log.path).unwrap().lines, [3_002]);
}

#[derive(Clone, Debug)]
enum Part {
    Lines(u8),
    Pieces(u8, u16),
    Long(u16),
    Mark(u32),
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => (1..250_u8).prop_map(Part::Lines),
        2 => (1..20_u8, 0..900_u16).prop_map(|(count, length)| Part::Pieces(count, length)),
        1 => (0..16_000_u16).prop_map(Part::Long),
        1 => (0..2_000_000_u32).prop_map(Part::Mark),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_line_is_where_a_person_counts_it(parts in vec(part(), 1..20), asked in vec((0..5_000_u64, 0..30_u64), 12)) {
        let mut log = Log::new();
        let indexes = Indexes::default();
        for part in parts {
            match part {
                Part::Lines(count) => log.many(count.into()),
                Part::Pieces(count, length) => {
                    (0..count).for_each(|n| log.piece(&format!("{n}").repeat(length.into()).chars().take(800).collect::<String>()));
                    log.line("end");
                }
                Part::Long(length) => log.line(&"x".repeat(length.into())),
                Part::Mark(far) => {
                    let skip_to = log.end + 40 + u64::from(far);
                    log.put(&Record::mark(Time::from_millis(1), skip_to, "cut"));
                }
            }
            log.check(&indexes, log.lines.len() as u64, 5);
        }
        for line in &mut log.lines {
            line.truncate(LONG);
        }
        for (line, most) in &asked {
            log.check(&indexes, (*line % (log.lines.len() as u64 + 1)) + 1, *most);
        }
        // The same when it is compressed, for who knows it and for who does not.
        if seal(log.dir.path(), &log.host, log.command).unwrap() == Seal::Done {
            let fresh = Indexes::default();
            for (line, most) in &asked {
                log.check(&indexes, (*line % (log.lines.len() as u64 + 1)) + 1, *most);
                log.check(&fresh, (*line % (log.lines.len() as u64 + 1)) + 1, *most);
            }
        }
    }
}
