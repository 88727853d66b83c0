//! What the end of a command means for its cell, and how long it is waited for.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::details::Details;
use nixfleet_protocol::api::{Command, CommandState};

use crate::ops::{PostCheck, spec};

/// How long a command that is past its hard limit is waited for: as long as an agent may take to come back.
pub(super) const MORE: Duration = Duration::from_secs(90);
/// A limit for ops that have none of their own: they take no time.
const NO_LIMIT: Duration = Duration::from_mins(1);
/// A person may extend a command, or let it take as long as it likes; a run waits a day for it.
pub(super) const LONGEST: Duration = Duration::from_hours(24);

/// How long the command of an op is waited for.
pub(super) fn patience(op: Op) -> Duration {
    spec(op).hard.unwrap_or(NO_LIMIT) + MORE
}

/// Whether a refusal says that there is nothing to do: its host came through.
fn is_there_already(op: Op, code: Option<&str>) -> bool {
    match code {
        Some("already_current") => true,
        // Who is to be woken and is awake.
        Some("host_online") => spec(op).post == PostCheck::Registered,
        Some(_) | None => false,
    }
}

/// Whether a refusal says nothing of the host but that it was away, busy, or that the dashboard was restarted while
/// it looked: nothing had begun.
pub(super) fn is_for_a_moment(state: CommandState, code: Option<&str>) -> bool {
    state == CommandState::Blocked && matches!(code, Some("host_offline" | "host_busy" | "not_started"))
}

/// Whether a command that is over brought another system to its host: it came to its end, or failed in an activation
/// after which the new system runs or boots next. A build that failed changed nothing, nor did what was current already.
pub(super) fn switched(command: &Command) -> bool {
    if !matches!(command.op, Op::Switch | Op::ForceRebuild) || !command.state.is_final() {
        return false;
    }
    let left = || Details::read(&command.details).activation.unwrap_or_default();
    let half_way = || {
        let left = left();
        left.wanted.is_some() && (left.running == left.wanted || left.profile == left.wanted)
    };
    command.state == CommandState::Success || command.exit_code == Some(0) || half_way()
}

/// The state of the cell whose command is over, with the code that says why.
pub(super) fn of(op: Op, state: CommandState, code: Option<&str>) -> (CommandState, Option<String>) {
    let state =
        if state == CommandState::Blocked && is_there_already(op, code) { CommandState::Success } else { state };
    (state, code.map(str::to_owned))
}
