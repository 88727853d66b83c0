//! Looking for the update that waits: by a schedule of its own, beside that of the head.

use nixfleet_model::event::NewEvent;
use nixfleet_model::remote::polling::Effect;
use nixfleet_model::remote::updates::{self, Found};
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Level, PullRequest};
use ractor::ActorRef;

use super::State;
use crate::actors::remote::Msg;
use crate::actors::remote::job::Job;
use crate::actors::remote::source::Unreadable;

impl State {
    /// Something calls for a look.
    pub(super) fn look_for_updates(&mut self, myself: &ActorRef<Msg>) {
        if self.args.settings.forge.is_some() {
            self.open_answers = 0;
            let effects = self.updates.nudge();
            self.perform_updates(myself, effects);
        }
    }

    pub(super) fn updates_due(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let effects = self.updates.wake(generation);
        self.perform_updates(myself, effects);
    }

    fn perform_updates(&mut self, myself: &ActorRef<Msg>, effects: Vec<Effect<()>>) {
        for effect in effects {
            match effect {
                Effect::Start(number) => {
                    let Some(forge) = self.args.settings.forge.clone() else { continue };
                    let before = self.record.pull_request.as_ref().map(|before| before.number);
                    let work = async move { forge.waiting(before).await };
                    self.looking = Some(Job::start(myself, work, move |found| Msg::UpdatesRead(number, found)));
                }
                Effect::Wake(wait, generation) => {
                    myself.send_after(wait, move || Msg::UpdatesDue(generation));
                }
                Effect::Verdict => {
                    let why = self.updates_failed.take();
                    if self.record.pull_request_error.is_none()
                        && let Some(why) = &why
                    {
                        let message = format!("nobody can say whether an update waits: {why}");
                        self.event(Category::Error, Level::Warn, "updates_unreadable", message);
                    }
                    if self.record.pull_request_error != why {
                        self.record.pull_request_error = why;
                        self.dirty = true;
                        self.store();
                    }
                }
                Effect::Answer(_) => {}
            }
        }
    }

    pub(super) fn updates_read(
        &mut self,
        myself: &ActorRef<Msg>,
        number: u64,
        found: Option<Result<Found, Unreadable>>,
    ) {
        self.looking = None;
        let mut open = false;
        let well = match found {
            Some(Ok(found)) => {
                open = found.open;
                self.update_waits(found.waits);
                true
            }
            Some(Err(Unreadable(why))) => {
                tracing::warn!(why, "pull requests can't be read");
                self.updates_failed = Some(why);
                false
            }
            None => {
                self.updates_failed = Some("the look broke down; see the daemon's log".to_owned());
                false
            }
        };
        let rest = self.args.settings.forge.as_ref().and_then(|forge| forge.rest());
        let effects = self.updates.ended(number, well, rest, self.started.elapsed());
        self.perform_updates(myself, effects);
        if let Some(wait) = updates::again(open, self.open_answers) {
            self.open_answers += 1;
            myself.send_after(wait, || Msg::UpdatesAgain);
        }
    }

    pub(super) fn updates_again(&mut self, myself: &ActorRef<Msg>) {
        let effects = self.updates.nudge();
        self.perform_updates(myself, effects);
    }

    fn update_waits(&mut self, waiting: Option<PullRequest>) {
        if self.record.pull_request == waiting && self.record.pull_request_error.is_none() {
            return;
        }
        let before = self.record.pull_request.as_ref().map(|before| before.number);
        if let Some(new) = waiting.as_ref().filter(|new| Some(new.number) != before) {
            tracing::info!(number = new.number, "an update waits");
            let message = format!("#{} \"{}\" waits: {}", new.number, new.title, new.url);
            let event = NewEvent::new(Time::now(), Category::System, Level::Info, "system", "update_waits", message);
            self.event_of(new.number, &new.url, event);
        }
        self.record.pull_request = waiting;
        self.record.pull_request_error = None;
        self.dirty = true;
        self.store();
    }
}
