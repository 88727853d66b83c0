//! Any receiver of JSON. The shape is part of the product (docs/configuration.md): fields may be added.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use nixfleet_model::notify::{Failure, Kind, Letter, Notice, Taken};
use nixfleet_protocol::Time;
use nixfleet_protocol::api::Level;
use ring::hmac;
use serde::Serialize;

use super::sending::{exchange, failure, post};
use crate::config::Secret;

/// The letter's id, once more: who knows it has it already.
const DELIVERY: &str = "x-nixfleet-delivery";
/// HMAC-SHA-256 of the body, as `sha256=` and hex.
const SIGNATURE: &str = "x-nixfleet-signature";

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    /// `test`, `digest`, or the kind of all notices.
    kind: &'a str,
    level: Level,
    title: &'a str,
    text: &'a str,
    url: Option<&'a str>,
    at: Time,
    count: u64,
    notices: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    kind: Kind,
    level: Level,
    host: Option<&'a str>,
    title: &'a str,
    text: &'a str,
    path: &'a str,
    at: Time,
}

pub(super) async fn send(
    url: &Secret,
    secret: Option<&Secret>,
    headers: &[(HeaderName, HeaderValue)],
    letter: &Letter,
    within: Duration,
) -> Result<Taken, Failure> {
    let body = serde_json::to_vec(&body(letter)).map_err(|error| failure(error.to_string()))?;
    let mut request = post(url).header(DELIVERY, &letter.id);
    if let Some(secret) = secret {
        request = request.header(SIGNATURE, signature(secret, &body));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    exchange(request, body, within).await
}

fn signature(secret: &Secret, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    format!("sha256={}", data_encoding::HEXLOWER.encode(hmac::sign(&key, body).as_ref()))
}

fn body(letter: &Letter) -> Body<'_> {
    Body {
        id: &letter.id,
        kind: letter.kind.map_or(if letter.count == 0 { "test" } else { "digest" }, Kind::as_str),
        level: letter.level,
        title: &letter.title,
        text: &letter.text,
        url: letter.url.as_deref(),
        at: letter.at,
        count: letter.count,
        notices: letter.notices.iter().map(told).collect(),
    }
}

fn told(notice: &Notice) -> Told<'_> {
    let Notice { kind, level, host, title, text, path, at, subject: _ } = notice;
    Told {
        kind: *kind,
        level: *level,
        host: host.as_ref().map(nixfleet_protocol::HostId::as_str),
        title,
        text,
        path,
        at: *at,
    }
}
