//! From a batch to the keys that it changes. Reads what is there, touches nothing: the writer applies the
//! plan of all batches of a group as one transaction.
//!
//! A batch that can't be planned (a record too long) fails alone; the others of its group go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::event::NewEvent;
use nixfleet_protocol::{EventId, HostId, api};
use sled::IVec;

use super::migrations::{Stored, encode, v1};
use super::record::{self, Place, Unreadable};
use super::trees::{self, Tree, Trees};
use super::{Batch, TokenKind, Write, reader};

/// Keys in `meta`.
pub(super) const SCHEMA: &[u8] = b"schema";
/// The store's epoch.
pub(super) const EPOCH: &[u8] = b"epoch";
/// The mark of state versions.
pub(super) const MARK: &[u8] = b"mark";
/// How many hosts there are.
pub(super) const HOSTS: &[u8] = b"hosts";
/// How many commands there are.
pub(super) const COMMANDS: &[u8] = b"commands";
/// How many events there are.
pub(super) const EVENTS: &[u8] = b"events";
/// How many tokens there are.
pub(super) const TOKENS: &[u8] = b"tokens";
/// How many runs there are.
pub(super) const RUNS: &[u8] = b"runs";
/// How many transactions were ever written: see `witness.rs`.
pub(super) const COMMITS: &[u8] = b"commits";
/// The number of the last event that was ever written.
pub(super) const LAST_EVENT: &[u8] = b"last_event";
/// What a probe writes.
pub(super) const PROBE: &[u8] = b"probe";

/// How many events are looked through for those of a batch that comes again.
const LOOK_BACK: usize = 10_000;
/// Events are numbered when they are written, so nearly in the order of their times.
const SLACK: Duration = Duration::from_mins(2);

/// Under which key the remote lies.
pub(super) const REMOTE: &[u8] = b"remote";

/// Why a batch can't be written, whatever the disk says.
#[derive(Debug, thiserror::Error)]
pub(super) enum CantPlan {
    #[error(transparent)]
    TooLong(#[from] record::TooLong),
    #[error("a record can't be encoded: {0}")]
    Encode(#[from] bincode::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl From<sled::Error> for CantPlan {
    fn from(error: sled::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// What the store counts. In memory while it is open, in `meta` with each commit that changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Hosts.
    pub(super) hosts: u64,
    /// Commands.
    pub(super) commands: u64,
    /// Events.
    pub(super) events: u64,
    /// Tokens.
    pub(super) tokens: u64,
    /// Runs.
    pub(super) runs: u64,
    /// Transactions ever.
    pub(super) commits: u64,
    /// The number of the last event ever.
    pub(super) last_event: u64,
}

/// By tree and key; none: removed. Keys and values are as sled takes them: short ones lie in place, long ones are shared.
type Changes = BTreeMap<Tree, BTreeMap<IVec, Option<IVec>>>;

/// The changes of a group.
pub(super) struct Plan<'a> {
    trees: &'a Trees,
    before: Counts,
    counts: Counts,
    changes: Changes,
    bytes: usize,
    records: u64,
}

impl<'a> Plan<'a> {
    /// Nothing yet.
    pub(super) fn new(trees: &'a Trees, counts: Counts) -> Self {
        Self { trees, before: counts, counts, changes: Changes::new(), bytes: 0, records: 0 }
    }

    /// Bytes of values so far, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds all of a batch, or nothing of it. Gives its events, numbered. Of a batch that comes `again` the events
    /// that were written before are not written a second time.
    pub(super) fn add(&mut self, batch: &Batch, again: bool) -> Result<Vec<Arc<api::Event>>, CantPlan> {
        self.all_or_nothing(|draft| {
            for write in &batch.writes {
                draft.write(write)?;
            }
            let mut known = if again { draft.written_before(&batch.events)? } else { Vec::new() };
            let mut numbered = Vec::with_capacity(batch.events.len());
            for event in &batch.events {
                numbered.push(match known.iter().position(|(_, written)| written == event) {
                    Some(at) => Arc::new(event.numbered(known.swap_remove(at).0)),
                    None => draft.append(event)?,
                });
            }
            Ok(numbered)
        })
    }

    /// Raises the mark of state versions to at least this. Gives the mark before.
    pub(super) fn raise_mark(&mut self, to: u64) -> Result<u64, CantPlan> {
        self.all_or_nothing(|draft| {
            let before = draft.number(MARK)?.unwrap_or_default();
            if to > before {
                draft.put::<u64>(Tree::Meta, MARK, &to)?;
            }
            Ok(before)
        })
    }

    /// Writes a number of `meta`.
    pub(super) fn put_number(&mut self, name: &[u8], number: u64) -> Result<(), CantPlan> {
        self.all_or_nothing(|draft| draft.put_over::<u64>(Tree::Meta, name, &number, 0))
    }

    /// Writes the epoch.
    pub(super) fn put_epoch(&mut self, epoch: nixfleet_protocol::Epoch) -> Result<(), CantPlan> {
        self.all_or_nothing(|draft| draft.put::<nixfleet_protocol::Epoch>(Tree::Meta, EPOCH, &epoch).map(drop))
    }

    /// All changes by trees, with the counts that are true after them.
    pub(super) fn finish(mut self) -> Result<Finished, CantPlan> {
        self.counts.commits += u64::from(self.changes.values().any(|changes| !changes.is_empty()));
        let counts = self.counts;
        for (name, before, now) in [
            (HOSTS, self.before.hosts, counts.hosts),
            (COMMANDS, self.before.commands, counts.commands),
            (EVENTS, self.before.events, counts.events),
            (TOKENS, self.before.tokens, counts.tokens),
            (RUNS, self.before.runs, counts.runs),
            (COMMITS, self.before.commits, counts.commits),
            (LAST_EVENT, self.before.last_event, counts.last_event),
        ] {
            if before != now {
                self.put_number(name, now)?;
            }
        }
        let by_tree = self.changes.into_iter().filter(|(_, changes)| !changes.is_empty());
        let by_tree = by_tree.map(|(tree, changes)| (tree, changes.into_iter().collect())).collect();
        Ok(Finished { by_tree, counts, records: self.records })
    }

    fn all_or_nothing<R>(
        &mut self,
        work: impl FnOnce(&mut Draft<'_, 'a>) -> Result<R, CantPlan>,
    ) -> Result<R, CantPlan> {
        let mut draft = Draft { counts: self.counts, plan: self, undo: Vec::new(), bytes: 0, records: 0 };
        let result = work(&mut draft);
        if result.is_err() {
            draft.undo();
            return result;
        }
        let Draft { counts, bytes, records, .. } = draft;
        self.bytes += bytes;
        self.counts = counts;
        self.records += records;
        result
    }
}

/// A key and its new value; none: removed.
pub(super) type Change = (IVec, Option<IVec>);

/// A plan that is ready for the transaction.
pub(super) struct Finished {
    /// What changes in which tree.
    pub(super) by_tree: Vec<(Tree, Vec<Change>)>,
    /// The counts when it is written.
    pub(super) counts: Counts,
    /// Records and events in it.
    pub(super) records: u64,
}

/// The changes of one batch, over those of its group, over what is in the store.
struct Draft<'p, 'a> {
    plan: &'p mut Plan<'a>,
    /// What the changes of this batch took the place of in the plan.
    undo: Vec<(Tree, IVec, Before)>,
    counts: Counts,
    bytes: usize,
    records: u64,
}

/// What the plan had at a place.
enum Before {
    Nothing,
    Change(Option<IVec>),
}

impl Draft<'_, '_> {
    fn write(&mut self, write: &Write) -> Result<(), CantPlan> {
        self.records += 1;
        match write {
            Write::PutHost(host) => {
                let added = self.put::<v1::HostRecord>(Tree::Hosts, &trees::host(&host.id), host)?;
                self.counts.hosts += u64::from(added);
            }
            Write::RemoveHost(id) => {
                let removed = self.remove(Tree::Hosts, &trees::host(id))?;
                self.counts.hosts = self.counts.hosts.saturating_sub(u64::from(removed));
                for key in self.tokens_of(id)? {
                    self.remove_token(&key)?;
                }
            }
            Write::PutCommand(command) => {
                let key = trees::command(command.id);
                let added = self.put::<v1::Command>(Tree::Commands, &key, command)?;
                self.counts.commands += u64::from(added);
                if let Some(host) = &command.host
                    && added
                {
                    self.set(Tree::CommandsByHost, trees::command_of(host, command.id), Some(IVec::default()));
                }
                let open = !command.state.is_final();
                // A command that was not there has no entry either, and most that come are over at once or new.
                let was_open = !added && self.get(Tree::CommandsOpen, &key)?.is_some();
                if open != was_open {
                    self.set(Tree::CommandsOpen, key, open.then(IVec::default));
                }
            }
            Write::RemoveCommand(command) => {
                let key = trees::command(command.id);
                let removed = self.remove(Tree::Commands, &key)?;
                self.counts.commands = self.counts.commands.saturating_sub(u64::from(removed));
                if let Some(host) = &command.host {
                    self.set(Tree::CommandsByHost, trees::command_of(host, command.id), None);
                }
                self.set(Tree::CommandsOpen, key, None);
            }
            Write::RemoveEvent(id) => {
                let removed = self.remove(Tree::Events, &trees::event(*id))?;
                self.counts.events = self.counts.events.saturating_sub(u64::from(removed));
            }
            Write::PutRun(run) => {
                let added = self.put::<v1::RunRecord>(Tree::Runs, &trees::run(run.id), run)?;
                self.counts.runs += u64::from(added);
            }
            Write::PutRunHost(host) => {
                self.put::<v1::RunHost>(Tree::RunHosts, &trees::run_host(host.run, &host.host), host)?;
            }
            Write::RemoveRun(id) => {
                let removed = self.remove(Tree::Runs, &trees::run(*id))?;
                self.counts.runs = self.counts.runs.saturating_sub(u64::from(removed));
                let hosts: Vec<IVec> =
                    self.plan.trees.at(Tree::RunHosts).scan_prefix(trees::run(*id)).keys().collect::<Result<_, _>>()?;
                for key in hosts {
                    self.remove(Tree::RunHosts, &key)?;
                }
            }
            Write::PutRemote(remote) => {
                self.put::<v1::RemoteState>(Tree::Remote, REMOTE, remote)?;
            }
            Write::PutSession(hash, session) => {
                self.put::<v1::LoginSession>(Tree::Sessions, hash, session)?;
            }
            Write::RemoveSession(hash) => {
                self.remove(Tree::Sessions, hash)?;
            }
            Write::PutToken(hash, token) => {
                let added = self.put::<v1::Token>(Tree::Tokens, hash, token)?;
                self.counts.tokens += u64::from(added);
            }
            Write::RemoveToken(hash) => self.remove_token(hash)?,
            Write::PutOutbox(number, waiting) => {
                self.put::<v1::Waiting>(Tree::Outbox, &trees::outbox(*number), waiting)?;
            }
            Write::RemoveOutbox(number) => {
                self.remove(Tree::Outbox, &trees::outbox(*number))?;
            }
            Write::PutSetting(name, value) => {
                self.put::<Vec<u8>>(Tree::Settings, name.as_bytes(), value)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, event: &NewEvent) -> Result<Arc<api::Event>, CantPlan> {
        self.records += 1;
        self.counts.last_event += 1;
        let id = EventId(self.counts.last_event);
        // No event had this number ever.
        self.put_over::<v1::NewEvent>(Tree::Events, &trees::event(id), event, 0)?;
        self.counts.events += 1;
        Ok(Arc::new(event.numbered(id)))
    }

    fn remove_token(&mut self, key: &[u8]) -> Result<(), CantPlan> {
        let removed = self.remove(Tree::Tokens, key)?;
        self.counts.tokens = self.counts.tokens.saturating_sub(u64::from(removed));
        Ok(())
    }

    /// Those of these events that are in the store, or in this group, already. An event names its millisecond, its
    /// host and its command: two that are equal are one.
    fn written_before(&self, events: &[NewEvent]) -> Result<Vec<(EventId, NewEvent)>, CantPlan> {
        let mut found = Vec::new();
        let Some(oldest) = events.iter().map(|event| event.time).min() else { return Ok(found) };
        let newest = self.plan.counts.last_event;
        for number in (1..=newest).rev().take(LOOK_BACK) {
            let id = EventId(number);
            let key = trees::event(id);
            let Some(value) = self.get(Tree::Events, &key)? else { continue };
            let place = Place { tree: Tree::Events, key: &key };
            let part = |number| self.get(Tree::Parts, &trees::part(Tree::Events, &key, number));
            match reader::decode::<v1::NewEvent>(place, &value, part) {
                Ok(written) if written.time.plus(SLACK) < oldest => break,
                Ok(written) if events.contains(&written) => found.push((id, written)),
                Ok(_) => {}
                Err(Unreadable::Record(error)) => tracing::error!(%error, "an event can't be read"),
                Err(Unreadable::Sled(error)) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Keys of the tokens that are bound to a host, those of this batch included.
    fn tokens_of(&self, host: &HostId) -> Result<Vec<Vec<u8>>, CantPlan> {
        let mut keys: Vec<Vec<u8>> = self
            .plan
            .trees
            .at(Tree::Tokens)
            .iter()
            .keys()
            .map(|key| key.map(|key| key.to_vec()))
            .collect::<Result<_, _>>()?;
        keys.extend(self.plan.changes.get(&Tree::Tokens).into_iter().flatten().map(|(key, _)| key.to_vec()));
        keys.sort_unstable();
        keys.dedup();
        let mut theirs = Vec::new();
        for key in keys {
            let Some(value) = self.get(Tree::Tokens, &key)? else { continue };
            let place = Place { tree: Tree::Tokens, key: &key };
            let part = |number| self.get(Tree::Parts, &trees::part(Tree::Tokens, &key, number));
            match reader::decode::<v1::Token>(place, &value, part) {
                Ok(token) if token.kind == TokenKind::Host(host.clone()) => theirs.push(key),
                Ok(_) => {}
                Err(Unreadable::Record(error)) => tracing::error!(%error, "a token can't be read"),
                Err(Unreadable::Sled(error)) => return Err(error.into()),
            }
        }
        Ok(theirs)
    }

    fn number(&self, name: &[u8]) -> Result<Option<u64>, CantPlan> {
        let Some(value) = self.get(Tree::Meta, name)? else { return Ok(None) };
        let place = Place { tree: Tree::Meta, key: name };
        Ok(Some(reader::decode::<u64>(place, &value, |_| Ok(None))?))
    }

    /// Writes a record with its parts, and removes the parts of the one before. Says whether it is new.
    fn put<S: Stored>(&mut self, tree: Tree, key: &[u8], live: &S::Live) -> Result<bool, CantPlan> {
        let before = self.get(tree, key)?;
        self.put_over::<S>(tree, key, live, before.as_deref().map_or(0, record::parts_of))?;
        Ok(before.is_none())
    }

    /// Writes a record over one that has so many parts.
    fn put_over<S: Stored>(&mut self, tree: Tree, key: &[u8], live: &S::Live, before: u16) -> Result<(), CantPlan> {
        let payload = encode::<S>(live)?;
        let sealed = record::seal(Place { tree, key }, S::KIND, S::NEWEST, &payload)?;
        let now = u16::try_from(sealed.parts.len()).unwrap_or(u16::MAX);
        for number in now..before {
            self.set(Tree::Parts, trees::part(tree, key, number), None);
        }
        for (number, part) in (0..now).zip(sealed.parts) {
            self.set(Tree::Parts, trees::part(tree, key, number), Some(part.into()));
        }
        self.set(tree, key, Some(sealed.value.into()));
        Ok(())
    }

    /// Removes a record with its parts. Says whether it was there.
    fn remove(&mut self, tree: Tree, key: &[u8]) -> Result<bool, CantPlan> {
        let Some(before) = self.get(tree, key)? else { return Ok(false) };
        for number in 0..record::parts_of(&before) {
            self.set(Tree::Parts, trees::part(tree, key, number), None);
        }
        self.set(tree, key, None);
        Ok(true)
    }

    fn set(&mut self, tree: Tree, key: impl Into<IVec>, value: Option<IVec>) {
        let key = key.into();
        self.bytes += value.as_ref().map_or(0, |value| value.len());
        let before = self.plan.changes.entry(tree).or_default().insert(key.clone(), value);
        self.undo.push((tree, key, before.map_or(Before::Nothing, Before::Change)));
    }

    /// Nothing of this batch is left in the plan.
    fn undo(&mut self) {
        for (tree, key, before) in self.undo.drain(..).rev() {
            let changes = self.plan.changes.entry(tree).or_default();
            match before {
                Before::Change(before) => changes.insert(key, before),
                Before::Nothing => changes.remove(&key),
            };
        }
    }

    fn get(&self, tree: Tree, key: &[u8]) -> sled::Result<Option<IVec>> {
        match self.plan.changes.get(&tree).and_then(|changes| changes.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.plan.trees.get(tree, key),
        }
    }
}
