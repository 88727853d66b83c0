//! The pages: the state as it is now, given to the templates.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the table leads only pages here, and those that are not drawn yet are one answer"
)]

use hyper::StatusCode;
use nixfleet_protocol::{HostId, RunId};

use super::answer::Answer;
use super::api::commands;
use super::auth::Caller;
use super::pages::{Session, command_page, events_page, fleet_page, host_page, run_page};
use super::problem::Refused;
use super::router::Endpoint;
use super::{App, Asked};

/// One of the pages.
pub(super) async fn page(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let Caller::Person { session, .. } = &asked.caller else { return Err(Refused::no_login()) };
    let session = Session { csrf_token: &session.csrf };
    let endpoint = asked.matched.route.endpoint;
    // Ids first: a bad one is told before anything is asked.
    let host = if endpoint == Endpoint::HostPage { Some(asked.matched.id::<HostId>("host")?) } else { None };
    let command = if endpoint == Endpoint::CommandPage {
        Some(commands::find(app, asked.matched.id("id")?).await?)
    } else {
        None
    };
    let run = if endpoint == Endpoint::RunPage { Some(asked.matched.id::<RunId>("id")?) } else { None };
    let snapshot = app.handles.sync.snapshot().await?;
    let html = app.pages.whole(&snapshot, |fleet| match endpoint {
        Endpoint::HostPage => {
            let id = host.as_ref().ok_or_else(Refused::no_such_path)?;
            let host = fleet.host(id).ok_or_else(|| Refused::no_such_host(id))?;
            Ok(host_page(fleet, host, session))
        }
        Endpoint::CommandPage => {
            let command = command.as_ref().ok_or_else(Refused::no_such_path)?;
            // What is in the state is as new as its version.
            Ok(command_page(fleet, fleet.command(command.id).unwrap_or(command), session))
        }
        Endpoint::RunPage => {
            let id = run.ok_or_else(Refused::no_such_path)?;
            let none = || Refused::new(StatusCode::NOT_FOUND, "no_such_run", format!("There is no run {id}."));
            Ok(run_page(fleet, fleet.run(id).ok_or_else(none)?, session))
        }
        Endpoint::EventsPage => Ok(events_page(fleet, session)),
        Endpoint::FleetPage => Ok(fleet_page(fleet, session)),
        _ => Err(Refused::not_yet("This page")),
    })?;
    Ok(Answer::html(StatusCode::OK, html))
}
