//! The root's children: their order, what each starts with, and how they are stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::fleet_state::StateChange;
use nixfleet_protocol::api::Server;
use ractor::{Actor, ActorId, ActorRef, Message, SpawnErr};

use super::Msg;
use crate::actors::handles::{Handles, Slots};
use crate::actors::slot::Slot;
use crate::actors::store::StoreHandle;
use crate::actors::sync::{Render, SyncHandle};
use crate::actors::{access, hosts, links, remote, sessions, store, sync};

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
    /// The agents' links.
    Links,
    /// The tabs' parent.
    Sessions,
}

impl Child {
    /// Started in this order, stopped in the other.
    pub const IN_ORDER: &'static [Self] =
        &[Self::Store, Self::Sync, Self::Access, Self::Remote, Self::Hosts, Self::Links, Self::Sessions];
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
    /// Makes fragments.
    pub render: Arc<dyn Render>,
    /// How the remote is reached.
    pub remote: remote::Settings,
    /// How logins and tokens are checked.
    pub access: access::Settings,
    /// How hosts treat commands.
    pub hosts: hosts::Settings,
}

/// The places, and what their actors start with.
#[derive(Clone)]
pub(super) struct Tree {
    settings: Settings,
    pub(super) slots: Slots,
    handles: Handles,
}
