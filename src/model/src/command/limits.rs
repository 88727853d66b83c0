//! Clocks and deadlines. A command's clock stands still while the link is down; where only a register can tell
//! the end (`restart`, `reboot`), the wall's clock counts.

use std::time::Duration;

use nixfleet_protocol::Time;
use nixfleet_protocol::api::CommandState;

use super::{Command, Effect, ends_by_register, verdict};
use crate::ops;

/// How long the pre-checks may take; they ask the remote for 5 s at most.
const VALIDATE: Duration = Duration::from_secs(10);
/// How long a good pull waits for the remote's poll.
const REMOTE: Duration = Duration::from_secs(30);
/// How often an agent that was asked to stop a command is asked again.
const KILL_AGAIN: Duration = Duration::from_secs(30);
/// How long an old agent may take to say how a stopped command ended.
const KILL_OLD: Duration = Duration::from_secs(90);
/// How long an agent may be away.
const AWAY: Duration = Duration::from_hours(7 * 24);

/// How long the command's clock has run.
fn ran(command: &Command, now: Time) -> Duration {
    let before = Duration::from_millis(command.life.ran_ms);
    before.saturating_add(command.life.clock_since.map_or(Duration::ZERO, |since| now.since(since)))
}

/// The hard limit with what a person added; none: it may take as long as it likes.
fn hard(command: &Command) -> Option<Duration> {
    let limit = command.spec().hard.filter(|_| !command.life.no_limit)?;
    Some(limit.saturating_add(Duration::from_millis(command.life.extended_ms)))
}

/// The warning time; what was extended is not warned of again.
fn warn(command: &Command) -> Option<Duration> {
    command.spec().warn.filter(|_| command.life.extended_ms == 0)
}

/// When the clock will have run for this long.
fn clock_at(command: &Command, limit: Duration) -> Option<Time> {
    let rest = limit.saturating_sub(Duration::from_millis(command.life.ran_ms));
    command.life.clock_since.map(|since| since.plus(rest))
}

fn old_agent(command: &Command) -> bool {
    command.life.protocol.is_some_and(|protocol| protocol < 3)
}

/// When the command wants [`super::Input::Timer`] next. None: it is over, or somebody else ends it (a person
/// who was asked, an agent that runs something without a limit).
pub fn deadline(command: &Command) -> Option<Time> {
    let life = &command.life;
    if command.state.is_final() {
        return None;
    }
    if command.waits() {
        return Some(command.created_at.plus(VALIDATE));
    }
    if let Some(noted) = &life.noted
        && !ends_by_register(command)
    {
        let since = life.link_down_at.map_or(noted.at, |down| down.max(noted.at));
        return Some(if verdict::waits_for_remote(command) {
            noted.at.plus(REMOTE)
        } else {
            since.plus(ops::RECONNECT)
        });
    }
    if ends_by_register(command)
        && let (Some(sent), Some(limit)) = (command.sent_at, hard(command))
    {
        let end = register_by(command, sent, limit);
        return Some(warn(command).filter(|_| !warned(command)).map_or(end, |warn| sent.plus(warn).min(end)));
    }
    match command.state {
        CommandState::Executing => {
            let next = warn(command).or_else(|| hard(command))?;
            clock_at(command, next)
        }
        CommandState::RunningWarning => clock_at(command, hard(command)?),
        CommandState::Killing if old_agent(command) => life.stop_asked_at.map(|asked| asked.plus(KILL_OLD)),
        CommandState::Killing => life.kill_sent_at.map(|sent| sent.plus(KILL_AGAIN)),
        CommandState::AwaitingReconnect if command.is_read() => life.link_down_at.map(|down| down.plus(ops::RECONNECT)),
        CommandState::AwaitingReconnect => {
            let away = match hard(command) {
                Some(hard) if old_agent(command) => {
                    hard.saturating_sub(Duration::from_millis(life.ran_ms)).saturating_add(ops::RECONNECT)
                }
                Some(_) | None => AWAY,
            };
            life.link_down_at.map(|down| down.plus(away))
        }
        // A person was asked, and owns what happens next.
        CommandState::TimeoutPending
        | CommandState::Pending
        | CommandState::Validating
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
        | CommandState::Skipped => None,
    }
}

/// The deadline may be here. A timer that comes early changes nothing.
pub(super) fn timer(command: &mut Command, kill_at_limit: bool, now: Time) -> Vec<Effect> {
    if deadline(command).is_none_or(|deadline| now < deadline) {
        return Vec::new();
    }
    if command.waits() {
        not_started(command, now);
        return Vec::new();
    }
    if ends_by_register(command) {
        let limit = command.sent_at.zip(hard(command)).map(|(sent, hard)| register_by(command, sent, hard));
        if !warned(command) && limit.is_some_and(|limit| now < limit) {
            warn_of(command);
        } else {
            let who = if command.waits_for_host() { "host did not register" } else { "agent did not come back" };
            let message = format!("the {who} within {}", words(hard(command).unwrap_or_default()));
            command.finish(CommandState::Timeout, Some(message), now);
        }
        return Vec::new();
    }
    if command.life.noted.is_some() {
        return verdict::waited_too_long(command, now);
    }
    match command.state {
        CommandState::Executing | CommandState::RunningWarning => {
            if hard(command).is_none_or(|hard| ran(command, now) < hard) {
                command.state = CommandState::RunningWarning;
            } else if kill_at_limit {
                command.life.stop_asked_at = Some(now);
                command.life.kill_sent_at = Some(now);
                command.state = CommandState::Killing;
                return vec![Effect::Kill];
            } else {
                command.state = CommandState::TimeoutPending;
            }
        }
        CommandState::Killing if old_agent(command) => {
            let message = "stop was sent, and the old agent did not say what became of it".to_owned();
            command.finish(CommandState::Timeout, Some(message), now);
        }
        // What becomes of something that nobody reads is not worth waiting for.
        CommandState::Killing if command.is_read() => command.finish(CommandState::Killed, None, now),
        CommandState::Killing => {
            command.life.kill_sent_at = Some(now);
            return vec![Effect::Kill];
        }
        CommandState::AwaitingReconnect if command.is_read() => {
            let message = "the host was away for too long".to_owned();
            command.finish(CommandState::Killed, Some(message), now);
        }
        CommandState::AwaitingReconnect if old_agent(command) => {
            let message = "the agent did not come back in time to say how it ended".to_owned();
            command.finish(CommandState::Timeout, Some(message), now);
        }
        CommandState::AwaitingReconnect => {
            let message = "the host was away for 7 days: nobody can say how it ended".to_owned();
            command.finish(CommandState::Orphaned, Some(message), now);
        }
        CommandState::TimeoutPending
        | CommandState::Pending
        | CommandState::Validating
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
        | CommandState::Skipped => {}
    }
    Vec::new()
}

/// Nobody has looked at it, or will.
pub(super) fn not_started(command: &mut Command, now: Time) {
    did_not_begin(command, "the dashboard was restarted, or hung, before it began: start it again", now);
}

/// Who wanted it was told that it did not begin, and so it does not.
pub(super) fn too_late(command: &mut Command, now: Time) {
    if command.life.accepted || command.life.noted.is_some() {
        return;
    }
    command.sent_at = None;
    did_not_begin(command, "its record could not be written in time, and so it did not begin: start it again", now);
}

fn did_not_begin(command: &mut Command, message: &str, now: Time) {
    command.code = Some("not_started".to_owned());
    command.finish(CommandState::Blocked, Some(message.to_owned()), now);
}

/// By when the register must have come that ends it. Who was lost late has time to come back: perhaps the dashboard
/// itself was away.
fn register_by(command: &Command, sent: Time, hard: Duration) -> Time {
    let back = command.life.link_down_at.map(|down| down.plus(ops::RECONNECT));
    back.map_or(sent.plus(hard), |back| back.max(sent.plus(hard)))
}

/// Whether the warning is behind it.
fn warned(command: &Command) -> bool {
    command.running_state() != CommandState::Executing
}

/// It takes longer than it should; while the link is down that is known, and shown when it is back.
fn warn_of(command: &mut Command) {
    if command.state == CommandState::AwaitingReconnect {
        command.life.before_reconnect = Some(CommandState::RunningWarning);
    } else {
        command.state = CommandState::RunningWarning;
    }
}

/// A person gives it `minutes` more, from now.
pub(super) fn extend(command: &mut Command, minutes: u32, now: Time) {
    let Some(limit) = command.spec().hard else { return };
    if !matches!(command.state, CommandState::Executing | CommandState::RunningWarning | CommandState::TimeoutPending)
        || command.life.noted.is_some()
    {
        return;
    }
    let base = if ends_by_register(command) {
        command.sent_at.map_or(Duration::ZERO, |sent| now.since(sent))
    } else {
        ran(command, now)
    };
    let more = base.saturating_add(Duration::from_secs(u64::from(minutes.max(1)) * 60)).saturating_sub(limit);
    let more = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
    // Never shorter than it was; at least a millisecond, which is how "extended" is told from "never extended".
    command.life.extended_ms = command.life.extended_ms.max(more).max(1);
    command.life.no_limit = false;
    command.state = CommandState::Executing;
}

/// Stops the clock: the link went down, and was last known to be up at `heard`.
pub(super) fn stand_still(command: &mut Command, heard: Time) {
    let ran = ran(command, heard);
    command.life.ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
    command.life.clock_since = None;
}

fn words(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds >= 120 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
