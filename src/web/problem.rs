//! What a request is answered with when it is not done: one type, rendered as problem+json (RFC 9457) for the API
//! and as a readable page for people.

use std::time::Duration;

use hyper::StatusCode;
use nixfleet_model::checks::Refusal;
use nixfleet_protocol::api::{Action, Problem};
use nixfleet_protocol::ids::BadId;
use nixfleet_protocol::op::UnknownOp;
use nixfleet_protocol::{CommandId, HostId, RunId};

use crate::actors::access::{LoginRefused, Unavailable};
use crate::actors::slot::Unanswered;
use crate::actors::store::StoreError;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: StatusCode,
    /// The reason as a word.
    pub code: &'static str,
    /// What happened, to what, and what to do.
    pub message: String,
    /// What could be done instead.
    pub offer: Option<Box<Action>>,
    /// The refused command, or the one that is in the way.
    pub command_id: Option<CommandId>,
    /// The hosts that are in the way, where there are several.
    pub in_the_way: Option<Box<InTheWay>>,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
    /// Methods that the path knows.
    pub allow: Option<String>,
}

/// Several that are in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// The hosts.
    pub hosts: Vec<HostId>,
}

impl Refused {
    /// With a status, a word and a sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let in_the_way = None;
        Self { status, code, message, offer: None, command_id: None, in_the_way, retry_after: None, allow: None }
    }

    /// Nothing has this address.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "There is nothing at this address.")
    }

    /// The path knows other methods.
    pub fn method(allow: String) -> Self {
        let message = format!("This address answers to {allow}.");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message) }
    }

    /// Nobody is logged in.
    pub fn no_login() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "no_login", "Log in first, or send an API token.")
    }

    /// Who asks may not.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// The request is not in the form that was asked for.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// No such host.
    pub fn no_such_host(host: &HostId) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_host", format!("There is no host called {host}."))
    }

    /// No such command.
    pub fn no_such_command(id: CommandId) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_command", format!("There is no command {id}."))
    }

    /// No such run.
    pub fn no_such_run(id: RunId) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_run", format!("There is no run {id}."))
    }

    /// Not now.
    pub fn unavailable(why: impl std::fmt::Display) -> Self {
        let retry_after = Some(Duration::from_secs(2));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("Not now: {why}.")) }
    }

    /// It will be there, and is not yet.
    pub fn not_yet(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_available_yet", format!("{what} is not available yet."))
    }

    /// A check refused it.
    pub fn by_check(refusal: Refusal, command: Option<CommandId>) -> Self {
        Self {
            offer: refusal.offer.map(Box::new),
            command_id: refusal.command_id.or(command),
            ..Self::new(StatusCode::CONFLICT, refusal.code, refusal.message)
        }
    }

    /// As the API says it.
    pub fn problem(&self) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: self.status.as_u16(),
            detail: self.message.clone(),
            code: Some(self.code.to_owned()),
            message: Some(self.message.clone()),
            offer: self.offer.as_deref().cloned(),
            command_id: self.command_id,
            hosts: self.in_the_way.as_ref().map(|it| it.hosts.clone()).unwrap_or_default(),
        }
    }
}

impl From<BadId> for Refused {
    fn from(error: BadId) -> Self {
        Self::bad(sentence(&error))
    }
}

impl From<UnknownOp> for Refused {
    fn from(error: UnknownOp) -> Self {
        Self::bad(sentence(&error))
    }
}

impl From<Unanswered> for Refused {
    fn from(error: Unanswered) -> Self {
        Self::unavailable(error)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error)
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(error)
    }
}

impl From<LoginRefused> for Refused {
    fn from(error: LoginRefused) -> Self {
        let message = sentence(&error);
        match error {
            LoginRefused::Wrong => Self::new(StatusCode::UNAUTHORIZED, "login_failed", message),
            LoginRefused::TooMany { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message)
            },
            LoginRefused::Unavailable(why) => Self::unavailable(why),
        }
    }
}

/// An error's text as a sentence: capital first, full stop last.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
