//! The pages: the state as it is now, given to the templates.

use std::sync::Arc;

use hyper::StatusCode;
use nixfleet_protocol::api::Host;
use nixfleet_protocol::{HostId, Op, RunId, Time};

use super::answer::Answer;
use super::api::commands;
use super::auth::Caller;
use super::pages::{Fleet, Session, command_page, events_page, fleet_page, host_page};
use super::problem::Refused;
use super::router::Endpoint;
use super::{App, Asked};
use crate::actors::sync::Snapshot;

/// One of the pages.
pub(super) async fn page(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let Caller::Person { session, .. } = &asked.caller else { return Err(Refused::no_login()) };
    let session = Session { csrf_token: &session.csrf };
    let endpoint = asked.matched.route.endpoint;
    // Ids first: a bad one is told before anything is asked.
    let host = if endpoint == Endpoint::HostPage { Some(asked.matched.id::<HostId>("host")?) } else { None };
    let command = match endpoint {
        Endpoint::CommandPage => Some(commands::find(app, asked.matched.id("id")?).await?),
        _ => None,
    };
    let snapshot = app.handles.sync.snapshot().await?;
    let state = snapshot.state.to_wire();
    let refused = |host: &Host| refused(&snapshot, host);
    let fleet = Fleet {
        state: &state,
        ops: &app.ops,
        refused: &refused,
        version: snapshot.version,
        epoch: snapshot.epoch,
        now: Time::now(),
    };
    let html = match endpoint {
        Endpoint::HostPage => {
            let id = host.ok_or_else(Refused::no_such_path)?;
            let host = fleet.host(&id).ok_or_else(|| Refused::no_such_host(&id))?;
            host_page(&fleet, host, session)
        }
        Endpoint::CommandPage => {
            let command = command.ok_or_else(Refused::no_such_path)?;
            // What is in the state is as new as its version.
            let command = fleet.command(command.id).map_or(command, Arc::clone);
            command_page(&fleet, &command, session)
        }
        Endpoint::EventsPage => events_page(&fleet, session),
        Endpoint::FleetPage => fleet_page(&fleet, session),
        Endpoint::RunPage => {
            let id: RunId = asked.matched.id("id")?;
            return Err(Refused::new(StatusCode::NOT_FOUND, "no_such_run", format!("There is no run {id}.")));
        }
        _ => return Err(Refused::not_yet("This page")),
    };
    Ok(Answer::html(StatusCode::OK, html))
}

fn refused(snapshot: &Snapshot, host: &Host) -> Vec<(Op, String)> {
    let view = snapshot.state.hosts.get(&host.id);
    view.map(|view| view.refused.iter().map(|(op, refusal)| (*op, refusal.message.clone())).collect()).unwrap_or_default()
}
