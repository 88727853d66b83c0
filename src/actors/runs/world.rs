//! What runs' actors know of the others: handles, and nothing that is not asked for by a message.

use nixfleet_protocol::Time;

use crate::actors::clock::Clock;
use crate::actors::hosts::HostsHandle;
use crate::actors::remote::RemoteHandle;
use crate::actors::store::StoreHandle;
use crate::actors::sync::SyncHandle;

/// What all runs' actors need.
#[derive(Clone, Debug)]
pub struct World {
    /// Where records go.
    pub store: StoreHandle,
    /// Whose stream tells of hosts and commands.
    pub sync: SyncHandle,
    /// Who runs ops on hosts.
    pub hosts: HostsHandle,
    /// Who runs ops of the dashboard.
    pub remote: RemoteHandle,
    /// When this daemon started.
    pub daemon_started: Time,
    /// The time.
    pub clock: Clock,
}
