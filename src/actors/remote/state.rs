//! What the remote's actor remembers, and what it does with each message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::command::Command;
use nixfleet_model::compartments::moment;
use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::remote::interest::Interest;
use nixfleet_model::remote::polling::{Effect, Patience, Polling};
use nixfleet_model::remote::{Readability, RemoteState};
use nixfleet_model::view::{command_view, remote_view};
use nixfleet_protocol::api::{self, Category, CommandState, Level};
use nixfleet_protocol::{CommandId, Commit, Op, Time};
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::Instant;

use super::job::{Job, cast};
use super::refresh::{self, HARD, MOST_OPEN, WARN};
use super::source::{Answer, Related, Unreadable};
use super::{Args, Msg};
use crate::actors::owned::OwnedTask;
use crate::actors::slot::answer;
use crate::actors::store::{Batch, Loaded, Write};

/// How often the time of the last good answer is stored, where nothing else is: after a restart the answer looks
/// older than it is by no more than this.
const AT_LEISURE: Duration = Duration::from_mins(1);
/// How many relations are stored with the answer: what a small fleet has, and small enough for one value.
const STORED_RELATIONS: usize = 32;
/// What may wait for the store's first word.
const MOST_EARLY: usize = 10_000;

/// What the actor remembers.
pub struct State {
    args: Args,
    record: RemoteState,
    polling: Polling<Waiter>,
    interest: Interest,
    refreshes: BTreeMap<CommandId, Command>,
    started: Instant,
    /// What came before the store said what it has; none: it has.
    early: Option<Vec<Msg>>,
    unreadable: bool,
    stored_at: Option<Time>,
    last: Option<Result<(), String>>,
    poll: Option<Job>,
    relate: Option<Job>,
    /// To be committed next.
    batch: Batch,
    /// The record changed since it was last told.
    dirty: bool,
    /// To be done when all of the above is durable.
    after: Vec<After>,
    in_flight: Option<InFlight>,
}

/// Who waits for a poll.
enum Waiter {
    Reply(RpcReplyPort<()>),
    Refresh(CommandId),
}

/// What is done after a commit.
enum After {
    Answer(RpcReplyPort<()>),
    Accepted(RpcReplyPort<Submitted>, Box<api::Command>),
    Begin(CommandId),
}

struct InFlight {
    tell: Option<Arc<RemoteState>>,
    after: Vec<After>,
    _task: OwnedTask,
}

impl State {
    pub(super) fn new(args: Args) -> Self {
        let settings = &args.settings;
        Self {
            record: RemoteState::new(settings.location.clone(), settings.branch.clone(), settings.interval),
            polling: Polling::new(settings.interval),
            args,
            interest: Interest::default(),
            refreshes: BTreeMap::new(),
            started: Instant::now(),
            early: Some(Vec::new()),
            unreadable: false,
            stored_at: None,
            last: None,
            poll: None,
            relate: None,
            batch: Batch::default(),
            dirty: false,
            after: Vec::new(),
            in_flight: None,
        }
    }

    /// Reads the store, in a task: who sits at the store now may be being restarted.
    pub(super) fn load(&self, myself: &ActorRef<Msg>, wait: Duration) {
        let (store, myself) = (self.args.store.clone(), myself.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // What the one before had under way comes to rest first.
            let loaded = match store.settled().await {
                Ok(()) => store.load().await,
                Err(error) => Err(error),
            };
            cast(&myself, Msg::Loaded(loaded.map(Box::new)));
        });
    }

    /// Until the store has said what it has, everything else waits.
    pub(super) fn not_too_early(&mut self, message: Msg) -> Option<Msg> {
        match (&mut self.early, message) {
            (None, message) | (Some(_), message @ (Msg::Loaded(_) | Msg::Inspect { .. })) => Some(message),
            (Some(early), message) => {
                if early.len() < MOST_EARLY {
                    early.push(message);
                }
                None
            }
        }
    }

    pub(super) fn take(&mut self, myself: &ActorRef<Msg>, message: Msg) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Ask { reply } => self.ask(myself, Waiter::Reply(reply), Patience::Attempt),
            Msg::Interest(commit) => self.interested(myself, commit),
            Msg::RefreshGit { actor, force, run_id, reply } => {
                if self.refreshes.len() >= MOST_OPEN {
                    let why = format!("{MOST_OPEN} refreshes are under way already; wait for them");
                    answer(reply, Submitted::Unavailable(why));
                    return Ok(());
                }
                let id = CommandId::from_uuid(uuid::Uuid::now_v7());
                let command = refresh::accepted(id, actor, force, run_id, Time::now());
                self.after.push(After::Accepted(reply, Box::new(command_view(&command))));
                self.after.push(After::Begin(id));
                self.write(command);
            }
            Msg::Republish => self.dirty = true,
            Msg::Inspect { reply } => answer(reply, self.snapshot()),
            Msg::Loaded(Ok(loaded)) => self.loaded(myself, *loaded)?,
            Msg::Loaded(Err(error)) => {
                tracing::warn!(%error, "the store has not said yet what was known of the remote");
                self.load(myself, Duration::from_millis(500));
            }
            Msg::Due(generation) => {
                let effects = self.polling.wake(generation);
                self.perform(myself, effects);
            }
            Msg::Polled(number, outcome) => self.polled(myself, number, outcome),
            Msg::Related(head, related) => self.related(myself, &head, related),
            Msg::Committed(outcome) => {
                outcome?;
                if let Some(done) = self.in_flight.take() {
                    if let Some(state) = done.tell {
                        (self.args.tell)(state);
                    }
                    self.all_of(myself, done.after);
                }
            }
            Msg::Look(None) => self.notice(),
            Msg::Look(Some(id)) => self.late(myself, id),
        }
        Ok(())
    }

    fn loaded(&mut self, myself: &ActorRef<Msg>, loaded: Loaded) -> Result<(), ActorProcessingErr> {
        let Some(early) = self.early.take() else { return Ok(()) };
        let mine =
            |stored: &RemoteState| (&stored.source, &stored.branch) == (&self.record.source, &self.record.branch);
        if let Some(stored) = loaded.remote.filter(mine) {
            self.stored_at = stored.read_at;
            self.record = RemoteState { interval: self.record.interval, ..stored };
            for commit in self.record.relations.keys() {
                self.interest.add(commit.clone());
            }
        }
        self.unreadable = self.is_unreadable();
        self.dirty = true;
        for command in loaded.open {
            if command.op == Op::RefreshGit && command.host.is_none() {
                self.after.push(After::Begin(command.id));
                self.refreshes.insert(command.id, command);
            }
        }
        if self.args.settings.source.is_some() {
            let effects = self.polling.nudge();
            self.perform(myself, effects);
        }
        early.into_iter().try_for_each(|message| self.take(myself, message))
    }

    fn ask(&mut self, myself: &ActorRef<Msg>, waiter: Waiter, patience: Patience) {
        if self.args.settings.source.is_none() {
            self.last = Some(Err("no remote is configured: set NIXFLEET_REPO_URL".to_owned()));
            self.served(waiter);
            return;
        }
        let effects = self.polling.ask(waiter, patience);
        self.perform(myself, effects);
    }

    fn perform(&mut self, myself: &ActorRef<Msg>, effects: Vec<Effect<Waiter>>) {
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
                Effect::Answer(waiters) => waiters.into_iter().for_each(|waiter| self.served(waiter)),
            }
        }
    }

    fn served(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Reply(reply) => self.after.push(After::Answer(reply)),
            Waiter::Refresh(id) => {
                let outcome = match (&self.last, &self.record.desired) {
                    (Some(Ok(())), Some(desired)) => {
                        Ok(format!("the remote is at {} \"{}\"", desired.commit.short(), desired.subject))
                    }
                    (Some(Err(why)), _) => Err(why.clone()),
                    (Some(Ok(())) | None, _) => Err("the remote was not asked".to_owned()),
                };
                self.finish(id, outcome);
            }
        }
    }

    fn polled(&mut self, myself: &ActorRef<Msg>, number: u64, outcome: Option<Result<Answer, Unreadable>>) {
        let well = match outcome {
            Some(Ok(answer)) => {
                self.answered(answer);
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
        let effects = self.polling.ended(number, well, self.started.elapsed());
        self.perform(myself, effects);
        if well {
            // What was named while the poll was under way.
            self.start_relating(myself);
        }
    }

    /// A good answer.
    fn answered(&mut self, answer: Answer) {
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
    }

    /// Tells when the remote became unreadable, and when it is readable again.
    fn notice(&mut self) {
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

    fn is_unreadable(&self) -> bool {
        matches!(self.record.readability(Time::now()), Readability::Unreadable(_))
    }

    fn interested(&mut self, myself: &ActorRef<Msg>, commit: Commit) {
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

    fn related(&mut self, myself: &ActorRef<Msg>, head: &Commit, related: Option<Related>) {
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

    fn all_of(&mut self, myself: &ActorRef<Msg>, after: Vec<After>) {
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
    fn late(&mut self, myself: &ActorRef<Msg>, id: CommandId) {
        let Some(mut command) = self.refreshes.get(&id).cloned() else { return };
        if command.state == CommandState::Executing {
            command.state = CommandState::RunningWarning;
            self.write(command);
            myself.send_after(HARD.saturating_sub(WARN), move || Msg::Look(Some(id)));
        } else {
            self.finish(id, Err(format!("the remote gave no answer within {} s", HARD.as_secs())));
        }
    }

    fn finish(&mut self, id: CommandId, outcome: Result<String, String>) {
        let Some(mut command) = self.refreshes.remove(&id) else { return };
        refresh::finish(&mut command, outcome, Time::now());
        self.batch.append(refresh::batch(&command, Time::now()));
    }

    fn write(&mut self, command: Command) {
        self.batch.append(refresh::batch(&command, Time::now()));
        self.refreshes.insert(command.id, command);
    }

    fn event(&mut self, category: Category, level: Level, action: &str, message: String) {
        self.batch.events.push(NewEvent::new(Time::now(), category, level, "system", action, message));
    }

    fn store(&mut self) {
        self.stored_at = Some(Time::now());
        let mut record = self.record.clone();
        record.relations = record.relations.into_iter().take(STORED_RELATIONS).collect();
        self.batch.writes.push(Write::PutRemote(Box::new(record)));
    }

    /// Brings what has changed to the disk and to everyone: by one commit at a time, or at once where no disk is
    /// needed and no commit is under way.
    pub(super) fn settle(&mut self, myself: &ActorRef<Msg>) {
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

    fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({
            "loaded": self.early.is_none(),
            "source": self.record.source,
            "head": self.record.desired.as_ref().map(|desired| &desired.commit),
            "read_at": self.record.read_at,
            "failing": self.record.failing.as_ref().map(|failing| &failing.why),
            "polling": self.polling.under_way(),
            "waiting": self.polling.waiting(),
            "interest": self.interest.len(),
            "relations": self.record.relations.len(),
            "refreshes": self.refreshes.len(),
            "committing": self.in_flight.is_some(),
        })
    }
}
