//! `POST /webhook/github`: GitHub tells that something changed. What changed is asked there: a webhook is a hint, and
//! the remote's actor decides what it is worth.
//!
//! Anybody can send one, so the body is read only with a signature's header, by few at a time, and parsed only when the
//! signature is good.

use hyper::StatusCode;
use ring::hmac;
use serde::Deserialize;
use tokio::sync::SemaphorePermit;

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};
use crate::actors::remote::About;

/// The largest one: a push of hundreds of commits. GitHub sends none over 25 MB, and the next poll sees what a larger
/// one would have told.
pub(in crate::web) const BODY: usize = 1 << 20;
/// The longest name of a branch that is handed on; git's own limit is about this.
const NAME: usize = 255;
/// So many are read at once.
pub(in crate::web) const AT_ONCE: usize = 8;

/// Whether one is read at all; it is, as long as the turn is held.
pub(in crate::web) fn admit<'a>(app: &'a App, asked: &Asked) -> Result<SemaphorePermit<'a>, Refused> {
    if app.web.github_webhook_secret.is_none() {
        let message = "Webhooks are not set up here: set NIXFLEET_GITHUB_WEBHOOK_SECRET, the same as at GitHub.";
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "no_webhook_secret", message));
    }
    signature(asked).ok_or_else(unsigned)?;
    app.hooks.try_acquire().map_err(|_| Refused::unavailable("too many webhooks at once"))
}

/// `POST /webhook/github`.
pub(in crate::web) fn github(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let Some(secret) = &app.web.github_webhook_secret else { return Err(Refused::no_such_path()) };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = signature(asked).ok_or_else(unsigned)?;
    if hmac::verify(&key, bytes, &tag).is_err() {
        return Err(unsigned());
    }
    let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok());
    let event = header("x-github-event").unwrap_or_default();
    let Some(about) = about(event, bytes) else { return Ok(Answer::empty(StatusCode::ACCEPTED)) };
    // An id of GitHub's has 36 characters.
    let delivery = header("x-github-delivery").filter(|id| id.len() <= 64).map(str::to_owned);
    tracing::info!(event, delivery, "GitHub tells of something");
    if !app.handles.remote.webhook(delivery, about) {
        tracing::info!("the remote is being restarted and asks by itself");
    }
    Ok(Answer::empty(StatusCode::ACCEPTED))
}

fn signature(asked: &Asked) -> Option<Vec<u8>> {
    let sent = asked.headers.get("x-hub-signature-256")?.to_str().ok()?;
    data_encoding::HEXLOWER_PERMISSIVE.decode(sent.strip_prefix("sha256=")?.as_bytes()).ok()
}

fn unsigned() -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "signature", "The signature is missing or wrong.")
}

/// What an event is about; nothing: there is nothing to ask.
fn about(event: &str, bytes: &[u8]) -> Option<About> {
    #[derive(Deserialize)]
    struct Push {
        #[serde(rename = "ref")]
        name: String,
    }
    match event {
        "ping" => None,
        // A tag moves no branch.
        "push" => match serde_json::from_slice::<Push>(bytes) {
            Ok(push) if push.name.starts_with("refs/tags/") => None,
            Ok(push) => Some(match push.name.strip_prefix("refs/heads/").filter(|name| name.len() <= NAME) {
                Some(branch) => About::Branch(branch.to_owned()),
                None => About::Everything,
            }),
            Err(_) => Some(About::Everything),
        },
        "pull_request" if closed(bytes) => Some(About::Everything),
        "pull_request" | "pull_request_review" | "check_suite" | "check_run" | "status" => Some(About::PullRequests),
        _ => Some(About::Everything),
    }
}

/// Whether a pull request was closed, as merging does.
fn closed(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct PullRequestEvent {
        #[serde(default)]
        action: String,
    }
    serde_json::from_slice::<PullRequestEvent>(bytes).is_ok_and(|event| event.action == "closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_depends_on_what_is_told() {
        for (event, body, expected) in [
            ("ping", "{}", None),
            ("push", r#"{"ref":"refs/heads/main"}"#, Some(About::Branch("main".to_owned()))),
            ("push", r#"{"ref":"refs/heads/a/b"}"#, Some(About::Branch("a/b".to_owned()))),
            ("push", r#"{"ref":"refs/strange"}"#, Some(About::Everything)),
            ("push", r#"{"ref":"refs/tags/v1"}"#, None),
            ("push", "{", Some(About::Everything)),
            ("pull_request", r#"{"action":"opened"}"#, Some(About::PullRequests)),
            ("pull_request", r#"{"action":"closed"}"#, Some(About::Everything)),
            ("status", "{}", Some(About::PullRequests)),
            ("", "{}", Some(About::Everything)),
        ] {
            assert_eq!(about(event, body.as_bytes()), expected, "{event} {body}");
        }
    }
}
