//! Handles to all actors, made once, before anyone is spawned: slots are empty until their actor sits there.

use super::access::AccessHandle;
use super::hosts::HostsHandle;
use super::janitor::JanitorHandle;
use super::links::LinksHandle;
use super::notifier::NotifierHandle;
use super::remote::RemoteHandle;
use super::root::RootHandle;
use super::runs::RunsHandle;
use super::sessions::SessionsHandle;
use super::slot::Slot;
use super::store::StoreHandle;
use super::sync::SyncHandle;
use super::{access, hosts, janitor, links, notifier, remote, root, runs, sessions, store, sync};

/// The places of the tree.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Of the store.
    pub store: Slot<store::Msg>,
    /// Of sync.
    pub sync: Slot<sync::Msg>,
    /// Of access.
    pub access: Slot<access::Msg>,
    /// Of the remote.
    pub remote: Slot<remote::Msg>,
    /// Of the hosts' parent.
    pub hosts: Slot<hosts::Msg>,
    /// Of the runs' parent.
    pub runs: Slot<runs::Msg>,
    /// Of the links.
    pub links: Slot<links::Msg>,
    /// Of the tabs' parent.
    pub sessions: Slot<sessions::Msg>,
    /// Of the notifier.
    pub notifier: Slot<notifier::Msg>,
    /// Of the janitor.
    pub janitor: Slot<janitor::Msg>,
    /// Of the root.
    pub root: Slot<root::Msg>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            store: Slot::new("store"),
            sync: Slot::new("sync"),
            access: Slot::new("access"),
            remote: Slot::new("remote"),
            hosts: Slot::new("hosts"),
            runs: Slot::new("runs"),
            links: Slot::new("links"),
            sessions: Slot::new("sessions"),
            notifier: Slot::new("notifier"),
            janitor: Slot::new("janitor"),
            root: Slot::new("root"),
        }
    }
}

/// All that the web server knows of the actors.
#[derive(Clone, Debug)]
pub struct Handles {
    /// The store.
    pub store: StoreHandle,
    /// The fleet's state.
    pub sync: SyncHandle,
    /// Logins and tokens.
    pub access: AccessHandle,
    /// The desired state.
    pub remote: RemoteHandle,
    /// The hosts.
    pub hosts: HostsHandle,
    /// The runs of pipelines.
    pub runs: RunsHandle,
    /// The agents' links.
    pub links: LinksHandle,
    /// The tabs.
    pub sessions: SessionsHandle,
    /// What people are told.
    pub notifier: NotifierHandle,
    /// What is kept.
    pub janitor: JanitorHandle,
    /// The top.
    pub root: RootHandle,
}

impl Handles {
    /// Over the places.
    pub fn new(slots: &Slots) -> Self {
        Self {
            store: StoreHandle::new(slots.store.clone()),
            sync: SyncHandle::new(slots.sync.clone()),
            access: AccessHandle::new(slots.access.clone()),
            remote: RemoteHandle::new(slots.remote.clone()),
            hosts: HostsHandle::new(slots.hosts.clone()),
            runs: RunsHandle::new(slots.runs.clone()),
            links: LinksHandle::new(slots.links.clone()),
            sessions: SessionsHandle::new(slots.sessions.clone()),
            notifier: NotifierHandle::new(slots.notifier.clone()),
            janitor: JanitorHandle::new(slots.janitor.clone()),
            root: RootHandle::new(slots.root.clone()),
        }
    }
}
