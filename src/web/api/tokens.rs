//! Tokens: made, listed without their secrets, ended.

use std::time::Duration;

use hyper::StatusCode;
use nixfleet_model::access::Scope;
use nixfleet_protocol::HostId;
use serde::{Deserialize, Serialize};

use super::super::answer::Answer;
use super::super::auth::Caller;
use super::super::problem::Refused;
use super::super::{App, Asked};
use super::body;
use crate::actors::access::{MadeToken, NewToken, TokenInfo};
use crate::actors::store::TokenKind;

/// How long a one-time token lies ready when nobody says.
const ENROL: Duration = Duration::from_hours(24);
/// The longest name, in characters.
const NAME: usize = 80;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Host,
    Api,
    Enrol,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    kind: Kind,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    expires_in_s: Option<u64>,
}

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
    let Create { kind, host, name, scopes, expires_in_s } = body(bytes)?;
    if expires_in_s == Some(0) {
        return Err(Refused::bad("expires_in_s: at least 1, or null for ever."));
    }
    let lasts = expires_in_s.map(Duration::from_secs);
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    if name.as_ref().is_some_and(|name| name.chars().count() > NAME || name.chars().any(char::is_control)) {
        return Err(Refused::bad(format!("name: at most {NAME} characters, no control characters.")));
    }
    let host: Option<HostId> = host.map(|host| host.parse()).transpose()?;
    let only = |given: bool, field: &str, kind: &str| {
        if given { Err(Refused::bad(format!("{field}: a token of kind {kind} has none."))) } else { Ok(()) }
    };
    let by = asked.caller.actor();
    let new = match kind {
        Kind::Host => {
            only(scopes.is_some(), "scopes", "host")?;
            let host = host.ok_or_else(|| Refused::bad("host: which one?"))?;
            // Made for an unknown name it makes the host, state `never`.
            app.handles.hosts.create(host.clone(), by.clone()).await?;
            let name = name.unwrap_or_else(|| host.to_string());
            NewToken { kind: TokenKind::Host(host), name, lasts, by }
        }
        Kind::Api => {
            only(host.is_some(), "host", "api")?;
            let name = name.ok_or_else(|| Refused::bad("name: an API token needs one, events tell it."))?;
            NewToken { kind: TokenKind::Api(parse_scopes(scopes)?), name, lasts, by }
        }
        Kind::Enrol => {
            only(scopes.is_some(), "scopes", "enrol")?;
            only(host.is_some(), "host", "enrol")?;
            let name = name.unwrap_or_else(|| "enrolment".to_owned());
            NewToken { kind: TokenKind::Enrol, name, lasts: Some(lasts.unwrap_or(ENROL)), by }
        }
    };
    made(&app.handles.access.create_token(new).await?)
}

fn parse_scopes(scopes: Option<Vec<String>>) -> Result<Vec<Scope>, Refused> {
    let names = scopes.unwrap_or_default();
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    let mut scopes = Vec::new();
    for name in &names {
        let scope = Scope::parse(name).ok_or_else(|| Refused::bad(format!("scopes: expected some of {}.", known())))?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() { Err(Refused::bad(format!("scopes: at least one of {}.", known()))) } else { Ok(scopes) }
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
