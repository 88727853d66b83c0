//! One link from register to its end: frames in, frames out, heartbeats. All state that outlives it is the agent's.

use std::time::Duration;

use nixfleet_protocol::CommandId;
use nixfleet_protocol::agent::{Accepted, AgentMessage, Command, DashboardMessage, Heartbeat, Signal};
use nixfleet_protocol::codec::{Decoded, decode_dashboard};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, trace, warn};

use super::commands::Answer;
use super::deliveries::Afterwards;
use super::{Agent, Departure, Ending};
use crate::link::backoff::{Trouble, of_close};
use crate::link::{Link, LinkEnd, LinkEvent};

/// How often the files of a running command are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A dashboard that does not answer `register` for so long is no dashboard.
const REGISTER_WITHIN: Duration = Duration::from_secs(30);

/// How a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// The agent goes.
    Leaving(Departure),
    /// The link is gone; in which way, and in words.
    Lost(Trouble, String),
    /// All results that the register named are told, and there are more: another register names them.
    MoreToName,
}

/// Why the agent makes room for a new process.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// It was told to.
    Command(CommandId),
    /// A switch brought another agent.
    NewAgent,
}

/// What is true of this link.
#[derive(Debug, Default)]
struct Standing {
    registered: Option<Instant>,
    legacy: bool,
    /// The agent makes room for a new process when everything was sent.
    restarting: Option<Reason>,
    unknown_types: Vec<String>,
    beat_now: bool,
}

impl Standing {
    /// A result was acknowledged, and this is what follows.
    fn acknowledged(&mut self, afterwards: Afterwards) {
        if afterwards == Afterwards::Restarts {
            info!("making room for a new agent when everything was sent");
            self.restarting = Some(Reason::NewAgent);
            self.beat_now = true;
        }
    }
}

/// Talks until the link ends or the agent goes. Also says for how long it was registered.
pub async fn run(agent: &mut Agent, mut link: Link, ending: &mut Ending) -> (SessionEnd, Option<Duration>) {
    let mut standing = Standing::default();
    // What ended while there was no link must not be called running.
    agent.commands.look();
    let (running, ended) = agent.commands.deliveries.name();
    let register = agent.facts.register(&agent.config, &agent.identity, running, ended);
    link.send(&AgentMessage::Register(Box::new(register)));
    let mut end = talk(agent, &mut link, ending, &mut standing).await;
    if let (SessionEnd::Lost(_, why), Some(reason)) = (&end, standing.restarting) {
        // What was to leave before will not leave any more; the new process tells what is to be told.
        info!(why, "the link is down, so room is made for a new agent at once");
        end = leave(agent, reason).unwrap_or(end);
    }
    let registered_for = standing.registered.map(|at| at.elapsed());
    match &end {
        SessionEnd::Leaving(Departure::Shutdown) => link.close("shutdown").await,
        SessionEnd::Leaving(Departure::Restart) => link.close("restarting").await,
        SessionEnd::MoreToName => link.close("more results").await,
        SessionEnd::Lost(..) => {}
    }
    (end, registered_for)
}

async fn talk(agent: &mut Agent, link: &mut Link, ending: &mut Ending, standing: &mut Standing) -> SessionEnd {
    let register_by = Instant::now() + REGISTER_WITHIN;
    let mut beat = interval(Duration::from_secs(u64::from(agent.config.interval)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let registered = standing.registered.is_some();
        let busy = registered && (agent.commands.deliveries.is_busy() || agent.first_clone.is_running());
        let mut drained = false;
        tokio::select! {
            event = link.next() => match event {
                LinkEvent::Text(text) => receive(agent, link, standing, &text),
                LinkEvent::Drained => drained = true,
                LinkEvent::Heard(ping) => {
                    let afterwards = agent.commands.deliveries.heard(ping, &agent.origin);
                    standing.acknowledged(afterwards);
                }
                LinkEvent::Ended(end) => {
                    if end == LinkEnd::TooLarge {
                        link.close_too_large().await;
                    }
                    return lost(end);
                }
            },
            _ = look.tick(), if busy => {
                standing.beat_now |= agent.first_clone.look();
                agent.commands.look();
                agent.commands.deliveries.tell_progress(link);
            }
            _ = beat.tick(), if registered => {
                standing.beat_now = true;
                agent.first_clone.look();
                agent.prune();
            }
            () = sleep_until(register_by), if !registered => {
                return SessionEnd::Lost(Trouble::Lost, "the dashboard did not answer the register".into());
            }
            () = ending.asked() => return SessionEnd::Leaving(Departure::Shutdown),
        }
        if standing.registered.is_none() {
            continue;
        }
        // A heartbeat follows each result at once: it carries what the command changed.
        standing.beat_now |= agent.commands.deliveries.pump(link, &agent.origin);
        // A dashboard that does not read gets no heap of heartbeats: the next one says it all.
        if standing.beat_now && link.has_room() {
            standing.beat_now = false;
            let beat = heartbeat(agent, standing.legacy);
            link.send(&AgentMessage::Heartbeat(Box::new(beat)));
            continue;
        }
        match standing.restarting {
            Some(reason) if drained => {
                if let Some(end) = leave(agent, reason) {
                    return end;
                }
            }
            None if agent.commands.deliveries.has_more_to_name() => return SessionEnd::MoreToName,
            Some(_) | None => {}
        }
    }
}

/// Goes, so that a new process takes our place; `None` when a command came meanwhile that is to be told first.
fn leave(agent: &Agent, reason: Reason) -> Option<SessionEnd> {
    match reason {
        Reason::NewAgent if !agent.commands.deliveries.is_idle() => return None,
        Reason::NewAgent => {}
        Reason::Command(id) => {
            if let Err(error) = agent.commands.begin_restart(id) {
                warn!(command = %id, %error, "the restart can't be written down");
            }
        }
    }
    Some(SessionEnd::Leaving(Departure::Restart))
}

fn heartbeat(agent: &mut Agent, legacy: bool) -> Heartbeat {
    let running = agent.commands.deliveries.ids_running();
    let mut beat = agent.facts.heartbeat(&agent.config, agent.first_clone.error(), running, !legacy);
    if legacy {
        let (switch, tests) = agent.commands.lasts();
        beat.update_status = Some(agent.facts.update_status(agent.first_clone.error(), switch, tests));
    }
    if let Some(delivery) = agent.commands.deliveries.running() {
        beat.pending_command = Some(delivery.word.clone());
        beat.command_pid = delivery.pid();
    }
    beat
}

fn lost(end: LinkEnd) -> SessionEnd {
    match end {
        LinkEnd::Closed(code, reason) => SessionEnd::Lost(of_close(code), format!("closed with {code} {reason}")),
        LinkEnd::Broken(why) => SessionEnd::Lost(Trouble::Lost, why),
        LinkEnd::TooLarge => SessionEnd::Lost(Trouble::Lost, "a message of the dashboard was over 512 KiB".into()),
        LinkEnd::Stuffed => SessionEnd::Lost(Trouble::Lost, "the dashboard does not read what it is sent".into()),
        LinkEnd::Silent => SessionEnd::Lost(Trouble::Lost, "nothing was heard for 45 s".into()),
    }
}

fn receive(agent: &mut Agent, link: &mut Link, standing: &mut Standing, text: &str) {
    match decode_dashboard(text) {
        Decoded::Message(message) => {
            trace!(?message, "received");
            act(agent, link, standing, message);
        }
        Decoded::UnknownType(kind) => {
            if !standing.unknown_types.contains(&kind) && standing.unknown_types.len() < 100 {
                info!(kind, "a message of an unknown type is ignored");
                standing.unknown_types.push(kind);
            }
        }
        Decoded::Malformed(why) => debug!(why, "a malformed frame is ignored"),
    }
}

fn act(agent: &mut Agent, link: &mut Link, standing: &mut Standing, message: DashboardMessage) {
    match message {
        DashboardMessage::Registered(registered) => {
            standing.legacy = registered.protocol.is_none_or(|protocol| protocol < 3);
            standing.registered = Some(Instant::now());
            standing.beat_now = true;
            info!(host = registered.host_id, legacy = standing.legacy, "registered");
            agent.commands.deliveries.resume(&registered, standing.legacy);
            // First it connects, then it clones.
            agent.first_clone.begin();
        }
        DashboardMessage::Command(command) => command_came(agent, link, standing, command),
        DashboardMessage::KillCommand(kill) => agent.commands.stop(&kill),
        DashboardMessage::OutputAck(ack) => agent.commands.deliveries.acknowledge_output(ack.command_id, ack.offset),
        DashboardMessage::StatusAck(ack) => {
            let afterwards = agent.commands.deliveries.acknowledge_status(ack.command_id, &agent.origin);
            debug!(command = %ack.command_id, "the result is acknowledged");
            standing.acknowledged(afterwards.unwrap_or(Afterwards::GoesOn));
        }
    }
}

fn command_came(agent: &mut Agent, link: &mut Link, standing: &mut Standing, command: Command) {
    if standing.registered.is_none() {
        warn!(op = command.command, "a command before the register was answered is ignored");
        return;
    }
    if standing.legacy && command.command_id.is_none() {
        match command.command.as_str() {
            "stop" => return agent.commands.stop_slot(Signal::Term),
            "kill" => return agent.commands.stop_slot(Signal::Kill),
            _ => {}
        }
    }
    let legacy = standing.legacy;
    if agent.commands.needs_the_checkout(&command.command, legacy) {
        agent.first_clone.stand_aside();
    }
    match agent.commands.take(command, legacy) {
        Answer::Accepted(id) if !legacy => link.send(&AgentMessage::Accepted(Accepted { command_id: id })),
        Answer::Accepted(_) => {}
        Answer::Restarting(id) => {
            if !legacy {
                link.send(&AgentMessage::Accepted(Accepted { command_id: id }));
            }
            // Something must leave, so that it is known to have left.
            standing.beat_now = true;
            standing.restarting = Some(Reason::Command(id));
        }
        Answer::Rejected(rejected) => link.send(&AgentMessage::CommandRejected(rejected)),
        Answer::Forgotten(status) => link.send(&AgentMessage::Status(status)),
    }
}

#[cfg(test)]
mod tests;
