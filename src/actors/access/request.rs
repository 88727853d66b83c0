//! A token as it is asked for: by the API and by `nixfleet token`, in one form and with one set of rules.

use std::time::Duration;

use nixfleet_model::access::Scope;
use nixfleet_protocol::HostId;
use serde::{Deserialize, Serialize};

use super::NewToken;
use crate::actors::store::TokenKind;

/// How long a one-time token lies ready when nobody says.
const ENROL: Duration = Duration::from_hours(24);
/// The longest name, in characters.
const NAME: usize = 80;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An agent's, bound to its host.
    Host,
    /// The API's.
    Api,
    /// Good once, for a host's token.
    Enrol,
}

/// A token as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What for.
    pub kind: Kind,
    /// The host, for one of kind `host`.
    #[serde(default)]
    pub host: Option<String>,
    /// Its name, for people; an API token needs one.
    #[serde(default)]
    pub name: Option<String>,
    /// What it may do, for one of kind `api`.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// How long it lasts; none: for ever (a token for enrolment: a day).
    #[serde(default)]
    pub expires_in_s: Option<u64>,
}

impl TokenRequest {
    /// As types, or one sentence that says which field is wrong.
    pub fn read(self, by: String) -> Result<NewToken, String> {
        let Self { kind, host, name, scopes, expires_in_s } = self;
        if expires_in_s == Some(0) {
            return Err("expires_in_s: at least 1, or null for ever.".to_owned());
        }
        let lasts = expires_in_s.map(Duration::from_secs);
        let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        if name.as_ref().is_some_and(|name| name.chars().count() > NAME || name.chars().any(char::is_control)) {
            return Err(format!("name: at most {NAME} characters, no control characters."));
        }
        let host: Option<HostId> = host.map(|host| host.parse().map_err(|error| format!("{error}."))).transpose()?;
        let none = |given: bool, field: &str, kind: &str| {
            if given { Err(format!("{field}: a token of kind {kind} has none.")) } else { Ok(()) }
        };
        match kind {
            Kind::Host => {
                none(scopes.is_some(), "scopes", "host")?;
                let host = host.ok_or("host: which one?")?;
                let name = name.unwrap_or_else(|| host.to_string());
                Ok(NewToken { kind: TokenKind::Host(host), name, lasts, by })
            }
            Kind::Api => {
                none(host.is_some(), "host", "api")?;
                let name = name.ok_or("name: an API token needs one, events tell it.")?;
                Ok(NewToken { kind: TokenKind::Api(parse_scopes(&scopes.unwrap_or_default())?), name, lasts, by })
            }
            Kind::Enrol => {
                none(scopes.is_some(), "scopes", "enrol")?;
                none(host.is_some(), "host", "enrol")?;
                let name = name.unwrap_or_else(|| "enrolment".to_owned());
                Ok(NewToken { kind: TokenKind::Enrol, name, lasts: Some(lasts.unwrap_or(ENROL)), by })
            }
        }
    }
}

fn parse_scopes(names: &[String]) -> Result<Vec<Scope>, String> {
    let known = || Scope::ALL.map(Scope::as_str).join(", ");
    let mut scopes = Vec::new();
    for name in names {
        let scope = Scope::parse(name).ok_or_else(|| format!("scopes: expected some of {}.", known()))?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() { Err(format!("scopes: at least one of {}.", known())) } else { Ok(scopes) }
}
