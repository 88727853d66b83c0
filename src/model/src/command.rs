//! The life of a command: its record and, as a pure function, every step of it.

use nixfleet_protocol::api::{CommandState, Progress};
use nixfleet_protocol::{BootId, CommandId, HostId, InstanceId, JournalId, Op, RunId, Time};
use serde::{Deserialize, Serialize};

use crate::host::Freshness;

/// One execution of an op, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// Its host; none for a dashboard op that concerns none.
    pub host: Option<HostId>,
    /// What it does.
    pub op: Op,
    /// With what: a JSON object, as text.
    pub args: String,
    /// Where it stands.
    pub state: CommandState,
    /// Why it was refused, as a word.
    pub code: Option<String>,
    /// One sentence for people.
    pub message: Option<String>,
    /// Who started it.
    pub actor: String,
    /// Whether it was forced.
    pub force: bool,
    /// The run that it belongs to.
    pub run_id: Option<RunId>,
    /// When it was accepted.
    pub created_at: Time,
    /// When it was sent.
    pub sent_at: Option<Time>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Length of its log at the dashboard, on disk.
    pub log_bytes: u64,
    /// Where it stands within; not kept over a restart.
    #[serde(skip)]
    pub progress: Option<Progress>,
    /// Details of the result: JSON, as text.
    pub details: Option<String>,
    /// What it needs to remember until it is over.
    pub life: Life,
}

/// What a command remembers until it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The state to return to when the link is back.
    pub before_reconnect: Option<CommandState>,
    /// Milliseconds that its clocks have run, without the time that the link was down.
    pub ran_ms: u64,
    /// Since when the clocks run; none while they stand still.
    pub clock_since: Option<Time>,
    /// Milliseconds that a person added to the hard limit.
    pub extended_ms: u64,
    /// A person said that it may take as long as it likes.
    pub no_limit: bool,
    /// When stop was asked for.
    pub stop_asked_at: Option<Time>,
    /// The agent said that the command is in its journal.
    pub accepted: bool,
    /// Journal of the agent that it was sent to.
    pub journal: Option<JournalId>,
    /// Protocol of the agent that it was sent to.
    pub protocol: Option<u32>,
    /// The agent as it was when the command was sent.
    pub instance: Option<InstanceId>,
    /// The boot then.
    pub boot_id: Option<BootId>,
    /// The agent's freshness then.
    pub freshness: Freshness,
    /// Since when the link is down.
    pub link_down_at: Option<Time>,
}
