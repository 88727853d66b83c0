//! What is known of a host, as it is stored: identity, facts last reported, what people chose, and what its
//! lights need to remember. One record, one owner: the host's actor. How messages change the facts stands in
//! `host/merge.rs`.

mod features;
mod merge;

use std::sync::Arc;

use nixfleet_protocol::agent::{DeviceType, Disk, Generation, HostType, Location, Metrics, Platform};
use nixfleet_protocol::{BootId, CommandId, Commit, HostId, InstanceId, JournalId, LockHash, Op, Time};
use serde::{Deserialize, Serialize};

pub use self::features::Features;
use crate::load::Load;

/// Everything stored about a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name.
    pub id: HostId,
    /// When it was made: by its first register, or by its token.
    pub created_at: Time,
    /// When an agent first registered; none: state `never`.
    pub first_seen: Option<Time>,
    /// What its agent last reported.
    pub facts: Facts,
    /// What people chose.
    pub chosen: Chosen,
    /// What the lights remember.
    pub history: History,
    /// How busy it was.
    pub load: Load,
    /// The command that is not over.
    pub open: Option<CommandId>,
}

impl HostRecord {
    /// A host of which nothing but its name is known.
    pub fn new(id: HostId, created_at: Time) -> Self {
        Self {
            id,
            created_at,
            first_seen: None,
            facts: Facts::default(),
            chosen: Chosen::default(),
            history: History::default(),
            load: Load::default(),
            open: None,
        }
    }
}

/// What a host's agent last reported. A missing field of a message never erases a value here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The agent's own spelling of the name.
    pub spelling: String,
    /// When anything was last heard.
    pub last_seen: Option<Time>,
    /// When the link was last lost; none while it is up.
    pub lost_at: Option<Time>,
    /// 2 or 3.
    pub protocol: Option<u32>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// How it deploys.
    pub platform: Option<Platform>,
    /// Kind of system.
    pub host_type: HostType,
    /// Operating system.
    pub os_version: Option<String>,
    /// nixpkgs.
    pub nixpkgs_version: Option<String>,
    /// Where it stands.
    pub location: Location,
    /// What it is.
    pub device_type: DeviceType,
    /// Colour that the agent reports, `#rrggbb`.
    pub theme_color: Option<String>,
    /// Tags that the agent reports.
    pub tags: Vec<String>,
    /// Seconds between heartbeats.
    pub heartbeat_interval: Option<u32>,
    /// The repository that it clones.
    pub repo_url: String,
    /// Where the checkout lies.
    pub repo_dir: String,
    /// What is wrong with the checkout, in git's own words.
    pub repo_error: Option<String>,
    /// The commit that is checked out.
    pub generation: Option<Commit>,
    /// SHA-256 of the checkout's `flake.lock`.
    pub lock_hash: Option<LockHash>,
    /// `flake.lock` was changed on the host.
    pub lock_local: bool,
    /// The last good switch, as the agent's own record has it (v3).
    pub deployed: Option<DeployedRecord>,
    /// The system that runs now.
    pub system_path: Option<String>,
    /// The configuration revision of the running system.
    pub system_revision: Option<Commit>,
    /// The last generations, newest first. Shared with all who show them.
    pub generations: Arc<[Generation]>,
    /// How many tests the checkout has for this host, where it was said.
    pub tests: Option<u32>,
    /// Load.
    pub metrics: Option<Metrics>,
    /// Free space.
    pub disk: Option<Disk>,
    /// Booted and current system differ.
    pub reboot_required: Option<bool>,
    /// Failed systemd units.
    pub failed_units: Vec<String>,
    /// For Wake-on-LAN.
    pub mac_addresses: Vec<String>,
    /// What the agent can do beyond the base.
    pub features: Features,
    /// The three layers of freshness.
    pub freshness: Freshness,
    /// The agent's state directory.
    pub journal: Option<JournalId>,
    /// The agent's process.
    pub instance: Option<InstanceId>,
    /// The host's boot.
    pub boot_id: Option<BootId>,
    /// Commands that the agent said it runs, when it last said.
    pub running: Vec<CommandId>,
    /// v2: the op that the agent said it runs, when it last said.
    pub pending: Option<String>,
}

/// Source commit, store path and binary of the agent: what tells a new agent from an old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Commit that the binary was built from.
    pub source_commit: Option<Commit>,
    /// Store path of its package.
    pub store_path: Option<String>,
    /// SHA-256 of the binary.
    pub binary_hash: Option<LockHash>,
}

/// A good switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedRecord {
    /// The commit.
    pub commit: Commit,
    /// SHA-256 of its `flake.lock`.
    pub lock_hash: Option<LockHash>,
    /// The system that runs since; none on `script`.
    pub system_path: Option<String>,
    /// Number of the generation.
    pub number: Option<u64>,
    /// When.
    pub at: Time,
}

impl DeployedRecord {
    /// Whether this is what an agent says, word for word. A path that had to be cleaned never is.
    fn is(&self, said: &nixfleet_protocol::agent::Deployed) -> bool {
        let Self { commit, lock_hash, system_path, number, at } = self;
        (commit, lock_hash, system_path, number, at)
            == (&said.commit, &said.lock_hash, &said.system_path, &said.number, &said.at)
    }
}

impl From<nixfleet_protocol::agent::Deployed> for DeployedRecord {
    fn from(wire: nixfleet_protocol::agent::Deployed) -> Self {
        Self {
            commit: wire.commit,
            lock_hash: wire.lock_hash,
            system_path: wire.system_path.map(|path| merge::clean(&path)),
            number: wire.number,
            at: wire.at,
        }
    }
}

/// What people chose for a host; it wins over what the agent reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// `#rrggbb`.
    pub color: Option<String>,
    /// Tags; none: the reported ones count.
    pub tags: Option<Vec<String>>,
    /// A note.
    pub comment: Option<String>,
}

/// What the lights remember; never removed by retention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The last switch or force-rebuild that ran, good or bad.
    pub last_switch: Option<SwitchRun>,
    /// For agents that report no deployed state: the last good switch or rollback, and the commit at that time.
    pub inferred: Option<DeployedRecord>,
    /// The last test run.
    pub last_test: Option<TestRun>,
    /// When reboots were sent, within the last hour.
    pub reboots: Vec<Time>,
    /// The good switch after which the tests are to run by themselves; none: they ran, or are not to.
    pub auto_test: Option<CommandId>,
}

/// A switch that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRun {
    /// Which command.
    pub command: CommandId,
    /// `switch` or `force-rebuild`.
    pub op: Op,
    /// Whether it succeeded.
    pub ok: bool,
    /// The commit that was checked out then.
    pub commit: Option<Commit>,
    /// The stage that failed: `evaluation`, `build`, `activation`, `interrupted` …
    pub stage: Option<String>,
    /// When it ended.
    pub at: Time,
    /// When the host went back after it failed.
    pub rolled_back: Option<Time>,
}

/// A test run, and what was deployed when it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRun {
    /// Which command.
    pub command: CommandId,
    /// Whether every test passed.
    pub ok: bool,
    /// How many passed.
    pub passed: u64,
    /// Of how many; 0 is "no tests".
    pub total: u64,
    /// Names of those that failed, at most 20.
    pub failed: Vec<String>,
    /// The deployed commit then.
    pub commit: Option<Commit>,
    /// The running system then.
    pub system_path: Option<String>,
    /// When it ended.
    pub at: Time,
}
