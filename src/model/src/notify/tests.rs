use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use nixfleet_protocol::EventId;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Event, HostState, Level, PullRequest, Remote, Run, RunState, Server};

use super::*;
use crate::fleet_state::{FleetState, StateChange};
use crate::host::HostRecord;
use crate::remote::RemoteState;

mod desk;
mod news;
mod properties;

/// Noon of a day, UTC, and seconds after it.
fn at(seconds: i64) -> Time {
    let noon: Time = "2027-03-10T12:00:00.000Z".parse().unwrap();
    Time::from_millis(noon.millis() + seconds * 1000)
}

fn channel(name: &str) -> Channel {
    Channel { name: name.into(), rules: Rules::default(), quiet: None }
}

/// Quiet from 22 to 7 o'clock UTC.
fn quiet() -> Option<Quiet> {
    Quiet::parse("22:00-07:00", TimeZone::UTC).ok()
}

fn desk(channels: Vec<Channel>) -> Desk {
    Desk::new(channels, Some("https://fleet.example.org".into()), None, BTreeMap::new(), "o".into())
}

/// A fleet whose daemon has been there for an hour.
fn fleet() -> FleetState {
    let server = Server { version: "1".into(), started_at: at(-3600), store_error: None, shared_agent_token: false };
    FleetState::new(Remote { source: Some("/repo".into()), ..Remote::default() }, server)
}

/// A host in this state.
fn host(fleet: &mut FleetState, name: &str, state: HostState, tags: &[&str]) {
    let record = HostRecord::new(name.parse().unwrap(), at(-7200));
    let remote = RemoteState::new(None, "main", Duration::from_secs(30));
    let settings = crate::host_core::Settings {
        server_version: "1".into(),
        daemon_started: at(-3600),
        totp_configured: false,
        kill_at_limit: false,
        auto_test: true,
        alike: std::sync::Arc::default(),
    };
    let (core, _) = crate::host_core::Core::revive(Arc::new(settings), record, Vec::new(), Arc::new(remote), at(0));
    let mut view = core.view(None, at(0));
    let mut shown = (*view.host).clone();
    (shown.state, shown.tags) = (state, tags.iter().map(|tag| (*tag).to_owned()).collect());
    view.host = Arc::new(shown);
    fleet.apply(StateChange::Host(Arc::new(view)));
}

fn failed(number: u64, host: Option<&str>, state: &str) -> Arc<Event> {
    Arc::new(Event {
        id: EventId(number),
        time: at(0),
        category: Category::Audit,
        level: Level::Error,
        actor: "user".into(),
        host: host.map(|host| host.parse().unwrap()),
        action: "command_finished".into(),
        message: "switch failed: exit code 4".into(),
        details: serde_json::json!({
            "command_id": "0190b6a8-0000-7000-8000-000000000001", "op": "switch", "state": state,
        }),
    })
}

/// Looks, and gives what is told.
fn look(desk: &mut Desk, fleet: &FleetState, events: &[Arc<Event>], second: i64) -> Step {
    let newest = events.last().map_or(EventId(0), |event| event.id);
    desk.step(&Input::Look(Sight { state: fleet, events, newest }), at(second))
}

/// Titles of what leaves.
fn titles(step: &Step) -> Vec<&str> {
    step.send.iter().map(|(_, letter)| letter.title.as_str()).collect()
}

fn taken(desk: &mut Desk, step: &Step, second: i64) -> Vec<Step> {
    let each = step.send.iter().map(|(channel, letter)| (*channel, letter.id.clone()));
    each.collect::<Vec<_>>()
        .into_iter()
        .map(|(channel, id)| desk.step(&Input::Sent { channel, id, outcome: Ok(Taken::default()) }, at(second)))
        .collect()
}
