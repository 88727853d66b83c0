//! What happened on a made-up host: a day of load, a week of commands, its generations.

use std::sync::Arc;

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Generation;
use nixfleet_protocol::api::{Command, CommandState, LoadHistory, LoadSample};
use serde_json::json;

use super::{NOW, ago, command};

/// A day of load: quiet, with work now and then; of some hosts with an absence.
pub(in super::super) fn past(name: &str) -> LoadHistory {
    let mut past = LoadHistory::default();
    let newest = LoadHistory::minute_of(NOW);
    let seed = name.bytes().fold(7_i64, |sum, byte| sum * 31 + i64::from(byte)).rem_euclid(97);
    for minute in newest - 1_440..newest {
        let (at, day) = (minute + seed, minute % 1_440);
        if seed % 3 == 0 && (300..420).contains(&day) || seed % 4 == 0 && (newest - 31..newest - 22).contains(&minute) {
            continue;
        }
        let work = if (at / 23) % 5 == 0 { 45 + at % 7 * 6 } else { 0 };
        let cpu = 6 + (at * 7 % 11) + at / 9 % 6 + work;
        let ram = 34 + seed % 20 + (at / 40) % 9;
        let figure = |value: i64| u8::try_from(value.clamp(0, 100)).ok();
        past.keep(minute, LoadSample { cpu: figure(cpu), ram: figure(ram) });
    }
    past
}

/// What the store has of a host: a week of commands, newest first.
pub(in super::super) fn week() -> Vec<Arc<Command>> {
    use CommandState::{Blocked, Error, Killed, Success};
    let rounds = [(1_000, Success), (9_000, Error), (90_000, Success), (180_000, Killed), (400_000, Success)];
    let mut all = Vec::new();
    for (n, (seconds, state)) in (10..).step_by(5).zip(rounds) {
        let mut of = |n: u64, op: Op, state: CommandState, seconds: i64, took: i64, message: &str| {
            let mut command = command(n, "csb0", op, state);
            command.created_at = ago(seconds);
            command.started_at = Some(ago(seconds - 1));
            command.finished_at = Some(ago(seconds - 1 - took));
            command.message = Some(message.to_owned());
            if op == Op::Test {
                let test = |name: &str, ok: bool| json!({ "name": name, "ok": ok, "exit_code": i32::from(!ok), "duration_ms": 1_340 });
                let tests = [test("10-network.sh", true), test("20-web.sh", true), test("30-backup.sh", false)];
                command.details = json!({ "tests": tests, "passed": 2, "total": 3 });
            }
            all.push(Arc::new(command));
        };
        of(
            n + 4,
            Op::Test,
            if state == Success { Error } else { Blocked },
            seconds,
            42,
            "1 of 3 tests failed: 30-backup.sh",
        );
        of(n + 3, Op::Switch, state, seconds + 60, 190, "9f2c41a is deployed");
        of(n + 2, Op::Pull, Success, seconds + 90, 2, "9f2c41a is checked out");
    }
    all
}

/// Days of very different length, newest first: one with a command, one with twenty, one with two hundred.
pub(in super::super) fn dense() -> Vec<Arc<Command>> {
    use CommandState::{Blocked, Error, Success};
    let mut all = Vec::new();
    for (day, many) in [(0, 8), (1, 20), (2, 200), (3, 1), (4, 60)] {
        let (from, room) = if day == 0 { (600, 20_000) } else { (day * 86_400 - 60_000, 80_000) };
        for n in 0..many {
            let round = n / 4 * 4;
            let seconds = from + room * round / many + (n % 4) * 90;
            let (op, took, said) = [
                (Op::Test, 42, "12 of 12 tests passed"),
                (Op::Switch, 190 + n % 7 * 400, "9f2c41a is deployed"),
                (Op::Pull, 2, "9f2c41a is checked out"),
                (Op::Plan, 30, "nothing would change"),
            ][usize::try_from(n % 4).unwrap_or_default()];
            let state = match n % 23 {
                7 => Error,
                11 => Blocked,
                _ => Success,
            };
            let id = u64::try_from(5_000 - all.len()).unwrap_or_default();
            let mut command = command(id, "hsb8", op, state);
            command.created_at = ago(seconds);
            command.started_at = Some(ago(seconds - 1));
            command.finished_at = Some(ago(seconds - 1 - took));
            command.code = (state == Blocked).then(|| "already_current".to_owned());
            command.message = Some(if state == Error {
                format!("{op} ended with code 1: no space left on device")
            } else if state == Blocked {
                "What is deployed is current already.".to_owned()
            } else {
                said.to_owned()
            });
            all.push(Arc::new(command));
        }
    }
    all.sort_by_key(|command| std::cmp::Reverse(command.created_at));
    all
}

/// The generations of a host.
pub(in super::super) fn generations() -> Arc<[Generation]> {
    let one = |number, commit: &str, seconds| Generation {
        number,
        commit: commit.parse().ok(),
        at: Some(ago(seconds)),
        current: number == 214,
    };
    let head = "9f2c41a0b7d35e8812f04c6a9d1e7b2233445566";
    [one(214, head, 900), one(213, "77aa01c", 89_900), one(212, "5d1e0fa", 399_900), one(211, "", 900_000)].into()
}
