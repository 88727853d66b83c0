//! All hosts: one actor for each, spawned from its record, at the start and after a crash by the same code.
//!
//! Who talks to it: links (agents that registered), the remote, the web and the sessions through [`HostsHandle`].
//! Messages for one host are forwarded with their reply ports; nothing is waited for here.
//! When a host's actor dies: its link is closed with 1012, so that its agent comes back and tells the truth; it is
//! started again from the store, after a pause that grows; when it keeps dying it is quarantined: shown as broken
//! with what was last known, and tried again now and then. Its neighbours do not notice.
//! When this actor dies its children die with it; the root starts it again, and it reads the store.

mod handle;
mod owners;
mod revival;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::Refusal;
use nixfleet_model::command::Command;
use nixfleet_model::event::NewEvent;
use nixfleet_model::host::HostRecord;
use nixfleet_model::remote::RemoteState;
use nixfleet_model::restart::Restarts;
use nixfleet_protocol::agent::Register;
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{CommandId, HostId, RunId, api};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::watch;

pub use self::handle::HostsHandle;
use super::death::death;
use super::host::log::{self, LogEnd};
use super::host::{self, Act, ActRefused, Host, HostRef, Submit, Submitted, World, tell};
use super::links::link::{LinkRef, close};
use super::slot::answer;
use super::store::{Batch, StoreError, Write};

/// What the hosts actor answers to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a message is moved a few times, and no queue of these grows long")]
pub enum Msg {
    /// An agent may speak for a host. A host that is not known is made.
    LinkUp {
        /// Which host.
        host: HostId,
        /// The agent's link.
        link: LinkRef,
        /// What it said.
        register: Box<Register>,
        /// Where the host's actor is put. Dropped when the host can't take an agent now.
        attach: RpcReplyPort<HostRef>,
    },
    /// The remote's desired state changed.
    RemoteChanged(Arc<RemoteState>),
    /// A question to the remote has ended, with or without success; what it said came before this.
    RemoteAsked {
        /// Who asked.
        host: HostId,
        /// Names the question.
        number: u64,
    },
    /// Somebody wants an op on a host.
    Submit {
        /// Which host.
        host: HostId,
        /// The command's id, where none was chosen before.
        id: CommandId,
        /// Which op, and how.
        request: Box<Submit>,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Submitted>,
    },
    /// A run wants these hosts for itself: all of them, or none.
    Reserve {
        /// Which run.
        run: RunId,
        /// Which hosts.
        hosts: Vec<HostId>,
        /// Those that can't be had and why; none: all are the run's.
        reply: RpcReplyPort<Vec<(HostId, Refusal)>>,
    },
    /// All hosts that a run wants have answered.
    Reserved {
        /// Which run.
        run: RunId,
        /// Those that can't be had, and why.
        refused: Vec<(HostId, Refusal)>,
        /// Who waits.
        reply: RpcReplyPort<Vec<(HostId, Refusal)>>,
    },
    /// These hosts are this run's, as its record says.
    Own {
        /// Which run.
        run: RunId,
        /// Which hosts.
        hosts: Vec<HostId>,
    },
    /// A run is over: its hosts are everyone's again.
    Release(RunId),
    /// The runs that there are, and no others: what belongs to another is released.
    OpenRuns(BTreeSet<RunId>),
    /// Somebody wants something of a running command.
    Act {
        /// Which command.
        command: CommandId,
        /// Of which host.
        host: HostId,
        /// What.
        action: Act,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Result<api::Command, ActRefused>>,
    },
    /// Somebody reads along.
    FollowLog {
        /// Of which host.
        host: HostId,
        /// Which command's log.
        command: CommandId,
        /// Nothing: the command is over or unknown to its host's actor, the file is all there is.
        reply: RpcReplyPort<Option<watch::Receiver<LogEnd>>>,
    },
    /// Make a host of which nothing but its name is known.
    Create {
        /// Its name.
        host: HostId,
        /// Who.
        actor: String,
        /// Answered when it is on disk and in the state that everyone sees.
        reply: RpcReplyPort<Created>,
    },
    /// The sync actor was restarted: publish everything.
    Republish,
    /// Whether every host's actor answers within a second.
    Health {
        /// Where to.
        reply: RpcReplyPort<Health>,
    },
    /// A host was created, and is on disk.
    Made {
        /// Its record.
        record: Box<HostRecord>,
        /// Who waits.
        reply: RpcReplyPort<Created>,
    },
    /// A host's actor died, and its time has come to be started again.
    Revive {
        /// Which.
        host: HostId,
    },
    /// The store was asked for a host whose actor died.
    Loaded {
        /// Which.
        host: HostId,
        /// What it has.
        loaded: Result<Option<(HostRecord, Vec<Command>)>, StoreError>,
    },
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
    /// A host was removed, its record too; its actor ends.
    Gone {
        /// Which.
        host: HostId,
    },
    /// A snapshot of every host's actor, by name; those that don't answer within a second are null.
    InspectAll {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// What became of a [`Msg::Create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Made,
    /// It was there already.
    Existed,
}

/// How the hosts are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// How many there are.
    pub hosts: usize,
    /// Their actors do not answer.
    pub silent: Vec<HostId>,
    /// Their actors keep failing: why. No reason for the fleet to be unready.
    pub quarantined: Vec<(HostId, String)>,
}

/// How long a host's actor may take to end in order.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What it needs.
pub struct Args {
    /// What all hosts' actors need.
    pub world: Arc<World>,
    /// The remote, as far as it is known before its actor tells.
    pub remote: Arc<RemoteState>,
}

/// What it remembers of one host.
#[derive(Debug, Default)]
struct Entry {
    /// Its actor; none while it is being started again.
    actor: Option<HostRef>,
    /// Its agent's link, to be closed when the actor dies.
    link: Option<LinkRef>,
    restarts: Restarts,
    /// It keeps failing: why.
    broken: Option<String>,
    /// Its time has come to be tried again.
    due: bool,
    /// The run that owns it.
    run: Option<RunId>,
}

/// What it remembers.
pub struct State {
    world: Arc<World>,
    remote: Arc<RemoteState>,
    hosts: BTreeMap<HostId, Entry>,
    by_actor: HashMap<ActorId, HostId>,
}

/// The actor.
pub struct Hosts;

impl Actor for Hosts {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let Args { world, remote } = args;
        // What those before had under way comes to rest first, or it would be written over what is read now.
        world.store.settled().await?;
        let loaded = world.store.load().await?;
        // The last good answer, where it is of the same remote: lights that are right from the first moment.
        let remote = match loaded.remote {
            Some(known) if known.source == remote.source => Arc::new(known),
            Some(_) | None => remote,
        };
        let mut open: BTreeMap<Option<HostId>, Vec<Command>> = BTreeMap::new();
        for command in loaded.open {
            open.entry(command.host.clone()).or_default().push(command);
        }
        let mut state = State { world, remote, hosts: BTreeMap::new(), by_actor: HashMap::new() };
        for run in loaded.runs.iter().filter(|run| !run.record.is_over()) {
            for host in run.hosts.keys() {
                state.hosts.entry(host.clone()).or_default().run = Some(run.record.id);
            }
        }
        let known: BTreeSet<HostId> = loaded.hosts.iter().map(|record| record.id.clone()).collect();
        state.hosts.retain(|host, _| known.contains(host));
        for record in loaded.hosts {
            let unfinished = open.remove(&Some(record.id.clone())).unwrap_or_default();
            state.spawn(&myself, record, unfinished).await;
        }
        // What concerns no host is the remote's; of a host that is not there nobody would ever say how it ended.
        open.remove(&None);
        state.abandon(open.into_values().flatten());
        log::sweep(&state.world.data_dir);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(?message);
        match message {
            Msg::LinkUp { host, link, register, attach } => {
                if !state.hosts.contains_key(&host) {
                    let record = HostRecord::new(host.clone(), state.world.clock.now());
                    state.spawn(&myself, record, Vec::new()).await;
                }
                state.link_up(&host, link, register, attach);
            }
            Msg::RemoteChanged(remote) => {
                state.remote = Arc::clone(&remote);
                state.tell_all(|| host::Msg::RemoteChanged(Arc::clone(&remote)));
            }
            Msg::RemoteAsked { host, number } => {
                if let Some(actor) = state.actor(&host) {
                    tell(actor, host::Msg::RemoteAsked { number });
                }
            }
            Msg::Submit { host, id, request, reply } => match state.hosts.get(&host) {
                None => answer(reply, Submitted::NoSuchHost),
                Some(Entry { actor: None, .. }) => answer(reply, Submitted::Unavailable(restarting(&host))),
                Some(Entry { actor: Some(actor), .. }) => tell(actor, host::Msg::Submit { id, request, reply }),
            },
            Msg::Reserve { run, hosts, reply } => state.reserve(&myself, run, hosts, reply),
            Msg::Reserved { run, refused, reply } => state.reserved(run, refused, reply),
            Msg::Own { run, hosts } => state.own(run, &hosts),
            Msg::Release(run) => state.release(run),
            Msg::OpenRuns(runs) => state.keep_owners(&runs),
            Msg::Act { command, host, action, actor: who, reply } => match state.hosts.get(&host) {
                None => answer(reply, Err(ActRefused::NotOpen)),
                Some(Entry { actor: None, .. }) => answer(reply, Err(ActRefused::Unavailable(restarting(&host)))),
                Some(Entry { actor: Some(actor), .. }) => {
                    tell(actor, host::Msg::Act { command, action, actor: who, reply });
                }
            },
            Msg::FollowLog { host, command, reply } => match state.actor(&host) {
                None => answer(reply, None),
                Some(actor) => tell(actor, host::Msg::FollowLog { command, reply }),
            },
            Msg::Create { host, actor, reply } => state.create(&myself, host, actor, reply),
            Msg::Made { record, reply } => {
                if !state.hosts.contains_key(&record.id) {
                    state.spawn(&myself, *record, Vec::new()).await;
                }
                answer(reply, Created::Made);
            }
            Msg::Revive { host } => {
                if let Some(entry) = state.hosts.get_mut(&host) {
                    entry.due = true;
                    state.load(&myself, host);
                }
            }
            Msg::Loaded { host, loaded } => state.loaded(&myself, host, loaded).await,
            Msg::Gone { host } => state.gone(&host),
            Msg::Republish => {
                state.tell_all(|| host::Msg::Republish);
                for host in state.broken() {
                    state.load(&myself, host);
                }
            }
            Msg::Health { reply } => state.health(reply),
            Msg::Inspect { reply } => answer(reply, state.inspect()),
            Msg::InspectAll { reply } => state.inspect_all(reply),
        }
        Ok(())
    }

    /// Each host's actor ends in order, all at once: they write down the facts that are not on disk yet.
    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        let stopping = state.hosts.values().filter_map(|entry| entry.actor.clone()).map(|actor| async move {
            if actor.stop_and_wait(None, Some(STOP_WITHIN)).await.is_err() {
                tracing::warn!(actor = ?actor.get_id(), "did not stop in time");
            }
        });
        futures_util::future::join_all(stopping).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((child, why)) = death(event) {
            state.died(&myself, child, &why);
        }
        Ok(())
    }
}

impl State {
    fn actor(&self, host: &HostId) -> Option<&HostRef> {
        self.hosts.get(host)?.actor.as_ref()
    }

    fn tell_all(&self, message: impl Fn() -> host::Msg) {
        for actor in self.hosts.values().filter_map(|entry| entry.actor.as_ref()) {
            tell(actor, message());
        }
    }

    /// A host's actor, from its record. One that can't be started counts as one that died.
    async fn spawn(&mut self, myself: &ActorRef<Msg>, record: HostRecord, unfinished: Vec<Command>) {
        let host = record.id.clone();
        let args = host::Args {
            world: Arc::clone(&self.world),
            hosts: myself.clone(),
            record: Box::new(record),
            unfinished,
            remote: Arc::clone(&self.remote),
            run: self.hosts.get(&host).and_then(|entry| entry.run),
        };
        match Actor::spawn_linked(None, Host, args, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.by_actor.insert(actor.get_id(), host.clone());
                let entry = self.hosts.entry(host).or_default();
                entry.actor = Some(actor);
                entry.broken = None;
            }
            Err(error) => {
                self.hosts.entry(host.clone()).or_default();
                self.failed(myself, &host, &error.to_string());
            }
        }
    }

    fn link_up(&mut self, host: &HostId, link: LinkRef, register: Box<Register>, attach: RpcReplyPort<HostRef>) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let Some(actor) = &entry.actor else {
            return link.close(close::RESTART, "the host's actor is being restarted, come back");
        };
        tell(actor, host::Msg::LinkUp { link: link.clone(), register });
        answer(attach, actor.clone());
        entry.link = Some(link);
    }

    fn create(&mut self, myself: &ActorRef<Msg>, host: HostId, actor: String, reply: RpcReplyPort<Created>) {
        if self.hosts.contains_key(&host) {
            return answer(reply, Created::Existed);
        }
        let now = self.world.clock.now();
        let record = Box::new(HostRecord::new(host.clone(), now));
        let message = format!("{host} was added");
        let event = NewEvent::new(now, Category::Audit, Level::Info, actor, "host_added", message).on(host);
        let batch = Batch { writes: vec![Write::PutHost(record.clone())], events: vec![event], changes: Vec::new() };
        let (store, myself) = (self.world.store.clone(), myself.clone());
        tokio::spawn(async move {
            match store.commit_once(batch).await {
                Ok(()) => tell(&myself, Msg::Made { record, reply }),
                // Nobody answers, and so the caller is told.
                Err(error) => tracing::warn!(%error, "host not added"),
            }
        });
    }
}

fn restarting(host: &HostId) -> String {
    format!("the actor of {host} is being restarted: try again in a moment")
}
