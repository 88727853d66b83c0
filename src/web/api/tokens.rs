//! Tokens: made, listed without their secrets, ended.

use hyper::StatusCode;
use nixfleet_protocol::HostId;
use serde::{Deserialize, Serialize};

use super::super::answer::Answer;
use super::super::auth::Caller;
use super::super::problem::Refused;
use super::super::{App, Asked};
use super::body;
use crate::actors::access::{MadeToken, TokenInfo, TokenRequest};
use crate::actors::store::TokenKind;

/// 201: the only time that the token is shown.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    info: &'a TokenInfo,
    token: &'a str,
}

fn made(made: &MadeToken) -> Result<Answer, Refused> {
    Answer::json(StatusCode::CREATED, &Made { info: &made.info, token: made.token.expose() })
}

/// `GET /api/v1/tokens`.
pub(in crate::web) async fn list(app: &App) -> Result<Answer, Refused> {
    let tokens = app.handles.access.list().await?;
    Answer::ok(&serde_json::json!({ "tokens": tokens }))
}

/// `POST /api/v1/tokens`.
pub(in crate::web) async fn create(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let new = body::<TokenRequest>(bytes)?.read(asked.caller.actor()).map_err(Refused::bad)?;
    // Made for an unknown name it makes the host, state `never`.
    if let TokenKind::Host(host) = &new.kind {
        app.handles.hosts.create(host.clone(), new.by.clone()).await?;
    }
    made(&app.handles.access.create_token(new).await?)
}

/// `DELETE /api/v1/tokens/{id}`.
pub(in crate::web) async fn revoke(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id = asked.matched.text("id")?;
    if uuid::Uuid::try_parse(id).is_err() {
        return Err(Refused::bad("The id of a token is a UUID."));
    }
    if app.handles.access.revoke(id.to_owned(), asked.caller.actor()).await? {
        return Ok(Answer::empty(StatusCode::NO_CONTENT));
    }
    Err(Refused::new(StatusCode::NOT_FOUND, "no_such_token", format!("There is no token {id}.")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrol {
    #[serde(alias = "hostname")]
    host: String,
}

/// `POST /api/v1/enrol`: with a one-time token as bearer.
pub(in crate::web) async fn enrol(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let Caller::Enrol { token } = &asked.caller else { return Err(Refused::no_login()) };
    let host: HostId = body::<Enrol>(bytes)?.host.parse()?;
    // A one-time token is for new machines: it must not speak for one that is there.
    let snapshot = app.handles.sync.snapshot().await?;
    if snapshot.state.hosts.get(&host).is_some_and(|view| view.host.last_seen.is_some()) {
        let message = format!("There is a host called {host} already: make a token for it.");
        return Err(Refused::new(StatusCode::CONFLICT, "host_exists", message));
    }
    app.handles.hosts.create(host.clone(), "agent".to_owned()).await?;
    made(&app.handles.access.enrol(*token, host).await?)
}
