//! A host, as the API and the page show it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Command, Lights, LoadHistory};
use crate::agent::{DeviceType, Disk, Generation, HostType, Location, Metrics, Platform};
use crate::ids::{Commit, HostId, LockHash, Version};
use crate::op::Op;
use crate::time::Time;

/// Whether a host is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// Linked, and heard within three heartbeats.
    Online,
    /// Linked but silent, or lost less than a minute ago.
    Stale,
    /// Gone.
    Offline,
    /// Made for a token; no agent came yet.
    Never,
}

/// What a host last switched to with success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The commit.
    pub commit: Commit,
    /// SHA-256 of its `flake.lock`.
    pub lock_hash: Option<LockHash>,
    /// The system that runs since.
    pub system_path: Option<String>,
    /// When.
    pub at: Time,
}

/// A host as everyone sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub id: HostId,
    /// How its agent deploys.
    pub platform: Option<Platform>,
    /// Kind of system.
    pub host_type: HostType,
    /// Whether it is there.
    pub state: HostState,
    /// When it was last heard.
    pub last_seen: Option<Time>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// 2 or 3.
    pub agent_protocol: Option<u32>,
    /// Operating system.
    pub os_version: Option<String>,
    /// nixpkgs.
    pub nixpkgs_version: Option<String>,
    /// The commit that is checked out.
    pub generation: Option<Commit>,
    /// SHA-256 of the checkout's `flake.lock`.
    pub lock_hash: Option<LockHash>,
    /// The last good switch.
    pub deployed: Option<Deployed>,
    /// Where it stands.
    pub location: Location,
    /// What it is.
    pub device_type: DeviceType,
    /// `#rrggbb`; a colour chosen by a person outlives what the agent reports.
    pub color: Option<String>,
    /// Chosen by people, or else reported.
    pub tags: Vec<String>,
    /// A person's note.
    pub comment: Option<String>,
    /// Load.
    pub metrics: Option<Metrics>,
    /// Free space.
    pub disk: Option<Disk>,
    /// Booted and current system differ.
    pub reboot_required: Option<bool>,
    /// Failed systemd units.
    pub failed_units: Vec<String>,
    /// What is wrong with the checkout, in git's own words.
    pub repo_error: Option<String>,
    /// The lights.
    pub lights: Arc<Lights>,
    /// The command that is not over.
    pub command: Option<Box<Command>>,
    /// Ops that would not be refused now.
    pub offers: Arc<[Op]>,
    /// The host's actor keeps failing; its last state is shown and the fleet goes on.
    pub broken: Option<String>,
    /// The load of the last hour and the last day. Not told with the host, which changes with every heartbeat:
    /// `GET /api/v1/hosts/{host}/metrics` tells it, and the pages draw it.
    #[serde(skip)]
    pub past: Arc<LoadHistory>,
    /// The generations of its system, newest first. Not told with the host either; the pages show them.
    #[serde(skip)]
    pub generations: Arc<[Generation]>,
}

/// `GET /api/v1/hosts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostList {
    /// The state version that this is.
    pub version: Version,
    /// All hosts, by criticality, then name.
    pub hosts: Vec<Host>,
}
