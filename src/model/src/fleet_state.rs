//! The fleet's state that everyone sees, and how a change is applied to it. The sync actor owns the one
//! instance; whoever reads gets it behind an `Arc` as it was at one version.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nixfleet_protocol::api::{Command, Event, Host, Remote, Run, Server};
use nixfleet_protocol::browser::{Change, State};
use nixfleet_protocol::{CommandId, HostId, RunId};

use crate::view::{Beat, HostView};

/// How many commands that are over the state keeps.
pub const RECENT_COMMANDS: usize = 50;
/// How many runs that are over the state keeps.
pub const RECENT_RUNS: usize = 20;
/// How many events the state keeps.
pub const RECENT_EVENTS: usize = 100;

/// What an actor publishes: the whole new object, or of a heartbeat what it changes. Whether that is "added" or
/// "updated" the state knows itself.
#[derive(Clone, Debug, PartialEq)]
pub enum StateChange {
    /// A host as it is now.
    Host(Arc<HostView>),
    /// A host that was told whole before told another load, and nothing else. Most of all changes are these. In a box: a
    /// thousand changes wait at once when a fleet comes back.
    Beat(Box<Beat>),
    /// A host is gone.
    HostRemoved(HostId),
    /// A command as it is now.
    Command(Arc<Command>),
    /// A run as it is now.
    Run(Arc<Run>),
    /// The remote as it is now.
    Remote(Arc<Remote>),
    /// Something was written to the audit log.
    Event(Arc<Event>),
    /// The daemon as it is now.
    Server(Arc<Server>),
}

/// The whole state. Cheap to clone: everything large is behind an `Arc`.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetState {
    /// All hosts, with what is refused on each and why.
    pub hosts: BTreeMap<HostId, Arc<HostView>>,
    /// Open and recent commands. Ids sort by time.
    pub commands: BTreeMap<CommandId, Arc<Command>>,
    /// Open and recent runs.
    pub runs: BTreeMap<RunId, Arc<Run>>,
    /// The last events, newest first.
    pub events: VecDeque<Arc<Event>>,
    /// The desired state.
    pub remote: Arc<Remote>,
    /// The daemon.
    pub server: Arc<Server>,
}

impl FleetState {
    /// A state with nothing in it.
    pub fn new(remote: Remote, server: Server) -> Self {
        Self {
            hosts: BTreeMap::new(),
            commands: BTreeMap::new(),
            runs: BTreeMap::new(),
            events: VecDeque::new(),
            remote: Arc::new(remote),
            server: Arc::new(server),
        }
    }

    /// Applies a change. `None`: nothing that anyone can see has changed, and no version is given.
    pub fn apply(&mut self, change: StateChange) -> Option<Change> {
        match change {
            StateChange::Host(view) => self.apply_host(&view),
            StateChange::Beat(beat) => self.apply_beat(*beat),
            StateChange::HostRemoved(id) => self.hosts.remove(&id).map(|_| Change::HostRemoved(id)),
            StateChange::Command(command) => self.apply_command(command),
            StateChange::Run(run) => self.apply_run(run),
            StateChange::Remote(remote) => (*self.remote != *remote).then(|| {
                self.remote = Arc::clone(&remote);
                Change::RemoteUpdated(remote)
            }),
            StateChange::Event(event) => {
                if self.events.front().is_some_and(|newest| newest.id >= event.id) {
                    return None;
                }
                self.events.push_front(Arc::clone(&event));
                self.events.truncate(RECENT_EVENTS);
                Some(Change::Event(event))
            }
            StateChange::Server(server) => (*self.server != *server).then(|| {
                self.server = Arc::clone(&server);
                Change::ServerUpdated(server)
            }),
        }
    }

    fn apply_host(&mut self, view: &Arc<HostView>) -> Option<Change> {
        let host = Arc::clone(&view.host);
        let Some(known) = self.hosts.get_mut(&host.id) else {
            self.hosts.insert(host.id.clone(), Arc::clone(view));
            return Some(Change::HostAdded(host));
        };
        let before = std::mem::replace(known, Arc::clone(view));
        (before != *view).then_some(Change::HostUpdated(host))
    }

    /// Where nobody else holds the host as it was, nothing is copied.
    fn apply_beat(&mut self, beat: Beat) -> Option<Change> {
        // One that is not known yet will be told whole.
        let known = self.hosts.get_mut(&beat.host)?;
        if beat.is_of(&known.host) {
            return None;
        }
        let view = Arc::make_mut(known);
        beat.tell(Arc::make_mut(&mut view.host));
        Some(Change::HostUpdated(Arc::clone(&view.host)))
    }

    fn apply_command(&mut self, command: Arc<Command>) -> Option<Change> {
        let before = self.commands.insert(command.id, Arc::clone(&command));
        if before.as_ref().is_some_and(|before| **before == *command) {
            return None;
        }
        if command.state.is_final() {
            forget_oldest(&mut self.commands, RECENT_COMMANDS, |command| command.state.is_final());
            if before.is_none() && !self.commands.contains_key(&command.id) {
                return None; // older than all that is kept: nobody ever saw it
            }
            return Some(Change::CommandFinished(command));
        }
        Some(if before.is_none() { Change::CommandStarted(command) } else { Change::CommandProgress(command) })
    }

    fn apply_run(&mut self, run: Arc<Run>) -> Option<Change> {
        let before = self.runs.insert(run.id, Arc::clone(&run));
        if before.as_ref().is_some_and(|before| **before == *run) {
            return None;
        }
        if run.finished_at.is_some() {
            forget_oldest(&mut self.runs, RECENT_RUNS, |run| run.finished_at.is_some());
            if before.is_none() && !self.runs.contains_key(&run.id) {
                return None; // older than all that is kept: nobody ever saw it
            }
            return Some(Change::RunFinished(run));
        }
        Some(if before.is_none() { Change::RunStarted(run) } else { Change::RunUpdated(run) })
    }

    /// The hosts by criticality, then name: the order in which every list shows them.
    pub fn hosts_in_order(&self) -> Vec<Arc<Host>> {
        let mut hosts: Vec<_> = self.hosts.values().map(|view| Arc::clone(&view.host)).collect();
        hosts.sort_by(|a, b| (a.device_type, &a.id).cmp(&(b.device_type, &b.id)));
        hosts
    }

    /// The state as clients get it.
    pub fn to_wire(&self) -> State {
        State {
            hosts: self.hosts_in_order(),
            commands: self.commands.values().rev().cloned().collect(),
            runs: self.runs.values().rev().cloned().collect(),
            events: self.events.iter().cloned().collect(),
            remote: Arc::clone(&self.remote),
            server: Arc::clone(&self.server),
        }
    }
}

/// Keeps at most `keep` of the entries that are over; the oldest go.
fn forget_oldest<K: Ord + Clone, V>(map: &mut BTreeMap<K, Arc<V>>, keep: usize, over: impl Fn(&V) -> bool) {
    let mut finished = map.values().filter(|entry| over(entry)).count();
    while finished > keep {
        let Some(oldest) = map.iter().find(|(_, entry)| over(entry)).map(|(id, _)| id.clone()) else { return };
        map.remove(&oldest);
        finished -= 1;
    }
}

#[cfg(test)]
mod tests;
