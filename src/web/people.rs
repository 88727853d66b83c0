//! The pages: the state as it is now, given to the templates.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the table leads only pages here, and those that are not drawn yet are one answer"
)]

use hyper::StatusCode;
use nixfleet_protocol::{CommandId, EventId, HostId, RunId, Time};

use super::answer::Answer;
use super::api::{commands, events as log, notifications, runs, sessions};
use super::auth::Caller;
use super::pages::{
    EventsPage, HostPart, Session, SettingsPage, Stored, command_page, events_page, fleet_page, host_page, host_part,
    run_page, settings_page,
};
use super::problem::Refused;
use super::router::Endpoint;
use super::{App, Asked};
use crate::actors::access;
use crate::actors::store::LAST_BACKUP;

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
    if endpoint == Endpoint::EventsPage {
        return events(app, asked, session).await;
    }
    if endpoint == Endpoint::SettingsPage {
        return settings(app, asked, session).await;
    }
    // One that is no longer in the state is history.
    let stored = match run {
        Some(id) => Some(runs::find(app, id).await?),
        None => None,
    };
    let snapshot = app.handles.sync.snapshot().await?;
    let html = app.pages.whole(&snapshot, |fleet| match endpoint {
        Endpoint::CommandPage => {
            let command = command.as_ref().ok_or_else(Refused::no_such_path)?;
            // What is in the state is as new as its version.
            Ok(command_page(fleet, fleet.command(command.id).unwrap_or(command), session))
        }
        Endpoint::RunPage => {
            let id = run.ok_or_else(Refused::no_such_path)?;
            let none = || Refused::no_such_run(id);
            Ok(run_page(fleet, fleet.run(id).or(stored.as_ref()).ok_or_else(none)?, session))
        }
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

/// Events of a page that was opened now.
const EVENTS: usize = 100;
/// The most that an open page is given again when it reads itself anew.
const MOST_EVENTS: usize = 1000;

async fn events(app: &App, asked: &Asked, session: Session<'_>) -> Result<Answer, Refused> {
    let filter = log::filter(&asked.query)?;
    let before = asked.query.read::<EventId>("before")?;
    let limit = asked.query.read::<usize>("limit")?.unwrap_or(EVENTS).clamp(EVENTS, MOST_EVENTS);
    // The state first: what happens after it comes live, and what comes twice stands there once.
    let snapshot = app.handles.sync.snapshot().await?;
    let found = log::find(&app.handles.store, &filter, before, limit).await?;
    let within = asked.query.get("within").unwrap_or_default();
    let page = EventsPage { filter: &filter, within, before, events: &found.events, next: found.next };
    Ok(Answer::html(StatusCode::OK, app.pages.whole(&snapshot, |fleet| events_page(fleet, page, session))))
}

async fn settings(app: &App, asked: &Asked, session: Session<'_>) -> Result<Answer, Refused> {
    let access = &app.handles.access;
    let tokens = access.list().await?;
    let sessions = access.sessions(sessions::own(&asked.caller)).await?;
    // While the janitor is away the rest is told.
    let kept = app.handles.janitor.kept().await.ok();
    let channels = app.handles.notifier.channels().await.unwrap_or_default();
    let channels: Vec<_> = channels.into_iter().map(notifications::shown).collect();
    let free = rustix::fs::statvfs(&app.data_dir).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let backup = app.handles.store.setting(LAST_BACKUP).await?;
    let backup = backup.and_then(|bytes| Some(Time::from_millis(i64::from_be_bytes(bytes.try_into().ok()?))));
    let fresh = access::totp_secret().map_err(Refused::unavailable)?;
    let data_dir = app.data_dir.display().to_string();
    let page = SettingsPage {
        tokens: &tokens,
        sessions: &sessions,
        totp: app.totp,
        fresh: &fresh,
        kept: kept.as_ref(),
        channels: &channels,
        data_dir: &data_dir,
        free,
        backup,
    };
    let snapshot = app.handles.sync.snapshot().await?;
    Ok(Answer::html(StatusCode::OK, app.pages.whole(&snapshot, |fleet| settings_page(fleet, page, session))))
}
