//! Commands: the open and recent ones are in the state that everyone sees, all others in the store.

use std::sync::Arc;

use hyper::StatusCode;
use nixfleet_model::view::command_view;
use nixfleet_protocol::api::Command;
use nixfleet_protocol::{CommandId, HostId, Version};
use serde::{Deserialize, Serialize};

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::router::Endpoint;
use super::super::{App, Asked};
use super::{body, limit};
use crate::actors::host::{Act, ActRefused};
use crate::actors::sync::Snapshot;

/// The longest extension, in minutes: a day.
const LONGEST: u32 = 24 * 60;

#[derive(Serialize)]
struct Commands {
    version: Version,
    commands: Vec<Arc<Command>>,
}

/// `GET /api/v1/commands?host=&limit=&before=`.
pub(in crate::web) async fn list(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let host = asked.query.read::<HostId>("host")?;
    let before = asked.query.read::<CommandId>("before")?;
    let limit = limit(&asked.query)?;
    let (snapshot, commands) = newest(app, host, before, limit).await?;
    Answer::ok(&Commands { version: snapshot.version, commands })
}

/// Commands of the store, as new as the state.
pub(in crate::web) async fn newest(
    app: &App,
    host: Option<HostId>,
    before: Option<CommandId>,
    limit: usize,
) -> Result<(Snapshot, Vec<Arc<Command>>), Refused> {
    let stored = app.handles.store.commands(host, before, limit).await?;
    // The state is asked second: it may be newer than the record, never older.
    let snapshot = app.handles.sync.snapshot().await?;
    let commands = stored
        .iter()
        .map(|record| {
            let live = snapshot.state.commands.get(&record.id);
            live.map_or_else(|| Arc::new(command_view(record)), Arc::clone)
        })
        .collect();
    Ok((snapshot, commands))
}

/// `GET /api/v1/commands/{id}`.
pub(in crate::web) async fn one(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    Answer::ok(&*find(app, asked.matched.id("id")?).await?)
}

/// A command that there is.
pub(in crate::web) async fn find(app: &App, id: CommandId) -> Result<Arc<Command>, Refused> {
    let snapshot = app.handles.sync.snapshot().await?;
    if let Some(command) = snapshot.state.commands.get(&id) {
        return Ok(Arc::clone(command));
    }
    let stored = app.handles.store.command(id).await?.ok_or_else(|| Refused::no_such_command(id))?;
    Ok(Arc::new(command_view(&stored)))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Extend {
    minutes: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Nothing {}

/// `POST /api/v1/commands/{id}/stop`, `/extend`, `/ignore`, `/give-up`.
pub(in crate::web) async fn act(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let id: CommandId = asked.matched.id("id")?;
    let endpoint = asked.matched.route.endpoint;
    let action = if endpoint == Endpoint::Extend {
        match body::<Extend>(bytes)?.minutes {
            Some(minutes @ 1..=LONGEST) => Act::Extend { minutes },
            Some(_) | None => return Err(Refused::bad(format!("minutes: a whole number from 1 to {LONGEST}."))),
        }
    } else {
        body::<Nothing>(bytes)?;
        if endpoint == Endpoint::Stop {
            Act::Stop
        } else if endpoint == Endpoint::Ignore {
            Act::Ignore
        } else {
            Act::GiveUp
        }
    };
    let command = find(app, id).await?;
    let over = || Refused {
        command_id: Some(id),
        ..Refused::new(StatusCode::CONFLICT, "already_over", "The command is over already.")
    };
    let Some(host) = command.host.clone().filter(|_| !command.state.is_final()) else { return Err(over()) };
    match app.handles.hosts.act(host, id, action, asked.caller.actor()).await {
        Ok(command) => Answer::json(StatusCode::ACCEPTED, &command),
        Err(ActRefused::NotOpen) => Err(over()),
        Err(ActRefused::NotNow { code, message }) => {
            Err(Refused { command_id: Some(id), ..Refused::new(StatusCode::CONFLICT, code, message) })
        }
        Err(ActRefused::Unavailable(why)) => Err(Refused::unavailable(why)),
    }
}
