//! What to do after a command that did not end well: the buttons on top of its log. The lights know best, where one
//! of them speaks of this very command; else it is what lifts the refusal, or the same once more.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Action, ActionKind, Command, CommandState, Host};

use crate::compartments::actions;
use crate::ops::spec;

/// A step that is offered after a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextStep {
    /// What it starts.
    pub action: Action,
    /// With force: what the refusal named is not looked at.
    pub force: bool,
    /// With the arguments of the command before.
    pub same: bool,
}

impl NextStep {
    fn new(action: Action) -> Self {
        Self { action, force: false, same: false }
    }
}

/// The steps, the likeliest first. What is not offered on the host now is among them: it says why.
pub fn next_steps(command: &Command, host: &Host) -> Vec<NextStep> {
    if !ended_badly(command.state) {
        return Vec::new();
    }
    let blocked = command.state == CommandState::Blocked;
    if !blocked
        && let Some((_, light)) = host
            .lights
            .each()
            .into_iter()
            .find(|(_, light)| light.action.kind == ActionKind::Log && light.action.command_id == Some(command.id))
    {
        let steps = light.also.iter().filter(|action| action.kind != ActionKind::Log);
        return ordered(command, steps.cloned().collect());
    }
    let retry = || {
        spec(command.op)
            .retry
            .then(|| NextStep { same: true, ..NextStep::new(actions::start_as(command.op, "Try again")) })
    };
    let force = || NextStep {
        force: true,
        same: true,
        ..NextStep::new(actions::start_as(command.op, format!("{} anyway", spec(command.op).label)))
    };
    match command.code.as_deref().filter(|_| blocked) {
        Some("lock_behind") => vec![NextStep::new(actions::start(Op::Pull)), force()],
        Some("already_current") => vec![force()],
        Some("host_offline") => vec![NextStep::new(actions::start(Op::Wake))],
        Some("unsupported_by_agent" | "no_previous_generation" | "mac_unknown" | "exec_disabled") => Vec::new(),
        Some(_) | None => retry().into_iter().collect(),
    }
}

/// A person may want to do something about it.
pub const fn ended_badly(state: CommandState) -> bool {
    match state {
        CommandState::Blocked
        | CommandState::Error
        | CommandState::Partial
        | CommandState::Killed
        | CommandState::Timeout
        | CommandState::StaleBinary
        | CommandState::Suspicious
        | CommandState::Orphaned => true,
        CommandState::Pending
        | CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::TimeoutPending
        | CommandState::AwaitingReconnect
        | CommandState::Killing
        | CommandState::Success
        | CommandState::Cancelled
        | CommandState::Skipped => false,
    }
}

/// By the stage that failed: before the activation nothing was changed, so there is nothing to roll back; from it on
/// the way back comes first, since the host may run half of each.
fn ordered(command: &Command, actions: Vec<Action>) -> Vec<NextStep> {
    let is_back = |action: &Action| action.op == Some(Op::Rollback);
    let (back, mut forward): (Vec<_>, Vec<_>) = actions.into_iter().partition(is_back);
    match command.stage.as_deref() {
        Some("checkout" | "evaluation" | "build") => {}
        Some("activation") => forward.splice(0..0, back).for_each(drop),
        Some(_) | None => forward.extend(back),
    }
    forward.into_iter().map(NextStep::new).collect()
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::api::{Light, LightStatus};
    use nixfleet_protocol::{CommandId, Time};

    use super::*;
    use crate::compartments::tests::fixture::{Scene, command, id};
    use crate::view::{command_view, host_view};

    fn ended(op: Op, now: CommandState, code: Option<&str>, stage: Option<&str>) -> Command {
        let mut one = command(1, op, now, Time::from_millis(0));
        one.code = code.map(str::to_owned);
        one.life.stage = stage.map(str::to_owned);
        command_view(&one)
    }

    fn host(of: CommandId) -> Host {
        let mut host = (*host_view(&Scene::current().standing(), None).host).clone();
        std::sync::Arc::make_mut(&mut host.lights).system = Light {
            status: LightStatus::Error,
            message: String::new(),
            action: actions::failed_log(of),
            also: vec![
                actions::start(Op::Pull),
                actions::start_as(Op::Switch, "Try again"),
                actions::start(Op::Rollback),
            ],
        };
        host
    }

    fn steps(command: &Command, host: &Host) -> String {
        let steps = next_steps(command, host).into_iter();
        steps
            .map(|step| format!("{}{}", step.action.op.unwrap(), if step.force { " force" } else { "" }))
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn the_light_that_speaks_of_the_command_knows_what_comes_next() {
        for (stage, expected) in [
            (Some("evaluation"), "pull, switch"),
            (Some("build"), "pull, switch"),
            (Some("activation"), "rollback, pull, switch"),
            (Some("interrupted"), "pull, switch, rollback"),
            (None, "pull, switch, rollback"),
        ] {
            let failed = ended(Op::Switch, CommandState::Error, None, stage);
            assert_eq!(steps(&failed, &host(id(1))), expected, "{stage:?}");
            assert_eq!(steps(&failed, &host(id(2))), "switch", "of another command: the same once more");
        }
    }

    #[test]
    fn what_was_refused_is_offered_with_what_lifts_the_refusal() {
        for (op, code, expected) in [
            (Op::Switch, "lock_behind", "pull, switch force"),
            (Op::Pull, "already_current", "pull force"),
            (Op::Switch, "host_offline", "wake"),
            (Op::Switch, "host_busy", "switch"),
            (Op::Rollback, "host_busy", ""),
            (Op::Gc, "unsupported_by_agent", ""),
        ] {
            let refused = ended(op, CommandState::Blocked, Some(code), None);
            assert_eq!(steps(&refused, &host(id(1))), expected, "{op} {code}");
        }
    }

    #[test]
    fn after_what_went_well_or_goes_on_nothing_is_offered() {
        for state in [CommandState::Success, CommandState::Executing, CommandState::Cancelled, CommandState::Skipped] {
            assert_eq!(steps(&ended(Op::Switch, state, None, None), &host(id(1))), "", "{state:?}");
        }
        assert_eq!(steps(&ended(Op::Gc, CommandState::Killed, None, None), &host(id(2))), "gc");
        assert_eq!(steps(&ended(Op::Reboot, CommandState::Timeout, None, None), &host(id(2))), "", "not by itself");
    }
}
