//! Who asks, and whether they may. The order of the checks is the one of the product's contract: no login 401 (or
//! 303 for pages), then CSRF, Origin and scope 403; what the request says is looked at only after that.

pub(super) mod client;
pub(super) mod cookies;

use std::sync::Arc;

use hyper::header::{self, HeaderMap};
use nixfleet_model::access::Scope;
use subtle::ConstantTimeEq as _;

use self::client::Client;
use self::cookies::Purpose;
use super::App;
use super::problem::Refused;
use super::router::{May, Route};
use crate::actors::access::{Who, hash};
use crate::actors::links::AgentIdentity;
use crate::actors::store::{LoginSession, SecretHash};
use crate::config::Origin;

/// The header that mutations by cookie carry.
const CSRF_HEADER: &str = "x-csrf-token";

/// Who asks.
pub(super) enum Caller {
    /// Nobody that we know.
    Nobody,
    /// A logged-in person.
    Person { id: SecretHash, session: Arc<LoginSession> },
    /// An API token.
    Api { name: String, scopes: Vec<Scope>, token: SecretHash },
    /// An agent.
    Agent(AgentIdentity),
    /// A machine with a token for enrolment.
    Enrol { token: SecretHash },
}

impl Caller {
    /// As events and commands name them.
    pub(super) fn actor(&self) -> String {
        match self {
            Self::Person { session, .. } => session.user.clone(),
            Self::Api { name, .. } => format!("api:{name}"),
            Self::Agent(_) | Self::Enrol { .. } => "agent".to_owned(),
            Self::Nobody => "nobody".to_owned(),
        }
    }

    /// Whether they may do what needs this scope. A person may everything.
    pub(super) fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Person { .. } => true,
            Self::Api { scopes, .. } => scope.is_covered_by(scopes),
            Self::Agent(_) | Self::Enrol { .. } | Self::Nobody => false,
        }
    }

    /// Whether we know them; their connection counts as logged in.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    /// The same, as a refusal.
    pub(super) fn must(&self, scope: Scope) -> Result<(), Refused> {
        if self.may(scope) {
            return Ok(());
        }
        Err(Refused::forbidden("scope", format!("This needs a token of scope {}.", scope.as_str())))
    }
}

/// Who asks. A token counts more than a cookie; one that is not good is nobody's.
pub(super) async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Refused> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let Some(token) = value.to_str().ok().and_then(bearer) else { return Ok(Caller::Nobody) };
        return Ok(match app.handles.access.bearer(token).await? {
            Some(Who::Agent(identity)) => Caller::Agent(identity),
            Some(Who::Api { name, scopes, token }) => Caller::Api { name, scopes, token },
            Some(Who::Enrol { token }) => Caller::Enrol { token },
            None => Caller::Nobody,
        });
    }
    let Some(cookie) = app.cookies.find(headers, Purpose::Session) else { return Ok(Caller::Nobody) };
    let id = hash(&cookie);
    let session = app.handles.access.session(id).await?;
    Ok(session.map_or(Caller::Nobody, |session| Caller::Person { id, session }))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Whether they may. Forms are checked for their CSRF token where their body is read.
pub(super) fn authorise(
    app: &App,
    route: &Route,
    caller: &Caller,
    client: &Client,
    headers: &HeaderMap,
) -> Result<(), Refused> {
    match route.may {
        May::Everyone | May::Github => Ok(()),
        May::Person | May::Form => match caller {
            Caller::Person { .. } if route.mutates() => origin(app, client, headers, true),
            Caller::Person { .. } => Ok(()),
            Caller::Nobody | Caller::Api { .. } | Caller::Agent(_) | Caller::Enrol { .. } => Err(Refused::no_login()),
        },
        May::Api(scope) => match caller {
            Caller::Nobody => Err(Refused::no_login()),
            Caller::Person { session, .. } if route.mutates() => {
                let sent = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
                csrf(session, sent)?;
                origin(app, client, headers, true)
            }
            Caller::Person { .. } => Ok(()),
            Caller::Api { .. } | Caller::Agent(_) | Caller::Enrol { .. } => {
                caller.must(scope)?;
                if route.mutates() { origin(app, client, headers, false) } else { Ok(()) }
            }
        },
        May::Token(scope) => match caller {
            Caller::Nobody => Err(Refused::no_login()),
            Caller::Api { .. } => caller.must(scope),
            Caller::Person { .. } | Caller::Agent(_) | Caller::Enrol { .. } => {
                Err(Refused::forbidden("scope", format!("This needs a token of scope {}.", scope.as_str())))
            }
        },
        May::Socket => match caller {
            Caller::Nobody => Err(Refused::no_login()),
            Caller::Person { .. } => origin(app, client, headers, true),
            Caller::Agent(_) => origin(app, client, headers, false),
            Caller::Api { .. } | Caller::Enrol { .. } => {
                caller.must(Scope::Read)?;
                origin(app, client, headers, false)
            }
        },
        May::Enrol => match caller {
            Caller::Enrol { .. } => Ok(()),
            Caller::Nobody => Err(Refused::no_login()),
            Caller::Person { .. } | Caller::Api { .. } | Caller::Agent(_) => {
                Err(Refused::forbidden("scope", "This needs a token for enrolment."))
            }
        },
    }
}

/// Whether the CSRF token is the session's.
pub(super) fn csrf(session: &LoginSession, sent: Option<&str>) -> Result<(), Refused> {
    let right = sent.is_some_and(|sent| sent.as_bytes().ct_eq(session.csrf.as_bytes()).into());
    if right { Ok(()) } else { Err(wrong_csrf()) }
}

/// The CSRF token is missing or another's.
pub(super) fn wrong_csrf() -> Refused {
    Refused::forbidden("csrf", "The CSRF token is missing or old: load the page again.")
}

/// Whether the page that asks is one of ours.
pub(super) fn origin(app: &App, client: &Client, headers: &HeaderMap, by_cookie: bool) -> Result<(), Refused> {
    let refused = || Refused::forbidden("origin", "This request came from a page of another origin.");
    let Some(sent) = headers.get(header::ORIGIN) else {
        return if by_cookie { Err(refused()) } else { Ok(()) };
    };
    let sent: Origin = sent.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(refused)?;
    let named: Vec<&Origin> = app.web.base_url.iter().chain(&app.web.allowed_origins).collect();
    let ours = if named.is_empty() { client.origin.as_ref() == Some(&sent) } else { named.contains(&&sent) };
    if ours { Ok(()) } else { Err(refused()) }
}
