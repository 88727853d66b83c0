//! The life of a command: its record and, as a pure function, every step of it.
//!
//! ```text
//! PENDING → VALIDATING → BLOCKED* | EXECUTING → RUNNING_WARNING → TIMEOUT_PENDING      KILLING       (* = final)
//!                                       └────────────┴──── AWAITING_RECONNECT ────┴───────┘
//! ```
//!
//! [`step`] takes an input and the time, changes the record and says what is to be done once the record is on
//! disk. Timers are no effects: when a command wants to be looked at again is [`deadline`], a function of the
//! record alone, so that a command that was read from the store has its timers without anyone setting them.
//! Invariants (`tests.rs`): no input in any state panics, a final state never changes, a result is taken once,
//! every state that is not final has a deadline or an owner that ends it, nothing is sent twice to an old agent.

mod input;
mod limits;
mod reconnect;
#[cfg(test)]
mod tests;
mod verdict;

use nixfleet_protocol::api::{CommandState, Progress};
use nixfleet_protocol::{BootId, CommandId, Commit, HostId, InstanceId, JournalId, LockHash, Op, RunId, Time};
use serde::{Deserialize, Serialize};

pub use self::input::{AgentNow, Beat, Effect, Input, Outcome, Said};
pub use self::limits::deadline;
use crate::host::Freshness;
use crate::ops::{self, OpSpec, PostCheck, RunsOn};

/// Reason of an agent that keeps a command's id, as it keeps all, and not what became of it.
const FORGOTTEN: &str = "forgotten";

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
    /// When the agent was last asked to stop it.
    pub kill_sent_at: Option<Time>,
    /// The host as it was when the command was sent.
    pub was: Was,
    /// The stage that failed, where the agent said so; stays when it is over.
    pub stage: Option<String>,
    /// The result that was taken, while its verdict waits for the remote's poll or for a new register.
    pub noted: Option<Noted>,
}

/// What a post-check compares with: the host as it was when the command was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// The commit that was checked out.
    pub generation: Option<Commit>,
    /// SHA-256 of the checkout's `flake.lock`.
    pub lock_hash: Option<LockHash>,
    /// The system that ran.
    pub system_path: Option<String>,
    /// The commit that was deployed.
    pub deployed: Option<Commit>,
}

/// A good result whose verdict waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When it was taken.
    pub at: Time,
    /// When the command ended, as its host has it.
    pub finished_at: Option<Time>,
    /// The commit that is checked out since.
    pub generation: Option<Commit>,
    /// What is missing already.
    pub missing: Option<String>,
    /// The agent said that its own package changed in this switch.
    pub agent_changed: bool,
}

impl Command {
    /// A command that was accepted and not looked at yet.
    pub fn new(id: CommandId, host: Option<HostId>, op: Op, actor: String, created_at: Time) -> Self {
        Self {
            id,
            host,
            op,
            args: "{}".to_owned(),
            state: CommandState::Pending,
            code: None,
            message: None,
            actor,
            force: false,
            run_id: None,
            created_at,
            sent_at: None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            log_bytes: 0,
            progress: None,
            details: None,
            life: Life::default(),
        }
    }

    /// What the registry says of its op.
    pub(crate) fn spec(&self) -> &'static OpSpec {
        ops::spec(self.op)
    }

    /// The state that counts while the link is down: the one to return to.
    fn running_state(&self) -> CommandState {
        if self.state == CommandState::AwaitingReconnect {
            self.life.before_reconnect.unwrap_or(CommandState::Executing)
        } else {
            self.state
        }
    }

    /// Whether it runs on its host for as long as somebody reads it, beside whatever else runs there.
    pub fn is_read(&self) -> bool {
        self.spec().runs_on == RunsOn::Agent && !self.spec().takes_slot
    }

    /// Whether it waits in the dashboard until its host registers.
    fn waits_for_host(&self) -> bool {
        self.spec().post == PostCheck::Registered
    }

    /// Whether it has not begun: nothing was sent, and no agent has it.
    pub fn waits(&self) -> bool {
        matches!(self.state, CommandState::Pending | CommandState::Validating)
    }

    fn finish(&mut self, state: CommandState, message: Option<String>, now: Time) {
        self.state = state;
        if message.is_some() {
            self.message = message;
        }
        let said = self.life.noted.as_ref().and_then(|noted| noted.finished_at);
        // The host's clock may be wrong; what ended, ended between its sending and now.
        let earliest = self.sent_at.unwrap_or(self.created_at);
        self.finished_at = Some(said.map_or(now, |said| said.max(earliest).min(now)));
        self.progress = None;
        self.life = Life { stage: self.life.stage.take(), ..Life::default() };
    }
}

/// One step of a command's life. The effects are to be performed when the changed record is on disk.
pub fn step(command: &mut Command, input: Input, now: Time) -> Vec<Effect> {
    if command.state.is_final() {
        // A result that comes again was taken already, or comes too late to count: either way the agent may forget it.
        return if matches!(input, Input::Result(_)) { vec![Effect::AckResult] } else { Vec::new() };
    }
    let mut effects = match input {
        Input::Validating => {
            if command.state == CommandState::Pending {
                command.state = CommandState::Validating;
            }
            Vec::new()
        }
        Input::Refused { code, message } => refused(command, code, message, now),
        Input::Passed(agent) => passed(command, *agent, now),
        Input::Accepted => {
            if !command.waits() {
                command.life.accepted = true;
                command.started_at.get_or_insert(now);
            }
            Vec::new()
        }
        Input::Progress(progress) => {
            command.progress = (!command.waits()).then_some(progress);
            Vec::new()
        }
        Input::LogGrew(bytes) => {
            command.log_bytes = command.log_bytes.max(bytes);
            Vec::new()
        }
        Input::Result(outcome) => verdict::result(command, &outcome, now),
        Input::RemoteRead(head) => verdict::remote_read(command, head.as_ref(), now),
        Input::Rejected { reason } => rejected(command, &reason, now),
        Input::Done { state, message } => {
            command.finish(if state.is_final() { state } else { CommandState::Error }, message, now);
            Vec::new()
        }
        Input::LinkUp(said) => reconnect::link_up(command, &said, now),
        Input::FirstHeartbeat(beat) => reconnect::first_heartbeat(command, &beat, now),
        Input::LinkDown => {
            reconnect::link_down(command, now, now);
            Vec::new()
        }
        Input::Revived { last_heard } => {
            reconnect::revived(command, last_heard.unwrap_or(now).min(now), now);
            Vec::new()
        }
        Input::TooLate => {
            limits::too_late(command, now);
            Vec::new()
        }
        Input::Timer { kill_at_limit } => limits::timer(command, kill_at_limit, now),
        Input::Stop => stop(command, now),
        Input::ReaderLeft => reader_left(command, now),
        Input::Extend { minutes } => {
            limits::extend(command, minutes, now);
            Vec::new()
        }
        Input::Ignore => {
            if command.state == CommandState::TimeoutPending {
                command.state = CommandState::RunningWarning;
                command.life.no_limit = true;
            }
            Vec::new()
        }
        Input::GiveUp { actor } => {
            let message = format!("given up by {actor}: nobody can say how it ended");
            command.finish(CommandState::Orphaned, Some(message), now);
            Vec::new()
        }
    };
    if command.state.is_final() {
        effects.push(Effect::Finished);
    }
    effects
}

fn refused(command: &mut Command, code: String, message: String, now: Time) -> Vec<Effect> {
    if command.waits() {
        command.code = Some(code);
        command.finish(CommandState::Blocked, Some(message), now);
    }
    Vec::new()
}

fn passed(command: &mut Command, agent: AgentNow, now: Time) -> Vec<Effect> {
    if !command.waits() {
        return Vec::new();
    }
    command.state = CommandState::Executing;
    command.sent_at = Some(now);
    command.life.clock_since = Some(now);
    capture(command, agent);
    vec![Effect::Send]
}

/// Keeps what the agent and the host are at the moment of sending, to compare with later.
fn capture(command: &mut Command, agent: AgentNow) {
    let life = &mut command.life;
    life.protocol = Some(agent.protocol);
    life.journal = agent.journal;
    life.instance = agent.instance;
    life.boot_id = agent.boot_id;
    life.freshness = agent.freshness;
    life.was = agent.was;
}

fn rejected(command: &mut Command, reason: &str, now: Time) -> Vec<Effect> {
    if command.waits() || command.life.noted.is_some() {
        return Vec::new();
    }
    if reason == FORGOTTEN {
        // It ran, or did not: who kept the id alone can't say.
        let message = "the agent knows its id and no longer what became of it: nobody can say how it ended";
        command.finish(CommandState::Orphaned, Some(message.to_owned()), now);
        return Vec::new();
    }
    let message = match reason {
        "unsupported" => {
            command.code = Some("unsupported_by_agent".to_owned());
            format!("the host's agent does not know {}", command.op)
        }
        "" => "the agent refused it without a reason".to_owned(),
        other => format!("the agent refused it: {other}"),
    };
    command.finish(CommandState::Error, Some(message), now);
    Vec::new()
}

fn stop(command: &mut Command, now: Time) -> Vec<Effect> {
    if command.waits() {
        command.finish(CommandState::Killed, Some("it was stopped before it began".to_owned()), now);
        return Vec::new();
    }
    if command.life.noted.is_some() {
        return Vec::new();
    }
    if command.waits_for_host() {
        command.finish(CommandState::Killed, Some("nobody waits for the host any more".to_owned()), now);
        return Vec::new();
    }
    command.life.stop_asked_at.get_or_insert(now);
    if command.state == CommandState::AwaitingReconnect {
        command.life.before_reconnect = Some(CommandState::Killing);
        return Vec::new();
    }
    command.state = CommandState::Killing;
    command.life.kill_sent_at = Some(now);
    vec![Effect::Kill]
}

/// Nobody reads it any more: it ends. What is not linked is not waited for, since nobody waits for its result.
fn reader_left(command: &mut Command, now: Time) -> Vec<Effect> {
    if !command.is_read() || command.state == CommandState::Killing || command.life.noted.is_some() {
        return Vec::new();
    }
    command.message = Some("its reader left, and so it was stopped".to_owned());
    if command.waits() || command.state == CommandState::AwaitingReconnect {
        command.finish(CommandState::Killed, None, now);
        return Vec::new();
    }
    stop(command, now)
}

/// Ops whose success only a register can tell.
fn ends_by_register(command: &Command) -> bool {
    matches!(command.spec().post, PostCheck::NewInstance | PostCheck::NewBoot | PostCheck::Registered)
}
