//! What the dashboard is still to be told: for each command the rest of its output, then its result.
//!
//! Output is read from the log at the offset that the dashboard gave, at most 1 MiB ahead of what it acknowledged.
//! A result follows when all output was sent, and stays here until it is acknowledged. Nothing here is on disk:
//! the log and the result are, and the dashboard knows the offset.

mod delivery;

use std::collections::BTreeMap;

use nixfleet_protocol::agent::Registered;
use nixfleet_protocol::{CommandId, Time};
use tracing::warn;

pub use delivery::Delivery;
use delivery::send_progress;

use crate::link::Link;
use crate::ops::words;
use crate::service::Origin;

/// The most that is sent and not acknowledged, all commands together. Bytes of the log.
pub const WINDOW: u64 = 1024 * 1024;
/// The most ids that a register names.
const NAMED: usize = 100;

/// All commands that are followed, oldest first.
#[derive(Debug, Default)]
pub struct Deliveries {
    all: BTreeMap<CommandId, Delivery>,
    /// The dashboard knows no ids and acknowledges nothing.
    legacy: bool,
    /// Whose output was sent last: the next one is another's turn.
    served: Option<CommandId>,
    /// Results that an old dashboard has when the ping of this number is heard.
    unheard: Vec<(u64, CommandId)>,
}

/// What the agent does when a result is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It goes on.
    GoesOn,
    /// It makes room for a new process: the command's last op was a restart, or the host has another agent now.
    Restarts,
}

impl Deliveries {
    /// Follows one more.
    pub fn add(&mut self, delivery: Delivery) {
        self.all.insert(delivery.id(), delivery);
    }

    /// Follows one that the dashboard asked for again. What is followed already goes on as it is.
    pub fn add_again(&mut self, delivery: Delivery) {
        match self.all.get_mut(&delivery.id()) {
            Some(known) if known.status_sent || !known.named => {
                known.named = true;
                known.restart_at(0);
            }
            Some(_) => {}
            None => self.add(delivery),
        }
    }

    /// The command that runs (or is about to) in the host's slot.
    pub fn running(&self) -> Option<&Delivery> {
        self.all.values().find(|delivery| delivery.outcome.is_none() && delivery.takes_slot())
    }

    /// How many journals are being read.
    pub fn journals(&self) -> usize {
        self.all.values().filter(|delivery| delivery.outcome.is_none() && !delivery.takes_slot()).count()
    }

    /// The ids of journals that are being read.
    pub fn ids_of_journals(&self) -> Vec<CommandId> {
        self.ids(|delivery| delivery.outcome.is_none() && !delivery.takes_slot())
    }

    /// The ids of what runs.
    pub fn ids_running(&self) -> Vec<CommandId> {
        self.ids(|delivery| delivery.outcome.is_none())
    }

    /// The ids whose result was not acknowledged.
    pub fn ids_ended(&self) -> Vec<CommandId> {
        self.ids(|delivery| delivery.outcome.is_some())
    }

    /// What a register names: what runs, and what ended and was not acknowledged.
    pub fn name(&mut self) -> (Vec<CommandId>, Vec<CommandId>) {
        let (running, ended) = (self.ids_running(), self.ids_ended());
        for (id, delivery) in &mut self.all {
            delivery.named = running.contains(id) || ended.contains(id);
        }
        (running, ended)
    }

    /// Whether all results that were named are acknowledged, nothing runs, and there are more.
    pub fn has_more_to_name(&self) -> bool {
        self.all.values().any(|delivery| !delivery.named)
            && !self
                .all
                .values()
                .any(|delivery| delivery.named && (delivery.outcome.is_some() || delivery.takes_slot()))
    }

    fn ids(&self, wanted: impl Fn(&Delivery) -> bool) -> Vec<CommandId> {
        // The newest: what the dashboard waits for is among them.
        self.all.values().rev().filter(|delivery| wanted(delivery)).map(Delivery::id).take(NAMED).collect()
    }

    /// One of them.
    pub fn get_mut(&mut self, id: CommandId) -> Option<&mut Delivery> {
        self.all.get_mut(&id)
    }

    /// Whether there is something that may have to be sent soon.
    pub fn is_busy(&self) -> bool {
        self.all.values().any(|delivery| delivery.outcome.is_none() || delivery.named && !delivery.status_sent)
    }

    /// Whether nothing takes the slot, and no such result waits to be acknowledged.
    pub fn is_idle(&self) -> bool {
        !self.all.values().any(Delivery::takes_slot)
    }

    /// One of them.
    pub fn get(&self, id: CommandId) -> Option<&Delivery> {
        self.all.get(&id)
    }

    /// A link was registered: everything goes on where the dashboard says.
    pub fn resume(&mut self, registered: &Registered, legacy: bool) {
        self.legacy = legacy;
        self.unheard.clear();
        for delivery in self.all.values_mut() {
            let offset =
                if legacy { delivery.sent } else { registered.offsets.get(&delivery.id()).copied().unwrap_or(0) };
            delivery.restart_at(offset);
            // An old dashboard knows no names.
            delivery.named |= legacy;
        }
    }

    /// Output up to here is on the dashboard's disk.
    pub fn acknowledge_output(&mut self, id: CommandId, offset: u64) {
        if let Some(delivery) = self.all.get_mut(&id) {
            delivery.acknowledged = delivery.acknowledged.max(offset.min(delivery.sent));
        }
    }

    /// The result is on the dashboard's disk: we may forget. `None` when there is no such result.
    pub fn acknowledge_status(&mut self, id: CommandId, origin: &Origin) -> Option<Afterwards> {
        let delivery = self.all.remove(&id)?;
        let Some(outcome) = &delivery.outcome else {
            warn!(command = %id, "a result was acknowledged that does not exist yet");
            self.all.insert(id, delivery);
            return None;
        };
        if let Err(error) = delivery.entry.acknowledge(Time::now()) {
            warn!(command = %id, %error, "the acknowledgement can't be written");
        }
        let asked = outcome.exit_code == 0 && words::restarts_afterwards(&delivery.ops);
        let restarts = self.is_idle() && (asked || delivery.takes_slot() && origin.has_changed());
        Some(if restarts { Afterwards::Restarts } else { Afterwards::GoesOn })
    }

    /// An old dashboard has read everything up to the ping of this number. Results that it has are forgotten.
    pub fn heard(&mut self, ping: u64, origin: &Origin) -> Afterwards {
        let (heard, unheard) = self.unheard.drain(..).partition(|(number, _)| *number <= ping);
        self.unheard = unheard;
        let heard: Vec<(u64, CommandId)> = heard;
        let restarts = heard
            .into_iter()
            .filter(|(_, id)| self.acknowledge_status(*id, origin) == Some(Afterwards::Restarts))
            .count();
        if restarts > 0 { Afterwards::Restarts } else { Afterwards::GoesOn }
    }

    /// Says how far the commands are, where that changed and while the link has room.
    pub fn tell_progress(&mut self, link: &mut Link) {
        if link.has_room() {
            let legacy = self.legacy;
            self.all.values_mut().for_each(|delivery| send_progress(delivery, link, legacy));
        }
    }

    /// Puts what is new into the link, as far as link and window have room. True when a result was sent.
    pub fn pump(&mut self, link: &mut Link, origin: &Origin) -> bool {
        let legacy = self.legacy;
        let mut in_flight: u64 = if legacy { 0 } else { self.all.values().map(Delivery::in_flight).sum() };
        // In turns: a journal that never ends does not hold up a command's result, nor the other way round.
        let mut turns: Vec<CommandId> =
            self.all.values().filter(|it| it.named && !it.status_sent).map(Delivery::id).collect();
        let next = turns.partition_point(|id| self.served.is_some_and(|served| *id <= served));
        turns.rotate_left(next);
        let mut told = Vec::new();
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for id in &turns {
                let Some(delivery) = self.all.get_mut(id).filter(|delivery| !delivery.status_sent) else { continue };
                if !delivery.is_told()
                    && link.has_room()
                    && in_flight < WINDOW
                    && delivery.send_output(link, &mut in_flight, legacy)
                {
                    self.served = Some(*id);
                    moved = true;
                }
                if link.has_room() && delivery.send_status(link, origin, legacy) {
                    told.push(*id);
                }
            }
        }
        if legacy && !told.is_empty() {
            // It acknowledges nothing. What it answers to a ping tells that it has read what stood before.
            let ping = link.ping();
            self.unheard.extend(told.iter().map(|id| (ping, *id)));
        }
        !told.is_empty()
    }
}
