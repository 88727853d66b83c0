//! What agents say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::{Deployed, DeviceType, Disk, Generation, HostType, Location, Metrics, Platform, UpdateStatus};
use crate::ids::{BootId, CommandId, Commit, InstanceId, JournalId, LockHash};
use crate::lenient::{self, or_default};
use crate::time::Time;

/// The first message of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Register {
    /// The host's own spelling of its name; folded by the dashboard.
    #[serde(deserialize_with = "lenient::text")]
    pub hostname: String,
    /// The kind of system.
    #[serde(deserialize_with = "or_default")]
    pub host_type: HostType,
    /// Version of the agent, semver; a `-dirty` or `+…` tail is ignored in comparisons.
    #[serde(deserialize_with = "lenient::text")]
    pub agent_version: String,
    /// Version of the operating system, for people.
    #[serde(deserialize_with = "lenient::text")]
    pub os_version: String,
    /// Version of nixpkgs, for people.
    #[serde(deserialize_with = "lenient::text")]
    pub nixpkgs_version: String,
    /// The commit that is checked out.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub generation: Option<Commit>,
    /// `#rrggbb`, or empty.
    #[serde(deserialize_with = "lenient::text")]
    pub theme_color: String,
    /// Seconds between heartbeats.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval: Option<u32>,
    /// Where it stands.
    #[serde(deserialize_with = "or_default")]
    pub location: Location,
    /// What it is.
    #[serde(deserialize_with = "or_default")]
    pub device_type: DeviceType,
    /// The configuration repository that the agent clones, or empty.
    #[serde(deserialize_with = "lenient::text")]
    pub repo_url: String,
    /// The directory of the checkout.
    #[serde(deserialize_with = "lenient::text")]
    pub repo_dir: String,
    /// Commit that the agent's binary was built from.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<Commit>,
    /// Store path of the agent's package.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub store_path: Option<String>,
    /// SHA-256 of the agent's binary.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub binary_hash: Option<LockHash>,
    /// v3: 3. Absent: 2.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// v3: names the agent's state directory.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalId>,
    /// v3: names the agent's process.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// v3: names the host's boot.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<BootId>,
    /// v3: how the agent deploys.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// v3: tags from the host's own configuration.
    #[serde(deserialize_with = "lenient::list", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// v3: for Wake-on-LAN.
    #[serde(deserialize_with = "lenient::list", skip_serializing_if = "Vec::is_empty")]
    pub mac_addresses: Vec<String>,
    /// v3: the last good switch.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
    /// v3: the system that runs now.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub system_path: Option<String>,
    /// v3: the configuration revision of the running system, where it names one.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub system_revision: Option<Commit>,
    /// SHA-256 of the checkout's `flake.lock`.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub lock_hash: Option<LockHash>,
    /// v3: `flake.lock` was changed on the host (`bump-flake`).
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub lock_local: Option<bool>,
    /// v3: commands that still run, at most 100.
    #[serde(deserialize_with = "lenient::list")]
    pub running: Vec<CommandId>,
    /// v3: commands whose result was not acknowledged yet, at most 100; they follow as `status` after `registered`.
    #[serde(deserialize_with = "lenient::list")]
    pub results: Vec<CommandId>,
    /// v3: what this agent can do: its ops by name (one that names `pull` names all that it knows), and `exec`,
    /// `tests`, `systemd`.
    #[serde(deserialize_with = "lenient::list", skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

impl Register {
    /// The protocol generation that this agent speaks: 2 when it names none.
    pub fn generation_of_protocol(&self) -> u32 {
        self.protocol.unwrap_or(2)
    }
}

/// Facts of a host, once an interval. Absent means unchanged, never "none".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// The commit that is checked out.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub generation: Option<Commit>,
    /// For people.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub nixpkgs_version: Option<String>,
    /// v2: the op that runs, or null.
    #[serde(deserialize_with = "lenient::optional")]
    pub pending_command: Option<String>,
    /// v2: its process, or null.
    #[serde(deserialize_with = "lenient::optional")]
    pub command_pid: Option<i64>,
    /// Load, or null where it can't be read.
    #[serde(deserialize_with = "lenient::optional")]
    pub metrics: Option<Metrics>,
    /// v2: the agent's own view of the compartments.
    #[serde(deserialize_with = "lenient::optional")]
    pub update_status: Option<UpdateStatus>,
    /// Commit that the agent's binary was built from.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<Commit>,
    /// Store path of the agent's package.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub store_path: Option<String>,
    /// SHA-256 of the agent's binary.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub binary_hash: Option<LockHash>,
    /// SHA-256 of the checkout's `flake.lock`.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub lock_hash: Option<LockHash>,
    /// v3: the last good switch.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
    /// v3: the system that runs now.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub system_path: Option<String>,
    /// v3: the configuration revision of the running system, where it names one.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub system_revision: Option<Commit>,
    /// v3: `flake.lock` was changed on the host (`bump-flake`).
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub lock_local: Option<bool>,
    /// v3: the last 20 generations, when they changed.
    #[serde(deserialize_with = "lenient::optional_list", skip_serializing_if = "Option::is_none")]
    pub generations: Option<Vec<Generation>>,
    /// v3: commands that run.
    #[serde(deserialize_with = "lenient::optional_list", skip_serializing_if = "Option::is_none")]
    pub running: Option<Vec<CommandId>>,
    /// v3: free space.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// v3: booted and current system differ in kernel, initrd or modules.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
    /// v3: failed systemd units.
    #[serde(deserialize_with = "lenient::optional_list", skip_serializing_if = "Option::is_none")]
    pub failed_units: Option<Vec<String>>,
    /// v3: how many tests the checkout has for this host; 0 is "no tests".
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub tests: Option<u32>,
    /// v3: what is wrong with the checkout, in git's own words; an empty text when all is well again.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub repo_error: Option<String>,
}

/// v3: the command is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Which.
    pub command_id: CommandId,
}

/// Where a line of output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The command's standard output.
    #[default]
    Stdout,
    /// Its standard error.
    Stderr,
    /// A line of the runner itself: what it runs, how it ended.
    Note,
    /// Says that bytes were cut here; `end` is where the log goes on.
    Mark,
}

/// One line of output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    /// The text, without its line end. At most 64 KiB.
    #[serde(deserialize_with = "lenient::text")]
    pub line: String,
    /// Where it comes from.
    #[serde(deserialize_with = "or_default")]
    pub stream: Stream,
    /// v2: the op, or empty: the host's running command.
    #[serde(deserialize_with = "lenient::text")]
    pub command: String,
    /// v2: whether it is an error.
    #[serde(deserialize_with = "or_default")]
    pub is_error: bool,
    /// v3: which command.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// v3: where the record begins in the log, in bytes.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// v3: where the next record begins.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// v3: when the line was printed.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// v3: the line goes on in the next record (it was longer than 64 KiB).
    #[serde(deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A command ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `ok`, `error`, `stopped`, `warning`. Trust `exit_code` instead.
    #[serde(deserialize_with = "lenient::text")]
    pub status: String,
    /// The op.
    #[serde(deserialize_with = "lenient::text")]
    pub command: String,
    /// The exit code; 130 for a command that was stopped.
    #[serde(deserialize_with = "lenient::optional")]
    pub exit_code: Option<i32>,
    /// One sentence for people.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The commit that is checked out now.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub generation: Option<Commit>,
    /// v3: which command.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// v3: when it began on the host.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// v3: when it ended on the host.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// v3: the log's length; the status is taken when the log has reached it.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub output_end: Option<u64>,
    /// v3: the stage that failed: `checkout`, `evaluation`, `build`, `activation`, `tests`, `interrupted`, `stopped`.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// v3: SHA-256 of the checkout's `flake.lock` now.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub lock_hash: Option<LockHash>,
    /// v3: `flake.lock` was changed on the host.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub lock_local: Option<bool>,
    /// v3: the last good switch, after this command.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
    /// v3: the system that runs now.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub system_path: Option<String>,
    /// v3: per-test results, or what [`super::details`] has: the plan, bytes freed …; at most 128 KiB of JSON.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// The agent refused a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandRejected {
    /// Why, for people; `unsupported` when the agent does not know the op.
    #[serde(deserialize_with = "lenient::text")]
    pub reason: String,
    /// v2: what runs instead.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub current_command: Option<String>,
    /// v2: its process.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub current_pid: Option<i64>,
    /// v3: which command was refused.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
}

/// v2: one stage of an operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageProgress {
    /// Done so far.
    #[serde(deserialize_with = "lenient::optional")]
    pub current: Option<u64>,
    /// Of how many.
    #[serde(deserialize_with = "lenient::optional")]
    pub total: Option<u64>,
    /// `pending`, `in_progress`, `complete`, `error`.
    #[serde(deserialize_with = "lenient::text")]
    pub status: String,
}

/// v2: progress by stages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationProgress {
    /// The stages that the agent names: `pull`, `lock`, `system`, `tests`.
    #[serde(deserialize_with = "or_default")]
    pub progress: BTreeMap<String, StageProgress>,
}

/// Progress of the tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TestProgress {
    /// Number of the test that runs, from 1.
    #[serde(deserialize_with = "lenient::optional")]
    pub current: Option<u64>,
    /// How many there are.
    #[serde(deserialize_with = "lenient::optional")]
    pub total: Option<u64>,
    /// How many passed.
    #[serde(deserialize_with = "lenient::optional")]
    pub passed: Option<u64>,
    /// Whether they still run.
    #[serde(deserialize_with = "or_default")]
    pub running: bool,
    /// For people.
    #[serde(deserialize_with = "lenient::text")]
    pub result: String,
    /// v3: which command.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
}

/// v3: progress of the running command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Which.
    pub command_id: CommandId,
    /// What it does now: `fetch`, `evaluate`, `build`, `copy`, `activate`, `test` …
    #[serde(default, deserialize_with = "lenient::text")]
    pub phase: String,
    /// Done so far.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub done: Option<u64>,
    /// Of how many.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub expected: Option<u64>,
    /// For people.
    #[serde(default, deserialize_with = "lenient::text")]
    pub text: String,
}
