//! What stands in a command's folder, as agent and runner both read it: the order, the outcome, the progress.
//!
//! The agent writes the order before the runner exists; the runner writes progress and outcome, and may outlive
//! the agent by days. A newer agent reads what an older runner wrote, so fields are only ever added, with defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nixfleet_protocol::agent::{AgentProgram, Deployed, Platform};
use nixfleet_protocol::{BootId, CommandId, Commit, InstanceId, LockHash, Op, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a runner is to do, complete: it asks nobody else. `command.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The command's id.
    pub id: CommandId,
    /// The op, in the dashboard's word (`pull-switch` from an old one).
    pub word: String,
    /// The ops that this word means, in order.
    pub ops: Vec<Op>,
    /// What the op takes.
    #[serde(default)]
    pub args: Option<Value>,
    /// The dashboard is of the old kind: no acknowledgement will come.
    #[serde(default)]
    pub legacy: bool,
    /// The agent's process that took the order.
    pub instance: InstanceId,
    /// The boot in which it was taken, where the system names boots.
    #[serde(default)]
    pub boot: Option<BootId>,
    /// When.
    pub accepted_at: Time,
    /// The agent that took it: the runner may be another one already.
    #[serde(default)]
    pub agent: Option<AgentProgram>,
    /// The first word that this agent was started with.
    #[serde(default)]
    pub started_as: String,
    /// The host as it was configured then.
    pub host: HostSettings,
}

/// The part of the configuration that a runner needs. Never the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSettings {
    /// The host's name in the flake and in `hosts/`.
    pub name: String,
    /// How it deploys.
    pub platform: Platform,
    /// The agent's state directory.
    pub state_dir: PathBuf,
    /// The checkout.
    pub checkout: PathBuf,
    /// The remote of our own clone; without one the checkout is the operator's.
    #[serde(default)]
    pub repo_url: Option<String>,
    /// The tracked branch.
    pub branch: String,
    /// The key for git over SSH.
    #[serde(default)]
    pub ssh_key: Option<PathBuf>,
    /// Where `/run`, `/nix` and `/proc` are looked for.
    pub root: PathBuf,
    /// What reboots this host, as an argument vector.
    pub reboot: Vec<String>,
    /// The longest that one test may take, in seconds.
    pub test_limit_s: u64,
    /// What makes us root, as an argument vector; empty where nothing does.
    #[serde(default)]
    pub sudo: Vec<String>,
    /// Whether `exec` is allowed.
    #[serde(default)]
    pub allow_exec: bool,
    /// The environment that commands are given; nothing else is passed on.
    pub environment: BTreeMap<String, String>,
}

/// The part of a command that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Getting or reading the checkout.
    Checkout,
    /// Nix could not evaluate the configuration.
    Evaluation,
    /// A build failed.
    Build,
    /// The new system could not be made the running one.
    Activation,
    /// A test failed.
    Tests,
    /// The runner or the host ended before the command did.
    Interrupted,
    /// A person stopped it.
    Stopped,
    /// A part that only a newer agent knows, which wrote this.
    #[serde(other)]
    Other,
}

impl Stage {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Evaluation => "evaluation",
            Self::Build => "build",
            Self::Activation => "activation",
            Self::Tests => "tests",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }
}

/// How a command ended, with the host's facts at that moment. `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// 0 is success; 130 was stopped.
    pub exit_code: i32,
    /// Where it failed.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// One sentence for people.
    #[serde(default)]
    pub message: String,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Time,
    /// The log's length.
    pub output_end: u64,
    /// The commit that is checked out.
    #[serde(default)]
    pub generation: Option<Commit>,
    /// SHA-256 of the checkout's `flake.lock`.
    #[serde(default)]
    pub lock_hash: Option<LockHash>,
    /// Whether that is another lock than git has committed.
    #[serde(default)]
    pub lock_local: Option<bool>,
    /// The last good switch.
    #[serde(default)]
    pub deployed: Option<Deployed>,
    /// The system that runs.
    #[serde(default)]
    pub system_path: Option<String>,
    /// Results of tests and the like.
    #[serde(default)]
    pub details: Option<Value>,
}

impl Outcome {
    /// The word for the `status` field: v2 dashboards show it, everyone trusts the exit code.
    pub const fn word(&self) -> &'static str {
        match (self.exit_code, self.stage) {
            (0, _) => "ok",
            (_, Some(Stage::Stopped)) => "stopped",
            _ => "error",
        }
    }
}

/// How far a command is. `progress.json`; may be lost, never wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressRecord {
    /// `fetch`, `evaluate`, `build`, `copy`, `activate`, `test`.
    pub phase: String,
    /// Done so far.
    #[serde(default)]
    pub done: Option<u64>,
    /// Of how many.
    #[serde(default)]
    pub expected: Option<u64>,
    /// For people.
    #[serde(default)]
    pub text: String,
    /// How many tests passed, while tests run.
    #[serde(default)]
    pub passed: Option<u64>,
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use uuid::Uuid;

    pub(crate) fn settings(platform: Platform) -> HostSettings {
        HostSettings {
            name: "h1".into(),
            platform,
            state_dir: "/state".into(),
            checkout: "/repo".into(),
            repo_url: Some("https://example.org/fleet.git".into()),
            branch: "main".into(),
            ssh_key: None,
            root: "/".into(),
            reboot: vec!["systemctl".into(), "reboot".into()],
            test_limit_s: 60,
            sudo: Vec::new(),
            allow_exec: false,
            environment: BTreeMap::new(),
        }
    }

    pub(crate) fn order(id: CommandId) -> Order {
        Order {
            id,
            word: "switch".into(),
            ops: vec![Op::Switch],
            args: None,
            legacy: false,
            instance: InstanceId::from_uuid(Uuid::from_u128(9)),
            boot: None,
            accepted_at: Time::from_millis(0),
            agent: None,
            started_as: String::new(),
            host: settings(Platform::Script),
        }
    }
}
