//! What a click does: the actions that are not simply an op or a pipeline of the registry.

use nixfleet_protocol::api::{Action, ActionKind, CommandState, PullRequest};
use nixfleet_protocol::{CommandId, Op};
use serde_json::{Map, Value};

use crate::command::Command;
use crate::ops::{MERGE_DEPLOY, spec};
use crate::remote::wish::shown;

fn action(kind: ActionKind, command_id: Option<CommandId>, label: &str) -> Action {
    Action { kind, op: None, pipeline: None, command_id, label: label.to_owned(), args: None }
}

/// Show the host's details.
pub(crate) fn details() -> Action {
    action(ActionKind::Details, None, "Details")
}

/// Show the results of the last test run.
pub(crate) fn results(command: CommandId) -> Action {
    action(ActionKind::Log, Some(command), "Show results")
}

/// Show the log of what failed.
pub(crate) fn failed_log(command: CommandId) -> Action {
    action(ActionKind::Log, Some(command), "Show the log")
}

/// Show how far a command is.
pub(crate) fn progress(command: CommandId) -> Action {
    action(ActionKind::Log, Some(command), "Show progress")
}

/// Stop a command that runs; nothing where it is being stopped already.
pub(crate) fn stop_of(command: &Command) -> Option<Action> {
    (command.state != CommandState::Killing).then(|| stop(command.id))
}

/// Stop a command.
pub(crate) fn stop(command: CommandId) -> Action {
    action(ActionKind::Stop, Some(command), "Stop")
}

/// Say what to do.
pub(crate) fn help(label: &str) -> Action {
    action(ActionKind::Help, None, label)
}

/// Start an op.
pub(crate) fn start(op: Op) -> Action {
    spec(op).action()
}

/// Start an op under another label.
pub(crate) fn start_as(op: Op, label: impl Into<String>) -> Action {
    Action { label: label.into(), ..start(op) }
}

/// Merge the update that waits, as it is shown: another one, or other commits, are not merged.
pub(crate) fn merge(waiting: &PullRequest) -> Action {
    Action { args: Some(shown(waiting)), ..start_as(Op::MergePr, format!("Merge #{}", waiting.number)) }
}

/// Merge it and deploy.
pub(crate) fn merge_deploy(waiting: &PullRequest) -> Action {
    let args = Map::from_iter([(Op::MergePr.to_string(), Value::Object(shown(waiting)))]);
    Action { args: Some(args), ..MERGE_DEPLOY.action() }
}
