//! What the remote's actor remembers, and what it does with each message.

mod durable;
pub(super) mod ops;
mod polls;
mod updates;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::Refusal;
use nixfleet_model::command::Command;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::remote::RemoteState;
use nixfleet_model::remote::interest::Interest;
use nixfleet_model::remote::polling::{Patience, Polling};
use nixfleet_model::remote::updates::INTERVAL as UPDATES_EVERY;
use nixfleet_protocol::api::{self};
use nixfleet_protocol::{CommandId, Op, Time};
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::Instant;

use self::ops::Changing;
use super::job::{Job, cast};
use super::{About, Args, Msg};
use crate::actors::owned::OwnedTask;
use crate::actors::slot::answer;
use crate::actors::store::{Batch, HostsAs, Loaded};

/// How often the time of the last good answer is stored, where nothing else is: after a restart the answer looks
/// older than it is by no more than this.
pub(super) const AT_LEISURE: Duration = Duration::from_mins(1);
/// How many relations are stored with the answer: what a small fleet has, and small enough for one value.
const STORED_RELATIONS: usize = 32;
/// So many webhooks are known again: GitHub sends one again within minutes, or by hand.
const MOST_DELIVERIES: usize = 128;
/// What may wait for the store's first word.
const MOST_EARLY: usize = 10_000;

/// What the actor remembers.
pub struct State {
    args: Args,
    record: RemoteState,
    polling: Polling<Waiter>,
    interest: Interest,
    /// Ops that concern no host and are not over.
    open: BTreeMap<CommandId, Command>,
    /// The last that are over.
    over: VecDeque<Command>,
    /// Ids that are looked for in the store, by the number of the question.
    lookups: BTreeMap<u64, Job>,
    looked_up: u64,
    /// Changes that wait for their turn.
    queue: VecDeque<CommandId>,
    changing: Option<Changing>,
    /// When updates are looked for.
    updates: Polling<()>,
    looking: Option<Job>,
    /// Why the last look for updates failed.
    updates_failed: Option<String>,
    /// How often in a row nobody knew of an update whether it can be merged.
    open_answers: usize,
    /// Webhooks that were heard last, by the id of their delivery.
    deliveries: VecDeque<String>,
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
    Command(CommandId),
}

/// What is done after a commit.
enum After {
    Answer(RpcReplyPort<()>),
    Accepted(RpcReplyPort<Submitted>, Box<api::Command>),
    Blocked(RpcReplyPort<Submitted>, Box<api::Command>, Refusal),
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
            open: BTreeMap::new(),
            over: VecDeque::new(),
            lookups: BTreeMap::new(),
            looked_up: 0,
            queue: VecDeque::new(),
            changing: None,
            updates: Polling::new(UPDATES_EVERY),
            looking: None,
            updates_failed: None,
            open_answers: 0,
            deliveries: VecDeque::new(),
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
                Ok(()) => store.load_with(HostsAs::Names).await,
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
            Msg::Submit { wanted, reply } => self.submit(myself, wanted, reply),
            Msg::Found { number, wanted, found, reply } => self.found(myself, number, *wanted, found, reply),
            Msg::Changed(id, outcome) => self.changed(myself, id, outcome),
            Msg::LookAtHead(id) => self.look_at_head(myself, id),
            Msg::UpdatesDue(generation) => self.updates_due(myself, generation),
            Msg::UpdatesRead(number, found) => self.updates_read(myself, number, found),
            Msg::UpdatesAgain => self.updates_again(myself),
            Msg::Webhook { delivery, about } => self.webhook(myself, delivery, &about),
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
            if self.args.settings.forge.is_none() {
                // Nobody would ever say that it is gone.
                (self.record.pull_request, self.record.pull_request_error) = (None, None);
            }
            for commit in self.record.relations.keys() {
                self.interest.add(commit.clone());
            }
        }
        self.unreadable = self.is_unreadable();
        self.dirty = true;
        for command in loaded.open {
            let mine = matches!(command.op, Op::RefreshGit | Op::MergePr | Op::RevertPr);
            if mine && command.host.is_none() {
                self.after.push(After::Begin(command.id));
                self.open.insert(command.id, command);
            }
        }
        if self.args.settings.source.is_some() {
            let effects = self.polling.nudge();
            self.perform(myself, effects);
        }
        self.look_for_updates(myself);
        early.into_iter().try_for_each(|message| self.take(myself, message))
    }

    /// Whether this command is the change under way.
    fn is_changing(&self, id: CommandId) -> bool {
        self.changing.as_ref().is_some_and(|changing| changing.id() == id)
    }

    /// GitHub tells of something. A delivery that comes again tells nothing new, and neither does a push to a branch that
    /// nobody follows: of pull requests it tells by themselves.
    fn webhook(&mut self, myself: &ActorRef<Msg>, delivery: Option<String>, about: &About) {
        let head = match about {
            About::Everything => true,
            About::Branch(branch) if *branch == self.record.branch => true,
            About::Branch(_) => return,
            About::PullRequests => false,
        };
        if let Some(delivery) = delivery {
            if self.deliveries.contains(&delivery) {
                return;
            }
            self.deliveries.push_back(delivery);
            while self.deliveries.len() > MOST_DELIVERIES {
                self.deliveries.pop_front();
            }
        }
        if head && self.args.settings.source.is_some() {
            let effects = self.polling.nudge();
            self.perform(myself, effects);
        }
        self.look_for_updates(myself);
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
            "ops": self.open.len(),
            "changing": self.changing.is_some(),
            "looking_for_updates": self.updates.under_way(),
            "update": self.record.pull_request.as_ref().map(|waiting| waiting.number),
            "updates_failing": self.record.pull_request_error,
            "committing": self.in_flight.is_some(),
        })
    }
}
