//! A run before its first stage: from what a person asked for. Everything that is wrong with it is said at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nixfleet_protocol::api::{RunOptions, RunState, Waves};
use nixfleet_protocol::{HostId, Op, RunId, Time};
use serde_json::{Map, Value};

use super::record::{Cell, Run, RunHost, RunRecord, Stage};
use super::registry::Known;
use crate::ops::spec;

/// Hosts of one run.
pub const MOST_HOSTS: usize = 5_000;
/// The longest time that may be asked for.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// The largest arguments of a stage, in bytes of JSON.
const MAX_ARGS: usize = 16 * 1024;

/// What somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The run's id.
    pub id: RunId,
    /// On which hosts, in this order.
    pub hosts: Vec<HostId>,
    /// How.
    pub options: RunOptions,
    /// Who.
    pub actor: String,
    /// A TOTP code was good.
    pub totp: bool,
}

/// What is wrong with what was asked for: one sentence for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRun(pub Vec<String>);

/// Makes the run. `tags` are those of the hosts as people see them.
pub fn draft(known: &Known, wanted: Wanted, tags: impl Fn(&HostId) -> Vec<String>, now: Time) -> Result<Run, BadRun> {
    let Wanted { id, hosts, mut options, actor, totp } = wanted;
    let mut seen = BTreeSet::new();
    let hosts: Vec<HostId> = hosts.into_iter().filter(|host| seen.insert(host.clone())).collect();
    let mut wrong = Vec::new();
    if hosts.is_empty() {
        wrong.push("hosts: name at least one host.".to_owned());
    }
    if hosts.len() > MOST_HOSTS {
        wrong.push(format!("hosts: at most {MOST_HOSTS}."));
    }
    look_at_numbers(&options, &mut wrong);
    let canaries = canaries(&options, &hosts, tags, &mut wrong);
    let stages = stages(known, &options, &mut wrong);
    let groups = divide(&options, &canaries, &hosts, &mut wrong);
    if !wrong.is_empty() {
        return Err(BadRun(wrong));
    }
    options.parallel = options.parallel.or(known.parallel);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut of_hosts = BTreeMap::new();
    let in_order = groups.iter().enumerate().flat_map(|(group, hosts)| hosts.iter().map(move |host| (group, host)));
    for (place, (group, host)) in in_order.enumerate() {
        let one = RunHost {
            run: id,
            host: host.clone(),
            group: count(group),
            place: count(place),
            cells: vec![Cell::default(); stages.len()],
            tried: Vec::new(),
            fell: None,
            forgiven: false,
            before: None,
            switched: false,
        };
        of_hosts.insert(host.clone(), one);
    }
    let record = RunRecord {
        id,
        pipeline: known.name.clone(),
        label: known.label.clone(),
        actor,
        state: RunState::Running,
        message: None,
        shared: stages.iter().map(|stage| stage.is_shared().then(Cell::default)).collect(),
        stages,
        options,
        groups: count(groups.len()),
        hosts: count(of_hosts.len()),
        group: 0,
        soak: None,
        heads: Vec::new(),
        moved: None,
        halted: None,
        cancelled: None,
        rolls_back: false,
        totp,
        created_at: now,
        finished_at: None,
    };
    Ok(Run { record, hosts: of_hosts })
}

fn look_at_numbers(options: &RunOptions, wrong: &mut Vec<String>) {
    if options.parallel == Some(0) {
        wrong.push("options.parallel: at least 1.".to_owned());
    }
    for (name, seconds) in [("wait_s", options.wait_s.unwrap_or_default()), ("soak_s", options.soak_s)] {
        if seconds > LONGEST.as_secs() {
            wrong.push(format!("options.{name}: at most {}, a week.", LONGEST.as_secs()));
        }
    }
    if options.soak_s > 0 && options.canary.is_none() && options.waves.is_none() {
        wrong.push("options.soak_s: nothing follows that could wait for it; name a canary or waves.".to_owned());
    }
    let sizes_are_good = match &options.waves {
        Some(Waves::Count(count)) => *count > 0,
        Some(Waves::Sizes(sizes)) => {
            !sizes.is_empty() && sizes.len() <= MOST_HOSTS && sizes.iter().all(|size| *size > 0)
        }
        None => true,
    };
    if !sizes_are_good {
        wrong.push("options.waves: a number of waves, or a list of their sizes, each at least 1.".to_owned());
    }
}

/// The canaries among the hosts.
fn canaries(
    options: &RunOptions,
    hosts: &[HostId],
    tags: impl Fn(&HostId) -> Vec<String>,
    wrong: &mut Vec<String>,
) -> BTreeSet<HostId> {
    let Some(canary) = &options.canary else { return BTreeSet::new() };
    let found: BTreeSet<HostId> = match (&canary.tag, canary.hosts.is_empty()) {
        (Some(tag), true) => hosts.iter().filter(|host| tags(host).iter().any(|it| it == tag)).cloned().collect(),
        (None, false) => canary.hosts.iter().cloned().collect(),
        (Some(_), false) | (None, true) => {
            wrong.push("options.canary: name hosts or a tag, one of the two.".to_owned());
            return BTreeSet::new();
        }
    };
    let known: BTreeSet<&HostId> = hosts.iter().collect();
    for other in found.iter().filter(|host| !known.contains(host)) {
        wrong.push(format!("options.canary: {other} is none of the hosts of the run."));
    }
    if let Some(tag) = canary.tag.as_ref().filter(|_| found.is_empty()) {
        wrong.push(format!(
            "options.canary: none of the hosts has the tag {:?}.",
            tag.chars().take(80).collect::<String>()
        ));
    }
    found
}

/// The stages with their arguments.
fn stages(known: &Known, options: &RunOptions, wrong: &mut Vec<String>) -> Vec<Stage> {
    for (op, given) in &options.args {
        if !known.stages.iter().any(|stage| stage.op == *op) {
            wrong.push(format!("options.args: {op} is no op of {}.", known.name));
        }
        for name in given.keys().filter(|name| !takes(*op, name)) {
            let name: String = name.chars().take(80).collect();
            wrong.push(format!("options.args: {op} takes no {name:?}."));
        }
        if Value::Object(given.clone()).to_string().len() > MAX_ARGS {
            wrong.push(format!("options.args: those of {op} are too large."));
        }
    }
    let with = |stage: &Stage| match options.args.get(&stage.op) {
        None => stage.clone(),
        Some(given) => {
            let mut args: Map<String, Value> = serde_json::from_str(&stage.args).unwrap_or_default();
            args.extend(given.clone());
            Stage { op: stage.op, args: Value::Object(args).to_string() }
        }
    };
    known.stages.iter().map(with).collect()
}

/// Whether an op takes this argument. What is merged is nothing that people fill in: it is what they were shown.
fn takes(op: Op, name: &str) -> bool {
    let shown = op == Op::MergePr && matches!(name, "number" | "head");
    shown || spec(op).args.iter().any(|arg| arg.name == name)
}

/// The groups in their order: the canary, then the waves. None of them is empty.
fn divide(
    options: &RunOptions,
    canaries: &BTreeSet<HostId>,
    hosts: &[HostId],
    wrong: &mut Vec<String>,
) -> Vec<Vec<HostId>> {
    let (first, rest): (Vec<_>, Vec<_>) = hosts.iter().cloned().partition(|host| canaries.contains(host));
    let sizes: Vec<usize> = match &options.waves {
        None => Vec::new(),
        // As even as it goes, the larger ones last.
        Some(Waves::Count(count)) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            if count > rest.len().max(1) {
                wrong.push(format!(
                    "options.waves: {count} waves are more than the {} hosts that are left.",
                    rest.len()
                ));
                return Vec::new();
            }
            (0..count).map(|at| (at + 1) * rest.len() / count - at * rest.len() / count).collect()
        }
        Some(Waves::Sizes(sizes)) => sizes.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect(),
    };
    let mut groups = vec![first];
    let mut left = rest.as_slice();
    let mut sizes = sizes.into_iter();
    let mut size = usize::MAX;
    while !left.is_empty() {
        size = sizes.next().unwrap_or(size).max(1);
        let (wave, others) = left.split_at(size.min(left.len()));
        groups.push(wave.to_vec());
        left = others;
    }
    groups.retain(|group| !group.is_empty());
    groups
}
