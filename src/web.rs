//! The web: what people see and programs call over HTTP. It knows the actors only through their handles, decides
//! nothing of the fleet, and holds no state but the keys that sign cookies.
//!
//! ```text
//! server ── one connection ──→ App::answer ── router (404) → auth (401, 403) → body (413, 400) → a room
//!                                                     rooms: login, people (pages), api/…, assets, ws
//!                              problem, answer ◄── Result<Answer, Refused> ──┘
//! ```
//!
//! Invariants: each request passes the checks in this one order; there is no route beside the table of `router`;
//! every answer has the security headers; nothing from outside is used before it is parsed into a type.

mod answer;
mod api;
mod assets;
mod auth;
mod login;
mod openapi;
pub mod pages;
mod people;
mod problem;
pub mod render;
pub mod router;
pub mod server;
#[cfg(test)]
mod tests;
mod ws;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use nixfleet_model::pipeline::Registry;
use nixfleet_protocol::api::OpEntry;
use tokio::sync::Semaphore;

use self::answer::{Answer, Body, Finish, finish, refusal};
use self::auth::Caller;
use self::auth::client::{Client, Peer};
use self::auth::cookies::CookieKeys;
use self::problem::Refused;
use self::render::Pages;
use self::router::{Endpoint, Matched, May};
use crate::actors::handles::Handles;
use crate::actors::host::log::index::Indexes;
use crate::config::{Secret, WebConfig};

/// The largest body that is read.
pub const BODY: usize = 64 * 1024;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(20);
/// Requests that read logs by their lines at one time.
const READING: usize = 4;

/// What the web serves from.
pub struct App {
    handles: Handles,
    web: WebConfig,
    cookies: CookieKeys,
    totp: bool,
    data_dir: PathBuf,
    ops: Vec<OpEntry>,
    pipelines: Registry,
    pages: Pages,
    /// Where the lines of the logs are that were asked for.
    indexes: Indexes,
    /// Turns at reading logs by their lines.
    reading: Semaphore,
    /// Turns at reading webhooks.
    hooks: Semaphore,
}

/// A request, as far as the rooms need it.
struct Asked {
    method: Method,
    headers: HeaderMap,
    query: Query,
    matched: Matched,
    caller: Caller,
    client: Client,
}

/// What stands behind the `?`.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// A value; an empty one is as good as none.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A value, read as what it is.
    fn read<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refused>
    where
        T::Err: std::fmt::Display,
    {
        self.get(name).map(|value| value.parse().map_err(|error| Refused::bad(format!("{name}: {error}.")))).transpose()
    }

    /// A switch: `1` or `true`.
    fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }
}

impl App {
    /// `first` signs cookies, `first` and `further` verify them; `totp`: whether the login asks for a code.
    pub fn new(
        handles: Handles,
        web: WebConfig,
        first: &Secret,
        further: &[Secret],
        totp: bool,
        data_dir: PathBuf,
    ) -> Self {
        let ops = nixfleet_model::ops::registry().map(nixfleet_model::ops::OpSpec::entry).collect();
        Self {
            handles,
            web,
            cookies: CookieKeys::new(first, further),
            totp,
            data_dir,
            ops,
            pipelines: Registry::default(),
            pages: Pages::default(),
            indexes: Indexes::default(),
            reading: Semaphore::new(READING),
            hooks: Semaphore::new(api::webhook::AT_ONCE),
        }
    }

    /// With pipelines of the operator's own.
    #[must_use]
    pub fn with_pipelines(self, pipelines: Registry) -> Self {
        Self { pages: Pages::new(&pipelines), pipelines, ..self }
    }

    /// Answers a request; also says whether we know who asked.
    async fn answer(&self, peer: Peer, request: Request<Incoming>) -> (Response<Body>, bool) {
        let client = Client::of(peer, request.headers(), &self.web.trusted_proxies);
        let how = Finish {
            https: client.https,
            gzip: takes(request.headers(), "gzip"),
            head: request.method() == Method::HEAD,
        };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut as_page = wants_html(&path, request.headers());
        let mut known = false;
        let result = self.process(client, request, &mut as_page, &mut known).await;
        let answer = match result {
            Ok(answer) => answer,
            Err(refused) if refused.status == StatusCode::UNAUTHORIZED && as_page => Answer::see_other("/login"),
            Err(refused) => {
                tracing::debug!(%method, path, status = refused.status.as_u16(), code = refused.code, "refused");
                refusal(&refused, as_page)
            }
        };
        tracing::trace!(%method, path, status = answer.status.as_u16());
        (finish(answer, how).await, known)
    }

    async fn process(
        &self,
        client: Client,
        request: Request<Incoming>,
        as_page: &mut bool,
        known: &mut bool,
    ) -> Result<Answer, Refused> {
        let matched = router::find(request.method(), request.uri().path())?;
        let route = matched.route;
        *as_page = route.is_page();
        let (parts, body) = request.into_parts();
        // The process answers, whatever the actors do.
        let caller = match route.may {
            May::Everyone if matches!(route.endpoint, Endpoint::Health | Endpoint::Ready) => Caller::Nobody,
            May::Everyone | May::Github => auth::identify(self, &parts.headers).await.unwrap_or(Caller::Nobody),
            May::Person | May::Form | May::Api(_) | May::Token(_) | May::Socket | May::Enrol => {
                auth::identify(self, &parts.headers).await?
            }
        };
        *known = caller.is_known();
        auth::authorise(self, route, &caller, &client, &parts.headers)?;
        if route.endpoint == Endpoint::Socket {
            return ws::upgrade(self, Request::from_parts(parts, body), caller).await;
        }
        let query = Query::parse(parts.uri.query());
        let asked = Asked { method: parts.method, headers: parts.headers, query, matched, caller, client };
        let (turn, most) = if route.may == May::Github {
            (Some(api::webhook::admit(self, &asked)?), api::webhook::BODY)
        } else {
            (None, BODY)
        };
        let body = if route.mutates() { read(&asked.headers, body, most).await? } else { Bytes::new() };
        drop(turn);
        self.room(&asked, &body).await
    }

    async fn room(&self, asked: &Asked, body: &[u8]) -> Result<Answer, Refused> {
        match asked.matched.route.endpoint {
            Endpoint::Health => Answer::ok(&serde_json::json!({ "status": "ok" })),
            Endpoint::Ready => api::status::ready(self).await,
            Endpoint::Metrics => api::status::metrics(self).await,
            Endpoint::LoginForm => login::form(self, asked),
            Endpoint::Login => login::login(self, asked, body).await,
            Endpoint::Logout => login::logout(self, asked, body).await,
            Endpoint::Static => assets::asset(asked),
            Endpoint::FleetPage
            | Endpoint::HostPage
            | Endpoint::RunPage
            | Endpoint::CommandPage
            | Endpoint::EventsPage
            | Endpoint::SettingsPage => people::page(self, asked).await,
            Endpoint::Socket => Err(Refused::no_such_path()),
            Endpoint::Ops => Answer::ok(&serde_json::json!({ "ops": self.ops })),
            Endpoint::Pipelines => api::runs::pipelines(self).await,
            Endpoint::Hosts => api::hosts::list(self).await,
            Endpoint::Host => api::hosts::one(self, asked).await,
            Endpoint::HostMetrics => api::hosts::metrics(self, asked).await,
            Endpoint::CreateHost => api::hosts::create(self, asked, body).await,
            Endpoint::RemoveHost => api::hosts::remove(self, asked).await,
            Endpoint::HostOp => api::ops::on_host(self, asked, body).await,
            Endpoint::Op => api::ops::on_many(self, asked, body).await,
            Endpoint::Commands => api::commands::list(self, asked).await,
            Endpoint::Command => api::commands::one(self, asked).await,
            Endpoint::CommandLog => api::log::log(self, asked).await,
            Endpoint::CommandLogLines => api::lines::lines(self, asked).await,
            Endpoint::CommandLogSearch => api::lines::search(self, asked).await,
            Endpoint::CommandLogError => api::lines::first_error(self, asked).await,
            Endpoint::Stop | Endpoint::Extend | Endpoint::Ignore | Endpoint::GiveUp => {
                api::commands::act(self, asked, body).await
            }
            Endpoint::Runs => api::runs::list(self, asked).await,
            Endpoint::Run => api::runs::one(self, asked).await,
            Endpoint::CancelRun => api::runs::cancel(self, asked, body).await,
            Endpoint::DecideRun => api::runs::decide(self, asked, body).await,
            Endpoint::StartRun => api::runs::start(self, asked, body).await,
            Endpoint::Events => api::events::list(self, asked).await,
            Endpoint::Remote => api::status::remote(self).await,
            Endpoint::RefreshRemote => api::ops::refresh_remote(self, asked).await,
            Endpoint::Tokens => api::tokens::list(self).await,
            Endpoint::CreateToken => api::tokens::create(self, asked, body).await,
            Endpoint::RevokeToken => api::tokens::revoke(self, asked).await,
            Endpoint::Notifications => api::notifications::list(self).await,
            Endpoint::TestNotification => api::notifications::test(self, asked).await,
            Endpoint::Sessions => api::sessions::list(self, asked).await,
            Endpoint::EndSession => api::sessions::end(self, asked).await,
            Endpoint::EndSessions => api::sessions::end_others(self, asked).await,
            Endpoint::Enrol => api::tokens::enrol(self, asked, body).await,
            Endpoint::OpenApi => Ok(openapi::document()),
            Endpoint::GithubWebhook => api::webhook::github(self, asked, body),
        }
    }
}

/// The whole body, no larger and no slower than agreed.
async fn read(headers: &HeaderMap, body: Incoming, most: usize) -> Result<Bytes, Refused> {
    let too_large = || {
        let message = format!("The body is larger than {most} bytes.");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refused::bad("The body could not be read.")),
        Err(_) => Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body took too long to come.")),
    }
}

/// Whether the client takes an answer in this coding.
fn takes(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case(wanted) && !matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// Whether what is not in the table is told as a page: to browsers, and not below the paths of programs.
fn wants_html(path: &str, headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !path.starts_with("/api/")
}
