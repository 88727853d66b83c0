//! What agents and the dashboard say to each other: the messages of v2, and the fields that v3 adds to them.
//!
//! One WebSocket, dialled by the agent; text frames `{"type": …, "payload": {…}}` ([`crate::codec`]).
//! Every field is optional on the way in: an old agent leaves out what it does not know, and junk in one
//! field costs that field alone ([`crate::lenient`]). On the way out absent fields are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{BootId, CommandId, Commit, InstanceId, JournalId, LockHash};
use crate::lenient;
use crate::time::Time;

/// From the agent to the dashboard.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum AgentMessage {
    /// First message of a link: who this is and what it still has to tell.
    Register(Box<Register>),
    /// Once an interval, also while a command runs.
    Heartbeat(Box<Heartbeat>),
    /// v3: the command is in the agent's journal, on disk.
    Accepted(Accepted),
    /// One line (or one piece of a long line) of a command's output.
    Output(Output),
    /// A command ended.
    Status(Box<Status>),
    /// A command was refused by the agent.
    CommandRejected(CommandRejected),
    /// v2: progress by stages.
    OperationProgress(OperationProgress),
    /// v2 and v3: progress of the tests.
    TestProgress(TestProgress),
    /// v3: progress of the running command.
    Progress(Progress),
}

/// From the dashboard to the agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum DashboardMessage {
    /// Answer to `register`: the host is on disk and in the state that everyone sees.
    Registered(Registered),
    /// Run this.
    Command(Command),
    /// Stop this.
    KillCommand(KillCommand),
    /// v3: output up to here is on disk at the dashboard.
    OutputAck(OutputAck),
    /// v3: the result is on disk at the dashboard; the agent may forget it.
    StatusAck(StatusAck),
}

/// Which kind of system a host runs. A word that we do not know is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostType {
    /// NixOS.
    Nixos,
    /// macOS.
    Macos,
    /// Any other Linux.
    Linux,
    /// Not said, or a word of the future.
    #[default]
    #[serde(other)]
    Other,
}

/// How the agent deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// `nixos-rebuild`.
    Nixos,
    /// `darwin-rebuild`.
    NixDarwin,
    /// `home-manager`.
    HomeManager,
    /// The repository's own executables.
    Script,
}

impl Platform {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nixos => "nixos",
            Self::NixDarwin => "nix-darwin",
            Self::HomeManager => "home-manager",
            Self::Script => "script",
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        [Self::Nixos, Self::NixDarwin, Self::HomeManager, Self::Script]
            .into_iter()
            .find(|platform| platform.as_str() == text)
            .ok_or_else(|| UnknownPlatform(text.chars().take(80).collect()))
    }
}

/// No platform has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform {0:?}: nixos, nix-darwin, home-manager and script are known")]
pub struct UnknownPlatform(pub String);

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// At home.
    Home,
    /// At work.
    Work,
    /// In a data centre.
    Cloud,
    /// Not said, or a word of the future.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What a host is. The order is that of criticality, in which the page sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// A server.
    Server,
    /// A desktop.
    Desktop,
    /// A laptop.
    Laptop,
    /// A gaming machine.
    Gaming,
    /// Not said, or a word of the future.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What a host last switched to with success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The commit.
    pub commit: Commit,
    /// SHA-256 of its `flake.lock`, where it has one.
    #[serde(default, deserialize_with = "lenient::parsed")]
    pub lock_hash: Option<LockHash>,
    /// The system that runs since; none on the platform `script`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub system_path: Option<String>,
    /// Number of the generation, where the platform counts them.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub number: Option<u64>,
    /// When.
    pub at: Time,
}

/// One generation of a system, as the host lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; never compared as text.
    pub number: u64,
    /// The commit, where it is known.
    #[serde(default, deserialize_with = "lenient::parsed")]
    pub commit: Option<Commit>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub at: Option<Time>,
    /// Whether it runs now.
    #[serde(default)]
    pub current: bool,
}

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

/// Load of a host, in percent; `load` is the 1-minute average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Processor, percent.
    #[serde(deserialize_with = "lenient::optional")]
    pub cpu: Option<f64>,
    /// Memory, percent.
    #[serde(deserialize_with = "lenient::optional")]
    pub ram: Option<f64>,
    /// Swap, percent.
    #[serde(deserialize_with = "lenient::optional")]
    pub swap: Option<f64>,
    /// 1-minute load average.
    #[serde(deserialize_with = "lenient::optional")]
    pub load: Option<f64>,
}

/// One compartment as a v2 agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegacyCompartment {
    /// `ok`, `outdated`, `error`, `working`, `unknown`, or empty: keep what is stored.
    #[serde(deserialize_with = "lenient::text")]
    pub status: String,
    /// For people.
    #[serde(deserialize_with = "lenient::text")]
    pub message: String,
    /// When the agent looked, as it spells it.
    #[serde(deserialize_with = "lenient::text")]
    pub checked_at: String,
}

/// The compartments as a v2 agent sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStatus {
    /// Checkout against remote.
    #[serde(deserialize_with = "lenient::optional")]
    pub git: Option<LegacyCompartment>,
    /// Age of the lock.
    #[serde(deserialize_with = "lenient::optional")]
    pub lock: Option<LegacyCompartment>,
    /// Running system against checkout.
    #[serde(deserialize_with = "lenient::optional")]
    pub system: Option<LegacyCompartment>,
    /// The last test run.
    #[serde(deserialize_with = "lenient::optional")]
    pub tests: Option<LegacyCompartment>,
}

/// Free and total bytes of the file systems that a switch fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Free bytes where the store (or the checkout) lies.
    pub store_free: u64,
    /// All bytes there.
    pub store_total: u64,
    /// Free bytes of the boot file system, where there is one of its own.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub boot_free: Option<u64>,
    /// All bytes there.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub boot_total: Option<u64>,
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
    /// v3: per-test results, the plan, bytes freed …; at most 128 KiB of JSON.
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

/// Answer to `register`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registered {
    /// The host's folded name.
    pub host_id: String,
    /// v3: 3. Absent: the dashboard is of the old kind.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// v3: the dashboard's version.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// v3: for each command that `register` named: how much of its log the dashboard has on disk, in bytes.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<CommandId, u64>,
}

/// Run this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The op, or a word of the old generation.
    pub command: String,
    /// v3: its id. Absent from an old dashboard.
    #[serde(default, deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// v3: what the op takes.
    #[serde(default, deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// v3: the hard limit in seconds, for display only.
    #[serde(default, deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub hard_limit_s: Option<u64>,
}

/// Which signal a stop begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Signal {
    /// Ask; SIGKILL follows 3 s later.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// End at once.
    #[serde(rename = "SIGKILL")]
    Kill,
}

/// Stop this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KillCommand {
    /// How.
    #[serde(deserialize_with = "or_default")]
    pub signal: Signal,
    /// v2: the process, 0 for the running one.
    #[serde(deserialize_with = "or_default")]
    pub pid: i64,
    /// v3: which command.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
}

/// v3: output up to `offset` is on disk at the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputAck {
    /// Which command.
    pub command_id: CommandId,
    /// Bytes of its log.
    pub offset: u64,
}

/// v3: the result is on disk at the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAck {
    /// Which command.
    pub command_id: CommandId,
}

/// A field that takes its default when it is null or of a wrong type or form.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + for<'a> Deserialize<'a>,
{
    lenient::optional(deserializer).map(Option::unwrap_or_default)
}
