//! What changed goes to the disk and then to everyone, one commit at a time.

use std::sync::Arc;

use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::view::remote_view;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Level};
use ractor::ActorRef;

use super::{After, InFlight, STORED_RELATIONS, State};
use crate::actors::owned::OwnedTask;
use crate::actors::remote::Msg;
use crate::actors::remote::job::cast;
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
            After::Blocked(reply, command, refusal) => answer(reply, Submitted::Blocked(command, refusal)),
            After::Begin(id) => self.begin(myself, id),
        }
    }

    pub(super) fn event(&mut self, category: Category, level: Level, action: &str, message: String) {
        self.event_by("system".to_owned(), category, level, action, message);
    }

    pub(super) fn event_by(&mut self, actor: String, category: Category, level: Level, action: &str, message: String) {
        self.batch.events.push(NewEvent::new(Time::now(), category, level, actor, action, message));
    }

    /// The same of a pull request, with its number and its address for programs.
    pub(super) fn event_of(&mut self, number: u64, url: &str, event: NewEvent) {
        let details = serde_json::json!({ "number": number, "url": url }).to_string();
        self.batch.events.push(NewEvent { details: Some(details), ..event });
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
