//! All reading. Runs on threads of its own (`spawn_blocking`), beside the writer: sled's readers see whole
//! transactions, and block none while they go from key to key.
//!
//! What can't be read is said: a single record as an error, one of a list in the log, and what is found at
//! the start in [`Loaded::warnings`] too.

use std::sync::Arc;

use nixfleet_model::command::Command;
use nixfleet_model::fleet_state::{RECENT_COMMANDS, RECENT_EVENTS, RECENT_RUNS};
use nixfleet_model::host::HostRecord;
use nixfleet_model::notify::Waiting;
use nixfleet_model::pipeline::{Run, RunRecord};
use nixfleet_protocol::{CommandId, EventId, HostId, RunId, api};

use super::health::Shared;
use super::migrations::{Stored, v1};
use super::plan::REMOTE;
use super::record::{self, BadRecord, Place, Unreadable};
use super::trees::{self, Tree, Trees};
use super::walk::newest_first;
use super::{AccessRecords, HostsAs, Loaded, SecretHash, StoreError};

/// The longest list that is read at once.
const LONGEST_LIST: usize = 1000;
/// How often a record of several parts is read again when the writer changed it between them.
const READS: usize = 5;

impl From<Unreadable> for StoreError {
    fn from(error: Unreadable) -> Self {
        Self::CantRead(error.to_string())
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::CantRead(error.to_string())
    }
}

/// Reads a value: envelope, parts, checksum, version.
pub(super) fn decode<S: Stored>(
    place: Place<'_>,
    value: &[u8],
    part: impl FnMut(u16) -> sled::Result<Option<sled::IVec>>,
) -> Result<S::Live, Unreadable> {
    let head = record::head(place, S::KIND, S::NEWEST, value)?;
    let payload = head.payload(place, part)?;
    match S::decode(head.version, &payload) {
        Ok(stored) => Ok(stored.thaw()),
        Err(error) => Err(BadRecord::damaged(place, format!("it can't be decoded: {error}")).into()),
    }
}

/// Reads the record of a key; none: there is none.
pub(super) fn get<S: Stored>(trees: &Trees, tree: Tree, key: &[u8]) -> Result<Option<S::Live>, Unreadable> {
    let mut reads = 0;
    loop {
        let Some(value) = trees.get(tree, key)? else { return Ok(None) };
        let part = |number| trees.get(Tree::Parts, &trees::part(tree, key, number));
        reads += 1;
        match decode::<S>(Place { tree, key }, &value, part) {
            Err(Unreadable::Record(BadRecord::Damaged { .. })) if record::parts_of(&value) > 0 && reads < READS => {}
            result => return result.map(Some),
        }
    }
}

/// Reads a record whose value was already found by walking over its tree.
pub(super) fn found<S: Stored>(
    trees: &Trees,
    tree: Tree,
    key: &[u8],
    value: &[u8],
) -> Result<Option<S::Live>, Unreadable> {
    if record::parts_of(value) > 0 {
        return get::<S>(trees, tree, key);
    }
    decode::<S>(Place { tree, key }, value, |_| Ok(None)).map(Some)
}

/// Whether a record whose value was found by walking over its tree is what was written.
fn intact<S: Stored>(trees: &Trees, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), Unreadable> {
    if record::parts_of(value) > 0 {
        return get::<S>(trees, tree, key).map(drop);
    }
    let place = Place { tree, key };
    record::head(place, S::KIND, S::NEWEST, value)?.payload(place, |_| Ok(None)).map(drop)
}

/// Collects, from a walk over a tree, up to `limit` records. Those that are damaged go to `bad`.
fn collect<S: Stored, T>(
    trees: &Trees,
    tree: Tree,
    walk: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    limit: usize,
    bad: &mut Vec<String>,
    make: impl Fn(&[u8], S::Live) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    for entry in walk {
        if all.len() >= limit {
            break;
        }
        let (key, value) = entry?;
        match found::<S>(trees, tree, &key, &value) {
            Ok(Some(live)) => all.extend(make(&key, live)),
            Ok(None) => {}
            Err(Unreadable::Record(error)) => {
                tracing::error!(%error, "a record of the store can't be read");
                bad.push(error.to_string());
            }
            Err(Unreadable::Sled(error)) => return Err(error.into()),
        }
    }
    Ok(all)
}

/// Everything that the others need at their start.
pub(super) fn load(shared: &Shared, wanted: HostsAs) -> Result<Loaded, StoreError> {
    let trees = &*shared.trees()?;
    let mut bad = Vec::new();
    let (hosts, names) = match wanted {
        HostsAs::Records => {
            let walk = trees.at(Tree::Hosts).iter();
            let hosts =
                collect::<v1::HostRecord, _>(trees, Tree::Hosts, walk, usize::MAX, &mut bad, |_, host| Some(host))?;
            let names = hosts.iter().map(|host| host.id.clone()).collect();
            (hosts, names)
        }
        HostsAs::Names => (Vec::new(), host_names(trees, &mut bad)?),
    };
    let open = open_commands(trees, &mut bad)?;
    let recent = collect::<v1::Command, _>(
        trees,
        Tree::Commands,
        newest_first(trees.at(Tree::Commands), &[], None),
        RECENT_COMMANDS,
        &mut bad,
        |_, command| command.state.is_final().then_some(command),
    )?;
    let events = events_before(trees, None, RECENT_EVENTS, &mut bad)?;
    let remote = match get::<v1::RemoteState>(trees, Tree::Remote, REMOTE) {
        Ok(remote) => remote,
        Err(Unreadable::Record(error)) => {
            tracing::error!(%error, "the remote's last answer can't be read; it is asked again");
            bad.push(error.to_string());
            None
        }
        Err(Unreadable::Sled(error)) => return Err(error.into()),
    };
    let runs = open_and_recent_runs(trees, &mut bad)?;
    let mut warnings = shared.warnings.clone();
    warnings.extend(bad.into_iter().filter(|bad| !shared.warnings.contains(bad)));
    Ok(Loaded { epoch: shared.epoch, hosts, names, open, recent, events, runs, remote, warnings })
}

/// The hosts whose records are what was written; nothing else of them is looked at.
fn host_names(trees: &Trees, bad: &mut Vec<String>) -> Result<Vec<HostId>, StoreError> {
    let mut names = Vec::new();
    for entry in trees.at(Tree::Hosts) {
        let (key, value) = entry?;
        match intact::<v1::HostRecord>(trees, Tree::Hosts, &key, &value).and_then(|()| trees::name_of_host(&key)) {
            Ok(name) => names.push(name),
            Err(Unreadable::Record(error)) => bad.push(error.to_string()),
            Err(Unreadable::Sled(error)) => return Err(error.into()),
        }
    }
    Ok(names)
}

fn open_commands(trees: &Trees, bad: &mut Vec<String>) -> Result<Vec<Command>, StoreError> {
    let mut open = Vec::new();
    for key in trees.at(Tree::CommandsOpen).iter().keys() {
        let key = key?;
        match get::<v1::Command>(trees, Tree::Commands, &key) {
            Ok(Some(command)) if !command.state.is_final() => open.push(command),
            // It ended between the two reads.
            Ok(Some(_)) => {}
            Ok(None) => {
                let missing = BadRecord::damaged(
                    Place { tree: Tree::Commands, key: &key },
                    "it is not over by the index, and not there",
                );
                tracing::error!(error = %missing, "a command is missing");
                bad.push(missing.to_string());
            }
            Err(Unreadable::Record(error)) => {
                tracing::error!(%error, "a command that is not over can't be read");
                bad.push(error.to_string());
            }
            Err(Unreadable::Sled(error)) => return Err(error.into()),
        }
    }
    Ok(open)
}

/// One host and its commands that are not over.
pub(super) fn load_host(shared: &Shared, host: &HostId) -> Result<Option<(HostRecord, Vec<Command>)>, StoreError> {
    let trees = &*shared.trees()?;
    let Some(record) = get::<v1::HostRecord>(trees, Tree::Hosts, &trees::host(host))? else { return Ok(None) };
    let mut open = open_commands(trees, &mut Vec::new())?;
    open.retain(|command| command.host.as_ref() == Some(host));
    Ok(Some((record, open)))
}

/// One command.
pub(super) fn command(shared: &Shared, id: CommandId) -> Result<Option<Command>, StoreError> {
    Ok(get::<v1::Command>(&*shared.trees()?, Tree::Commands, &trees::command(id))?)
}

/// Commands, newest first.
pub(super) fn commands(
    shared: &Shared,
    host: Option<&HostId>,
    before: Option<CommandId>,
    limit: usize,
) -> Result<Vec<Command>, StoreError> {
    let trees = &*shared.trees()?;
    let limit = limit.min(LONGEST_LIST);
    let mut bad = Vec::new();
    let Some(host) = host else {
        let walk = newest_first(trees.at(Tree::Commands), &[], before.map(trees::command).as_deref());
        return collect::<v1::Command, _>(trees, Tree::Commands, walk, limit, &mut bad, |_, command| Some(command));
    };
    let before = before.map(|before| trees::command_of(host, before));
    let keys = newest_first(trees.at(Tree::CommandsByHost), &trees::commands_of(host), before.as_deref());
    let walk = keys.filter_map(|entry| match entry {
        Ok((key, _)) => {
            let key = trees::command(trees::command_in(&key)?);
            match trees.get(Tree::Commands, &key) {
                Ok(value) => value.map(|value| Ok((sled::IVec::from(key), value))),
                Err(error) => Some(Err(error)),
            }
        }
        Err(error) => Some(Err(error)),
    });
    collect::<v1::Command, _>(trees, Tree::Commands, walk, limit, &mut bad, |_, command| Some(command))
}

/// The runs that are not over, and the newest that are; the newest first.
fn open_and_recent_runs(trees: &Trees, bad: &mut Vec<String>) -> Result<Vec<Run>, StoreError> {
    let walk = newest_first(trees.at(Tree::Runs), &[], None);
    let records = collect::<v1::RunRecord, _>(trees, Tree::Runs, walk, usize::MAX, bad, |_, run| Some(run))?;
    let mut over = 0;
    let shown = |run: &RunRecord| {
        over += usize::from(run.is_over());
        !run.is_over() || over <= RECENT_RUNS
    };
    with_hosts(trees, records.into_iter().filter(shown), bad)
}

/// The same runs with their hosts.
fn with_hosts(
    trees: &Trees,
    records: impl Iterator<Item = RunRecord>,
    bad: &mut Vec<String>,
) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    for record in records {
        let walk = trees.at(Tree::RunHosts).scan_prefix(trees::run(record.id));
        let hosts = collect::<v1::RunHost, _>(trees, Tree::RunHosts, walk, usize::MAX, bad, |_, host| Some(host))?;
        if hosts.len() != record.hosts as usize {
            let missing = format!("the run {} should have {} hosts and has {}", record.id, record.hosts, hosts.len());
            tracing::error!(missing, "the store is not whole");
            bad.push(missing);
        }
        runs.push(Run { record, hosts: hosts.into_iter().map(|host| (host.host.clone(), host)).collect() });
    }
    Ok(runs)
}

/// One run.
pub(super) fn run(shared: &Shared, id: RunId) -> Result<Option<Run>, StoreError> {
    let trees = &*shared.trees()?;
    let record = get::<v1::RunRecord>(trees, Tree::Runs, &trees::run(id))?;
    Ok(with_hosts(trees, record.into_iter(), &mut Vec::new())?.pop())
}

/// Runs, newest first.
pub(super) fn runs(shared: &Shared, before: Option<RunId>, limit: usize) -> Result<Vec<Run>, StoreError> {
    let trees = &*shared.trees()?;
    let walk = newest_first(trees.at(Tree::Runs), &[], before.map(trees::run).as_deref());
    let mut bad = Vec::new();
    let limit = limit.min(LONGEST_LIST);
    let records = collect::<v1::RunRecord, _>(trees, Tree::Runs, walk, limit, &mut bad, |_, run| Some(run))?;
    with_hosts(trees, records.into_iter(), &mut bad)
}

/// Events, newest first.
pub(super) fn events(
    shared: &Shared,
    before: Option<EventId>,
    limit: usize,
) -> Result<Vec<Arc<api::Event>>, StoreError> {
    events_before(&*shared.trees()?, before, limit.min(LONGEST_LIST), &mut Vec::new())
}

fn events_before(
    trees: &Trees,
    before: Option<EventId>,
    limit: usize,
    bad: &mut Vec<String>,
) -> Result<Vec<Arc<api::Event>>, StoreError> {
    let walk = newest_first(trees.at(Tree::Events), &[], before.map(trees::event).as_deref());
    collect::<v1::NewEvent, _>(trees, Tree::Events, walk, limit, bad, |key, event| {
        Some(Arc::new(event.numbered(trees::event_in(key)?)))
    })
}

/// All login sessions and tokens. What is damaged opens nothing.
pub(super) fn access(shared: &Shared) -> Result<AccessRecords, StoreError> {
    let trees = &*shared.trees()?;
    let mut bad = Vec::new();
    let hash = |key: &[u8]| SecretHash::try_from(key).ok();
    let sessions = collect::<v1::LoginSession, _>(
        trees,
        Tree::Sessions,
        trees.at(Tree::Sessions).iter(),
        usize::MAX,
        &mut bad,
        |key, session| Some((hash(key)?, session)),
    )?;
    let tokens = collect::<v1::Token, _>(
        trees,
        Tree::Tokens,
        trees.at(Tree::Tokens).iter(),
        usize::MAX,
        &mut bad,
        |key, token| Some((hash(key)?, token)),
    )?;
    Ok(AccessRecords { sessions, tokens })
}

/// Notifications that were not taken yet. What is damaged is in the log, and is told to nobody.
pub(super) fn outbox(shared: &Shared) -> Result<Vec<(u64, Waiting)>, StoreError> {
    let trees = &*shared.trees()?;
    collect::<v1::Waiting, _>(
        trees,
        Tree::Outbox,
        trees.at(Tree::Outbox).iter(),
        usize::MAX,
        &mut Vec::new(),
        |key, waiting| Some((trees::outbox_in(key)?, waiting)),
    )
}

/// A setting.
pub(super) fn setting(shared: &Shared, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(get::<Vec<u8>>(&*shared.trees()?, Tree::Settings, name.as_bytes())?)
}
