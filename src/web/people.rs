//! The pages: the state as it is now, given to the templates.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the table leads only pages here, and those that are not drawn yet are one answer"
)]

use hyper::StatusCode;
use nixfleet_protocol::{CommandId, HostId, RunId};

use super::answer::Answer;
use super::api::commands;
use super::auth::Caller;
use super::pages::{HostPart, Session, Stored, command_page, events_page, fleet_page, host_page, host_part, run_page};
use super::problem::Refused;
use super::router::Endpoint;
use super::{App, Asked};

/// One of the pages.
pub(super) async fn page(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let Caller::Person { session, .. } = &asked.caller else { return Err(Refused::no_login()) };
    let session = Session { csrf_token: &session.csrf };
    let endpoint = asked.matched.route.endpoint;
    if endpoint == Endpoint::HostPage {
        return host(app, asked, session).await;
    }
    // Ids first: a bad one is told before anything is asked.
    let command = if endpoint == Endpoint::CommandPage {
        Some(commands::find(app, asked.matched.id("id")?).await?)
    } else {
        None
    };
    let run = if endpoint == Endpoint::RunPage { Some(asked.matched.id::<RunId>("id")?) } else { None };
    let snapshot = app.handles.sync.snapshot().await?;
    let html = app.pages.whole(&snapshot, |fleet| match endpoint {
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

/// How many commands of a host are read for its page: those of a week, save on the busiest.
const COMMANDS: usize = 200;

/// `/hosts/{host}`, `?before=` a command, or with `?part=` one region of it.
async fn host(app: &App, asked: &Asked, session: Session<'_>) -> Result<Answer, Refused> {
    let id: HostId = asked.matched.id("host")?;
    let before = asked.query.read::<CommandId>("before")?;
    let no_part = || Refused::bad("part: past or tokens.");
    let part = asked.query.get("part").map(|part| HostPart::parse(part).ok_or_else(no_part)).transpose()?;
    let tokens = if part == Some(HostPart::Past) { Vec::new() } else { app.handles.access.list().await? };
    let tokens: Vec<_> = tokens.into_iter().filter(|token| token.host.as_ref() == Some(&id)).collect();
    let (snapshot, commands) = if part == Some(HostPart::Tokens) {
        (app.handles.sync.snapshot().await?, Vec::new())
    } else {
        commands::newest(app, Some(id.clone()), before, COMMANDS).await?
    };
    let stored = Stored { commands: &commands, before, tokens: &tokens };
    let html = app.pages.whole(&snapshot, |fleet| {
        let host = fleet.host(&id).ok_or_else(|| Refused::no_such_host(&id))?;
        Ok::<_, Refused>(match part {
            Some(part) => host_part(fleet, host, &stored, part),
            None => host_page(fleet, host, &stored, session),
        })
    })?;
    Ok(Answer::html(StatusCode::OK, html))
}
