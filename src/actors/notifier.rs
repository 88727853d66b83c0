//! Tells people what happens: the shell around [`nixfleet_model::notify`]. What is to be told goes into the store's
//! outbox before it goes to anyone, and out of it when it was taken.
//!
//! ```text
//! sync ─ news ─→ look (a task: state, events) ─→ desk ─ Step ─→ committer ─→ store
//!                                                  ↑               └─ then: a task for each channel ─→ receiver
//!                                                  └───────── Sent ────────────────┘
//! ```
//!
//! Who talks to it: sync, by a nudge that something may be worth telling; the web server, for the settings. It waits for
//! nobody: each channel has one task at a time, which has an end in time, so a receiver that hangs disturbs no other.
//! When it dies: started again, reads what it remembers and what waits, and looks again. A letter that was on its way is
//! sent again with the same id.
//! Without a channel it does nothing, and remembers nothing.

mod discord;
mod looking;
mod mail;
mod ntfy;
mod sending;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nixfleet_model::event::NewEvent;
use nixfleet_model::notify::{
    self, Channel, Desk, Failure, Input, LaneView, Letter, Memory, Rules, Step, Taken, Waiting,
};
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Level};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::Notify;
use uuid::Uuid;

use self::looking::Seen;
use super::clock::Clock;
use super::committer::Committer;
use super::host::tell;
use super::owned::OwnedTask;
use super::slot::{Slot, Unanswered, answer};
use super::store::{Batch, StoreError, StoreHandle, Write};
use super::sync::SyncHandle;
use crate::config::{ChannelConfig, Way};

/// The setting that holds the memory.
const MEMORY: &str = "notifier";
/// Between two looks, however much happens.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A look without a nudge: hosts that are gone from the start are told some time after it.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// How long a receiver may take for one letter.
pub const SEND_WITHIN: Duration = Duration::from_secs(20);

/// What the notifier answers to.
#[derive(Debug)]
pub enum Msg {
    /// Something may be worth telling.
    Look,
    /// The fleet was looked at, or could not be.
    Saw(Result<Box<Seen>, String>),
    /// The commit under way has ended.
    Committed(Result<(), StoreError>),
    /// A letter came to its end.
    Sent {
        /// The channel's place.
        channel: usize,
        /// The letter's id.
        id: String,
        /// Whether it was taken.
        outcome: Result<Taken, Failure>,
    },
    /// The desk wanted to be woken. A timer that is not the newest is ignored.
    Wake {
        /// Which timer.
        generation: u64,
    },
    /// The channels as they are.
    Channels {
        /// Where to.
        reply: RpcReplyPort<Vec<ChannelView>>,
    },
    /// Send a letter to see whether it arrives.
    Test {
        /// The channel's name.
        channel: String,
        /// Who wants it.
        actor: String,
        /// What the receiver said; answered when the event is on disk.
        reply: RpcReplyPort<Tested>,
    },
    /// It came to its end.
    TestEnded {
        /// The channel's place.
        channel: usize,
        /// Who wanted it.
        actor: String,
        /// Whether it was taken.
        outcome: Result<Taken, Failure>,
        /// Who waits.
        reply: RpcReplyPort<Tested>,
    },
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// A channel, for people: nothing secret is in it.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// `ntfy`, `discord`, `webhook` or `mail`.
    pub kind: &'static str,
    /// Where it goes, as far as that is no secret: a server's name, or addresses.
    pub to: String,
    /// What it takes.
    pub rules: Rules,
    /// When it takes nothing.
    pub quiet: Option<String>,
    /// How it is.
    pub lane: LaneView,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tested {
    /// The receiver took it.
    Taken,
    /// It did not, and this is why.
    NotTaken(String),
    /// There is no such channel.
    NoSuchChannel,
    /// Another test of it is on its way.
    Busy,
}

/// What it needs.
#[derive(Clone)]
pub struct Args {
    /// The channels.
    pub channels: Vec<ChannelConfig>,
    /// The dashboard's own address, for links.
    pub base_url: Option<String>,
    /// Where memory and outbox are.
    pub store: StoreHandle,
    /// Where the fleet's state is.
    pub sync: SyncHandle,
    /// Rung when something may be worth telling.
    pub news: Arc<Notify>,
    /// Brings a letter to a receiver.
    pub deliver: Deliver,
    /// The time.
    pub clock: Clock,
}

/// Brings a letter to a receiver; ends in time, whatever the receiver does.
pub type Deliver = Arc<dyn Fn(Arc<Way>, Arc<Letter>) -> BoxFuture<'static, Result<Taken, Failure>> + Send + Sync>;

/// Over the network.
pub fn by_network() -> Deliver {
    Arc::new(|way, letter| Box::pin(async move { sending::send(&way, &letter, SEND_WITHIN).await }))
}

/// The notifier, for those who ask.
#[derive(Clone, Debug)]
pub struct NotifierHandle {
    slot: Slot<Msg>,
}

impl NotifierHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// The channels as they are.
    pub async fn channels(&self) -> Result<Vec<ChannelView>, Unanswered> {
        self.slot.call(|reply| Msg::Channels { reply }, Duration::from_secs(1)).await
    }

    /// Sends a letter, and says what the receiver said.
    pub async fn test(&self, channel: String, actor: String) -> Result<Tested, Unanswered> {
        self.slot.call(|reply| Msg::Test { channel, actor, reply }, SEND_WITHIN + Duration::from_secs(5)).await
    }
}

/// What follows a commit.
#[derive(Debug)]
enum Effect {
    Send(usize, Box<Letter>),
    Answer(RpcReplyPort<Tested>, Tested),
}

/// What it remembers.
pub struct State {
    args: Args,
    ways: Vec<Arc<Way>>,
    desk: Desk,
    committer: Committer<Effect>,
    /// Rings when there is news.
    _bell: Option<OwnedTask>,
    looking: Option<OwnedTask>,
    /// There was news since the look under way began.
    again: bool,
    sending: HashMap<usize, OwnedTask>,
    testing: HashMap<usize, OwnedTask>,
    timer: Option<OwnedTask>,
    generation: u64,
    looks: u64,
}

/// The actor.
pub struct Notifier;

impl Actor for Notifier {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        // What the one before committed is read, and not overtaken.
        args.store.settled().await?;
        let memory = args.store.setting(MEMORY).await?.filter(|bytes| !bytes.is_empty());
        let waiting: BTreeMap<u64, Waiting> = args.store.outbox().await?.into_iter().collect();
        let mut committer = Committer::new(args.store.clone());
        if args.channels.is_empty() && (memory.is_some() || !waiting.is_empty()) {
            // Nobody is to be told any more: not now, and not when there is a channel again.
            let mut writes: Vec<Write> = waiting.keys().map(|number| Write::RemoveOutbox(*number)).collect();
            writes.push(Write::PutSetting(MEMORY, Vec::new()));
            drop(committer.add(Batch { writes, ..Batch::default() }, Vec::new(), told(&myself)));
        }
        let memory = memory.and_then(|bytes| match serde_json::from_slice::<Memory>(&bytes) {
            Ok(memory) => Some(memory),
            Err(error) => {
                tracing::error!(%error, "what the notifier remembers can't be read: it begins anew");
                None
            }
        });
        let channels = args.channels.iter().map(|channel| Channel {
            name: channel.name.clone(),
            rules: channel.rules.clone(),
            quiet: channel.quiet.clone(),
        });
        // Short, and yet of no other store.
        let origin = Uuid::new_v4().simple().to_string()[..12].to_owned();
        let desk = Desk::new(channels.collect(), args.base_url.clone(), memory, waiting, origin);
        let bell = (!args.channels.is_empty()).then(|| OwnedTask::start(ring(Arc::clone(&args.news), myself.clone())));
        let mut state = State {
            ways: args.channels.iter().map(|channel| Arc::new(channel.way.clone())).collect(),
            desk,
            committer,
            _bell: bell,
            looking: None,
            again: false,
            sending: HashMap::new(),
            testing: HashMap::new(),
            timer: None,
            generation: 0,
            looks: 0,
            args,
        };
        if !state.args.channels.is_empty() {
            state.step(&myself, &Input::Timer);
        }
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(?message);
        match message {
            Msg::Look => state.look(&myself),
            Msg::Saw(seen) => {
                state.looking = None;
                match seen {
                    Ok(seen) => {
                        state.looks += 1;
                        state.step(&myself, &Input::Look(seen.sight()));
                    }
                    Err(why) => tracing::debug!(why, "the fleet can't be looked at now, and is later"),
                }
                if std::mem::take(&mut state.again) {
                    state.look(&myself);
                }
            }
            Msg::Committed(result) => {
                // A store that can't read what it wrote is beyond this actor: it is started again from the store.
                result?;
                let ready = state.committer.committed(told(&myself));
                state.perform(&myself, ready);
            }
            Msg::Sent { channel, id, outcome } => {
                state.sending.remove(&channel);
                if let Err(failure) = &outcome {
                    let name = state.args.channels.get(channel).map_or("", |channel| channel.name.as_str());
                    tracing::warn!(channel = name, why = failure.why, "a notification was not taken, tried again");
                }
                state.step(&myself, &Input::Sent { channel, id, outcome });
            }
            Msg::Wake { generation } if generation == state.generation => state.step(&myself, &Input::Timer),
            Msg::Wake { .. } => {}
            Msg::Channels { reply } => answer(reply, state.views()),
            Msg::Test { channel, actor, reply } => state.test(&myself, &channel, actor, reply),
            Msg::TestEnded { channel, actor, outcome, reply } => {
                state.test_ended(&myself, channel, actor, outcome, reply);
            }
            Msg::Inspect { reply } => answer(reply, state.inspect()),
        }
        Ok(())
    }
}

/// Turns the bell into messages: at most one in a while, and one now and then without it.
async fn ring(news: Arc<Notify>, notifier: ActorRef<Msg>) {
    loop {
        tell(&notifier, Msg::Look);
        tokio::time::sleep(BETWEEN_LOOKS).await;
        // Rung or not: both is a reason to look.
        drop(tokio::time::timeout(LOOK_ANYWAY, news.notified()).await);
    }
}

/// What a commit calls when it has ended.
fn told(myself: &ActorRef<Msg>) -> impl FnOnce(Result<(), StoreError>) + Send + 'static + use<> {
    let myself = myself.clone();
    move |result| tell(&myself, Msg::Committed(result))
}

impl State {
    fn now(&self) -> Time {
        self.args.clock.now()
    }

    /// One look at a time.
    fn look(&mut self, myself: &ActorRef<Msg>) {
        if self.looking.is_some() {
            self.again = true;
            return;
        }
        let (sync, store, after) = (self.args.sync.clone(), self.args.store.clone(), self.desk.memory().event);
        let myself = myself.clone();
        self.looking = Some(OwnedTask::start(async move {
            let seen = looking::look(&sync, &store, after).await;
            tell(&myself, Msg::Saw(seen.map(Box::new)));
        }));
    }

    fn step(&mut self, myself: &ActorRef<Msg>, input: &Input<'_>) {
        let Step { put, remove, memory, events, send } = self.desk.step(input, self.now());
        let mut writes: Vec<Write> =
            put.into_iter().map(|(number, waiting)| Write::PutOutbox(number, Box::new(waiting))).collect();
        writes.extend(remove.into_iter().map(Write::RemoveOutbox));
        match memory.map(|memory| serde_json::to_vec(&memory)) {
            Some(Ok(bytes)) => writes.push(Write::PutSetting(MEMORY, bytes)),
            Some(Err(error)) => tracing::error!(%error, "what is to be remembered can't be written down"),
            None => {}
        }
        let then = send.into_iter().map(|(channel, letter)| Effect::Send(channel, Box::new(letter))).collect();
        self.commit(myself, Batch { writes, events, changes: Vec::new() }, then);
        self.set_timer(myself);
    }

    fn commit(&mut self, myself: &ActorRef<Msg>, batch: Batch, then: Vec<Effect>) {
        let ready = self.committer.add(batch, then, told(myself));
        self.perform(myself, ready);
    }

    fn perform(&mut self, myself: &ActorRef<Msg>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(channel, letter) => {
                    let Some(way) = self.ways.get(channel).map(Arc::clone) else { continue };
                    let (myself, id) = (myself.clone(), letter.id.clone());
                    let sent = (self.args.deliver)(way, Arc::new(*letter));
                    let task = OwnedTask::start(async move {
                        let outcome = sent.await;
                        tell(&myself, Msg::Sent { channel, id, outcome });
                    });
                    self.sending.insert(channel, task);
                }
                Effect::Answer(reply, tested) => answer(reply, tested),
            }
        }
    }

    fn test(&mut self, myself: &ActorRef<Msg>, name: &str, actor: String, reply: RpcReplyPort<Tested>) {
        let Some(channel) = self.args.channels.iter().position(|channel| channel.name == name) else {
            return answer(reply, Tested::NoSuchChannel);
        };
        let Some(way) = self.ways.get(channel).filter(|_| !self.testing.contains_key(&channel)).map(Arc::clone) else {
            return answer(reply, Tested::Busy);
        };
        let id = format!("test-{}", Uuid::new_v4().simple());
        let letter = notify::test_letter(id, name, self.args.base_url.as_deref(), self.now());
        let myself = myself.clone();
        let sent = (self.args.deliver)(way, Arc::new(letter));
        let task = OwnedTask::start(async move {
            let outcome = sent.await;
            tell(&myself, Msg::TestEnded { channel, actor, outcome, reply });
        });
        self.testing.insert(channel, task);
    }

    fn test_ended(
        &mut self,
        myself: &ActorRef<Msg>,
        channel: usize,
        actor: String,
        outcome: Result<Taken, Failure>,
        reply: RpcReplyPort<Tested>,
    ) {
        self.testing.remove(&channel);
        let now = self.now();
        self.desk.tested(channel, &outcome, now);
        let name = self.args.channels.get(channel).map_or("", |channel| channel.name.as_str());
        let (level, message, tested) = match outcome {
            Ok(Taken { left_out }) if !left_out.is_empty() => {
                let who = left_out.join("; ");
                let message = format!("{name} took a test notification, and reached not everybody: {who}");
                (Level::Warn, message, Tested::NotTaken(format!("the others have it, but not {who}")))
            }
            Ok(_) => (Level::Success, format!("{name} took a test notification"), Tested::Taken),
            Err(failure) => {
                let message = format!("{name} did not take a test notification: {}", failure.why);
                (Level::Warn, message, Tested::NotTaken(failure.why))
            }
        };
        let event = NewEvent::new(now, Category::Audit, level, actor, "notification_tested", message);
        let batch = Batch { events: vec![event], ..Batch::default() };
        self.commit(myself, batch, vec![Effect::Answer(reply, tested)]);
    }

    fn set_timer(&mut self, myself: &ActorRef<Msg>) {
        let now = self.now();
        self.generation += 1;
        let (generation, myself) = (self.generation, myself.clone());
        self.timer = self.desk.next_wake(now).map(|at| {
            // A moment that is past must not become a loop without a breath.
            let wait = at.since(now).max(Duration::from_millis(1));
            OwnedTask::start(async move {
                tokio::time::sleep(wait).await;
                tell(&myself, Msg::Wake { generation });
            })
        });
    }

    fn views(&self) -> Vec<ChannelView> {
        let now = self.now();
        let view = |(at, channel): (usize, &ChannelConfig)| ChannelView {
            name: channel.name.clone(),
            kind: sending::kind(&channel.way),
            to: sending::place(&channel.way),
            rules: channel.rules.clone(),
            quiet: channel.quiet.as_ref().map(ToString::to_string),
            lane: self.desk.view(at, now).unwrap_or_default(),
        };
        self.args.channels.iter().enumerate().map(view).collect()
    }

    fn inspect(&self) -> serde_json::Value {
        let lanes = self.views();
        serde_json::json!({
            "channels": lanes.len(),
            "waiting": lanes.iter().map(|view| view.lane.waiting).sum::<u64>(),
            "failing": lanes.iter().filter(|view| view.lane.last_error.is_some()).map(|view| &view.name).collect::<Vec<_>>(),
            "sending": self.sending.len(),
            "looks": self.looks,
            "committing": !self.committer.is_idle(),
        })
    }
}
