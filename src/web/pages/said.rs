//! What is told to those who can't see it, on every page: what ended, what waits for a person, who is away. Everything
//! else changes in silence, or nobody could listen.
//!
//! Invariant: it follows from the state alone, so an open page and a fresh one say the same, and nothing is said twice.

use askama::Template;
use nixfleet_protocol::HostId;
use nixfleet_protocol::api::{Event, Host, HostState};
use nixfleet_protocol::browser::Change;

use super::fragments::all_are_full;
use super::{Fleet, events, html, words};

#[derive(Template)]
#[template(path = "said.html")]
struct Said {
    happened: String,
    away: String,
}

/// Whether an event is told: a command's end, a run that halted, went on or ended. Of a run's own commands nobody hears
/// one by one: on fifty hosts these are hundreds.
fn matters(event: &Event) -> bool {
    match event.action.as_str() {
        "command_finished" => !event.actor.starts_with("pipeline:"),
        "run_halted" | "run_decided" | "run_cancelled" | "run_finished" => true,
        _ => false,
    }
}

fn happened(fleet: &Fleet<'_>) -> Option<String> {
    let event = fleet.state.events.iter().find(|event| matters(event))?;
    let told = events::told(fleet, event);
    Some(event.host.as_ref().map_or_else(|| told.clone(), |host| format!("{host}: {told}")))
}

fn away(fleet: &Fleet<'_>) -> String {
    let away: Vec<&HostId> = fleet.hosts().filter(|it| it.state == HostState::Offline).map(|it| &it.id).collect();
    if away.is_empty() { "No host is offline.".to_owned() } else { format!("Offline: {}.", words::names(&away)) }
}

/// The live regions: each is read out when it changes.
pub(super) fn said(fleet: &Fleet<'_>) -> String {
    html(&Said { happened: happened(fleet).unwrap_or_default(), away: away(fleet) })
}

/// Whether a change makes them say something else.
pub(super) fn differs(change: &Change, before: Option<&Host>, fleet: &Fleet<'_>) -> bool {
    let is_away = |host: &Host| host.state == HostState::Offline;
    match change {
        // What was told last may be forgotten with it.
        Change::Event(event) => {
            matters(event) || (all_are_full(fleet) && !fleet.state.events.iter().any(|it| matters(it)))
        }
        Change::HostUpdated(host) => before.is_none_or(|before| is_away(before) != is_away(host)),
        Change::HostRemoved(_) => before.is_none_or(is_away),
        Change::HostAdded(host) => is_away(host),
        Change::CommandStarted(_)
        | Change::CommandProgress(_)
        | Change::CommandFinished(_)
        | Change::RunStarted(_)
        | Change::RunUpdated(_)
        | Change::RunFinished(_)
        | Change::RemoteUpdated(_)
        | Change::ServerUpdated(_) => false,
    }
}
