//! How a command ended: its result, and the post-check of its op. A missing fact gives no verdict; green is
//! what is proven, and what is missing is said.

use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{Commit, Time};

use super::{Command, Effect, Noted, Outcome, ends_by_register};
use crate::host::Freshness;
use crate::ops::PostCheck;

/// Exit code of a command that was stopped.
const STOPPED: i32 = 130;

/// The agent tells the result. Taken once.
pub(super) fn result(command: &mut Command, outcome: &Outcome, now: Time) -> Vec<Effect> {
    if command.life.noted.is_some() {
        return vec![Effect::AckResult];
    }
    command.exit_code = Some(outcome.exit_code);
    command.details.clone_from(&outcome.details);
    command.life.stage.clone_from(&outcome.stage);
    // Why a journal was stopped is known here, and not by its agent.
    let message = outcome.message.as_ref().filter(|_| !(command.is_read() && command.state == CommandState::Killing));
    if let Some(message) = message {
        command.message = Some(message.clone());
    }
    let began = outcome.started_at.map(|at| at.max(command.sent_at.unwrap_or(command.created_at)).min(now));
    command.started_at = command.started_at.or(began).or(command.sent_at);
    command.life.noted = Some(Noted {
        at: now,
        finished_at: outcome.finished_at,
        generation: outcome.generation.clone(),
        missing: None,
        agent_changed: outcome.restarting,
    });
    if outcome.exit_code != 0 {
        failed(command, outcome, message, now);
        return vec![Effect::AckResult];
    }
    // A stop that came too late does not make a success a failure.
    let missing = missing(command, outcome);
    let old = command.life.protocol.is_some_and(|protocol| protocol < 3);
    match command.spec().post {
        PostCheck::CheckoutAtHead => return vec![Effect::AckResult, Effect::AskRemote],
        PostCheck::NewInstance | PostCheck::NewBoot => {}
        PostCheck::DeployedIsCheckout => {
            let replaced = matches!((command.life.instance, outcome.told_by), (Some(a), Some(b)) if a != b);
            let differs = package_differs(&command.life.freshness, &outcome.package);
            if let Some(noted) = &mut command.life.noted {
                noted.missing = missing;
                noted.agent_changed = outcome.restarting || differs == Some(true);
            }
            if replaced {
                // The new agent is here already: it tells the result of the switch that brought it.
                registered(command, &outcome.freshness, now);
            } else if !(old || outcome.restarting) {
                let missing = command.life.noted.as_mut().and_then(|noted| noted.missing.take());
                judge(command, missing, now);
            }
        }
        PostCheck::Nothing
        | PostCheck::ExitZero
        | PostCheck::TestsPassed
        | PostCheck::SystemChangedBack
        | PostCheck::RemoteAsked
        | PostCheck::PlanReported
        | PostCheck::LockChanged
        | PostCheck::Merged
        | PostCheck::Reverted
        | PostCheck::Registered => judge(command, missing, now),
    }
    vec![Effect::AckResult]
}

fn failed(command: &mut Command, outcome: &Outcome, said: Option<&String>, now: Time) {
    // An agent of ours knows whether it was the stop that ended it. Of an old one, and of what nobody reads any more,
    // the stop is the best guess.
    let guessed = command.life.protocol.is_none_or(|protocol| protocol < 3) || command.is_read();
    let stopped = (guessed && command.running_state() == CommandState::Killing)
        || outcome.exit_code == STOPPED
        || outcome.stage.as_deref() == Some("stopped");
    if stopped {
        command.exit_code = Some(STOPPED);
        command.finish(CommandState::Killed, said.cloned(), now);
        return;
    }
    let message = match (&outcome.message, &outcome.stage) {
        (Some(message), _) => message.clone(),
        (None, Some(stage)) => format!("it failed in the stage {stage}, exit code {}", outcome.exit_code),
        (None, None) => format!("it failed with exit code {}", outcome.exit_code),
    };
    command.finish(CommandState::Error, Some(message), now);
}

fn judge(command: &mut Command, missing: Option<String>, now: Time) {
    match missing {
        None => command.finish(CommandState::Success, None, now),
        Some(missing) => command.finish(CommandState::Partial, Some(missing), now),
    }
}

/// What is missing for the success of an op that ended with exit code 0, from the facts of its result alone.
fn missing(command: &Command, outcome: &Outcome) -> Option<String> {
    let was = &command.life.was;
    match command.spec().post {
        PostCheck::DeployedIsCheckout => {
            let deployed = outcome.deployed.as_ref()?;
            if let Some(checkout) = &outcome.generation
                && !deployed.commit.is(checkout)
            {
                let (deployed, checkout) = (deployed.commit.short(), checkout.short());
                return Some(format!("exit code 0, yet {deployed} is deployed and {checkout} is checked out"));
            }
            match (&deployed.system_path, &outcome.system_path) {
                (Some(deployed), Some(running)) if deployed != running => {
                    Some("exit code 0, yet the running system is not the one that was built".to_owned())
                }
                _ => None,
            }
        }
        PostCheck::TestsPassed => match outcome.tests {
            Some((passed, total)) if passed < total => Some(format!("{} of {total} tests failed", total - passed)),
            Some(_) | None => None,
        },
        PostCheck::SystemChangedBack => {
            let same_path = matches!((&was.system_path, &outcome.system_path), (Some(a), Some(b)) if a == b);
            let same_commit = was.system_path.is_none()
                && matches!((&was.deployed, &outcome.deployed), (Some(a), Some(b)) if a.is(&b.commit));
            ((same_path && !outcome.went_back) || same_commit)
                .then(|| "exit code 0, yet the same system runs as before".to_owned())
        }
        PostCheck::LockChanged => {
            let same = matches!((&was.lock_hash, &outcome.lock_hash), (Some(a), Some(b)) if a == b);
            (same && outcome.lock_local != Some(true))
                .then(|| "the lock did not change: its inputs are the newest already".to_owned())
        }
        PostCheck::PlanReported => {
            outcome.details.is_none().then(|| "exit code 0, yet no plan was reported".to_owned())
        }
        PostCheck::Nothing
        | PostCheck::ExitZero
        | PostCheck::CheckoutAtHead
        | PostCheck::NewInstance
        | PostCheck::NewBoot
        | PostCheck::RemoteAsked
        | PostCheck::Merged
        | PostCheck::Reverted
        | PostCheck::Registered => None,
    }
}

/// Whether a result was taken whose verdict waits for the remote.
pub(super) fn waits_for_remote(command: &Command) -> bool {
    command.life.noted.is_some() && command.spec().post == PostCheck::CheckoutAtHead
}

/// The remote was asked after a good pull.
pub(super) fn remote_read(command: &mut Command, head: Option<&Commit>, now: Time) -> Vec<Effect> {
    if !waits_for_remote(command) {
        return Vec::new();
    }
    let checkout = command.life.noted.as_ref().and_then(|noted| noted.generation.clone());
    let missing = match (head, checkout) {
        (Some(head), Some(checkout)) if !head.is(&checkout) => {
            Some(format!("the checkout is at {}, the remote's head is {}", checkout.short(), head.short()))
        }
        _ => None,
    };
    judge(command, missing, now);
    Vec::new()
}

/// Whether the new system contains another agent than the one that ran; none: it does not say.
fn package_differs(before: &Freshness, package: &Freshness) -> Option<bool> {
    let path = before.store_path.as_ref().zip(package.store_path.as_ref()).map(|(a, b)| a != b);
    path.or_else(|| before.binary_hash.as_ref().zip(package.binary_hash.as_ref()).map(|(a, b)| a != b))
}

/// The register came that a noted result (or `restart`, `reboot`) waited for.
pub(super) fn registered(command: &mut Command, after: &Freshness, now: Time) {
    if ends_by_register(command) {
        command.finish(CommandState::Success, Some("the agent came back".to_owned()), now);
        return;
    }
    let before = command.life.freshness.clone();
    let noted = command.life.noted.clone();
    if let Some(missing) = noted.as_ref().and_then(|noted| noted.missing.clone()) {
        return command.finish(CommandState::Partial, Some(missing), now);
    }
    let agent_changed = noted.is_some_and(|noted| noted.agent_changed);
    let commit = before.source_commit.as_ref().zip(after.source_commit.as_ref()).map(|(a, b)| a.is(b));
    let path = before.store_path.as_ref().zip(after.store_path.as_ref()).map(|(a, b)| a == b);
    let binary = before.binary_hash.as_ref().zip(after.binary_hash.as_ref()).map(|(a, b)| a == b);
    if commit == Some(false) && binary == Some(true) {
        let message = "the agent was built from another commit, and its binary is the same".to_owned();
        return command.finish(CommandState::Suspicious, Some(message), now);
    }
    let stale = agent_changed && [commit, path, binary] == [Some(true); 3];
    if stale {
        let message = "the agent's package changed, and the same binary came back".to_owned();
        return command.finish(CommandState::StaleBinary, Some(message), now);
    }
    command.finish(CommandState::Success, None, now);
}

/// What the verdict waited for did not come.
pub(super) fn waited_too_long(command: &mut Command, now: Time) -> Vec<Effect> {
    if waits_for_remote(command) {
        // A remote that can't be read gives no verdict; the lights say that it can't be read.
        return remote_read(command, None, now);
    }
    let message = "the switch succeeded, and the new agent did not come back within 90 seconds".to_owned();
    command.finish(CommandState::Timeout, Some(message), now);
    Vec::new()
}
