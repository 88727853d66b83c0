//! A command, its states, its progress and the lines of its log.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::Stream;
use crate::ids::{CommandId, HostId, RunId, Version};
use crate::op::Op;
use crate::time::Time;

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
    /// What failed, where the agent says so: `checkout`, `evaluation`, `build`, `activation`, `tests`, `interrupted`,
    /// `stopped`.
    #[serde(default)]
    pub stage: Option<String>,
    /// Length of its log; grows while it runs.
    pub log_bytes: u64,
    /// Where it stands within.
    pub progress: Option<Progress>,
    /// Per-test results, the plan …; an object, or null.
    pub details: Value,
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

/// Lines of a log by their numbers: `GET /api/v1/commands/{id}/log/lines`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWindow {
    /// Number of the first line that is here; the log's first line is 1.
    pub line: u64,
    /// Lines of the whole log so far.
    pub count: u64,
    /// The offset behind the last line that is here: from there `follow_log` goes on.
    pub next: u64,
    /// The lines, each in one piece; a very long one is cut. None for a page.
    pub lines: Vec<LogLine>,
    /// For a page: the lines, ready to be put in place.
    pub html: Option<String>,
}

/// Lines that were looked for: `GET /api/v1/commands/{id}/log/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFound {
    /// How many lines there are.
    pub count: u64,
    /// Their numbers, in order; the first 10,000 where there are more.
    pub lines: Vec<u64>,
    /// Lines of the log that were looked through.
    pub seen: u64,
}

/// `GET /api/v1/commands`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandList {
    /// The state version that this is.
    pub version: Version,
    /// Newest first.
    pub commands: Vec<Command>,
}
