//! The op `refresh-git` on no host: a command like any other, with its record and its events.

use std::time::Duration;

use nixfleet_model::command::{Command, Life};
use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::view::command_view;
use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, Op, RunId, Time};
use std::sync::Arc;

use crate::actors::store::{Batch, Write};

/// Longer than this is worth a warning.
pub(super) const WARN: Duration = Duration::from_secs(10);
/// Longer than this and it has failed.
pub(super) const HARD: Duration = Duration::from_secs(30);
/// So many may be open at once; more is a client that asks in a circle.
pub(super) const MOST_OPEN: usize = 64;

/// A new one, accepted.
pub(super) fn accepted(id: CommandId, actor: String, force: bool, run_id: Option<RunId>, now: Time) -> Command {
    Command {
        id,
        host: None,
        op: Op::RefreshGit,
        args: "{}".to_owned(),
        state: CommandState::Pending,
        code: None,
        message: None,
        actor,
        force,
        run_id,
        created_at: now,
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

/// It begins.
pub(super) fn begin(command: &mut Command, now: Time) {
    command.state = CommandState::Executing;
    command.started_at.get_or_insert(now);
}

/// It ends, well or badly.
pub(super) fn finish(command: &mut Command, outcome: Result<String, String>, now: Time) {
    let (state, message) = match outcome {
        Ok(message) => (CommandState::Success, message),
        Err(why) => (CommandState::Error, why),
    };
    command.state = state;
    command.message = Some(message);
    command.finished_at = Some(now);
}

/// Its record and what everyone sees of it; with an event where it begins and where it ends.
pub(super) fn batch(command: &Command, now: Time) -> Batch {
    let event = match command.state {
        CommandState::Pending => Some((Level::Info, "command_started", format!("{} was started", command.op))),
        CommandState::Success => Some((Level::Success, "command_finished", told(command, "succeeded"))),
        CommandState::Error => Some((Level::Error, "command_finished", told(command, "failed"))),
        CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::TimeoutPending
        | CommandState::AwaitingReconnect
        | CommandState::Killing
        | CommandState::Blocked
        | CommandState::Partial
        | CommandState::Killed
        | CommandState::Timeout
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Orphaned
        | CommandState::Cancelled
        | CommandState::Skipped => None,
    };
    let event = event.map(|(level, action, message)| {
        let mut event = NewEvent::new(now, Category::Audit, level, command.actor.clone(), action, message);
        event.details = Some(serde_json::json!({ "command": command.id, "op": command.op }).to_string());
        event
    });
    Batch {
        writes: vec![Write::PutCommand(Box::new(command.clone()))],
        events: event.into_iter().collect(),
        changes: vec![StateChange::Command(Arc::new(command_view(command)))],
    }
}

fn told(command: &Command, how: &str) -> String {
    let message = command.message.as_deref().unwrap_or_default();
    format!("{} {how}: {message}", command.op)
}
