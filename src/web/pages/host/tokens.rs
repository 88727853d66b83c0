//! The tokens that a host's agent may come in with: without their secrets, which nobody has.

use askama::Template;
use nixfleet_protocol::api::Host;

use super::super::{Fleet, html, words};
use crate::actors::access::TokenInfo;

#[derive(Template)]
#[template(path = "host_tokens.html")]
struct Tokens {
    src: String,
    name: String,
    all: Vec<Token>,
}

struct Token {
    id: String,
    name: String,
    made: words::Ago,
    used: Option<words::Ago>,
    expires: String,
}

pub(super) fn tokens(fleet: &Fleet<'_>, host: &Host, tokens: &[TokenInfo]) -> String {
    let tokens = tokens.iter().map(|token| Token {
        id: token.id.clone(),
        name: token.name.clone(),
        made: words::ago(token.created_at, fleet.now),
        used: token.last_used.map(|at| words::ago(at, fleet.now)),
        expires: token.expires_at.map(|at| at.to_string().chars().take(10).collect()).unwrap_or_default(),
    });
    let name = host.id.to_string();
    html(&Tokens { src: format!("/hosts/{name}?part=tokens"), all: tokens.collect(), name })
}
