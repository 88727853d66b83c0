//! The first moment of a sync actor: it knows from the store which hosts there are, and only their actors can tell
//! their lights. Until all have told, whoever wants the state waits; else tabs would see the hosts come one by one.
//!
//! Bounded: a host whose actor can't tell just now is shown when it does.

use std::collections::HashSet;
use std::time::Duration;

use nixfleet_model::fleet_state::StateChange;
use nixfleet_protocol::HostId;

use super::Msg;

/// How long the hosts are waited for: less than anyone waits for a snapshot.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// Hosts that have not told yet, and what waits for them.
#[derive(Debug)]
pub(super) struct Waking {
    missing: HashSet<HostId>,
    held: Vec<Msg>,
}

impl Waking {
    /// None: there is nothing to wait for.
    pub(super) fn new(hosts: impl Iterator<Item = HostId>) -> Option<Self> {
        let missing: HashSet<_> = hosts.collect();
        (!missing.is_empty()).then_some(Self { missing, held: Vec::new() })
    }

    /// Somebody tells something. True: nobody is missing any more.
    pub(super) fn told(&mut self, change: &StateChange) -> bool {
        match change {
            StateChange::Host(view) => self.missing.remove(&view.host.id),
            StateChange::HostRemoved(id) => self.missing.remove(id),
            // Whoever tells only this was not told by us to tell all yet.
            StateChange::Beat(_)
            | StateChange::Command(_)
            | StateChange::Run(_)
            | StateChange::Remote(_)
            | StateChange::Event(_)
            | StateChange::Server(_) => false,
        };
        self.missing.is_empty()
    }

    /// Keeps a message that wants the state; gives back what does not.
    pub(super) fn hold(&mut self, message: Msg) -> Option<Msg> {
        match message {
            // Who is gone subscribed before: that too keeps its order.
            Msg::Snapshot { .. }
            | Msg::Subscribe { .. }
            | Msg::Follow { .. }
            | Msg::Unfollow { .. }
            | Msg::Unsubscribe { .. }
            | Msg::Resume { .. }
            | Msg::GetState { .. } => {
                self.held.push(message);
                None
            }
            Msg::Publish(_) | Msg::Awake | Msg::Beacon | Msg::MarkRaised(_) | Msg::Inspect { .. } => Some(message),
        }
    }

    /// Those that did not tell, and what waited, in its order.
    pub(super) fn over(self) -> (usize, Vec<Msg>) {
        (self.missing.len(), self.held)
    }
}
