//! The sentences of a run, and what they stand for: its result, why it halts, what its groups are called.

use nixfleet_protocol::api::{CommandState, RunState, Waves};
use nixfleet_protocol::{HostId, Op};

use super::decide::is_open_failure;
use super::record::{Cell, Moved, Run, RunHost, RunRecord, Tried};
use crate::ops::spec;

/// Hosts that a sentence names; of more it says the number.
const NAMED: usize = 3;

/// Who acts when the run does.
pub(super) fn actor(record: &RunRecord) -> String {
    format!("pipeline:{}", record.id)
}

/// The details of its events.
pub(super) fn details(record: &RunRecord) -> String {
    serde_json::json!({ "run_id": record.id, "pipeline": record.pipeline, "state": record.state }).to_string()
}

/// `1 host`, `8 hosts`.
pub(super) fn hosts(count: usize) -> String {
    format!("{count} {}", if count == 1 { "host" } else { "hosts" })
}

fn named<'a>(all: impl Iterator<Item = &'a RunHost>) -> String {
    let all: Vec<&str> = all.map(|host| host.host.as_str()).collect();
    if all.len() > NAMED { hosts(all.len()) } else { all.join(", ") }
}

/// What a group is called.
pub(super) fn group(record: &RunRecord, group: u32) -> String {
    let canary = u32::from(record.options.canary.is_some());
    if canary == 1 && group == 0 {
        return "Canary".to_owned();
    }
    let waves = record.groups.saturating_sub(canary);
    match &record.options.waves {
        Some(Waves::Count(_) | Waves::Sizes(_)) => format!("Wave {} of {waves}", group + 1 - canary),
        None if canary == 1 => "The others".to_owned(),
        None => "All hosts".to_owned(),
    }
}

/// How many may fail before it halts; none: any number.
fn most_failures(record: &RunRecord) -> Option<u32> {
    record.options.max_failures.or(record.is_staged().then_some(0))
}

/// Why the run has to ask a person; none: it has not.
pub(super) fn why_halt(run: &Run) -> Option<String> {
    let (record, own) = (&run.record, run.record.own_stages());
    too_many_failed(run, own).or_else(|| {
        let Moved { branch, from, to } = record.moved.as_ref()?;
        let (from, to) = (from.short(), to.short());
        Some(format!("{branch} went on from {from} to {to}: no host of this run has tried {to}."))
    })
}

fn too_many_failed(run: &Run, own: usize) -> Option<String> {
    let record = &run.record;
    let most = most_failures(record)? as usize;
    let failed: Vec<&RunHost> = run.hosts.values().filter(|host| !host.forgiven && host.failed(own)).collect();
    if failed.len() > most {
        let verb = if failed.len() == 1 { "has" } else { "have" };
        return Some(format!("{} {verb} failed.", named(failed.into_iter())));
    }
    let group_hosts = || run.hosts.values().filter(|host| host.group == record.group);
    let through = record.is_staged()
        && record.group + 1 < record.groups
        && group_hosts().all(|host| host.cells.iter().take(own).all(Cell::is_over));
    let nobody = through && !group_hosts().any(|host| host.came_through(own));
    (nobody && group_hosts().any(|host| is_open_failure(host, own)))
        .then(|| format!("No host of {} came through.", group(record, record.group)))
}

/// How the run ended, when everything of it is over.
pub(super) fn result(run: &Run) -> RunState {
    let own = run.record.own_stages();
    let through = run.hosts.values().filter(|host| host.came_through(own)).count();
    if through == run.hosts.len() {
        RunState::Complete
    } else if through == 0 {
        RunState::Failed
    } else {
        RunState::Partial
    }
}

/// How it ended, in a sentence.
pub(super) fn ended(run: &Run, state: RunState) -> String {
    let own = run.record.own_stages();
    let all = run.hosts.len();
    let through = run.hosts.values().filter(|host| host.came_through(own)).count();
    if run.record.rolls_back {
        let last = own;
        let switched = || run.hosts.values().filter(|host| host.switched);
        let back = switched().filter(|host| host.cells.get(last).is_some_and(Cell::passed)).count();
        let left = switched().filter(|host| !host.cells.get(last).is_some_and(Cell::passed));
        let left: Vec<&RunHost> = left.collect();
        if left.is_empty() {
            return format!("rolled back on {}.", hosts(back));
        }
        return format!("rolled back on {}, and not on {}.", hosts(back), named(left.into_iter()));
    }
    let not = || run.hosts.values().filter(|host| !host.came_through(own));
    match state {
        RunState::Complete => format!("{} came through.", hosts(all)),
        RunState::Partial => format!("{through} of {all} hosts came through; not {}.", named(not())),
        RunState::Failed => "no host came through.".to_owned(),
        RunState::Cancelled => {
            let who = run.record.cancelled.as_ref().map_or("somebody", |stop| stop.why.as_str());
            format!("cancelled by {who}; {through} of {all} hosts had come through.")
        }
        RunState::Running | RunState::Halted => String::new(),
    }
}

/// What runs, and where.
pub(super) fn runs(record: &RunRecord, host: Option<&HostId>, stage: usize) -> String {
    let label = record.stages.get(stage).map_or("A command", |stage| spec(stage.op).label);
    match host {
        Some(host) => format!("{label} runs on {host}."),
        None => format!("{label} runs."),
    }
}

/// What is to be said of a host beside its states.
pub(super) fn note(record: &RunRecord, host: &RunHost) -> Option<String> {
    let own = record.own_stages();
    let mut said = Vec::new();
    if let Some(fell) = &host.fell {
        said.push(format!("{}: {fell}.", host.host));
    } else if let Some((at, cell)) = host.stuck(own) {
        let label = record.stages.get(at).map_or("", |stage| spec(stage.op).label);
        if let Some(message) = cell.message.as_ref().filter(|message| !message.is_empty()) {
            said.push(format!("{label}: {message}"));
        }
    }
    if record.rolls_back
        && let Some(message) =
            host.cells.last().filter(|cell| cell.command.is_some()).and_then(|it| it.message.as_ref())
    {
        said.push(format!("{}: {message}", spec(Op::Rollback).label));
    }
    // That tests run once more after the soak is nothing to say.
    let op = |stage: u32| record.stages.get(stage as usize).map(|stage| stage.op);
    let planned = |tried: &Tried| tried.state == CommandState::Success && op(tried.stage) == Some(Op::Test);
    if !host.tried.iter().all(planned) {
        said.push("Tried again.".to_owned());
    }
    if host.forgiven {
        said.push("The run goes on without it.".to_owned());
    }
    (!said.is_empty()).then(|| said.join(" "))
}

/// What the run does, in a sentence.
pub(super) fn now(run: &Run, stage: usize) -> String {
    let record = &run.record;
    if let Some(message) = &record.message {
        let mut letters = message.chars();
        return letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
    }
    if let Some(halted) = &record.halted {
        return halted.why.clone();
    }
    if record.cancelled.is_some() {
        return "It was cancelled: what runs finishes, and nothing more begins.".to_owned();
    }
    let label = record.stages.get(stage).map_or("", |stage| spec(stage.op).label);
    if record.soak.is_some_and(|soak| !soak.tests) {
        return format!("{} soaks: it has to stay good.", group(record, record.group));
    }
    if record.groups > 1 { format!("{}: {label}.", group(record, record.group)) } else { format!("{label}.") }
}
