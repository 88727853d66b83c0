//! A letter to a receiver, whichever way: with an end in time, and a failure that names nothing secret.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode, Uri};
use nixfleet_model::notify::{Failure, Letter, Taken};
use nixfleet_protocol::text::plain_cut;
use serde_json::Value;

use super::{discord, mail, ntfy, webhook};
use crate::config::{MailConfig, Secret, Way};
use crate::http_client;

/// The longest answer that is read: a sentence is wanted of it.
const ANSWER: usize = 64 * 1024;
/// Characters of a receiver's words that are shown.
const SAID: usize = 300;

/// Its word in the configuration.
pub(super) const fn kind(way: &Way) -> &'static str {
    match way {
        Way::Ntfy { .. } => "ntfy",
        Way::Discord { .. } => "discord",
        Way::Webhook { .. } => "webhook",
        Way::Mail(_) => "mail",
    }
}

/// Where it goes, as far as that is no secret.
pub(super) fn place(way: &Way) -> String {
    match way {
        Way::Ntfy { url, .. } | Way::Discord { url } | Way::Webhook { url, .. } => {
            let uri: Option<Uri> = url.expose().parse().ok();
            uri.as_ref().and_then(Uri::authority).map_or_else(String::new, |authority| authority.as_str().to_owned())
        }
        Way::Mail(MailConfig { to, .. }) => to.iter().map(|to| to.email.to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// Sends it. However a receiver behaves, there is an outcome.
pub(super) async fn send(way: &Way, letter: &Letter, within: Duration) -> Result<Taken, Failure> {
    let sent = async {
        match way {
            Way::Ntfy { url, token } => ntfy::send(url, token.as_ref(), letter, within).await,
            Way::Discord { url } => discord::send(url, letter, within).await,
            Way::Webhook { url, secret, headers } => webhook::send(url, secret.as_ref(), headers, letter, within).await,
            Way::Mail(mail) => mail::send(mail, letter, within).await,
        }
    };
    match tokio::time::timeout(within, AssertUnwindSafe(sent).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(failure("sending it broke off: this is a defect of NixFleet")),
        Err(_) => Err(failure(format!("no answer within {} s", within.as_secs()))),
    }
}

/// A failure that may be over the next time.
pub(super) fn failure(why: impl Into<String>) -> Failure {
    Failure { why: why.into(), retry_after: None, refused: false }
}

/// A POST to a secret address.
pub(super) fn post(url: &Secret) -> Builder {
    Request::builder().method(Method::POST).uri(url.expose()).header(CONTENT_TYPE, "application/json")
}

/// Sends it, and reads what was said.
pub(super) async fn exchange(request: Builder, body: Vec<u8>, within: Duration) -> Result<Taken, Failure> {
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|_| failure("the address or a header of this channel can't be used"))?;
    let answer = http_client::send(request, within, ANSWER).await.map_err(|error| failure(error.to_string()))?;
    if answer.status.is_success() {
        return Ok(Taken::default());
    }
    if answer.status.is_redirection() {
        // Not followed: the address is the secret of a channel, and what is posted is for nobody else.
        let why = format!("it was moved: change its address (it answered {})", answer.status);
        return Err(Failure { why, retry_after: None, refused: true });
    }
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let header = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(seconds);
    let field = json.as_ref().and_then(|json| json["retry_after"].as_f64()).and_then(span);
    let refused = matches!(
        answer.status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    Err(Failure { why: said(answer.status, json.as_ref()), retry_after: header.or(field), refused })
}

/// `Retry-After`, where it is a number; a date is as good as nothing, for clocks differ.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse::<f64>().ok().and_then(span)
}

fn span(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// The status, and the receiver's own words where it has some.
fn said(status: StatusCode, json: Option<&Value>) -> String {
    let words = json.and_then(|json| ["error", "message", "detail"].iter().find_map(|name| json[name].as_str()));
    match words {
        Some(words) => format!("it answered {status}: {}", plain_cut(words, SAID)),
        None => format!("it answered {status}"),
    }
}

/// A text of at most so many characters, with a sign where it was cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
