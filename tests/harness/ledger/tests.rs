//! The ledger can fail: each kind of flaw is found in a ledger that was doctored, and a true one has none.

use super::*;

/// Three blocks of 32 lines, exit code 0.
const ID: &str = "01890000-0000-7000-8000-0000000011c0";

fn row(offset: u64, stream: &str, text: String) -> Row {
    let end = offset + text.len() as u64 + 17;
    Row { offset, end, stream: stream.to_owned(), text }
}

/// A switch that went well.
fn good() -> Account {
    let script = Script::of(ID, "switch");
    assert_eq!(script.code, 0);
    let mut log = vec![row(0, "note", "$ switch".to_owned())];
    let end = |log: &[Row]| log.last().map_or(0, |row: &Row| row.end);
    for block in 0..script.blocks {
        for n in 1..=script.lines {
            log.push(row(end(&log), "stdout", format!("o {} switch {ID}", block * script.lines + n)));
        }
        log.push(row(end(&log), "stderr", format!("e {} switch {ID}", block + 1)));
    }
    let seen = Seen { begun: 1, blocks: script.blocks, code: Some(0) };
    Account {
        id: ID.to_owned(),
        host: "host0".to_owned(),
        op: "switch".to_owned(),
        accepted: true,
        excuses: BTreeSet::new(),
        shown: Some(Shown { state: "SUCCESS".to_owned(), exit_code: Some(0), message: String::new(), over: true }),
        journal: Some(log.clone()),
        log,
        witness: [("switch".to_owned(), seen)].into(),
        events: (1, 1),
    }
}

fn flaws(doctor: impl FnOnce(&mut Account)) -> Vec<Flaw> {
    let mut account = good();
    doctor(&mut account);
    examine(&account).into_iter().map(|finding| finding.flaw).collect()
}

fn shown(account: &mut Account) -> &mut Shown {
    account.shown.as_mut().unwrap()
}

fn ended(account: &mut Account, state: &str, code: i64) {
    shown(account).state = state.to_owned();
    shown(account).exit_code = Some(code);
}

/// Offsets that join again.
fn joined(rows: &mut [Row]) {
    let mut at = 0;
    for row in rows {
        let length = row.end - row.offset;
        (row.offset, row.end) = (at, at + length);
        at += length;
    }
}

#[test]
fn a_true_ledger_has_no_flaws() {
    assert_eq!(flaws(|_| {}), []);
}

#[test]
fn a_lost_line_is_found() {
    assert_eq!(
        flaws(|it| drop(it.log.remove(7))),
        [Flaw::LineLost, Flaw::LineLost],
        "on its way; the witness misses it too"
    );
    assert_eq!(
        flaws(|it| drop(it.log.pop())),
        [Flaw::LineLost, Flaw::LineLost],
        "at the end: the witness misses it too"
    );
    let by_the_runner = flaws(|it| {
        it.log.remove(7);
        joined(&mut it.log);
        it.journal = Some(it.log.clone());
    });
    assert_eq!(by_the_runner, [Flaw::LineLost], "the host's own log misses it as well");
    let of_a_stopped_one = flaws(|it| {
        it.witness.get_mut("switch").unwrap().code = None;
        it.excuses.insert(Excuse::StopAsked);
        ended(it, "KILLED", 130);
        it.log.truncate(40);
        it.journal = Some(it.log.clone());
    });
    assert_eq!(of_a_stopped_one, [Flaw::LineLost], "what was printed before the stop");
}

#[test]
fn a_doubled_line_is_found() {
    assert_eq!(flaws(|it| it.log.insert(8, it.log[7].clone())), [Flaw::LineDoubled, Flaw::LineDoubled]);
    let by_the_runner = flaws(|it| {
        it.log.insert(8, it.log[7].clone());
        joined(&mut it.log);
        it.journal = Some(it.log.clone());
    });
    assert_eq!(by_the_runner, [Flaw::LineDoubled]);
    let swapped = flaws(|it| {
        it.log.swap(7, 8);
        joined(&mut it.log);
        it.journal = Some(it.log.clone());
    });
    assert_eq!(swapped, [Flaw::LineLost], "order counts");
}

#[test]
fn a_second_run_is_found() {
    assert_eq!(flaws(|it| it.witness.get_mut("switch").unwrap().begun = 2), [Flaw::RunTwice]);
}

#[test]
fn a_false_end_is_found() {
    assert_eq!(flaws(|it| it.witness.get_mut("switch").unwrap().code = Some(3)), [Flaw::FalseEnd], "it failed");
    assert_eq!(flaws(|it| it.witness.get_mut("switch").unwrap().code = None), [Flaw::FalseEnd], "it was cut short");
    let never_ran = flaws(|it| {
        it.witness.clear();
        it.log.clear();
        it.journal = None;
    });
    assert_eq!(never_ran, [Flaw::FalseEnd]);
    for state in ["ERROR", "KILLED", "ORPHANED", "TIMEOUT", "PARTIAL", "STALE_BINARY", "BLOCKED"] {
        assert!(flaws(|it| ended(it, state, 1)).contains(&Flaw::FalseEnd), "{state}");
    }
    let excused = flaws(|it| {
        it.excuses.insert(Excuse::RunnerKilled);
        ended(it, "ERROR", 1);
        shown(it).message = "the command was interrupted: its runner was killed".to_owned();
    });
    assert_eq!(excused, []);
}

#[test]
fn a_lost_command_is_found() {
    assert_eq!(flaws(|it| it.shown = None), [Flaw::CommandLost]);
    let nobody_knew = flaws(|it| {
        it.shown = None;
        it.accepted = false;
        it.witness.clear();
    });
    assert_eq!(nobody_knew, [], "a request without an answer that never arrived");
}

#[test]
fn a_command_without_an_end_is_found() {
    let stuck = flaws(|it| {
        shown(it).over = false;
        ended(it, "AWAITING_RECONNECT", 0);
    });
    assert_eq!(stuck, [Flaw::NotOver]);
}

#[test]
fn events_are_one_of_each() {
    assert_eq!(flaws(|it| it.events = (1, 0)), [Flaw::Events]);
    assert_eq!(flaws(|it| it.events = (2, 1)), [Flaw::Events]);
}
