//! The ops that concern no host (`refresh-git`, `merge-pr`, `revert-pr`): commands like any others, with their records
//! and their events. How one is asked for, and each change of its record; what it does stands in `state/ops.rs`.

use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::Refusal;
use nixfleet_model::command::Command;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host_core::{command_event, finished_event};
use nixfleet_model::ops::spec;
use nixfleet_model::remote::code::Code;
use nixfleet_model::view::command_view;
use nixfleet_protocol::api::{CommandState, Level};
use nixfleet_protocol::{CommandId, Op, RunId, Time};
use serde_json::{Map, Value};

use crate::actors::store::{Batch, Write};

/// So many may be open at once; more is a client that asks in a circle.
pub(super) const MOST_OPEN: usize = 64;
/// How long one may take where the registry says nothing.
const LIMITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// An op that concerns no host, as it is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The command's id, where the one who asks keeps it: the same id is never carried out twice, and one that is known
    /// is answered with its command as it is. None: a new one.
    pub id: Option<CommandId>,
    /// `refresh-git`, `merge-pr` or `revert-pr`.
    pub op: Op,
    /// `merge-pr`: `number`, and `head` as it was shown; `revert-pr`: `number`. All may be left out.
    pub args: Map<String, Value>,
    /// Who.
    pub actor: String,
    /// Whether it was forced; there is nothing to skip.
    pub force: bool,
    /// The run that it belongs to.
    pub run_id: Option<RunId>,
}

impl Wanted {
    /// Without arguments, with an id of the remote's own.
    pub fn new(op: Op, actor: impl Into<String>) -> Self {
        Self { id: None, op, args: Map::new(), actor: actor.into(), force: false, run_id: None }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) state: CommandState,
    pub(super) code: Option<Code>,
    pub(super) message: String,
}

impl Ended {
    pub(super) fn well(message: impl Into<String>) -> Self {
        Self { state: CommandState::Success, code: None, message: message.into() }
    }

    pub(super) fn badly(code: Option<Code>, message: impl Into<String>) -> Self {
        Self { state: CommandState::Error, code, message: message.into() }
    }
}

/// When it is worth a warning, and when it has failed.
pub(super) fn limits(op: Op) -> (Duration, Duration) {
    let spec = spec(op);
    spec.warn.zip(spec.hard).unwrap_or(LIMITS)
}

/// A new one, with the arguments that were decided on.
pub(super) fn accepted(id: CommandId, wanted: Wanted, args: String, now: Time) -> Command {
    let Wanted { op, actor, force, run_id, .. } = wanted;
    Command { args, force, run_id, ..Command::new(id, None, op, actor, now) }
}

/// One that may not start.
pub(super) fn blocked(id: CommandId, wanted: Wanted, refusal: &Refusal, now: Time) -> Command {
    let args = serde_json::to_string(&wanted.args).unwrap_or_else(|_| "{}".to_owned());
    Command {
        state: CommandState::Blocked,
        code: Some(refusal.code.to_owned()),
        message: Some(refusal.message.clone()),
        finished_at: Some(now),
        ..accepted(id, wanted, args, now)
    }
}

/// It begins.
pub(super) fn begin(command: &mut Command, now: Time) {
    command.state = CommandState::Executing;
    command.started_at.get_or_insert(now);
}

/// It ends.
pub(super) fn finish(command: &mut Command, ended: Ended, now: Time) {
    command.state = ended.state;
    command.code = ended.code.map(|code| code.as_str().to_owned());
    command.message = Some(ended.message);
    command.finished_at = Some(now);
}

/// Its record and what everyone sees of it; with an event where it begins and where it ends.
pub(super) fn batch(command: &Command, now: Time) -> Batch {
    let event = if command.state == CommandState::Pending {
        Some(command_event(command, Level::Info, "command_started", format!("{} starts", command.op), now))
    } else {
        command.state.is_final().then(|| finished_event(command, now))
    };
    Batch {
        writes: vec![Write::PutCommand(Box::new(command.clone()))],
        events: event.into_iter().collect(),
        changes: vec![StateChange::Command(Arc::new(command_view(command)))],
    }
}
