//! The light Agent: the agent's version against the dashboard's.

use std::cmp::Ordering;

use nixfleet_protocol::api::{Light, LightStatus};

use super::{Sight, actions, also, light, sentence, version};
use crate::ops::{PULL_SWITCH, UPDATE_AGENT};

/// How an agent is updated, as a sentence.
const HOW: &str = "Update the flake input nixfleet in the configuration repository, then pull and switch.";

pub(super) fn light_of(sight: &Sight<'_>) -> Light {
    let facts = &sight.host.facts;
    let (ours, theirs) = (sight.server_version, facts.agent_version.as_deref().unwrap_or_default());
    let shown = sentence::quoted(theirs);
    if sight.host.first_seen.is_none() {
        return light(LightStatus::Unknown, "No agent has connected yet.", actions::details());
    }
    if facts.protocol.unwrap_or(2) < 3 {
        let name = if shown.is_empty() { "The agent".to_owned() } else { format!("The agent ({shown})") };
        let message = format!("{name} is of the old kind, older than the dashboard ({ours}). {HOW}");
        return also(light(LightStatus::Error, message, UPDATE_AGENT.action()), [PULL_SWITCH.action()]);
    }
    if shown.is_empty() {
        return light(LightStatus::Unknown, "The agent did not say its version.", actions::details());
    }
    match version::compare(theirs, ours) {
        Some(Ordering::Equal) => {
            light(LightStatus::Ok, format!("The agent ({shown}) is the dashboard's version."), actions::details())
        }
        Some(Ordering::Less) => light(
            LightStatus::Error,
            format!("The agent ({shown}) is older than the dashboard ({ours}). {HOW}"),
            UPDATE_AGENT.action(),
        ),
        Some(Ordering::Greater) => light(
            LightStatus::Outdated,
            format!("The dashboard ({ours}) is older than the agent ({shown}): update the dashboard."),
            actions::help("Update the dashboard"),
        ),
        None => light(
            LightStatus::Outdated,
            format!("The agent's version {shown:?} can't be compared with the dashboard's, {ours:?}."),
            actions::details(),
        ),
    }
}
