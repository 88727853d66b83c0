//! ntfy: JSON to the server, with the topic that the address ends in. <https://docs.ntfy.sh/publish/#publish-as-json>

use std::time::Duration;

use hyper::header::AUTHORIZATION;
use nixfleet_model::notify::{Failure, Letter, Taken};
use nixfleet_protocol::api::Level;
use serde_json::json;

use super::sending::{cut, exchange, failure, post};
use crate::config::Secret;

/// A longer message becomes an attachment there: 4,096 bytes, and a character has up to four.
const MESSAGE: usize = 1000;
/// Characters of a title.
const TITLE: usize = 200;

pub(super) async fn send(
    url: &Secret,
    token: Option<&Secret>,
    letter: &Letter,
    within: Duration,
) -> Result<Taken, Failure> {
    let address = url.expose().trim_end_matches('/');
    let (server, topic) = address
        .rsplit_once('/')
        .filter(|(server, topic)| !server.ends_with('/') && !topic.is_empty())
        .ok_or_else(|| failure("the address names no topic: expected https://ntfy.sh/topic"))?;
    let (priority, tag) = match letter.level {
        Level::Error => (4, "rotating_light"),
        Level::Warn => (3, "warning"),
        Level::Success => (3, "white_check_mark"),
        Level::Info => (3, "information_source"),
    };
    // A message must not be empty there.
    let message = if letter.text.is_empty() { &letter.title } else { &letter.text };
    let mut body = json!({
        "topic": topic,
        "title": cut(&letter.title, TITLE),
        "message": cut(message, MESSAGE),
        "priority": priority,
        "tags": [tag],
    });
    if let Some(url) = &letter.url {
        body["click"] = json!(url);
    }
    let mut request = post(&Secret::new(format!("{server}/")));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    exchange(request, body.to_string().into_bytes(), within).await
}
