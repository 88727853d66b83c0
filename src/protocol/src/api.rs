//! The shapes of the API, the same in the deltas and the states that tabs get. Every field is always there,
//! null when there is nothing; lists are never null; new fields may be added within `/api/v1`, none changes
//! its meaning.

mod command;
mod event;
mod host;
mod lights;
mod load;
mod notification;
mod op;
mod remote;
mod run;

pub use self::command::{Command, CommandList, CommandState, LogFound, LogLine, LogWindow, Progress};
pub use self::event::{Category, Event, EventList, Level};
pub use self::host::{Deployed, Host, HostList, HostState};
pub use self::lights::{Action, ActionKind, Light, LightStatus, Lights};
pub use self::load::{DAY, HOUR, HostLoad, LoadHistory, LoadSample, LoadSeries};
pub use self::notification::{NotificationChannel, NotificationError, NotificationList, NotificationTested};
pub use self::op::{ArgKind, OpArg, OpEntry, OpRequest, Outcome, Problem};
pub use self::remote::{Merged, PullRequest, Remote, Server};
pub use self::run::{
    Canary, DecideRequest, Decision, GroupState, Halted, Offline, PipelineEntry, Run, RunGroup, RunList, RunOptions,
    RunRequest, RunState, RunWait, WaitKind, Waves,
};
