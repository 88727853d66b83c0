//! What changed last, for clients that were away for a moment: names only. Who comes back is sent the objects as
//! they are now, so nothing old is kept in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_protocol::browser::Change;
use nixfleet_protocol::{CommandId, EventId, HostId, RunId, Version};

/// How many changes are kept: a minute and more of a fleet of fifty. Who was away longer gets the full state.
const KEEP: usize = 1024;

/// What changed. Where it was new, whoever missed that has no place for it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Host { id: HostId, new: bool },
    Command { id: CommandId, new: bool },
    Run { id: RunId, new: bool },
    Remote,
    Event(EventId),
    Server,
}

/// The names of the last changes in the order of their versions, without gaps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    changes: VecDeque<What>,
}

impl Ring {
    /// Adds the newest change.
    pub(super) fn push(&mut self, change: &Change) {
        if self.changes.len() == KEEP {
            self.changes.pop_front();
        }
        self.changes.push_back(match change {
            Change::HostAdded(host) => What::Host { id: host.id.clone(), new: true },
            Change::HostUpdated(host) => What::Host { id: host.id.clone(), new: false },
            Change::HostRemoved(id) => What::Host { id: id.clone(), new: false },
            Change::CommandStarted(command) => What::Command { id: command.id, new: true },
            // A command that was refused is over at once.
            Change::CommandFinished(command) => What::Command { id: command.id, new: command.sent_at.is_none() },
            Change::CommandProgress(command) => What::Command { id: command.id, new: false },
            Change::RunStarted(run) => What::Run { id: run.id, new: true },
            Change::RunUpdated(run) | Change::RunFinished(run) => What::Run { id: run.id, new: false },
            Change::RemoteUpdated(_) => What::Remote,
            Change::Event(event) => What::Event(event.id),
            Change::ServerUpdated(_) => What::Server,
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// What came after `version`, as it is now: a delta for each version, in order. `None`: it is not all here any
    /// more, or the version was never given.
    pub(super) fn after(&self, version: Version, now: Version, state: &FleetState) -> Option<Vec<(Version, Change)>> {
        if version > now {
            return None;
        }
        let missed = usize::try_from(now.0 - version.0).ok()?;
        let skip = self.changes.len().checked_sub(missed)?;
        let versions = (version.0 + 1..).map(Version);
        versions
            .zip(self.changes.iter().skip(skip))
            .map(|(version, what)| Some((version, as_now(what, state)?)))
            .collect()
    }
}

/// An object as it is now; `None` when the state has forgotten it.
fn as_now(what: &What, state: &FleetState) -> Option<Change> {
    Some(match what {
        What::Host { id, new } => match state.hosts.get(id) {
            Some(view) if *new => Change::HostAdded(Arc::clone(&view.host)),
            Some(view) => Change::HostUpdated(Arc::clone(&view.host)),
            None => Change::HostRemoved(id.clone()),
        },
        What::Command { id, new } => {
            let command = Arc::clone(state.commands.get(id)?);
            match (new, command.state.is_final()) {
                (true, _) => Change::CommandStarted(command),
                (false, true) => Change::CommandFinished(command),
                (false, false) => Change::CommandProgress(command),
            }
        }
        What::Run { id, new } => {
            let run = Arc::clone(state.runs.get(id)?);
            match (new, run.finished_at.is_some()) {
                (true, _) => Change::RunStarted(run),
                (false, true) => Change::RunFinished(run),
                (false, false) => Change::RunUpdated(run),
            }
        }
        What::Remote => Change::RemoteUpdated(Arc::clone(&state.remote)),
        What::Event(id) => Change::Event(Arc::clone(state.events.iter().find(|event| event.id == *id)?)),
        What::Server => Change::ServerUpdated(Arc::clone(&state.server)),
    })
}

#[cfg(test)]
mod tests {
    use nixfleet_model::event::NewEvent;
    use nixfleet_protocol::Time;
    use nixfleet_protocol::api::{Category, Level, Remote, Server};

    use super::*;

    fn state() -> FleetState {
        let started_at = Time::from_millis(0);
        let server = Server { version: "1".into(), started_at, store_error: None, shared_agent_token: false };
        FleetState::new(Remote::default(), server)
    }

    fn gone() -> Change {
        Change::HostRemoved("a".parse().unwrap())
    }

    fn versions(ring: &Ring, from: u64, now: u64) -> Option<Vec<u64>> {
        let missed = ring.after(Version(from), Version(now), &state());
        missed.map(|changes| changes.iter().map(|(version, _)| version.0).collect())
    }

    #[test]
    fn what_was_missed_is_there_or_the_gap_is_named() {
        let mut ring = Ring::default();
        for _ in 11..=20 {
            ring.push(&gone());
        }
        assert_eq!(versions(&ring, 20, 20), Some(vec![]));
        assert_eq!(versions(&ring, 18, 20), Some(vec![19, 20]));
        assert_eq!(versions(&ring, 10, 20), Some((11..=20).collect()));
        assert_eq!(versions(&ring, 9, 20), None);
        assert_eq!(versions(&ring, 21, 20), None);
    }

    #[test]
    fn the_oldest_go() {
        let mut ring = Ring::default();
        for _ in 0..KEEP + 5 {
            ring.push(&gone());
        }
        assert_eq!(ring.len(), KEEP);
        assert_eq!(versions(&ring, 4, KEEP as u64 + 5), None);
        assert_eq!(versions(&ring, 5, KEEP as u64 + 5).map(|v| v.len()), Some(KEEP));
    }

    #[test]
    fn objects_come_as_they_are_now_and_what_is_forgotten_is_a_gap() {
        let mut ring = Ring::default();
        ring.push(&Change::ServerUpdated(Arc::new(Server { version: "old".into(), ..(*state().server).clone() })));
        let missed = ring.after(Version(0), Version(1), &state()).unwrap();
        assert_eq!(missed, vec![(Version(1), Change::ServerUpdated(Arc::clone(&state().server)))]);
        let event = NewEvent::new(Time::from_millis(0), Category::System, Level::Info, "system", "tick", "tick");
        ring.push(&Change::Event(Arc::new(event.numbered(EventId(1)))));
        assert_eq!(ring.after(Version(0), Version(2), &state()), None);
    }
}
