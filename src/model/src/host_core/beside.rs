//! Commands that take no slot: a `journal`, which ends with its reader, and `wake`, which ends when the host
//! registers. They live by the same steps as the one in the slot, any number of them, whatever else runs.
//!
//! A journal does not outlive its readers, nor the dashboard: what the agent still runs of one that is over here is
//! told to end when it is found.

use std::sync::Arc;

use nixfleet_protocol::api::{CommandState, Level};
use nixfleet_protocol::{CommandId, Time};

use super::life::{command_event, finished_event};
use super::submit::refusal;
use super::{Core, Effect, Step, Submitted, Writes};
use crate::command::{self, Command};
use crate::fleet_state::StateChange;
use crate::ops::{self, PostCheck};
use crate::view::command_view;

/// Commands of one host that may be read at once: each is a process there, and a file here.
const MOST: usize = 8;

/// Ends a command whose host is not there: neither its record nor an agent will ever say more of it.
pub fn abandon(mut command: Command, now: Time) -> Writes {
    let message = Some("its host is not known: nobody can say how it ended".to_owned());
    command::step(&mut command, command::Input::Done { state: CommandState::Orphaned, message }, now);
    Writes {
        events: vec![finished_event(&command, now)],
        changes: vec![StateChange::Command(Arc::new(command_view(&command)))],
        commands: vec![command],
        ..Writes::default()
    }
}

impl Core {
    /// An op without a slot passed its checks.
    pub(super) fn begin_beside(&mut self, ask: u64, command: Command, now: Time, step: &mut Step) {
        let id = command.id;
        let wakes = |command: &Command| ops::spec(command.op).post == PostCheck::Registered;
        if wakes(&command) && self.beside.values().any(wakes) {
            let refusal = refusal("host_busy", "A wake is under way already: wait for the host, or stop it.");
            return self.block(ask, command, refusal, now, step);
        }
        if self.beside.len() >= MOST {
            let refusal = refusal("host_busy", format!("{MOST} journals of this host are read already: close one."));
            return self.block(ask, command, refusal, now, step);
        }
        let started = format!("{} starts", command.op);
        step.writes.events.push(command_event(&command, Level::Info, "command_started", started, now));
        self.beside.insert(id, command);
        let agent = self.agent_now();
        self.drive_one(id, command::Input::Passed(Box::new(agent)), now, step);
        if let Some(command) = self.beside.get(&id) {
            let answer = Submitted::Accepted(Box::new(command_view(command)));
            step.then.push(Effect::Answer { ask, answer });
        }
    }

    /// What was found that is not over and has not the slot.
    pub(super) fn revive_beside(&mut self, found: Vec<Command>, now: Time, step: &mut Step) {
        for command in found {
            let (id, takes_slot) = (command.id, ops::spec(command.op).takes_slot);
            let begun_here = command.is_read() || ops::spec(command.op).post == PostCheck::Registered;
            self.beside.insert(id, command);
            let input = if takes_slot || !begun_here {
                // The host's record does not name it: nobody sends it, and nobody takes its result.
                let message = Some("the records do not say who owns it: nobody can say how it ended".to_owned());
                command::Input::Done { state: CommandState::Orphaned, message }
            } else {
                command::Input::Revived { last_heard: self.record.facts.last_seen }
            };
            self.drive_one(id, input, now, step);
        }
    }

    /// Keeps the commands without a slot out of what the agent says it runs: they make no host busy.
    pub(super) fn set_beside_apart(&mut self) {
        let (beside, ending) = (&self.beside, &self.ending);
        self.record.facts.running.retain(|id| !beside.contains_key(id) && !ending.contains(id));
    }

    /// The agent still runs something that ended here with its readers.
    pub(super) fn end_unread(&mut self, id: CommandId, step: &mut Step) {
        self.ending.insert(id);
        self.set_beside_apart();
        self.kill(id, step);
        step.publish = true;
    }
}
