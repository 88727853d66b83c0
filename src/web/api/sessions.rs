//! Sessions: who is logged in, ended one by one or all but one's own.

use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::auth::Caller;
use super::super::problem::Refused;
use super::super::{App, Asked};
use crate::actors::access::Which;
use crate::actors::store::SecretHash;

/// The session that asks; an API token has none.
pub(in crate::web) fn own(caller: &Caller) -> Option<SecretHash> {
    match caller {
        Caller::Person { id, .. } => Some(*id),
        Caller::Nobody | Caller::Api { .. } | Caller::Agent(_) | Caller::Enrol { .. } => None,
    }
}

/// `GET /api/v1/sessions`.
pub(in crate::web) async fn list(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let sessions = app.handles.access.sessions(own(&asked.caller)).await?;
    Answer::ok(&serde_json::json!({ "sessions": sessions }))
}

/// `DELETE /api/v1/sessions/{id}`.
pub(in crate::web) async fn end(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id = asked.matched.text("id")?;
    if uuid::Uuid::try_parse(id).is_err() {
        return Err(Refused::bad("The id of a session is a UUID."));
    }
    match app.handles.access.end_sessions(Which::One(id.to_owned()), asked.caller.actor()).await? {
        0 => Err(Refused::new(StatusCode::NOT_FOUND, "no_such_session", format!("There is no session {id}."))),
        _ => Ok(Answer::empty(StatusCode::NO_CONTENT)),
    }
}

/// `DELETE /api/v1/sessions`.
pub(in crate::web) async fn end_others(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let which = Which::AllBut(own(&asked.caller));
    let ended = app.handles.access.end_sessions(which, asked.caller.actor()).await?;
    Answer::ok(&serde_json::json!({ "ended": ended }))
}
