//! The link goes and comes. Only the agent's word says what became of a command meanwhile; an old agent has
//! few words, and its first heartbeat after a register is the one that counts.

use nixfleet_protocol::Time;
use nixfleet_protocol::api::CommandState;

use super::{Beat, Command, Effect, Said, capture, ends_by_register, limits, verdict};
use crate::ops::PostCheck;

/// The link is down since `heard`, which is noticed `now`.
pub(super) fn link_down(command: &mut Command, heard: Time, now: Time) {
    if command.waits() || command.waits_for_host() || command.state == CommandState::AwaitingReconnect {
        return;
    }
    if command.is_read() && command.state == CommandState::Killing {
        // Its reader left, and its host did: nobody waits for the rest.
        return command.finish(CommandState::Killed, None, now);
    }
    limits::stand_still(command, heard);
    command.life.before_reconnect = Some(command.state);
    command.life.link_down_at = Some(now);
    command.state = CommandState::AwaitingReconnect;
}

/// The dashboard, or the host's actor, was restarted; the host was last heard at `heard`.
pub(super) fn revived(command: &mut Command, heard: Time, now: Time) {
    if command.waits() {
        // Who would have looked at it is gone, and so is who waited for the answer.
        return limits::not_started(command, now);
    }
    if command.is_read() {
        let message = "the dashboard was restarted, and its readers are gone".to_owned();
        return command.finish(CommandState::Killed, Some(message), now);
    }
    if let Some(noted) = &mut command.life.noted {
        // What is ahead of now was written by a clock that was wrong: nobody waits until that time comes.
        noted.at = noted.at.min(now);
    }
    link_down(command, heard, now);
}

/// The agent says that it still has the command.
fn back(command: &mut Command, now: Time) -> Vec<Effect> {
    if command.state == CommandState::AwaitingReconnect {
        command.state = command.running_state();
        command.life.clock_since = Some(now);
    }
    command.life.before_reconnect = None;
    command.life.link_down_at = None;
    if command.state == CommandState::Killing {
        command.life.kill_sent_at = Some(now);
        return vec![Effect::Kill];
    }
    Vec::new()
}

fn orphaned(command: &mut Command, why: &str, now: Time) -> Vec<Effect> {
    command.finish(CommandState::Orphaned, Some(format!("{why}: nobody can say how it ended")), now);
    Vec::new()
}

/// An agent registered.
pub(super) fn link_up(command: &mut Command, said: &Said, now: Time) -> Vec<Effect> {
    if command.waits() {
        return Vec::new();
    }
    if command.waits_for_host() {
        command.finish(CommandState::Success, Some("the host is awake and has registered".to_owned()), now);
        return Vec::new();
    }
    // A link that took another's place: the one before is gone, whether or not that was told.
    link_down(command, now, now);
    if command.state.is_final() {
        return Vec::new();
    }
    let sent_to = command.life.protocol.unwrap_or(said.agent.protocol);
    let new_process = said.agent.protocol != sent_to
        || said.agent.protocol < 3
        || matches!((&command.life.instance, &said.agent.instance), (Some(before), Some(after)) if before != after);
    let new_boot =
        matches!((&command.life.boot_id, &said.agent.boot_id), (Some(before), Some(after)) if before != after);
    // Of an old agent's `restart` and `reboot` only the first heartbeat tells.
    if command.life.noted.is_some() && !(sent_to < 3 && ends_by_register(command)) {
        let ended = if command.spec().post == PostCheck::NewBoot { new_boot } else { new_process };
        if ended && !verdict::waits_for_remote(command) {
            verdict::registered(command, &said.agent.freshness, now);
            return Vec::new();
        }
        return back(command, now);
    }
    if sent_to < 3 {
        // Its first heartbeat decides.
        return Vec::new();
    }
    let post = command.spec().post;
    if post == PostCheck::NewInstance && new_process || post == PostCheck::NewBoot && new_boot {
        verdict::registered(command, &said.agent.freshness, now);
        return Vec::new();
    }
    if said.agent.protocol < 3 {
        return orphaned(command, "the agent is of the old kind now and knows nothing of it", now);
    }
    if said.runs || said.has_result {
        return back(command, now);
    }
    if command.life.journal.is_none() || command.life.journal != said.agent.journal {
        return orphaned(command, "the agent came back with another journal, its disk was lost", now);
    }
    if command.sent_at.is_none() {
        return orphaned(command, "the agent does not know it any more", now);
    }
    if command.running_state() == CommandState::Killing {
        let message = "it was stopped before it reached the agent".to_owned();
        command.finish(CommandState::Killed, Some(message), now);
        return Vec::new();
    }
    // It never reached the agent, which runs an id at most once: the same id goes out again.
    let was = command.life.was.clone();
    let mut agent = said.agent.clone();
    agent.was = was;
    capture(command, agent);
    let mut effects = back(command, now);
    effects.push(Effect::Send);
    effects
}

/// The first heartbeat after a register, for a command that went to an old agent.
pub(super) fn first_heartbeat(command: &mut Command, beat: &Beat, now: Time) -> Vec<Effect> {
    let old = command.life.protocol.is_some_and(|protocol| protocol < 3);
    if !old || command.state != CommandState::AwaitingReconnect {
        return Vec::new();
    }
    if beat.pending {
        return back(command, now);
    }
    if command.running_state() == CommandState::Killing {
        command.finish(CommandState::Killed, Some("the agent came back without it".to_owned()), now);
        return Vec::new();
    }
    match command.spec().post {
        PostCheck::NewInstance | PostCheck::NewBoot => {
            command.finish(CommandState::Success, Some("the agent came back".to_owned()), now);
            Vec::new()
        }
        PostCheck::DeployedIsCheckout => {
            let words =
                |default: &str| Some(if beat.message.is_empty() { default.to_owned() } else { beat.message.clone() });
            let (state, message) = match beat.system.as_str() {
                "error" => (CommandState::Error, words("the agent reports that its system failed")),
                "outdated" => (CommandState::Partial, words("the agent reports that its system is outdated")),
                "ok" => (CommandState::Success, words("the agent came back and reports its system as current")),
                _ => (CommandState::Success, Some("inferred: the agent came back and reports no failure".to_owned())),
            };
            command.finish(state, message, now);
            Vec::new()
        }
        PostCheck::Nothing
        | PostCheck::ExitZero
        | PostCheck::CheckoutAtHead
        | PostCheck::TestsPassed
        | PostCheck::SystemChangedBack
        | PostCheck::RemoteAsked
        | PostCheck::PlanReported
        | PostCheck::LockChanged
        | PostCheck::Merged
        | PostCheck::Reverted
        | PostCheck::Registered => orphaned(command, "the old agent came back and says nothing of it", now),
    }
}
