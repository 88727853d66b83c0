//! The fleet's state in memory: the one instance. Gives every change its version, makes its bytes once, and
//! fans them out to all tabs, API clients and runs, in one order.
//!
//! Invariants: versions are contiguous and never given twice, over any restart: they begin above a mark that
//! the store keeps and that is raised before it is reached. A subscriber that can't keep up is sent the full
//! state later, and never slows anyone or grows memory.
//!
//! When it dies: rebuilt from the store; the others publish what is theirs again ([`Msg::Publish`] of whole
//! objects, so there is nothing to miss), and the sessions subscribe anew. Who wants the state waits until all
//! hosts have told theirs (`sync/waking.rs`).

mod follower;
mod outbox;
mod page_kind;
mod payload;
mod ring;
mod subscribers;
#[cfg(test)]
mod tests;
mod waking;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::fleet_state::{FleetState, StateChange};
use nixfleet_model::view::{command_view, remote_view};
use nixfleet_protocol::api::{Command, Host, LogLine, Remote, Server};
use nixfleet_protocol::browser::{Change, Fragment, Resume};
use nixfleet_protocol::sgr::Pen;
use nixfleet_protocol::{CommandId, Epoch, HostId, Time, Version};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::follower::Follower;
pub(crate) use self::outbox::frame;
pub use self::outbox::{Outbox, OutboxReader, outbox};
pub use self::page_kind::PageKind;
use self::ring::Ring;
use self::subscribers::{Made, Subscriber, breath};
use self::waking::Waking;
use super::slot::{Slot, Unanswered, answer};
use super::store::{HostsAs, Loaded, StoreError, StoreHandle};

/// By how much the mark is raised at a time.
const MARK_STEP: u64 = 1_000_000;
/// How close to the mark versions come before it is raised.
const MARK_REST: u64 = 500_000;

/// What a subscriber is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Objects, as in the API.
    Json,
    /// Fragments of a page.
    Html(PageKind),
}

/// Makes the fragments of a page. The web's templates do it; the actors know no HTML.
pub trait Render: Send + std::marker::Sync {
    /// The smallest elements that a change touches on this kind of page, ready to be put in place. `before` is the
    /// host as it was, where a host changed.
    fn fragments(&self, change: &Change, before: Option<&Host>, state: &FleetState, page: &PageKind) -> Vec<Fragment>;
    /// Every region of the page as it is now.
    fn everything(&self, state: &FleetState, page: &PageKind) -> Vec<Fragment>;
    /// How a command stands, to be shown above its log.
    fn log_head(&self, state: &FleetState, command: &Command) -> String;
    /// Lines of a log, the first of which has the number `line` and begins with `pen`.
    fn log_rows(&self, command: CommandId, line: u64, lines: &[LogLine], pen: Pen) -> String;
}

/// The state at one version. Cheap: nothing is copied.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The store that the version belongs to.
    pub epoch: Epoch,
    /// The version.
    pub version: Version,
    /// The state.
    pub state: Arc<FleetState>,
}

/// What the sync actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// Objects as they are now; what changed gets a version and goes out.
    Publish(Vec<StateChange>),
    /// The state, now.
    Snapshot {
        /// Where to.
        reply: RpcReplyPort<Snapshot>,
    },
    /// A new subscriber: it is sent `init`, or what came after the version it has.
    Subscribe {
        /// Its number.
        id: u64,
        /// What it wants to be sent.
        view: View,
        /// Where.
        outbox: Outbox,
        /// What it has already.
        resume: Option<Resume>,
    },
    /// Somebody in the daemon follows from now on, under this number; an earlier one of the same number does no more.
    Follow {
        /// Its number.
        id: Uuid,
        /// Called with each change.
        follower: Follower,
        /// The state as it is, before the first of these changes.
        reply: RpcReplyPort<Snapshot>,
    },
    /// It follows no more.
    Unfollow {
        /// Its number.
        id: Uuid,
    },
    /// It is gone.
    Unsubscribe {
        /// Its number.
        id: u64,
    },
    /// A subscriber asks for what came after the version it has.
    Resume {
        /// Its number.
        id: u64,
        /// What it has.
        from: Resume,
    },
    /// A subscriber asks for everything, or has emptied an outbox that had been full.
    GetState {
        /// Its number.
        id: u64,
    },
    /// The hosts had their time to tell their state: what waited for them goes on.
    Awake,
    /// Time for a `sync` frame.
    Beacon,
    /// The mark was raised to this.
    MarkRaised(u64),
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What it needs.
pub struct Args {
    /// Where it is rebuilt from, and where the mark is.
    pub store: StoreHandle,
    /// Makes fragments.
    pub render: Arc<dyn Render>,
    /// The daemon, as the page tells of it.
    pub server: Server,
    /// How often a `sync` frame goes out.
    pub beacon: Duration,
    /// Rung when something changed that people may want to be told of.
    pub news: Arc<Notify>,
    /// Its own place. It sits down before it reads the store, so that what is committed meanwhile finds it.
    pub seat: Slot<Msg>,
}

/// The sync actor, for those who use it.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    slot: Slot<Msg>,
}

impl SyncHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Publishes facts that need not be durable. While the actor is being restarted they are lost, and
    /// published again by their owners when it is back.
    pub fn publish(&self, changes: Vec<StateChange>) {
        if !changes.is_empty() && !self.slot.cast(Msg::Publish(changes)) {
            tracing::debug!("sync is being restarted, facts will be published again");
        }
    }

    /// The state, now.
    pub async fn snapshot(&self) -> Result<Snapshot, Unanswered> {
        self.slot.call(|reply| Msg::Snapshot { reply }, Duration::from_secs(5)).await
    }

    /// Has each change told to a follower from now on. Gives the state as it is before the first of them.
    pub async fn follow(&self, id: Uuid, follower: Follower) -> Result<Snapshot, Unanswered> {
        self.slot.call(|reply| Msg::Follow { id, follower, reply }, Duration::from_secs(5)).await
    }

    /// Ends that. An actor that sits there no more tells nobody anyway.
    pub fn unfollow(&self, id: Uuid) {
        if !self.slot.cast(Msg::Unfollow { id }) {
            tracing::trace!("sync is being restarted, and knows no followers");
        }
    }

    /// Tells the actor, whoever sits there.
    pub fn cast(&self, message: Msg) -> bool {
        self.slot.cast(message)
    }
}

/// What it remembers.
pub struct State {
    store: StoreHandle,
    render: Arc<dyn Render>,
    epoch: Epoch,
    version: Version,
    /// Versions may be given up to here.
    mark: u64,
    raising: bool,
    fleet: Arc<FleetState>,
    ring: Ring,
    subscribers: HashMap<u64, Subscriber>,
    followers: HashMap<Uuid, Follower>,
    /// Not all hosts have told their state yet.
    waking: Option<Waking>,
    /// The whole state, for those who ask before anything changes.
    whole: Vec<Made>,
    news: Arc<Notify>,
}

/// The actor.
pub struct Sync;

impl Actor for Sync {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        args.seat.seat(myself.clone());
        let loaded = args.store.load_with(HostsAs::Names).await?;
        let before = raise_mark(&args.store, 0).await?;
        let mark = before + MARK_STEP;
        raise_mark(&args.store, mark).await?;
        myself.send_interval(args.beacon, || Msg::Beacon);
        let epoch = loaded.epoch;
        let waking = Waking::new(loaded.names.iter().cloned());
        if waking.is_some() {
            myself.send_after(waking::WITHIN, || Msg::Awake);
        }
        let fleet = rebuild(loaded, args.server);
        Ok(State {
            store: args.store,
            render: args.render,
            epoch,
            // Everything at or below the old mark may have been given.
            version: Version(before + 1),
            mark,
            raising: false,
            fleet: Arc::new(fleet),
            ring: Ring::default(),
            subscribers: HashMap::new(),
            followers: HashMap::new(),
            waking,
            whole: Vec::new(),
            news: args.news,
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let message = match &mut state.waking {
            None => Some(message),
            Some(waking) => waking.hold(message),
        };
        let Some(message) = message else { return Ok(()) };
        match message {
            Msg::Publish(changes) => {
                let mut awake = false;
                for change in changes {
                    if state.version.0 >= state.mark {
                        // The disk has been full for hours. To give more could give one twice after a crash.
                        return Err("no versions are left below the mark".into());
                    }
                    awake |= state.waking.as_mut().is_some_and(|waking| waking.told(&change));
                    state.publish(change);
                }
                state.raise_mark_in_time(&myself);
                if awake {
                    state.wake().await;
                } else if !state.subscribers.is_empty() {
                    breath().await;
                }
            }
            Msg::Awake => state.wake().await,
            message @ (Msg::Snapshot { .. }
            | Msg::Subscribe { .. }
            | Msg::Follow { .. }
            | Msg::Unfollow { .. }
            | Msg::Unsubscribe { .. }
            | Msg::Resume { .. }
            | Msg::GetState { .. }
            | Msg::Beacon
            | Msg::MarkRaised(_)
            | Msg::Inspect { .. }) => state.serve(message).await,
        }
        Ok(())
    }
}

/// Raises the mark and answers the one before. A full disk is waited for: nothing may be told without versions, and
/// to fail would only fail again.
async fn raise_mark(store: &StoreHandle, to: u64) -> Result<u64, StoreError> {
    loop {
        match store.raise_mark(to).await {
            Err(StoreError::CantWrite(why)) => {
                tracing::error!(why, "waits until the store can write; nothing is served before");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            answer => return answer,
        }
    }
}

/// The state from what is stored. Hosts come from their actors, who alone can tell their lights.
fn rebuild(loaded: Loaded, server: Server) -> FleetState {
    let remote = loaded.remote.as_ref().map_or_else(Remote::default, |remote| remote_view(remote, Time::now()));
    let mut fleet = FleetState::new(remote, server);
    for command in loaded.recent.iter().chain(&loaded.open) {
        fleet.apply(StateChange::Command(Arc::new(command_view(command))));
    }
    for run in loaded.runs.iter().rev() {
        fleet.apply(StateChange::Run(Arc::new(run.view(Vec::new()))));
    }
    for event in loaded.events.into_iter().rev() {
        fleet.apply(StateChange::Event(event));
    }
    fleet
}

impl State {
    /// The messages that ask for the state or are about those who do.
    async fn serve(&mut self, message: Msg) {
        match message {
            Msg::Snapshot { reply } => answer(reply, self.snapshot()),
            Msg::Subscribe { id, view, outbox, resume } => self.subscribe(id, view, outbox, resume).await,
            Msg::Follow { id, follower, reply } => {
                self.followers.insert(id, follower);
                answer(reply, self.snapshot());
            }
            Msg::Unfollow { id } => {
                self.followers.remove(&id);
            }
            Msg::Unsubscribe { id } => {
                self.subscribers.remove(&id);
            }
            Msg::Resume { id, from } => self.resume(id, &from).await,
            Msg::GetState { id } => self.send_state(id, "full_state").await,
            Msg::Beacon => self.beacon(),
            Msg::MarkRaised(mark) => {
                self.mark = self.mark.max(mark);
                self.raising = false;
            }
            Msg::Inspect { reply } => answer(reply, self.inspect()),
            // Handled by the actor itself.
            Msg::Publish(_) | Msg::Awake => {}
        }
    }

    /// All hosts have told their state, or had their time.
    async fn wake(&mut self) {
        let Some((missing, held)) = self.waking.take().map(Waking::over) else { return };
        if missing > 0 {
            tracing::warn!(missing, "hosts have not told their state, shown without them until they do");
        }
        for message in held {
            self.serve(message).await;
        }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({
            "version": self.version,
            "mark": self.mark,
            "hosts": self.fleet.hosts.len(),
            "waking": self.waking.is_some(),
            "subscribers": self.subscribers.len(),
            "followers": self.followers.len(),
            "lagging": self.subscribers.values().filter(|s| s.outbox.is_lagging()).count(),
            "ring": self.ring.len(),
        })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { epoch: self.epoch, version: self.version, state: Arc::clone(&self.fleet) }
    }

    fn host(&self, id: &HostId) -> Option<Arc<Host>> {
        self.fleet.hosts.get(id).map(|view| Arc::clone(&view.host))
    }

    fn publish(&mut self, change: StateChange) {
        let before = match &change {
            // Nobody is to be told how it differs.
            _ if self.subscribers.is_empty() => None,
            StateChange::Host(view) => self.host(&view.host.id),
            StateChange::Beat(beat) => self.host(&beat.host),
            StateChange::HostRemoved(id) => self.host(id),
            StateChange::Command(_)
            | StateChange::Run(_)
            | StateChange::Remote(_)
            | StateChange::Event(_)
            | StateChange::Server(_) => None,
        };
        let is_news = self.is_news(&change);
        let Some(change) = Arc::make_mut(&mut self.fleet).apply(change) else { return };
        self.version = self.version.next();
        self.whole.clear();
        if is_news {
            self.news.notify_one();
        }
        self.fan_out(&change, before.as_deref());
        for follower in self.followers.values() {
            follower.tell(&change);
        }
        self.ring.push(&change);
    }

    /// Whether people may want to be told of it. Most changes are heartbeats, and of those only one that shows the host
    /// in another state.
    fn is_news(&self, change: &StateChange) -> bool {
        match change {
            StateChange::Host(view) => {
                self.fleet.hosts.get(&view.host.id).is_none_or(|before| before.host.state != view.host.state)
            }
            StateChange::Beat(beat) => beat.is_news(),
            StateChange::Event(_) | StateChange::Run(_) | StateChange::Remote(_) => true,
            StateChange::Command(_) | StateChange::HostRemoved(_) | StateChange::Server(_) => false,
        }
    }

    /// The mark is raised long before it is reached, so that nobody waits for the disk.
    fn raise_mark_in_time(&mut self, myself: &ActorRef<Msg>) {
        if self.raising || self.version.0 + MARK_REST < self.mark {
            return;
        }
        self.raising = true;
        let (store, to, tell) = (self.store.clone(), self.mark + MARK_STEP, myself.clone());
        tokio::spawn(async move {
            loop {
                match store.raise_mark(to).await {
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "mark of state versions not raised, trying again");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            if tell.cast(Msg::MarkRaised(to)).is_err() {
                tracing::debug!("sync is gone");
            }
        });
    }
}
