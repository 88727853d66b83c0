//! What can happen to a command, and what is to be done about it.

use nixfleet_protocol::agent::Status;
use nixfleet_protocol::agent::details::Details;
use nixfleet_protocol::api::{CommandState, Progress};
use nixfleet_protocol::text::{plain_cut, plain_value};
use nixfleet_protocol::{BootId, Commit, InstanceId, JournalId, LockHash, Time};

use super::Was;
use crate::host::{DeployedRecord, Freshness};

/// Details of a result that are kept, in bytes of JSON.
const MAX_DETAILS: usize = 128 * 1024;
/// The longest sentence of a result that is kept, in characters.
const MAX_MESSAGE: usize = 4000;

/// What can happen to a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The remote is asked before the verdict of the pre-checks.
    Validating,
    /// A pre-check refused it.
    Refused {
        /// As a word.
        code: String,
        /// For people.
        message: String,
    },
    /// The pre-checks let it through: it goes to the agent as it is now.
    Passed(Box<AgentNow>),
    /// The agent has it in its journal.
    Accepted,
    /// It came further.
    Progress(Progress),
    /// Its log on disk reaches to here.
    LogGrew(u64),
    /// It ended on its host.
    Result(Box<Outcome>),
    /// The remote was asked after its result: the head, where it can be read.
    RemoteRead(Option<Commit>),
    /// The agent refused it.
    Rejected {
        /// The agent's words.
        reason: String,
    },
    /// A command of the dashboard itself ended.
    Done {
        /// How.
        state: CommandState,
        /// For people.
        message: Option<String>,
    },
    /// An agent registered on its host.
    LinkUp(Box<Said>),
    /// The first heartbeat after a register; decides where the command went to an old agent.
    FirstHeartbeat(Box<Beat>),
    /// The link is down.
    LinkDown,
    /// The record was read from the store: the dashboard, or the host's actor, was restarted.
    Revived {
        /// When the host was last heard.
        last_heard: Option<Time>,
    },
    /// It was to be sent, and its record was not on disk in time: nobody waits for it any more.
    TooLate,
    /// Its deadline may be here.
    Timer {
        /// `NIXFLEET_TIMEOUT_ACTION=kill`: what passes its hard limit is stopped without asking.
        kill_at_limit: bool,
    },
    /// A person wants it to end.
    Stop,
    /// The last one who read a `journal` left, or none came.
    ReaderLeft,
    /// A person gives it more time, from now.
    Extend {
        /// How much.
        minutes: u32,
    },
    /// A person lets it take as long as it likes.
    Ignore,
    /// A person gives it up.
    GiveUp {
        /// Who.
        actor: String,
    },
}

/// What is to be done, once the changed record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it to the agent.
    Send,
    /// Ask the agent to stop it.
    Kill,
    /// Tell the agent that it may forget the result.
    AckResult,
    /// Ask the remote, then come back with [`Input::RemoteRead`].
    AskRemote,
    /// It is over.
    Finished,
}

/// The agent and its host at the moment of sending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentNow {
    /// 2 or 3.
    pub protocol: u32,
    /// Its state directory.
    pub journal: Option<JournalId>,
    /// Its process.
    pub instance: Option<InstanceId>,
    /// The host's boot.
    pub boot_id: Option<BootId>,
    /// What tells it from another build of itself.
    pub freshness: Freshness,
    /// The host.
    pub was: Was,
}

/// What an agent says of a command when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The agent, with what its register itself said (and nothing remembered from before).
    pub agent: AgentNow,
    /// It names the command among those that run.
    pub runs: bool,
    /// It names the command among those whose result was not acknowledged.
    pub has_result: bool,
}

/// What the first heartbeat of an agent says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// An op runs.
    pub pending: bool,
    /// The word of `update_status.system`; empty where it says nothing.
    pub system: String,
    /// Its sentence.
    pub message: String,
}

/// How a command ended on its host, with the facts at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// 0: it did what it does. Without one the agent's word decides.
    pub exit_code: i32,
    /// For people.
    pub message: Option<String>,
    /// The stage that failed.
    pub stage: Option<String>,
    /// When it began, as its host has it.
    pub started_at: Option<Time>,
    /// When it ended, as its host has it.
    pub finished_at: Option<Time>,
    /// The commit that is checked out now.
    pub generation: Option<Commit>,
    /// SHA-256 of its `flake.lock`.
    pub lock_hash: Option<LockHash>,
    /// `flake.lock` was changed on the host.
    pub lock_local: Option<bool>,
    /// The last good switch.
    pub deployed: Option<DeployedRecord>,
    /// The system that runs now.
    pub system_path: Option<String>,
    /// The tests that passed, of how many, where the details say so.
    pub tests: Option<(u64, u64)>,
    /// The profile went back to an earlier generation.
    pub went_back: bool,
    /// The agent will come back as another process: its own package changed.
    pub restarting: bool,
    /// The agent's package in the system that was switched to, where the details name it.
    pub package: Freshness,
    /// The process that tells it; none: not said.
    pub told_by: Option<InstanceId>,
    /// The agent that tells it, as it registered.
    pub freshness: Freshness,
    /// JSON, as text.
    pub details: Option<String>,
}

impl From<&Status> for Outcome {
    fn from(status: &Status) -> Self {
        let details = status.details.as_ref().filter(|details| !details.is_null());
        let number = |name| details.and_then(|details| details.get(name)?.as_u64());
        let package = |name| details.and_then(|details| details.get("agent")?.get(name)?.as_str());
        let text = details.cloned().map(|mut details| {
            plain_value(&mut details);
            details.to_string()
        });
        Self {
            exit_code: status.exit_code.unwrap_or(i32::from(status.status != "ok")),
            message: status.message.as_deref().map(|text| plain_cut(text, MAX_MESSAGE)).filter(|text| !text.is_empty()),
            stage: status.stage.as_deref().map(|text| plain_cut(text, MAX_MESSAGE)),
            started_at: status.started_at,
            finished_at: status.finished_at,
            generation: status.generation.clone(),
            lock_hash: status.lock_hash.clone(),
            lock_local: status.lock_local,
            deployed: status.deployed.clone().map(Into::into),
            system_path: status.system_path.clone(),
            tests: number("passed").zip(number("total")),
            went_back: details
                .is_some_and(|details| Details::read(details).rollback.is_some_and(|report| report.went_back())),
            restarting: details
                .is_some_and(|details| details.get("restarting") == Some(&serde_json::Value::Bool(true))),
            package: Freshness {
                source_commit: package("source_commit").and_then(|text| text.parse().ok()),
                store_path: package("store_path")
                    .filter(|text| !text.is_empty())
                    .map(|text| plain_cut(text, MAX_MESSAGE)),
                binary_hash: package("binary_hash").and_then(|text| text.parse().ok()),
            },
            told_by: None,
            freshness: Freshness::default(),
            details: match text {
                Some(text) if text.len() > MAX_DETAILS => Some(r#"{"cut":"the details were too large"}"#.to_owned()),
                other => other,
            },
        }
    }
}
