//! The ledger: everything that is known of each command, from the dashboard, from the host's disk and from the witness,
//! and what does not fit together. Pure: what is examined is a value, so the tests can doctor it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::witness::{SWITCH, Script, Seen, TESTS};

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Where the next one begins.
    pub(crate) end: u64,
    /// `stdout`, `stderr`, `note`, `mark`.
    pub(crate) stream: String,
    /// Its text.
    pub(crate) text: String,
}

/// A command as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its state.
    pub(crate) state: String,
    /// Its exit code.
    pub(crate) exit_code: Option<i64>,
    /// Its sentence.
    pub(crate) message: String,
    /// Whether it is over.
    pub(crate) over: bool,
}

/// Why a command may have ended otherwise than its script would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// Somebody asked to stop it.
    StopAsked,
    /// Its runner was killed.
    RunnerKilled,
    /// Its host's disk was full in this round.
    DiskWasFull,
}

/// All that is known of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its id.
    pub(crate) id: String,
    /// Its host.
    pub(crate) host: String,
    /// Its op.
    pub(crate) op: String,
    /// A client was answered with 202.
    pub(crate) accepted: bool,
    /// What was done to it.
    pub(crate) excuses: BTreeSet<Excuse>,
    /// What the API says.
    pub(crate) shown: Option<Shown>,
    /// Its log at the dashboard.
    pub(crate) log: Vec<Row>,
    /// Its log on its host; none where there is no file.
    pub(crate) journal: Option<Vec<Row>>,
    /// What its scripts said.
    pub(crate) witness: BTreeMap<String, Seen>,
    /// Events that say that it started, and that it ended.
    pub(crate) events: (u32, u32),
}

impl Account {
    fn has(&self, excuse: Excuse) -> bool {
        self.excuses.contains(&excuse)
    }
}

/// What does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flaw {
    /// It was accepted or run, and the dashboard knows nothing of it.
    CommandLost,
    /// It never came to an end.
    NotOver,
    /// A line is missing.
    LineLost,
    /// A line is there twice, or in another place.
    LineDoubled,
    /// It ran twice.
    RunTwice,
    /// It did not end as the dashboard says.
    FalseEnd,
    /// Its events are not one of each.
    Events,
}

/// A flaw with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Which kind.
    pub(crate) flaw: Flaw,
    /// What, in words.
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.flaw, self.what)
    }
}

/// Which scripts an op runs.
fn parts_of(op: &str) -> &'static [&'static str] {
    match op {
        "switch" | "rollback" => SWITCH,
        "test" => TESTS,
        _ => &[],
    }
}

/// All flaws of one command.
pub(crate) fn examine(account: &Account) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut flaw = |flaw: Flaw, what: String| {
        findings.push(Finding { flaw, what: format!("{} {} on {}: {what}", account.op, account.id, account.host) });
    };
    for (part, seen) in &account.witness {
        if seen.begun != 1 {
            flaw(Flaw::RunTwice, format!("{part} began {} times", seen.begun));
        }
    }
    let Some(shown) = &account.shown else {
        if account.accepted || !account.witness.is_empty() {
            flaw(Flaw::CommandLost, format!("accepted: {}, witness: {:?}", account.accepted, account.witness));
        }
        return findings;
    };
    if !shown.over {
        flaw(Flaw::NotOver, format!("it is {}", shown.state));
        return findings;
    }
    if let Err(why) = same_log(&account.log, account.journal.as_deref().unwrap_or_default()) {
        flaw(why.flaw, why.what);
    }
    if let Err(why) = whole_output(account, shown) {
        flaw(why.flaw, why.what);
    }
    if let Err(why) = true_end(account, shown) {
        flaw(
            Flaw::FalseEnd,
            format!("{} (exit code {:?}, {:?}), yet {why}", shown.state, shown.exit_code, shown.message),
        );
    }
    let wanted = u32::from(shown.state != "BLOCKED");
    if account.events != (wanted, wanted) {
        flaw(Flaw::Events, format!("{} events of its start, {} of its end", account.events.0, account.events.1));
    }
    findings
}

fn found(flaw: Flaw, what: String) -> Result<(), Finding> {
    Err(Finding { flaw, what })
}

/// The dashboard's log is the host's, record for record, and its offsets join.
fn same_log(log: &[Row], journal: &[Row]) -> Result<(), Finding> {
    let mut at = 0;
    for row in log {
        if row.offset < at {
            return found(Flaw::LineDoubled, format!("a line at {} again, behind {at}: {:?}", row.offset, row.text));
        }
        if row.offset > at {
            return found(Flaw::LineLost, format!("nothing between {at} and {}", row.offset));
        }
        at = row.end;
    }
    for (number, (ours, theirs)) in log.iter().zip(journal).enumerate() {
        if ours != theirs {
            return found(Flaw::LineLost, format!("record {number} is {ours:?}, and {theirs:?} on its host"));
        }
    }
    match (log.len(), journal.len()) {
        (ours, theirs) if ours < theirs => {
            found(Flaw::LineLost, format!("{} of {theirs} records came, the next is {:?}", ours, journal[ours].text))
        }
        (ours, theirs) if ours > theirs => {
            found(Flaw::LineDoubled, format!("{ours} records, the host has {theirs}; too many: {:?}", log[theirs].text))
        }
        _ => Ok(()),
    }
}

/// What the scripts printed is there, each line once and in order.
fn whole_output(account: &Account, shown: &Shown) -> Result<(), Finding> {
    let mut counts: BTreeMap<(&str, usize), u64> = BTreeMap::new();
    for row in account.log.iter().filter(|row| row.stream == "stdout" || row.stream == "stderr") {
        let stream = usize::from(row.stream == "stderr");
        let Some((number, part)) = line(row, &account.id) else {
            // A program that is killed may be in the middle of a line.
            if account.has(Excuse::StopAsked) || account.has(Excuse::RunnerKilled) || !row.text.contains(&account.id) {
                continue;
            }
            return found(Flaw::LineLost, format!("a line that nobody printed: {row:?}"));
        };
        let count = counts.entry((part, stream)).or_default();
        if number <= *count {
            return found(Flaw::LineDoubled, format!("line {number} of {part} again, behind {count}"));
        }
        if number > *count + 1 {
            return found(Flaw::LineLost, format!("line {number} of {part} behind line {count}"));
        }
        *count = number;
    }
    let says = |text: &str| text.contains("could not be kept");
    let is_said = says(&shown.message) || account.log.iter().any(|row| row.stream == "note" && says(&row.text));
    if account.has(Excuse::RunnerKilled) || is_said {
        // What was in the pipes went with the runner; or it is said that the disk could not take it.
        return Ok(());
    }
    for (part, seen) in &account.witness {
        let script = Script::of(&account.id, part);
        for (stream, per_block) in [(0, script.lines), (1, 1)] {
            let got = counts.get(&(part.as_str(), stream)).copied().unwrap_or_default();
            let printed = if seen.code.is_some() { script.whole()[stream] } else { seen.blocks * per_block };
            if got < printed {
                return found(Flaw::LineLost, format!("{got} of {printed} lines of {part} on stream {stream}"));
            }
        }
    }
    Ok(())
}

/// The number and the part of a line of [`crate::witness::ACT`].
fn line<'a>(row: &'a Row, id: &str) -> Option<(u64, &'a str)> {
    let mut words = row.text.split(' ');
    let letter = if row.stream == "stderr" { "e" } else { "o" };
    let (first, number, part, last) = (words.next()?, words.next()?, words.next()?, words.next()?);
    (first == letter && last == id && words.next().is_none()).then_some((number.parse().ok()?, part))
}

/// The end that the dashboard shows is what happened.
fn true_end(account: &Account, shown: &Shown) -> Result<(), String> {
    let parts = parts_of(&account.op);
    let seen = |part: &&str| account.witness.get(*part).cloned().unwrap_or_default();
    let codes: Vec<Option<i64>> = parts.iter().map(|part| seen(part).code).collect();
    let says_disk =
        ["No space", "os error 28", "disk is full", "agent_disk_full"].iter().any(|word| shown.message.contains(word))
            || account.log.iter().any(|row| row.text.contains("No space"));
    match shown.state.as_str() {
        "SUCCESS" if codes.iter().all(|code| *code == Some(0)) && shown.exit_code.unwrap_or(0) == 0 => Ok(()),
        "SUCCESS" => Err(format!("its scripts ended with {codes:?}")),
        "ERROR" if account.has(Excuse::RunnerKilled) && shown.message.contains("interrupted") => Ok(()),
        "ERROR" if shown.message.contains("agent_disk_full") => match account.witness.is_empty() {
            true if account.has(Excuse::DiskWasFull) => Ok(()),
            true => Err("its disk was never full".to_owned()),
            false => Err("it was refused, and it ran".to_owned()),
        },
        "ERROR" if account.has(Excuse::DiskWasFull) && says_disk => Ok(()),
        "ERROR" if account.op == "rollback" && account.witness.is_empty() && shown.message.contains("no earlier") => {
            Ok(())
        }
        "ERROR" if account.op == "test" => match (codes.contains(&Some(3)), codes.contains(&None)) {
            (true, false) => Ok(()),
            _ => Err(format!("its tests ended with {codes:?}")),
        },
        "ERROR" if codes == [Some(3)] && shown.exit_code == Some(3) => Ok(()),
        "ERROR" => Err(format!("its scripts ended with {codes:?}, and nothing else stood in its way")),
        "KILLED" if account.has(Excuse::StopAsked) => Ok(()),
        "KILLED" => Err("nobody asked to stop it".to_owned()),
        // A commit was pushed between its fetch and the look at the remote; or it went back to where it was.
        "PARTIAL" if account.op == "pull" && shown.message.contains("remote's head") => Ok(()),
        "PARTIAL" if account.op == "rollback" && codes == [Some(0)] => Ok(()),
        "BLOCKED" if account.accepted => Err("it was accepted".to_owned()),
        "BLOCKED" if !account.witness.is_empty() || account.journal.is_some() => Err("it ran".to_owned()),
        "BLOCKED" => Ok(()),
        _ => Err("nothing that was done is a reason for that".to_owned()),
    }
}

#[cfg(test)]
mod tests;
