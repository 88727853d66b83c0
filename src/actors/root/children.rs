//! The root's children: their order, what each starts with, and how they are stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core;
use nixfleet_model::remote::RemoteState;
use nixfleet_model::restart::Policy;
use nixfleet_model::retention::Retention;
use nixfleet_protocol::api::Server;
use ractor::{Actor, ActorId, ActorRef, Message, SpawnErr};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::Msg;
use crate::actors::clock::Clock;
use crate::actors::handles::{Handles, Slots};
use crate::actors::host::{self, AskRemote, packets};
use crate::actors::links::link::close;
use crate::actors::slot::Slot;
use crate::actors::store::StoreHandle;
use crate::actors::sync::Render;
use crate::actors::{access, hosts, janitor, links, notifier, remote, runs, sessions, store, sync};
use crate::config::ChannelConfig;

/// How long an actor may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// A child of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// Serialises all writes to sled.
    Store,
    /// The fleet's state in memory.
    Sync,
    /// Logins and tokens.
    Access,
    /// The desired state.
    Remote,
    /// The hosts' parent.
    Hosts,
    /// The runs' parent.
    Runs,
    /// The agents' links.
    Links,
    /// The tabs' parent.
    Sessions,
    /// Messages to people.
    Notifier,
    /// Retention, compression, compaction.
    Janitor,
}

impl Child {
    /// Started in this order, stopped in the other.
    pub const IN_ORDER: &'static [Self] = &[
        Self::Store,
        Self::Sync,
        Self::Access,
        Self::Remote,
        Self::Hosts,
        Self::Runs,
        Self::Links,
        Self::Sessions,
        Self::Notifier,
        Self::Janitor,
    ];

    /// How patient the root is with it.
    pub(super) const fn policy(self) -> Policy {
        match self {
            Self::Store => Policy::STORE,
            Self::Sync
            | Self::Access
            | Self::Remote
            | Self::Hosts
            | Self::Runs
            | Self::Links
            | Self::Sessions
            | Self::Notifier
            | Self::Janitor => Policy::CHILD,
        }
    }
}

/// What the children start with, each time they start.
#[derive(Clone)]
pub struct Settings {
    /// Where everything lies.
    pub data_dir: PathBuf,
    /// The daemon, as the page tells of it.
    pub server: Server,
    /// How often a `sync` frame goes out.
    pub beacon: Duration,
    /// Where magic packets are sent.
    pub wake_by: SocketAddr,
    /// Makes fragments.
    pub render: Arc<dyn Render>,
    /// How the remote is reached.
    pub remote: remote::Settings,
    /// How logins and tokens are checked.
    pub access: access::Settings,
    /// How hosts treat commands.
    pub hosts: Arc<host_core::Settings>,
    /// How people are told.
    pub notify: Vec<ChannelConfig>,
    /// The dashboard's own address, for links.
    pub base_url: Option<String>,
    /// How long things are kept.
    pub retention: Retention,
    /// The runtime of the tabs.
    pub people: Handle,
}

/// The places, and what their actors start with.
#[derive(Clone)]
pub(super) struct Tree {
    settings: Settings,
    pub(super) slots: Slots,
    handles: Handles,
    /// The daemon as everyone sees it, with what the store said last; outlives the sync actor.
    server: watch::Sender<Server>,
    /// Rung by sync when something may be worth telling people; outlives both.
    news: Arc<Notify>,
}

impl Tree {
    pub(super) fn new(settings: Settings, slots: Slots, handles: Handles) -> Self {
        let server = watch::Sender::new(settings.server.clone());
        Self { settings, slots, handles, server, news: Arc::default() }
    }

    /// The daemon as it is now.
    pub(super) fn server(&self) -> Server {
        self.server.borrow().clone()
    }

    /// Empties a child's place.
    pub(super) fn vacate(&self, child: Child) {
        match child {
            Child::Store => self.slots.store.vacate(),
            Child::Sync => self.slots.sync.vacate(),
            Child::Access => self.slots.access.vacate(),
            Child::Remote => self.slots.remote.vacate(),
            Child::Hosts => self.slots.hosts.vacate(),
            Child::Runs => self.slots.runs.vacate(),
            Child::Links => self.slots.links.vacate(),
            Child::Sessions => self.slots.sessions.vacate(),
            Child::Notifier => self.slots.notifier.vacate(),
            Child::Janitor => self.slots.janitor.vacate(),
        }
    }

    fn store(&self) -> StoreHandle {
        self.handles.store.clone()
    }

    fn store_args(&self) -> store::Args {
        let (sync, health, server) = (self.handles.sync.clone(), self.handles.sync.clone(), self.server.clone());
        store::Args {
            dir: self.settings.data_dir.clone(),
            publish: Box::new(move |changes| sync.publish(changes)),
            on_health: Box::new(move |store_error| {
                server.send_modify(|server| server.store_error = store_error);
                health.publish(vec![StateChange::Server(Arc::new(server.borrow().clone()))]);
            }),
        }
    }

    fn access_args(&self) -> access::Args {
        let (sessions, links) = (self.handles.sessions.clone(), self.handles.links.clone());
        access::Args {
            settings: self.settings.access.clone(),
            store: self.store(),
            ended: Arc::new(move |ended| {
                let told = match ended {
                    access::Ended::Viewer(viewer) => sessions.close(viewer),
                    access::Ended::Host(host) => links.close_host(host, close::NOT_ALLOWED, "the token was removed"),
                };
                if !told {
                    tracing::debug!("nobody holds sockets right now");
                }
            }),
        }
    }

    fn remote_args(&self) -> remote::Args {
        let (sync, hosts) = (self.handles.sync.clone(), self.handles.hosts.clone());
        remote::Args {
            settings: self.settings.remote.clone(),
            store: self.store(),
            publish: Box::new(move |changes| sync.publish(changes)),
            tell: Box::new(move |remote| {
                if !hosts.remote_changed(remote) {
                    tracing::debug!("hosts are being restarted and will ask");
                }
            }),
        }
    }

    fn hosts_args(&self) -> hosts::Args {
        let (sync, asked, interested) =
            (self.handles.sync.clone(), self.handles.remote.clone(), self.handles.remote.clone());
        let wake_by = self.settings.wake_by;
        let janitor = self.slots.janitor.clone();
        let world = host::World {
            settings: Arc::clone(&self.settings.hosts),
            store: self.store(),
            publish: Box::new(move |changes| sync.publish(changes)),
            ask_remote: Box::new(move |AskRemote { within, done }| {
                let remote = asked.clone();
                tokio::spawn(async move {
                    if let Err(error) = remote.ask(within).await {
                        tracing::debug!(%error, "the remote was not asked in time");
                    }
                    done();
                });
            }),
            interest: Box::new(move |commit| {
                if !interested.interest(commit) {
                    tracing::debug!("the remote is being restarted and hears of all commits again");
                }
            }),
            wake: Box::new(move |addresses| packets::send(addresses, wake_by)),
            log_over: Box::new(move |host, command| {
                if !janitor.cast(janitor::Msg::LogOver { host, command }) {
                    tracing::debug!("the janitor is being restarted and looks at all logs");
                }
            }),
            data_dir: self.settings.data_dir.clone(),
            clock: Clock::Wall,
        };
        // Until the remote's actor tells; the root asks it to when the hosts have started.
        let remote = &self.settings.remote;
        let unknown = RemoteState::new(remote.location.clone(), remote.branch.clone(), remote.interval);
        hosts::Args { world: Arc::new(world), remote: Arc::new(unknown) }
    }

    fn runs_args(&self) -> runs::Args {
        let handles = &self.handles;
        let world = runs::World {
            store: self.store(),
            sync: handles.sync.clone(),
            hosts: handles.hosts.clone(),
            remote: handles.remote.clone(),
            daemon_started: self.settings.hosts.daemon_started,
            clock: Clock::Wall,
        };
        runs::Args { world: Arc::new(world) }
    }
}

/// Starts a child and seats it.
pub(super) async fn spawn(child: Child, tree: &Tree, root: &ActorRef<Msg>) -> Result<ActorId, SpawnErr> {
    let slots = &tree.slots;
    match child {
        Child::Store => seat(store::Store, tree.store_args(), root, &slots.store).await,
        Child::Sync => {
            let args = sync::Args {
                store: tree.store(),
                render: Arc::clone(&tree.settings.render),
                server: tree.server(),
                beacon: tree.settings.beacon,
                news: Arc::clone(&tree.news),
                seat: slots.sync.clone(),
            };
            seat(sync::Sync, args, root, &slots.sync).await
        }
        Child::Access => seat(access::Access, tree.access_args(), root, &slots.access).await,
        Child::Remote => seat(remote::Remote, tree.remote_args(), root, &slots.remote).await,
        Child::Hosts => {
            let args = tree.hosts_args();
            seat(hosts::Hosts, args, root, &slots.hosts).await
        }
        Child::Runs => {
            let args = tree.runs_args();
            seat(runs::Runs, args, root, &slots.runs).await
        }
        Child::Links => {
            let args = links::Args { hosts: slots.hosts.clone(), store: tree.store() };
            seat(links::Links, args, root, &slots.links).await
        }
        Child::Sessions => {
            let args = sessions::Args {
                sync: tree.handles.sync.clone(),
                hosts: tree.handles.hosts.clone(),
                store: tree.store(),
                data_dir: tree.settings.data_dir.clone(),
                render: Arc::clone(&tree.settings.render),
            };
            let (root, slot) = (root.clone(), slots.sessions.clone());
            // Whom it starts run where it runs.
            let people = tree.settings.people.clone();
            let seated = people.spawn(async move { seat(sessions::Sessions, args, &root, &slot).await });
            seated.await.unwrap_or_else(|error| Err(SpawnErr::StartupFailed(error.into())))
        }
        Child::Notifier => {
            let args = notifier::Args {
                channels: tree.settings.notify.clone(),
                base_url: tree.settings.base_url.clone(),
                store: tree.store(),
                sync: tree.handles.sync.clone(),
                news: Arc::clone(&tree.news),
                deliver: notifier::by_network(),
                clock: Clock::Wall,
            };
            seat(notifier::Notifier, args, root, &slots.notifier).await
        }
        Child::Janitor => {
            let data_dir = tree.settings.data_dir.clone();
            let args = janitor::Args::new(data_dir, tree.store(), tree.settings.retention);
            seat(janitor::Janitor, args, root, &slots.janitor).await
        }
    }
}

async fn seat<A: Actor>(
    actor: A,
    args: A::Arguments,
    root: &ActorRef<Msg>,
    slot: &Slot<A::Msg>,
) -> Result<ActorId, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, actor, args, root.get_cell()).await?;
    let id = actor.get_id();
    slot.seat(actor);
    Ok(id)
}

/// Stops all, from the bottom: first those who hold sockets, last the store.
pub(super) async fn stop_all(slots: &Slots) {
    stop(&slots.janitor).await;
    stop(&slots.notifier).await;
    stop(&slots.sessions).await;
    stop(&slots.links).await;
    stop(&slots.runs).await;
    stop(&slots.hosts).await;
    stop(&slots.remote).await;
    stop(&slots.access).await;
    stop(&slots.sync).await;
    stop(&slots.store).await;
}

async fn stop<M: Message>(slot: &Slot<M>) {
    let Some(actor) = slot.sitting() else { return };
    if actor.stop_and_wait(None, Some(STOP_WITHIN)).await.is_err() {
        tracing::warn!(actor = ?actor.get_id(), "did not stop within {STOP_WITHIN:?}");
        actor.kill();
    }
}
