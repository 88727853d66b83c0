//! The door of the host's core: what is asked of a host and answered, what happens to it, and what is to be done.

use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Register};
use nixfleet_protocol::{CommandId, Commit, HostId, Op, RunId, Time, api};
use serde_json::{Map, Value};

use super::Alike;
use crate::checks::{Refusal, TotpProof};
use crate::command::Command;
use crate::event::NewEvent;
use crate::fleet_state::StateChange;
use crate::host::HostRecord;
use crate::remote::RemoteState;
use crate::wake::Mac;

/// How long who wants something of a host waits for the answer: a pull asks the remote first, and the disk may be slow.
pub const WISH: Duration = Duration::from_secs(20);
/// What is not on disk by then is not begun any more: who wanted it is told so a moment later.
pub(super) const BEGIN_WITHIN: Duration = Duration::from_secs(19);

/// An op that somebody wants on a host.
#[derive(Clone, Debug)]
pub struct Submit {
    /// The command's id, where who asks has chosen and kept it: the same id is never carried out twice, and one that is
    /// known is answered with its command as it is. None: a new one.
    pub id: Option<CommandId>,
    /// Only say what is known of the id; begin nothing.
    pub only_known: bool,
    /// Which.
    pub op: Op,
    /// With what.
    pub args: Map<String, Value>,
    /// Skip `already_current` and `lock_behind`.
    pub force: bool,
    /// Who: `user`, `api:<token name>`, `pipeline:<run>`.
    pub actor: String,
    /// The run that it belongs to.
    pub run_id: Option<RunId>,
    /// What became of the TOTP code that came with it.
    pub totp: TotpProof,
}

/// What became of a [`Submit`]. By the time of the answer it is on disk and in the state that everyone sees.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It begins.
    Accepted(Box<api::Command>),
    /// A check refused it.
    Blocked(Box<api::Command>, Refusal),
    /// Asked for by a run: the host can't take it now, nothing was begun and nothing is kept of it. The run asks again.
    NotNow(Refusal),
    /// There is no such host.
    NoSuchHost,
    /// Not now: the store can't write, or the host's actor is being restarted.
    Unavailable(String),
    /// It did not begin within [`WISH`], and does not begin any more.
    Late {
        /// The id that it would have had: its record, when one is written, says the same.
        id: CommandId,
        /// Why.
        why: String,
    },
}

impl Submitted {
    /// What is said of a command that did not begin in time.
    pub fn late(id: CommandId) -> Self {
        let why = format!(
            "its record was not on disk within {} seconds, and so it does not begin: see whether the dashboard's disk \
             has room, and start it again",
            WISH.as_secs()
        );
        Self::Late { id, why }
    }
}

impl Submit {
    /// A new command, by nobody's run.
    pub fn new(op: Op, actor: impl Into<String>) -> Self {
        Self {
            id: None,
            only_known: false,
            op,
            args: Map::new(),
            force: false,
            actor: actor.into(),
            run_id: None,
            totp: TotpProof::NotGiven,
        }
    }
}

/// What is asked of a command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// End it.
    Stop,
    /// Give it this many minutes more, from now.
    Extend {
        /// How many, at least 1.
        minutes: u32,
    },
    /// Let it take as long as it likes.
    Ignore,
    /// Nobody will ever say how it ended.
    GiveUp,
}

/// Why an [`Act`] was refused.
#[derive(Clone, Debug)]
pub enum ActRefused {
    /// The host has no such command that is not over. Perhaps the store knows it.
    NotOpen,
    /// Not in this state: code and sentence.
    NotNow {
        /// A word: `not_timed_out`, `already_ended` …
        code: &'static str,
        /// For people.
        message: String,
    },
    /// Not now: the store can't write, or the host's actor is being restarted.
    Unavailable(String),
}

/// What all hosts share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dashboard's version.
    pub server_version: String,
    /// When the daemon started.
    pub daemon_started: Time,
    /// A TOTP secret is configured.
    pub totp_configured: bool,
    /// `NIXFLEET_TIMEOUT_ACTION=kill`.
    pub kill_at_limit: bool,
    /// What hosts that are alike share in memory.
    pub alike: Arc<Alike>,
    /// `NIXFLEET_AUTO_TEST`: the tests run by themselves after a good switch.
    pub auto_test: bool,
}

/// To which log a line of output belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To this one.
    To(CommandId),
    /// To one that nobody has looked for: keep the line, tell [`Input::HeardOf`], and ask again after [`Input::Found`].
    ToUnknown(CommandId),
    /// To no command that this agent may speak of.
    Nowhere,
}

/// What can happen to a host. Numbers called `ask` are the shell's: it knows who waits behind them.
#[derive(Clone, Debug)]
pub enum Input {
    /// An agent registered.
    LinkUp {
        /// Its link.
        link: u64,
        /// What it said.
        register: Box<Register>,
    },
    /// A link is over.
    LinkDown {
        /// Which.
        link: u64,
    },
    /// The agent said something. Output does not come here: it goes to the log, see [`super::Core::log_of`].
    Heard {
        /// On which link.
        link: u64,
        /// What.
        message: AgentMessage,
    },
    /// A log on disk reaches to here.
    LogGrew {
        /// Whose.
        command: CommandId,
        /// Bytes.
        bytes: u64,
    },
    /// Everything that had come for a log is on disk: the answer to [`Effect::FlushLog`].
    LogFlushed {
        /// Whose.
        command: CommandId,
        /// Bytes.
        bytes: u64,
    },
    /// Output came of a command that nobody has looked for: see [`Belongs::ToUnknown`].
    HeardOf {
        /// Which.
        command: CommandId,
    },
    /// What there was of a log could not be read, and was put aside.
    LogDamaged {
        /// Whose.
        command: CommandId,
        /// Why.
        why: String,
    },
    /// The answer to [`Effect::Find`].
    Found {
        /// What was looked for.
        id: CommandId,
        /// What was found.
        command: Option<Box<Command>>,
    },
    /// The remote's desired state, whenever it changes.
    Remote(Arc<RemoteState>),
    /// The answer to [`Effect::AskRemote`].
    RemoteAsked {
        /// Its number.
        number: u64,
    },
    /// Somebody wants an op.
    Submit {
        /// Who waits.
        ask: u64,
        /// The id that the command gets.
        id: CommandId,
        /// Which, and how.
        request: Submit,
    },
    /// A run wants the host for itself.
    Reserve {
        /// Who waits.
        ask: u64,
        /// Which.
        run: RunId,
    },
    /// The run that owns the host is this from now on.
    Owned(Option<RunId>),
    /// Somebody wants something of a command.
    Act {
        /// Who waits.
        ask: u64,
        /// Of which.
        command: CommandId,
        /// What.
        action: Act,
        /// Who wants it.
        actor: String,
    },
    /// Nobody reads a log any more that was watched: see [`Effect::Watch`].
    ReaderLeft {
        /// Whose log.
        command: CommandId,
    },
    /// The answer to [`Effect::AutoTest`].
    AutoTest {
        /// The id that the command gets.
        id: CommandId,
    },
    /// [`Effect::Order`] came too late: the command is not begun.
    TooLate {
        /// Which.
        command: CommandId,
    },
    /// [`super::Core::next_wake`] has come.
    Timer,
}

/// What is to be done, when the writes of the same step are on disk and in the state that everyone sees.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell the agent that it is registered, with the length of these logs; nothing else goes to it before.
    Registered {
        /// On which link.
        link: u64,
        /// Whose logs.
        commands: Vec<CommandId>,
    },
    /// Send this.
    Send {
        /// On this link; when another has taken its place, to nobody.
        link: u64,
        /// What.
        message: DashboardMessage,
    },
    /// Send a command, where it is not over by now: it may have waited for the disk for long.
    Order {
        /// Which.
        command: CommandId,
        /// On this link.
        link: u64,
        /// The frame.
        message: DashboardMessage,
        /// For the first time: after this nobody waits for it any more. Then come back with [`Input::TooLate`] instead.
        by: Option<Time>,
    },
    /// Close the link with 1012: the agent comes back and tells again.
    CloseLink {
        /// Which.
        link: u64,
        /// Why.
        reason: &'static str,
    },
    /// Answer a [`Input::Submit`].
    Answer {
        /// Who waits.
        ask: u64,
        /// With this.
        answer: Submitted,
    },
    /// Answer an [`Input::Reserve`].
    AnswerReserve {
        /// Who waits.
        ask: u64,
        /// With this: it is the run's, or why not.
        answer: Result<(), Refusal>,
    },
    /// Answer an [`Input::Act`].
    AnswerAct {
        /// Who waits.
        ask: u64,
        /// With this.
        answer: Result<Box<api::Command>, ActRefused>,
    },
    /// Ask the remote, then come back with [`Input::RemoteAsked`], at the latest after `within`.
    AskRemote {
        /// Names the question.
        number: u64,
        /// How long it may take.
        within: Duration,
    },
    /// The host reported a commit whose relation to the head is not known.
    Interest(Commit),
    /// Look in the store, then come back with [`Input::Found`].
    Find(CommandId),
    /// Bring what has come for a log to the disk, then come back with [`Input::LogFlushed`].
    FlushLog(CommandId),
    /// Watch who reads a command's log; come back with [`Input::ReaderLeft`] when the last one left, or when none came.
    Watch(CommandId),
    /// Send magic packets, unless it is too late for it, as with [`Effect::Order`].
    Wake {
        /// For which command.
        command: CommandId,
        /// To these hardware addresses.
        addresses: Vec<Mac>,
        /// After this nobody waits for it any more.
        by: Option<Time>,
    },
    /// The tests are to run by themselves: come back with [`Input::AutoTest`] at once.
    AutoTest,
    /// A command is over: nothing more is expected for its log.
    LogOver(CommandId),
    /// The host is removed: its actor ends.
    Gone,
}

/// Records, events and changes of one step: all of it on disk, or none.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// The host's record.
    pub host: Option<Box<HostRecord>>,
    /// The host is forgotten.
    pub removed: Option<HostId>,
    /// Commands' records.
    pub commands: Vec<Command>,
    /// What goes into the audit log.
    pub events: Vec<NewEvent>,
    /// What everyone sees then.
    pub changes: Vec<StateChange>,
}

impl Writes {
    /// Whether nothing needs the disk.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.removed.is_none() && self.commands.is_empty() && self.events.is_empty()
    }
}

/// What follows from an input. That an effect comes after its commit is by construction: both are in one step,
/// and the shell performs effects in the order of the steps, behind every commit that was begun before them.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// What to make durable.
    pub writes: Writes,
    /// What to do then.
    pub then: Vec<Effect>,
    /// Facts changed that everyone may see at once, as soon as no commit is under way.
    pub publish: bool,
}
