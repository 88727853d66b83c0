//! Looks at everything that is stored, and says what is not as it was written: records, indexes, counts, logs. Changes
//! nothing, and ends whatever it finds: where sled panics over damaged pages, that is a finding too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use nixfleet_protocol::{CommandId, Epoch, HostId};
use serde::{Deserialize, Serialize};

use super::folder::{CantUse, Folder, said};
use super::health::Shared;
use super::migrations::{SCHEMA, v1};
use super::plan::{self, Counts};
use super::record::Unreadable;
use super::trees::{self, Tree, Trees};
use super::{StoreError, reader, record, start};
use crate::actors::host::log::{LogFile, sealed};

/// How many findings of one kind are named one by one.
const NAMED: usize = 20;
/// How often the counts are compared with a store that goes on meanwhile.
const TRIES: usize = 5;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether everything is as it was written.
    pub whole: bool,
    /// What is missing or damaged, one sentence each.
    pub problems: Vec<String>,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
    /// What there is: records by tree.
    pub records: BTreeMap<String, u64>,
    /// What lies in `logs/`.
    pub logs: Logs,
    /// Bytes on the disk.
    pub disk: Disk,
}

/// The logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Of commands that run, and short ones.
    pub plain: u64,
    /// Compressed ones.
    pub compressed: u64,
    /// Those that no command names.
    pub orphaned: u64,
}

/// Room, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What the store takes.
    pub store: u64,
    /// Keys and values in it.
    pub live: u64,
    /// What the logs take.
    pub logs: u64,
    /// What may still be written.
    pub free: u64,
}

impl Report {
    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// Many of one kind: the first are named.
    fn problems(&mut self, all: Vec<String>, more: &str) {
        let count = all.len();
        self.problems.extend(all.into_iter().take(NAMED));
        if count > NAMED {
            self.problem(format!("{} more {more}", count - NAMED));
        }
    }
}

/// Looks at the store of a daemon that runs, beside it.
pub(super) fn running(shared: &Shared, data_dir: &Path) -> Result<Report, StoreError> {
    let mut tries = 0;
    loop {
        let before = shared.counts();
        let (mut report, found) = look(&*shared.trees()?);
        tries += 1;
        // Commits of the meantime change both; who compares needs a moment without.
        if before != shared.counts() && tries < TRIES {
            continue;
        }
        if before == shared.counts() {
            compare(&mut report, before, &found);
        } else {
            report.notes.push("the counts were not compared: the store changes too fast".to_owned());
        }
        report.notes.extend(shared.trouble());
        return Ok(finish(report, &found, data_dir, &shared.store));
    }
}

/// Looks at a store that no daemon has open. An error: it can't be looked at, for no fault of its own.
pub fn stopped(data_dir: &Path) -> Result<Report, String> {
    let store = data_dir.join("store");
    if !store.join("db").exists() && !data_dir.join("next").exists() {
        return Err(format!("there is no store in {}", data_dir.display()));
    }
    let folder = Folder::take(data_dir).map_err(|error| error.to_string())?;
    let mut report = Report::default();
    let open = match folder.open() {
        Ok(open) => open,
        Err(error @ (CantUse::Sled { .. } | CantUse::Broken { .. })) => {
            report.problem(error.to_string());
            return Ok(finish(report, &Found::default(), data_dir, &store));
        }
        Err(error) => return Err(error.to_string()),
    };
    let (mut report, found) = look(&open.trees);
    match catch_unwind(AssertUnwindSafe(|| written_counts(&open.trees))) {
        Ok(Ok(counts)) => {
            compare(&mut report, counts, &found);
            report.problems.extend(start::rolled_back(&store, &open.trees, counts));
        }
        Ok(Err(error)) => report.problem(error.to_string()),
        Err(panic) => report.problem(format!("the counts can't be read: {}", said(&*panic))),
    }
    drop(open);
    Ok(finish(report, &found, data_dir, &store))
}

/// What the store says that there is.
fn written_counts(trees: &Trees) -> Result<Counts, Unreadable> {
    let number = |name| Ok::<_, Unreadable>(reader::get::<u64>(trees, Tree::Meta, name)?.unwrap_or_default());
    Ok(Counts {
        hosts: number(plan::HOSTS)?,
        commands: number(plan::COMMANDS)?,
        events: number(plan::EVENTS)?,
        tokens: number(plan::TOKENS)?,
        runs: number(plan::RUNS)?,
        commits: number(plan::COMMITS)?,
        last_event: number(plan::LAST_EVENT)?,
    })
}

fn compare(report: &mut Report, said: Counts, found: &Found) {
    for (tree, said) in [
        (Tree::Hosts, said.hosts),
        (Tree::Commands, said.commands),
        (Tree::Events, said.events),
        (Tree::Tokens, said.tokens),
        (Tree::Runs, said.runs),
    ] {
        let there = found.entries.get(&tree).copied().unwrap_or_default();
        if there != said {
            report.problem(format!("the store should have {said} {} and has {there}", tree.name()));
        }
    }
    if found.last_event > 0 && found.last_event != said.last_event {
        report.problem(format!("the last event should be {} and is {}", said.last_event, found.last_event));
    }
}

/// What is looked up again when all trees were read.
#[derive(Default)]
struct Found {
    entries: BTreeMap<Tree, u64>,
    live: u64,
    last_event: u64,
    /// Host, whether it is over, and bytes of the log.
    commands: BTreeMap<CommandId, (Option<HostId>, bool, u64)>,
    damaged: BTreeSet<CommandId>,
}

/// Reads every record of every tree.
pub(super) fn look_at(trees: &Trees) -> Report {
    let (mut report, found) = look(trees);
    match written_counts(trees) {
        Ok(counts) => compare(&mut report, counts, &found),
        Err(error) => report.problem(error.to_string()),
    }
    report
}

fn look(trees: &Trees) -> (Report, Found) {
    let (mut report, mut found) = (Report::default(), Found::default());
    for tree in Tree::ALL {
        let mut bad = Vec::new();
        let looked = catch_unwind(AssertUnwindSafe(|| look_at_tree(trees, tree, &mut found, &mut bad)));
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => bad.push(format!("the tree {:?} can't be read to its end: {error}", tree.name())),
            Err(panic) => bad.push(format!("the tree {:?} can't be read to its end: {}", tree.name(), said(&*panic))),
        }
        report.problems(bad, &format!("records in the tree {:?} are damaged", tree.name()));
        if tree.has_records() && tree != Tree::Meta {
            let count = found.entries.get(&tree).copied().unwrap_or_default();
            report.records.insert(tree.name().to_owned(), count);
        }
    }
    report.disk.live = found.live;
    (report, found)
}

fn look_at_tree(trees: &Trees, tree: Tree, found: &mut Found, bad: &mut Vec<String>) -> sled::Result<()> {
    for entry in trees.at(tree) {
        let (key, value) = entry?;
        *found.entries.entry(tree).or_default() += 1;
        found.live += (key.len() + value.len()) as u64;
        match look_at_one(trees, tree, &key, &value, found) {
            Ok(None) => {}
            Ok(Some(what)) => bad.push(what),
            Err(Unreadable::Record(error)) => {
                if tree == Tree::Commands {
                    found.damaged.extend(trees::command_in(&key));
                }
                bad.push(error.to_string());
            }
            Err(Unreadable::Sled(error)) => return Err(error),
        }
    }
    Ok(())
}

/// One record, with its parts, read as what it is. Some: what is wrong with its place among the others.
fn look_at_one(
    trees: &Trees,
    tree: Tree,
    key: &[u8],
    value: &[u8],
    found: &mut Found,
) -> Result<Option<String>, Unreadable> {
    let shown = || trees::show(key);
    match tree {
        Tree::Meta if key == plan::EPOCH => reader::found::<Epoch>(trees, tree, key, value).map(drop)?,
        Tree::Meta if key == plan::SCHEMA => {
            let schema = reader::found::<u64>(trees, tree, key, value)?;
            if schema.is_some_and(|schema| schema > SCHEMA) {
                return Ok(Some("the store was written by a later version of NixFleet: use that one".to_owned()));
            }
        }
        Tree::Meta => reader::found::<u64>(trees, tree, key, value).map(drop)?,
        Tree::Hosts => {
            let host = reader::found::<v1::HostRecord>(trees, tree, key, value)?;
            let open = host.and_then(|host| host.open);
            if let Some(open) = open
                && trees.get(Tree::Commands, &trees::command(open))?.is_none()
            {
                return Ok(Some(format!("the host {} names the command {open}, which is missing", shown())));
            }
        }
        Tree::Commands => {
            if let Some(command) = reader::found::<v1::Command>(trees, tree, key, value)? {
                let over = command.state.is_final();
                found.commands.insert(command.id, (command.host.clone(), over, command.log_bytes));
                if let Some(host) = &command.host
                    && trees.get(Tree::CommandsByHost, &trees::command_of(host, command.id))?.is_none()
                {
                    return Ok(Some(format!("the command {} is missing in the list of {host}", command.id)));
                }
                if over == trees.get(Tree::CommandsOpen, key)?.is_some() {
                    return Ok(Some(format!("the command {} is in the wrong list: over or not", command.id)));
                }
            }
        }
        Tree::CommandsByHost | Tree::CommandsOpen => {
            let known = trees::command_in(key).map(trees::command);
            if known.is_none_or(|key| matches!(trees.get(Tree::Commands, &key), Ok(None))) {
                return Ok(Some(format!("the index {:?} names a command that is missing: {}", tree.name(), shown())));
            }
        }
        Tree::Remote => reader::found::<v1::RemoteState>(trees, tree, key, value).map(drop)?,
        Tree::Settings => reader::found::<Vec<u8>>(trees, tree, key, value).map(drop)?,
        Tree::Events => {
            found.last_event = trees::event_in(key).map_or(found.last_event, |id| id.0);
            reader::found::<v1::NewEvent>(trees, tree, key, value).map(drop)?;
        }
        Tree::Runs => {
            if let Some(run) = reader::found::<v1::RunRecord>(trees, tree, key, value)? {
                let there = trees.at(Tree::RunHosts).scan_prefix(trees::run(run.id)).count();
                if there != run.hosts as usize {
                    return Ok(Some(format!("the run {} should have {} hosts and has {there}", run.id, run.hosts)));
                }
            }
        }
        Tree::RunHosts => {
            reader::found::<v1::RunHost>(trees, tree, key, value).map(drop)?;
            let run = trees::run_in(key).map(trees::run);
            if run.is_none_or(|key| matches!(trees.get(Tree::Runs, &key), Ok(None))) {
                return Ok(Some(format!("a host of a run that is missing: {}", shown())));
            }
        }
        Tree::Sessions => reader::found::<v1::LoginSession>(trees, tree, key, value).map(drop)?,
        Tree::Tokens => reader::found::<v1::Token>(trees, tree, key, value).map(drop)?,
        Tree::Outbox => reader::found::<v1::Waiting>(trees, tree, key, value).map(drop)?,
        Tree::Parts => {
            let Some((tree, of, number)) = trees::part_in(key) else {
                return Ok(Some(format!("a part belongs to no record: {}", shown())));
            };
            let parts = trees.get(tree, of)?.map_or(0, |value| record::parts_of(&value));
            if number >= parts {
                let of = trees::show(of);
                return Ok(Some(format!("part {number} of the record {of:?} in {:?} is left over", tree.name())));
            }
        }
    }
    Ok(None)
}

fn finish(mut report: Report, found: &Found, data_dir: &Path, store: &Path) -> Report {
    look_at_logs(&mut report, found, data_dir);
    report.disk.store = Folder::size(store);
    report.disk.free = rustix::fs::statvfs(data_dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let blobs = fs::read_dir(store.join("blobs")).map_or(0, Iterator::count);
    if blobs > 0 {
        report.problem(format!("{blobs} values lie in blobs/, which a power cut may lose"));
    }
    report.whole = report.problems.is_empty();
    report
}

fn look_at_logs(report: &mut Report, found: &Found, data_dir: &Path) {
    let mut bad = Vec::new();
    let mut there = BTreeMap::new();
    for (host, command, path) in logs_in(data_dir) {
        report.disk.logs += disk_use(&path) + disk_use(&sealed::sealed_path(&path));
        let log = match LogFile::open(&path) {
            Ok(Some(log)) => log,
            Ok(None) => continue,
            Err(error) => {
                bad.push(format!("the log of {command} on {host}: {error}"));
                there.insert(command, u64::MAX);
                continue;
            }
        };
        match &log {
            LogFile::Plain(_) => report.logs.plain += 1,
            LogFile::Sealed(sealed) => {
                report.logs.compressed += 1;
                if let Some(error) = log.pieces(sealed.length()).find_map(Result::err) {
                    bad.push(format!("the log of {command} on {host}: {error}"));
                }
            }
        }
        // A mark at the end of a log leads beyond its bytes: more than the file has is what the record may name.
        let end = match &log {
            LogFile::Plain(_) => crate::actors::host::tail::end(&path).unwrap_or_default(),
            LogFile::Sealed(sealed) => sealed.end(),
        };
        there.insert(command, end);
        if !found.commands.contains_key(&command) && !found.damaged.contains(&command) {
            report.logs.orphaned += 1;
        }
    }
    for (id, (host, over, bytes)) in &found.commands {
        let end = there.get(id).copied().unwrap_or_default();
        if let Some(host) = host
            && *over
            && end < *bytes
        {
            bad.push(format!("the log of {id} on {host} has {end} bytes and should have {bytes}"));
        }
    }
    report.problems(bad, "logs are damaged or missing");
    if report.logs.orphaned > 0 {
        let orphaned = report.logs.orphaned;
        report.notes.push(format!("{orphaned} logs belong to no command: they are removed after a day"));
    }
}

/// Bytes that a file takes on the disk.
pub(crate) fn disk_use(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
}

/// Every log there is, by the path of its plain form; each once.
pub(crate) fn logs_in(data_dir: &Path) -> Vec<(HostId, CommandId, PathBuf)> {
    let mut logs = Vec::new();
    for folder in fs::read_dir(data_dir.join("logs")).into_iter().flatten().flatten() {
        let Some(host) = folder.file_name().to_str().and_then(|name| name.parse::<HostId>().ok()) else { continue };
        let mut of_host = BTreeSet::new();
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = file.file_name();
            let Some((id, end)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            if let (Ok(command), "log" | "log.zst" | "log.damaged" | "log.zst.damaged") = (id.parse::<CommandId>(), end)
            {
                of_host.insert(command);
            }
        }
        logs.extend(
            of_host
                .into_iter()
                .map(|command| (host.clone(), command, crate::actors::host::log::log_path(data_dir, &host, command))),
        );
    }
    logs
}
