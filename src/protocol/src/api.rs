//! The shapes of the API, the same in the deltas and the states that tabs get. Every field is always there,
//! null when there is nothing; lists are never null; new fields may be added within `/api/v1`, none changes
//! its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{DeviceType, Disk, HostType, Location, Metrics, Platform, Stream};
use crate::ids::{CommandId, Commit, EventId, HostId, LockHash, RunId, Version};
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

/// Status of a compartment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LightStatus {
    /// Green: current with the remote, proven.
    Ok,
    /// Yellow: something to do, or it can't be verified right now.
    Outdated,
    /// Red: a real problem.
    Error,
    /// Blue: a command of this compartment runs.
    Working,
    /// Grey: no signal yet, or switched off.
    Unknown,
}

/// What a click on a light, or a button beside it, does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Which kind of action.
    pub kind: ActionKind,
    /// The op, where `kind` is `op`.
    pub op: Option<Op>,
    /// The pipeline, where `kind` is `pipeline`.
    pub pipeline: Option<String>,
    /// The command that is shown or stopped, where there is one.
    pub command_id: Option<CommandId>,
    /// What the button says.
    pub label: String,
}

/// The kinds of [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Show the host's details.
    Details,
    /// Start an op on the host.
    Op,
    /// Start a pipeline on the host.
    Pipeline,
    /// Show the log of a command.
    Log,
    /// Stop the running command.
    Stop,
    /// Say what to do; `message` of the light has the sentence.
    Help,
}

/// One of the five lights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Light {
    /// Its status.
    pub status: LightStatus,
    /// One sentence that says why.
    pub message: String,
    /// What a click does.
    pub action: Action,
    /// What else is offered.
    pub also: Vec<Action>,
}

/// The five lights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lights {
    /// The agent's version against the dashboard's.
    pub agent: Light,
    /// The checkout against the remote's head.
    pub git: Light,
    /// The lock against the remote's.
    pub lock: Light,
    /// What is deployed against both.
    pub system: Light,
    /// The tests of what is deployed.
    pub tests: Light,
}

impl Lights {
    /// The five with their names, in order.
    pub fn each(&self) -> [(&'static str, &Light); 5] {
        [
            ("agent", &self.agent),
            ("git", &self.git),
            ("lock", &self.lock),
            ("system", &self.system),
            ("tests", &self.tests),
        ]
    }
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
    pub lights: Lights,
    /// The command that is not over.
    pub command: Option<Command>,
    /// Ops that would not be refused now.
    pub offers: Vec<Op>,
    /// The host's actor keeps failing; its last state is shown and the fleet goes on.
    pub broken: Option<String>,
}

/// States of a command; those from `Blocked` on, without `KILLING`, are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommandState {
    /// Accepted and on disk, not looked at yet.
    Pending,
    /// The pre-checks look, perhaps at the remote.
    Validating,
    /// Sent to the agent, or running in the dashboard.
    Executing,
    /// Longer than the warning time.
    RunningWarning,
    /// Longer than the hard limit.
    TimeoutPending,
    /// The link is down.
    AwaitingReconnect,
    /// Stop was sent.
    Killing,
    /// A pre-check refused it. Final.
    Blocked,
    /// Final.
    Success,
    /// Final.
    Error,
    /// Exit 0, yet the goal is not reached. Final.
    Partial,
    /// The process group is gone. Final.
    Killed,
    /// No register came by the hard limit. Final.
    Timeout,
    /// The agent came back the same although its package should have changed. Final.
    StaleBinary,
    /// The agent's source commit changed and its binary did not. Final.
    Suspicious,
    /// Nobody can say how it ended. Final.
    Orphaned,
    /// A run was cancelled before this began. Final.
    Cancelled,
    /// An earlier stage failed on this host. Final.
    Skipped,
}

impl CommandState {
    /// Whether it never changes again.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending
            | Self::Validating
            | Self::Executing
            | Self::RunningWarning
            | Self::TimeoutPending
            | Self::AwaitingReconnect
            | Self::Killing => false,
            Self::Blocked
            | Self::Success
            | Self::Error
            | Self::Partial
            | Self::Killed
            | Self::Timeout
            | Self::StaleBinary
            | Self::Suspicious
            | Self::Orphaned
            | Self::Cancelled
            | Self::Skipped => true,
        }
    }
}

/// Progress of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it does now.
    pub phase: String,
    /// Done so far.
    pub done: Option<u64>,
    /// Of how many.
    pub expected: Option<u64>,
    /// For people.
    pub text: String,
}

/// A command as everyone sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// Its host; null for a dashboard op that concerns none.
    pub host: Option<HostId>,
    /// What it does.
    pub op: Op,
    /// With what; an object.
    pub args: Value,
    /// Where it stands.
    pub state: CommandState,
    /// Why it was refused, as a word.
    pub code: Option<String>,
    /// One sentence: why it was refused, what failed, what is missing.
    pub message: Option<String>,
    /// Who started it: `user`, `api:<token name>`, `pipeline:<run>`, `auto-test`.
    pub actor: String,
    /// Whether it was forced.
    pub force: bool,
    /// The run that it belongs to.
    pub run_id: Option<RunId>,
    /// When it was accepted.
    pub created_at: Time,
    /// When it was sent to the agent.
    pub sent_at: Option<Time>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Since when its host is away, while it is `AWAITING_RECONNECT`.
    #[serde(default)]
    pub waiting_since: Option<Time>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Length of its log; grows while it runs.
    pub log_bytes: u64,
    /// Where it stands within.
    pub progress: Option<Progress>,
    /// Per-test results, the plan …; an object, or null.
    pub details: Value,
}

/// States of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It waits for a person.
    Halted,
    /// All hosts through all stages.
    Complete,
    /// Some hosts.
    Partial,
    /// No host.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// A pipeline run as everyone sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// Who started it.
    pub actor: String,
    /// Where it stands.
    pub state: RunState,
    /// The stage that runs, from 0.
    pub stage: u32,
    /// The ops, one a stage.
    pub ops: Vec<Op>,
    /// For each host the state of each stage.
    pub hosts: BTreeMap<HostId, Vec<CommandState>>,
    /// How it was started; an object.
    pub options: Value,
    /// When it began.
    pub created_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Somebody did something.
    Audit,
    /// Something happened.
    System,
    /// Something went wrong.
    Error,
}

/// How an event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// A problem.
    Error,
    /// Something ended well.
    Success,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// When.
    pub time: Time,
    /// What it tells of.
    pub category: Category,
    /// How it is meant.
    pub level: Level,
    /// Who.
    pub actor: String,
    /// On which host.
    pub host: Option<HostId>,
    /// What, as a word: `command_finished`, `login_failed` …
    pub action: String,
    /// One sentence.
    pub message: String,
    /// More; an object, or null.
    pub details: Value,
}

/// A waiting update pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Where to look.
    pub url: String,
    /// Whether it can be merged; null while the remote does not know.
    pub mergeable: Option<bool>,
    /// When it was opened.
    pub created_at: Time,
}

/// The fleet's desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Where it is read from, without credentials; null when none is configured.
    pub source: Option<String>,
    /// The tracked branch.
    pub branch: String,
    /// Its head.
    pub commit: Option<Commit>,
    /// The head's subject line.
    pub subject: Option<String>,
    /// The head's author.
    pub author: Option<String>,
    /// When the head was committed.
    pub committed_at: Option<Time>,
    /// SHA-256 of the head's `flake.lock`; null when it has none.
    pub lock_hash: Option<LockHash>,
    /// When it was last read.
    pub read_at: Option<Time>,
    /// Why it can't be read, and since when, while it can't.
    pub error: Option<String>,
    /// The update PR that waits.
    pub pull_request: Option<PullRequest>,
}

/// About the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Time,
    /// What is wrong with the store, while something is: the page says so, nothing is acknowledged.
    pub store_error: Option<String>,
    /// The shared agent token is in use.
    pub shared_agent_token: bool,
}

/// An op as the API lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpEntry {
    /// Its id.
    pub id: Op,
    /// What a button says.
    pub label: String,
    /// What it does.
    pub description: String,
    /// `agent` or `dashboard`.
    pub runs_on: String,
    /// Seconds until the warning; null where none applies.
    pub warn_s: Option<u64>,
    /// Seconds until the hard limit; null where none applies.
    pub hard_s: Option<u64>,
    /// May it be retried.
    pub retry: bool,
    /// Does it need a TOTP code.
    pub totp: bool,
    /// Does it interrupt the agent's link.
    pub interrupts_link: bool,
    /// Is it confirmed first, and with which words.
    pub confirm: Option<String>,
}

/// A body of `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`, or a word of ours as a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// The reason as a word, e.g. `host_busy`.
    pub code: Option<String>,
    /// The same sentence as `detail`, for clients that read commands.
    pub message: Option<String>,
    /// What could be done instead.
    pub offer: Option<Action>,
    /// The refused command, or the one that is in the way.
    pub command_id: Option<CommandId>,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where its record begins.
    pub offset: u64,
    /// Where the next record begins.
    pub end: u64,
    /// When it was printed.
    pub time: Time,
    /// Where it comes from.
    pub stream: Stream,
    /// The text; only SGR escape sequences are left in it.
    pub line: String,
    /// The line goes on in the next one.
    pub partial: bool,
}

/// Outcome of an op for one of several hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The host; null for a dashboard op that concerns none.
    pub host: Option<HostId>,
    /// The command, when it was accepted.
    pub command: Option<Command>,
    /// Why not, when it was not.
    pub problem: Option<Problem>,
}

/// Body of `POST …/ops/{op}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpRequest {
    /// What the op takes; an object.
    pub args: Option<Value>,
    /// Skip `already_current` and `lock_behind`.
    pub force: bool,
    /// A TOTP code, where the op needs one.
    pub totp: Option<String>,
    /// For `POST /api/v1/ops/{op}`: on which hosts.
    pub hosts: Option<Vec<String>>,
}

/// `GET /api/v1/hosts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostList {
    /// The state version that this is.
    pub version: Version,
    /// All hosts, by criticality, then name.
    pub hosts: Vec<Host>,
}

/// `GET /api/v1/commands`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandList {
    /// The state version that this is.
    pub version: Version,
    /// Newest first.
    pub commands: Vec<Command>,
}

/// `GET /api/v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// The state version that this is.
    pub version: Version,
    /// Newest first.
    pub events: Vec<Event>,
}
