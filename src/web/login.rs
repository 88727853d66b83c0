//! Logging in and out. The login form carries a token that its own cookie proves (there is no session yet that
//! could). The answer to a failed attempt tells nothing about which part was wrong.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use subtle::ConstantTimeEq as _;

use super::answer::Answer;
use super::auth::client::Client;
use super::auth::cookies::{CookieKeys, Purpose};
use super::auth::{self, Caller};
use super::pages::{LoginPage, login_page};
use super::problem::Refused;
use super::{App, Asked};
use crate::actors::access::{self, Login, LoginRefused};
use crate::config::Secret;

/// How long a login form may lie open.
const FORM: Duration = Duration::from_hours(1);

/// A form as it was sent.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// `GET /login`.
pub(super) fn form(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    if matches!(asked.caller, Caller::Person { .. }) {
        return Ok(Answer::see_other("/"));
    }
    page(app, &asked.client, &asked.headers, StatusCode::OK, None)
}

fn page(
    app: &App,
    client: &Client,
    headers: &HeaderMap,
    status: StatusCode,
    error: Option<&str>,
) -> Result<Answer, Refused> {
    let token = match app.cookies.find(headers, Purpose::LoginForm) {
        Some(token) => token,
        None => access::random().map_err(Refused::unavailable)?,
    };
    let html = login_page(LoginPage { csrf_token: &token, totp: app.totp, error });
    let mut answer = Answer::html(status, html);
    answer.cookie(&app.cookies.make(Purpose::LoginForm, &token, FORM, client.wants_secure()));
    Ok(answer)
}

/// `POST /login`.
pub(super) async fn login(app: &App, asked: &Asked, body: &[u8]) -> Result<Answer, Refused> {
    let form = Form::parse(body);
    let token = app.cookies.find(&asked.headers, Purpose::LoginForm).ok_or_else(auth::wrong_csrf)?;
    let same = form.get("csrf_token").is_some_and(|sent| sent.as_bytes().ct_eq(token.as_bytes()).into());
    if !same {
        return Err(auth::wrong_csrf());
    }
    auth::origin(app, &asked.client, &asked.headers, true)?;
    let password = form.get("password").ok_or_else(|| Refused::bad("The field password is missing."))?;
    let login = Login {
        password: Secret::new(password),
        totp: form.get("totp").map(str::to_owned),
        address: asked.client.address,
        browser: asked.headers.get(hyper::header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or("").to_owned(),
    };
    let new = match app.handles.access.login(login).await {
        Ok(new) => new,
        Err(refused @ (LoginRefused::Wrong | LoginRefused::TooMany { .. })) => {
            let refused = Refused::from(refused);
            let mut answer = page(app, &asked.client, &asked.headers, refused.status, Some(&refused.message))?;
            if let Some(after) = refused.retry_after {
                answer.set_text(hyper::header::RETRY_AFTER, &after.as_secs().max(1).to_string());
            }
            return Ok(answer);
        }
        Err(LoginRefused::Unavailable(why)) => return Err(why.into()),
    };
    let lasts = new.session.expires_at.since(new.session.created_at);
    let secure = asked.client.wants_secure();
    let mut answer = Answer::see_other("/");
    answer.cookie(&app.cookies.make(Purpose::Session, new.id.expose(), lasts, secure));
    answer.cookie(&CookieKeys::remove(Purpose::LoginForm, secure));
    Ok(answer)
}

/// `POST /logout`.
pub(super) async fn logout(app: &App, asked: &Asked, body: &[u8]) -> Result<Answer, Refused> {
    let Caller::Person { id, session } = &asked.caller else { return Err(Refused::no_login()) };
    let form = Form::parse(body);
    let header = asked.headers.get("x-csrf-token").and_then(|value| value.to_str().ok());
    auth::csrf(session, form.get("csrf_token").or(header))?;
    app.handles.access.logout(*id).await?;
    let mut answer = Answer::see_other("/login");
    answer.cookie(&CookieKeys::remove(Purpose::Session, asked.client.wants_secure()));
    Ok(answer)
}
