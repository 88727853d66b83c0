//! What agents and the dashboard say to each other: the messages of v2, and the fields that v3 adds to them.
//!
//! One WebSocket, dialled by the agent; text frames `{"type": …, "payload": {…}}` ([`crate::codec`]).
//! Every field is optional on the way in: an old agent leaves out what it does not know, and junk in one
//! field costs that field alone ([`crate::lenient`]). On the way out absent fields are left out.

pub mod details;
mod facts;
mod said;
mod told;
mod version;

use serde::Serialize;

pub use self::facts::{
    Deployed, DeviceType, Disk, Generation, HostType, LegacyCompartment, Location, Metrics, Platform, UnknownPlatform,
    UpdateStatus,
};
pub use self::said::{
    Accepted, CommandRejected, Heartbeat, OperationProgress, Output, Progress, Register, StageProgress, Status, Stream,
    TestProgress,
};
pub use self::told::{Command, KillCommand, OutputAck, Registered, Signal, StatusAck};
pub use self::version::{AgentProgram, VersionCheck};

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
