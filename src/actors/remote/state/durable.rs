//! What changed goes to the disk and then to everyone, one commit at a time; and the life of the `refresh-git`
//! commands, which are answered on the way.

use std::sync::Arc;

use nixfleet_model::command::Command;
use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::remote::polling::Patience;
use nixfleet_model::view::remote_view;
use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, Time};
use ractor::ActorRef;

use super::{After, InFlight, STORED_RELATIONS, State, Waiter};
use crate::actors::owned::OwnedTask;
use crate::actors::remote::Msg;
use crate::actors::remote::job::cast;
use crate::actors::remote::refresh::{self, HARD, WARN};
use crate::actors::slot::answer;
use crate::actors::store::Write;

impl State {
    pub(super) fn all_of(&mut self, myself: &ActorRef<Msg>, after: Vec<After>) {
        for after in after {
            self.then(myself, after);
        }
    }

    fn then(&mut self, myself: &ActorRef<Msg>, after: After) {
        match after {
            After::Answer(reply) => answer(reply, ()),
            After::Accepted(reply, command) => answer(reply, Submitted::Accepted(command)),
            After::Begin(id) => {
                let Some(mut command) = self.refreshes.remove(&id) else { return };
                refresh::begin(&mut command, Time::now());
                self.write(command);
                myself.send_after(WARN, move || Msg::Look(Some(id)));
                self.ask(myself, Waiter::Refresh(id), Patience::Verdict);
            }
        }
    }

    /// A refresh takes long: once a warning, then it has failed.
    pub(super) fn late(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        let Some(mut command) = self.refreshes.get(&id).cloned() else { return };
        if command.state == CommandState::Executing {
            command.state = CommandState::RunningWarning;
            self.write(command);
            myself.send_after(HARD.saturating_sub(WARN), move || Msg::Look(Some(id)));
        } else {
            self.finish(id, Err(format!("the remote gave no answer within {} s", HARD.as_secs())));
        }
    }

    pub(super) fn finish(&mut self, id: CommandId, outcome: Result<String, String>) {
        let Some(mut command) = self.refreshes.remove(&id) else { return };
        refresh::finish(&mut command, outcome, Time::now());
        self.batch.append(refresh::batch(&command, Time::now()));
    }

    pub(super) fn write(&mut self, command: Command) {
        self.batch.append(refresh::batch(&command, Time::now()));
        self.refreshes.insert(command.id, command);
    }

    pub(super) fn event(&mut self, category: Category, level: Level, action: &str, message: String) {
        self.batch.events.push(NewEvent::new(Time::now(), category, level, "system", action, message));
    }

    pub(super) fn store(&mut self) {
        self.stored_at = Some(Time::now());
        let mut record = self.record.clone();
        record.relations = record.relations.into_iter().take(STORED_RELATIONS).collect();
        self.batch.writes.push(Write::PutRemote(Box::new(record)));
    }

    /// Brings what has changed to the disk and to everyone: by one commit at a time, or at once where no disk is
    /// needed and no commit is under way.
    pub(in crate::actors::remote) fn settle(&mut self, myself: &ActorRef<Msg>) {
        while self.early.is_none() && self.in_flight.is_none() {
            let tell = std::mem::take(&mut self.dirty).then(|| Arc::new(self.record.clone()));
            let change = tell.as_ref().map(|state| StateChange::Remote(Arc::new(remote_view(state, Time::now()))));
            if self.batch.is_empty() {
                let after = std::mem::take(&mut self.after);
                if tell.is_none() && after.is_empty() {
                    return;
                }
                if change.is_some() {
                    (self.args.publish)(change.into_iter().collect());
                }
                if let Some(state) = tell {
                    (self.args.tell)(state);
                }
                self.all_of(myself, after);
                continue;
            }
            let mut batch = std::mem::take(&mut self.batch);
            if let Some(change) = change {
                batch.changes.insert(0, change);
            }
            let (store, myself) = (self.args.store.clone(), myself.clone());
            let task = OwnedTask::start(async move { cast(&myself, Msg::Committed(store.commit(batch).await)) });
            self.in_flight = Some(InFlight { tell, after: std::mem::take(&mut self.after), _task: task });
        }
    }
}
