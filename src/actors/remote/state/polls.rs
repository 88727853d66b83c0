//! Asking the remote, and what an answer means: a head that moved, a remote that can't be read, commits of hosts
//! that are related to the head.

use nixfleet_model::compartments::moment;
use nixfleet_model::remote::Readability;
use nixfleet_model::remote::polling::{Effect, Patience};
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{Commit, Time};
use ractor::ActorRef;

use super::{AT_LEISURE, After, State, Waiter};
use crate::actors::remote::Msg;
use crate::actors::remote::job::Job;
use crate::actors::remote::ops::Ended;
use crate::actors::remote::source::{Answer, Related, Unreadable};

impl State {
    pub(super) fn ask(&mut self, myself: &ActorRef<Msg>, waiter: Waiter, patience: Patience) {
        if self.args.settings.source.is_none() {
            self.last = Some(Err(
                "no remote is configured: set NIXFLEET_REPO_URL, NIXFLEET_GITHUB_REPO or NIXFLEET_VERSION_URL"
                    .to_owned(),
            ));
            self.served(myself, waiter);
            return;
        }
        let effects = self.polling.ask(waiter, patience);
        self.perform(myself, effects);
    }

    pub(super) fn perform(&mut self, myself: &ActorRef<Msg>, effects: Vec<Effect<Waiter>>) {
        for effect in effects {
            match effect {
                Effect::Start(number) => {
                    let Some(source) = self.args.settings.source.clone() else { continue };
                    let interest: Vec<Commit> = self.interest.commits().cloned().collect();
                    let work = async move { source.read(interest).await };
                    self.poll = Some(Job::start(myself, work, move |outcome| Msg::Polled(number, outcome)));
                }
                Effect::Wake(wait, generation) => {
                    myself.send_after(wait, move || Msg::Due(generation));
                }
                Effect::Verdict => {
                    let why = match &self.last {
                        Some(Err(why)) => why.clone(),
                        Some(Ok(())) | None => String::new(),
                    };
                    self.record.failed(why, Time::now());
                    self.dirty = true;
                    self.notice();
                    if let Some(at) = self.record.next_change(Time::now()) {
                        myself.send_after(at.since(Time::now()), || Msg::Look(None));
                    }
                }
                Effect::Answer(waiters) => waiters.into_iter().for_each(|waiter| self.served(myself, waiter)),
            }
        }
    }

    fn served(&mut self, myself: &ActorRef<Msg>, waiter: Waiter) {
        match waiter {
            Waiter::Reply(reply) => self.after.push(After::Answer(reply)),
            Waiter::Command(id) if self.is_changing(id) => self.looked(myself, id),
            Waiter::Command(id) => {
                let ended = match (&self.last, &self.record.desired) {
                    (Some(Ok(())), Some(desired)) => {
                        Ended::well(format!("the remote is at {} \"{}\"", desired.commit.short(), desired.subject))
                    }
                    (Some(Err(why)), _) => Ended::badly(None, why.clone()),
                    (Some(Ok(())) | None, _) => Ended::badly(None, "the remote was not asked"),
                };
                self.finish(id, ended);
            }
        }
    }

    pub(super) fn polled(&mut self, myself: &ActorRef<Msg>, number: u64, outcome: Option<Result<Answer, Unreadable>>) {
        let well = match outcome {
            Some(Ok(answer)) => {
                if self.answered(answer) {
                    // What moved it may have been the update that waits.
                    self.look_for_updates(myself);
                }
                self.last = Some(Ok(()));
                true
            }
            Some(Err(Unreadable(why))) => {
                tracing::warn!(why, "the remote can't be read");
                self.last = Some(Err(why));
                false
            }
            None => {
                self.last = Some(Err("the poll broke down; see the daemon's log".to_owned()));
                false
            }
        };
        self.poll = None;
        let effects = {
            let rest = self.args.settings.source.as_ref().and_then(|source| source.rest());
            self.polling.ended(number, well, rest, self.started.elapsed())
        };
        self.perform(myself, effects);
        if well {
            // What was named while the poll was under way.
            self.start_relating(myself);
        }
    }

    /// A good answer. Says whether the head moved.
    fn answered(&mut self, answer: Answer) -> bool {
        let now = Time::now();
        let before = self.record.desired.as_ref().map(|desired| desired.commit.clone());
        let (head, subject) = (answer.desired.commit.clone(), answer.desired.subject.clone());
        let moved = before.as_ref() != Some(&head);
        let changed = self.record.desired.as_ref() != Some(&answer.desired);
        self.record.read(answer.desired, now);
        self.record.relations.extend(answer.relations);
        self.record.relations.retain(|commit, _| self.interest.has(commit));
        self.dirty = true;
        if moved {
            let how = if before.is_some() { "moved to" } else { "is at" };
            tracing::info!(from = ?before, to = %head, "the remote moved");
            let message = format!("remote {how} {} '{subject}'", head.short());
            self.event(Category::System, Level::Info, "remote_moved", message);
        }
        if changed || self.stored_at.is_none_or(|at| now.since(at) >= AT_LEISURE) {
            self.store();
        }
        self.notice();
        moved
    }

    /// Tells when the remote became unreadable, and when it is readable again.
    pub(super) fn notice(&mut self) {
        let is = self.is_unreadable();
        if is == self.unreadable {
            return;
        }
        self.unreadable = is;
        self.dirty = true;
        if let (true, Some(failing)) = (is, &self.record.failing) {
            let message = format!("remote can't be read since {}: {}", moment(failing.since), failing.why);
            self.event(Category::Error, Level::Error, "remote_unreadable", message);
        } else {
            self.event(Category::System, Level::Success, "remote_readable", "remote can be read again".to_owned());
        }
        self.store();
    }

    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self.record.readability(Time::now()), Readability::Unreadable(_))
    }

    pub(super) fn interested(&mut self, myself: &ActorRef<Msg>, commit: Commit) {
        if self.interest.add(commit) {
            self.start_relating(myself);
        }
    }

    /// Relates what is not related yet, from what is here; one task at a time.
    fn start_relating(&mut self, myself: &ActorRef<Msg>) {
        if self.relate.is_some() {
            return;
        }
        let (Some(source), Some(desired)) = (self.args.settings.source.clone(), &self.record.desired) else { return };
        let open = |commit: &&Commit| !self.record.relations.contains_key(*commit) && !commit.is(&desired.commit);
        let commits: Vec<Commit> = self.interest.commits().filter(open).cloned().collect();
        if commits.is_empty() {
            return;
        }
        let head = desired.commit.clone();
        let about = head.clone();
        let work = async move { source.relate(head, commits).await };
        self.relate = Some(Job::start(myself, work, move |related| Msg::Related(about, related)));
    }

    pub(super) fn related(&mut self, myself: &ActorRef<Msg>, head: &Commit, related: Option<Related>) {
        self.relate = None;
        let Some(related) = related else { return };
        if self.record.desired.as_ref().is_some_and(|desired| desired.commit == *head) {
            self.dirty |= !related.relations.is_empty();
            self.record.relations.extend(related.relations);
            self.record.relations.retain(|commit, _| self.interest.has(commit));
        }
        // A host may have a commit that was pushed after the last poll: that one only says which are foreign.
        if !related.unknown.is_empty() {
            let effects = self.polling.nudge();
            self.perform(myself, effects);
        }
    }
}
