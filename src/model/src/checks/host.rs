//! Checks that ask about a host.

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Platform;
use nixfleet_protocol::api::CommandState;

use super::{EXEC_DISABLED, Refusal, Request, Standing, UNSUPPORTED};
use crate::compartments::seen::{Git, Lock, Seen, System};
use crate::compartments::{actions, sentence};
use crate::host::Facts;
use crate::ops::{OpSpec, PULL_SWITCH, REBOOTS_AN_HOUR, RunsOn};
use crate::wake;

/// The feature of an agent whose host allows `exec`.
const EXEC: &str = "exec";

/// Whether the agent says that it knows an op. One that names `pull` names all its ops; `exec` has a check of
/// its own, because the host has to allow it.
pub(super) fn names(spec: &OpSpec, facts: &Facts) -> bool {
    let named = |op: Op| facts.features.has(op.as_str());
    let says_nothing = facts.protocol.unwrap_or(2) < 3 || !named(Op::Pull);
    says_nothing || spec.runs_on == RunsOn::Dashboard || spec.id == Op::Exec || named(spec.id)
}

pub(super) fn online(standing: &Standing<'_>) -> Result<(), Refusal> {
    if standing.linked {
        return Ok(());
    }
    let host = standing.sight.host;
    if host.first_seen.is_none() {
        let message = format!("No agent of {} has connected yet: start one there.", host.id);
        return Err(Refusal::new("host_offline", message));
    }
    let refusal = Refusal::new("host_offline", format!("{} is not connected. Wait until it is back.", host.id));
    Err(if wake::addresses(&host.facts.mac_addresses).is_empty() {
        refusal
    } else {
        refusal.offering(actions::start(Op::Wake))
    })
}

pub(super) fn supported(spec: &OpSpec, standing: &Standing<'_>) -> Result<(), Refusal> {
    let host = standing.sight.host;
    if !spec.known_to(host.facts.protocol.unwrap_or(2)) {
        let message =
            format!("The agent of {} is of the old kind and knows no {}: update the agent.", host.id, spec.id);
        return Err(Refusal::new(UNSUPPORTED, message));
    }
    if !names(spec, &host.facts) {
        let script = host.facts.platform == Some(Platform::Script);
        let message = if script && spec.id.needs_nix() {
            format!("{} is for hosts with Nix; {} is deployed by scripts.", spec.label, host.id)
        } else {
            format!("The agent of {} does not know {}: update the agent.", host.id, spec.id)
        };
        return Err(Refusal::new(UNSUPPORTED, message));
    }
    Ok(())
}

pub(super) fn idle(request: &Request, standing: &Standing<'_>) -> Result<(), Refusal> {
    let host = standing.sight.host;
    if let Some(open) = standing.sight.open() {
        let what = match open.state {
            CommandState::AwaitingReconnect => "waits for the host to come back",
            CommandState::Killing => "is being stopped",
            CommandState::TimeoutPending => "is past its time limit",
            CommandState::Pending
            | CommandState::Validating
            | CommandState::Executing
            | CommandState::RunningWarning
            | CommandState::Blocked
            | CommandState::Success
            | CommandState::Error
            | CommandState::Partial
            | CommandState::Killed
            | CommandState::Timeout
            | CommandState::StaleBinary
            | CommandState::Suspicious
            | CommandState::Orphaned
            | CommandState::Cancelled
            | CommandState::Skipped => "runs",
        };
        let message = format!("{} {what} on {} (command {}): wait for it, or stop it.", open.op, host.id, open.id);
        let refusal = Refusal::new("host_busy", message).because_of(open.id);
        return Err(match actions::stop_of(open) {
            Some(stop) => refusal.offering(stop),
            None => refusal,
        });
    }
    not_in_run(request, standing)?;
    if let Some(running) = host.facts.running.first() {
        let message = format!("The agent of {} still runs command {running}: wait for it, or stop it.", host.id);
        return Err(Refusal::new("host_busy", message).because_of(*running).offering(actions::stop(*running)));
    }
    // An old agent names no ids, but what it runs.
    if let Some(op) = host.facts.pending.as_deref().filter(|_| host.facts.protocol.is_some_and(|protocol| protocol < 3))
    {
        return Err(Refusal::new("host_busy", format!("The agent of {} runs {op} already: wait for it.", host.id)));
    }
    Ok(())
}

/// A run owns its hosts from its start to its end.
pub(super) fn not_in_run(request: &Request, standing: &Standing<'_>) -> Result<(), Refusal> {
    match standing.run.filter(|run| request.run_id != Some(*run)) {
        None => Ok(()),
        Some(run) => {
            let host = &standing.sight.host.id;
            let message = format!("{host} belongs to run {run} until that is over: wait for it, or cancel it.");
            Err(Refusal::new("host_busy", message))
        }
    }
}

pub(super) fn not_pulled(seen: &Seen<'_>) -> Result<(), Refusal> {
    let Git::Equal(head) = seen.git else { return Ok(()) };
    if !seen.is_pulled() {
        return Ok(());
    }
    let message = format!("{} is at the remote's head already, {}.", seen.host.id, sentence::head(head));
    let refusal = Refusal::new("already_current", message);
    let switch_next = !seen.is_switched() && seen.host.first_seen.is_some();
    Err(if switch_next { refusal.offering(actions::start(Op::Switch)) } else { refusal })
}

pub(super) fn lock_not_behind(seen: &Seen<'_>) -> Result<(), Refusal> {
    match seen.lock {
        Lock::Behind => Err(Refusal::new(
            "lock_behind",
            format!("The flake.lock of {} is not the remote's: pull first, or force the switch.", seen.host.id),
        )
        .offering(actions::start(Op::Pull))),
        Lock::Nothing | Lock::NotReported | Lock::Blind(_) | Lock::ChangedHere | Lock::UpdateWaits(_) | Lock::Equal => {
            Ok(())
        }
    }
}

pub(super) fn not_switched(seen: &Seen<'_>) -> Result<(), Refusal> {
    let System::Current(now) = seen.system else { return Ok(()) };
    let message = format!("{} runs what it has checked out already, {}", seen.host.id, now.commit.short());
    Err(match seen.git {
        Git::Differs { .. } => {
            Refusal::new("already_current", format!("{message}: pull first.")).offering(PULL_SWITCH.action())
        }
        Git::NoCommit(_) | Git::Blind(_) | Git::Equal(_) => {
            Refusal::new("already_current", format!("{message}. Force the switch to build it again."))
        }
    })
}

pub(super) fn earlier_generation(standing: &Standing<'_>) -> Result<(), Refusal> {
    let host = standing.sight.host;
    let generations = &host.facts.generations;
    let current = generations.iter().find(|generation| generation.current);
    // An activation that failed left the profile at the new generation, and so the one that runs is before it.
    let half_way = host
        .history
        .last_switch
        .as_ref()
        .is_some_and(|switch| !switch.ok && matches!(switch.stage.as_deref(), Some("activation" | "interrupted")));
    let can_go_back = match current {
        Some(current) => {
            generations.iter().any(|other| other.number < current.number || half_way && other.number > current.number)
        }
        None => generations.len() != 1,
    };
    if can_go_back {
        return Ok(());
    }
    let message = format!("{} has no generation before the one that runs.", standing.sight.host.id);
    Err(Refusal::new("no_previous_generation", message))
}

pub(super) fn exec_allowed(standing: &Standing<'_>) -> Result<(), Refusal> {
    let host = standing.sight.host;
    if host.facts.features.has(EXEC) {
        return Ok(());
    }
    let message = format!("{} does not allow exec: its own configuration has to (NIXFLEET_ALLOW_EXEC).", host.id);
    Err(Refusal::new(EXEC_DISABLED, message))
}

pub(super) fn few_reboots(standing: &Standing<'_>) -> Result<(), Refusal> {
    if standing.reboots_last_hour < REBOOTS_AN_HOUR {
        return Ok(());
    }
    let message = format!(
        "{} was rebooted {} times within the last hour, and {REBOOTS_AN_HOUR} are the most: look at why, and wait.",
        standing.sight.host.id, standing.reboots_last_hour
    );
    Err(Refusal::new("too_many_reboots", message))
}

pub(super) fn offline(op: Op, standing: &Standing<'_>) -> Result<(), Refusal> {
    if !standing.linked {
        return Ok(());
    }
    let host = &standing.sight.host.id;
    let message = match op {
        Op::Remove => format!("{host} is connected: stop its agent first, or it would come back at once."),
        Op::Wake => format!("{host} is connected: it is awake already."),
        Op::Pull
        | Op::Switch
        | Op::Test
        | Op::Rollback
        | Op::Restart
        | Op::Reboot
        | Op::CheckVersion
        | Op::RefreshGit
        | Op::RefreshLock
        | Op::RefreshSystem
        | Op::Plan
        | Op::BumpFlake
        | Op::ForceRebuild
        | Op::Gc
        | Op::Exec
        | Op::Journal
        | Op::MergePr
        | Op::RevertPr
        | Op::SetColor
        | Op::SetTags => format!("{host} is connected."),
    };
    Err(Refusal::new("host_online", message))
}

pub(super) fn mac_known(standing: &Standing<'_>) -> Result<(), Refusal> {
    if !wake::addresses(&standing.sight.host.facts.mac_addresses).is_empty() {
        return Ok(());
    }
    let message = format!(
        "No hardware address of {} is known: its agent says it when it connects. Wake it by hand.",
        standing.sight.host.id
    );
    Err(Refusal::new("mac_unknown", message))
}
