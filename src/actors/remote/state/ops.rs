//! The life of the ops that concern no host: from the question to the record, and from the record to the end.
//!
//! ```text
//! Submit ─► known? ─► plan (pure) ─► record on disk ─► Begin ─┬─ refresh-git: a poll ──────────────────────► end
//!             └ looked up in the store: Found                 └─ one change at a time: forge ─► landed ─► the
//!                                                                head is read until it shows it ──────────► end
//! ```

use std::time::Duration;

use nixfleet_model::command::Command;
use nixfleet_model::event::NewEvent;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::remote::Relation;
use nixfleet_model::remote::code::Code;
use nixfleet_model::remote::polling::Patience;
use nixfleet_model::remote::wish;
use nixfleet_model::view::command_view;
use nixfleet_protocol::api::{Category, CommandState, Level, Merged};
use nixfleet_protocol::{CommandId, Commit, Op, Time};
use ractor::{ActorRef, RpcReplyPort};

use super::{After, State, Waiter};
use crate::actors::remote::Msg;
use crate::actors::remote::forge::{Landed, NotDone, Reverted};
use crate::actors::remote::job::Job;
use crate::actors::remote::ops::{self, Ended, MOST_OPEN, Wanted, limits};
use crate::actors::slot::answer;
use crate::actors::store::StoreError;

/// How soon the head is read again while it does not show yet what was merged.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So many ids of commands that are over are answered from memory; older ones are in the store.
const REMEMBERED: usize = 64;

/// What a change did.
#[derive(Debug)]
pub enum Change {
    /// Of `merge-pr`.
    Merge(Result<Landed, NotDone>),
    /// Of `revert-pr`.
    Revert(Result<Reverted, NotDone>),
}

/// A change that was made, while the head does not show it yet.
pub(super) struct Shows {
    commit: Commit,
    message: String,
}

/// The change under way: one at a time.
pub(super) struct Changing {
    id: CommandId,
    /// Asks the forge; nothing: it has answered.
    job: Option<Job>,
    done: Option<Shows>,
}

impl Changing {
    pub(super) fn id(&self) -> CommandId {
        self.id
    }
}

impl State {
    pub(super) fn submit(&mut self, myself: &ActorRef<Msg>, wanted: Box<Wanted>, reply: RpcReplyPort<Submitted>) {
        if self.open.len() + self.lookups.len() >= MOST_OPEN {
            let why = format!("{MOST_OPEN} ops on the remote are under way already; wait for them");
            return answer(reply, Submitted::Unavailable(why));
        }
        let Some(id) = wanted.id else {
            return self.accept(myself, CommandId::from_uuid(uuid::Uuid::now_v7()), *wanted, reply);
        };
        if let Some(known) = self.known(id) {
            let known = Box::new(command_view(known));
            return self.after.push(After::Accepted(reply, known));
        }
        self.looked_up += 1;
        let (number, store) = (self.looked_up, self.args.store.clone());
        let work = async move { store.command(id).await.map(|found| found.map(Box::new)) };
        let news = move |found: Option<_>| Msg::Found { number, wanted, found: found.unwrap_or(Ok(None)), reply };
        self.lookups.insert(number, Job::start(myself, work, news));
    }

    /// A command that this actor has under way, or that ended here.
    fn known(&self, id: CommandId) -> Option<&Command> {
        self.open.get(&id).or_else(|| self.over.iter().find(|command| command.id == id))
    }

    pub(super) fn found(
        &mut self,
        myself: &ActorRef<Msg>,
        number: u64,
        wanted: Wanted,
        found: Result<Option<Box<Command>>, StoreError>,
        reply: RpcReplyPort<Submitted>,
    ) {
        self.lookups.remove(&number);
        let found = match found {
            Ok(found) => found,
            Err(error) => return answer(reply, Submitted::Unavailable(error.to_string())),
        };
        let Some(id) = wanted.id else { return answer(reply, Submitted::Unavailable("it has no id".to_owned())) };
        // Somebody may have asked with the same id in the meantime; that one is newer than what the store said.
        match self.known(id).or(found.as_deref()) {
            Some(known) => {
                let known = Box::new(command_view(known));
                self.after.push(After::Accepted(reply, known));
            }
            None => self.accept(myself, id, wanted, reply),
        }
    }

    fn accept(&mut self, myself: &ActorRef<Msg>, id: CommandId, wanted: Wanted, reply: RpcReplyPort<Submitted>) {
        let now = Time::now();
        let can = self.args.settings.forge.is_some();
        match wish::plan(wanted.op, &wanted.args, &self.record, can) {
            Ok(args) => {
                let command = ops::accepted(id, wanted, args, now);
                self.after.push(After::Accepted(reply, Box::new(command_view(&command))));
                self.after.push(After::Begin(id));
                self.write(command);
            }
            Err(refusal) => {
                let command = ops::blocked(id, wanted, &refusal, now);
                self.after.push(After::Blocked(reply, Box::new(command_view(&command)), refusal));
                self.batch.append(ops::batch(&command, now));
                self.remember(command);
                // Who asks again has a newer answer then.
                self.look_for_updates(myself);
            }
        }
    }

    pub(super) fn begin(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        let Some(command) = self.open.get(&id) else { return };
        if command.op == Op::RefreshGit {
            self.begun(myself, id);
            self.look_for_updates(myself);
            self.ask(myself, Waiter::Command(id), Patience::Verdict);
        } else {
            self.queue.push_back(id);
            self.next_change(myself);
        }
    }

    fn begun(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        let Some(mut command) = self.open.remove(&id) else { return };
        ops::begin(&mut command, Time::now());
        let (warn, _) = limits(command.op);
        self.write(command);
        myself.send_after(warn, move || Msg::Look(Some(id)));
    }

    fn next_change(&mut self, myself: &ActorRef<Msg>) {
        while self.changing.is_none() {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(command) = self.open.get(&id).cloned() else { continue };
            let Some(forge) = self.args.settings.forge.clone() else {
                let why = "pull requests can't be changed from here any more: set NIXFLEET_GITHUB_REPO";
                self.finish(id, Ended::badly(Some(Code::NoPullRequests), why));
                continue;
            };
            let news = move |outcome| Msg::Changed(id, outcome);
            let wished = if command.op == Op::MergePr {
                serde_json::from_str(&command.args)
                    .map(|wish| Job::start(myself, async move { Change::Merge(forge.merge(wish).await) }, news))
            } else {
                serde_json::from_str(&command.args)
                    .map(|wish| Job::start(myself, async move { Change::Revert(forge.revert(wish).await) }, news))
            };
            match wished {
                Ok(job) => {
                    self.begun(myself, id);
                    self.changing = Some(Changing { id, job: Some(job), done: None });
                }
                Err(error) => self.finish(id, Ended::badly(None, format!("its arguments can't be read: {error}"))),
            }
        }
    }

    /// The forge has answered; nothing: the job panicked.
    pub(super) fn changed(&mut self, myself: &ActorRef<Msg>, id: CommandId, outcome: Option<Change>) {
        let Some(changing) = self.changing.as_mut().filter(|changing| changing.id == id) else { return };
        changing.job = None;
        match outcome {
            Some(Change::Merge(Ok(landed))) => self.landed(myself, id, landed),
            Some(Change::Revert(Ok(Reverted::OnBranch(commit)))) => self.reverted(myself, id, commit),
            Some(Change::Revert(Ok(Reverted::Waits { number, url }))) => {
                let branch = &self.record.branch;
                let message = format!("{branch} takes pull requests alone, so #{number} reverts it: merge it at {url}");
                let ended = Ended { state: CommandState::Partial, code: Some(Code::RevertPrWaits), message };
                self.end_change(myself, id, ended);
            }
            Some(Change::Merge(Err(NotDone { code, message })) | Change::Revert(Err(NotDone { code, message }))) => {
                self.end_change(myself, id, Ended::badly(Some(code), message));
            }
            None => self.end_change(myself, id, Ended::badly(None, "it broke down; see the daemon's log")),
        }
    }

    fn landed(&mut self, myself: &ActorRef<Msg>, id: CommandId, landed: Landed) {
        let actor = self.open.get(&id).map_or_else(String::new, |command| command.actor.clone());
        let Landed { number, title, url, commit, revertible, already, at } = landed;
        let how = if already { "was merged already" } else { "is merged" };
        let message = format!("#{number} \"{title}\" {how}, with {}", commit.short());
        if self.record.pull_request.as_ref().is_some_and(|waiting| waiting.number == number) {
            self.record.pull_request = None;
        }
        let at = at.unwrap_or_else(Time::now);
        // Somebody may ask for one that was merged long ago, from a page that was left open.
        let is_last = |before: &Merged| before.number != number && (!already || at > before.at);
        if self.record.merged.as_ref().is_none_or(is_last) {
            self.record.merged = None;
            if revertible {
                self.event_of(number, &url, audit(&actor, "pull_request_merged", &message));
                self.record.merged = Some(Merged { number, title, url, commit: commit.clone(), at, by: actor });
            }
        }
        self.show(myself, id, Shows { commit, message });
    }

    fn reverted(&mut self, myself: &ActorRef<Msg>, id: CommandId, commit: Commit) {
        let Some(command) = self.open.get(&id) else { return };
        let (actor, merged) = (command.actor.clone(), self.record.merged.clone());
        let wish: Option<wish::Revert> = serde_json::from_str(&command.args).ok();
        let what = wish.as_ref().map_or_else(String::new, |wish| format!("#{} \"{}\"", wish.number, wish.title));
        let message = format!("{what} is reverted, with {}", commit.short());
        if let Some(merged) = merged.filter(|merged| wish.is_some_and(|wish| wish.number == merged.number)) {
            self.record.merged = None;
            self.event_of(merged.number, &merged.url, audit(&actor, "pull_request_reverted", &message));
        }
        self.show(myself, id, Shows { commit, message });
    }

    /// The change is made and remembered; its command is over when the head shows it, so that who goes on from there
    /// pulls what was merged.
    fn show(&mut self, myself: &ActorRef<Msg>, id: CommandId, shows: Shows) {
        self.dirty = true;
        self.store();
        self.interest.add(shows.commit.clone());
        if let Some(changing) = &mut self.changing {
            changing.done = Some(shows);
        }
        self.look_for_updates(myself);
        self.ask(myself, Waiter::Command(id), Patience::Attempt);
    }

    /// The head was read, or could not be.
    pub(super) fn looked(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        let Some(Changing { done: Some(shows), .. }) = self.changing.as_ref().filter(|it| it.id == id) else { return };
        let is_there = matches!(self.last, Some(Ok(())))
            && matches!(self.record.relation(&shows.commit), Relation::Equal | Relation::Behind(_));
        if is_there {
            let message = shows.message.clone();
            self.end_change(myself, id, Ended::well(message));
        } else {
            myself.send_after(LOOK_AGAIN, move || Msg::LookAtHead(id));
        }
    }

    pub(super) fn look_at_head(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        if self.changing.as_ref().is_some_and(|changing| changing.id == id && changing.done.is_some()) {
            self.ask(myself, Waiter::Command(id), Patience::Attempt);
        }
    }

    fn end_change(&mut self, myself: &ActorRef<Msg>, id: CommandId, ended: Ended) {
        self.changing = None;
        self.finish(id, ended);
        self.next_change(myself);
    }

    /// A command takes long: once a warning, then it is over.
    pub(super) fn late(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        let Some(mut command) = self.open.get(&id).cloned() else { return };
        let (warn, hard) = limits(command.op);
        if command.state == CommandState::Executing {
            command.state = CommandState::RunningWarning;
            self.write(command);
            myself.send_after(hard.saturating_sub(warn), move || Msg::Look(Some(id)));
            return;
        }
        let within = hard.as_secs();
        match self.changing.as_ref().filter(|changing| changing.id == id) {
            None => self.finish(id, Ended::badly(None, format!("the remote gave no answer within {within} s"))),
            Some(Changing { done: Some(shows), .. }) => {
                // No success: who goes on from there would deploy the old head, and call it done.
                let message = format!(
                    "{}, but the branch's head does not show it after {within} s: where it is read from lags behind",
                    shows.message
                );
                let ended = Ended { state: CommandState::Partial, code: Some(Code::HeadNotSeen), message };
                self.end_change(myself, id, ended);
            }
            Some(Changing { done: None, .. }) => {
                let why = format!("no answer within {within} s: look at the pull request whether it happened");
                self.end_change(myself, id, Ended::badly(Some(Code::NoAnswer), why));
            }
        }
    }

    pub(super) fn finish(&mut self, id: CommandId, ended: Ended) {
        let Some(mut command) = self.open.remove(&id) else { return };
        ops::finish(&mut command, ended, Time::now());
        self.batch.append(ops::batch(&command, Time::now()));
        self.remember(command);
    }

    fn remember(&mut self, command: Command) {
        self.over.push_back(command);
        while self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
    }

    pub(super) fn write(&mut self, command: Command) {
        self.batch.append(ops::batch(&command, Time::now()));
        self.open.insert(command.id, command);
    }
}

fn audit(actor: &str, action: &str, message: &str) -> NewEvent {
    NewEvent::new(Time::now(), Category::Audit, Level::Success, actor, action, message)
}
