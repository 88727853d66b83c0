//! How everything is: for the service manager, for Prometheus, for GitHub that tells of a push.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hyper::StatusCode;
use nixfleet_protocol::api::HostState;
use ring::hmac;

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};

/// `GET /readyz`. The root shares one probe a second among all who ask.
pub(in crate::web) async fn ready(app: &App) -> Result<Answer, Refused> {
    let readiness = app.handles.root.ready().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &readiness)
}

/// `GET /api/v1/remote`.
pub(in crate::web) async fn remote(app: &App) -> Result<Answer, Refused> {
    Answer::ok(&*app.handles.sync.snapshot().await?.state.remote)
}

/// `GET /metrics`.
pub(in crate::web) async fn metrics(app: &App) -> Result<Answer, Refused> {
    let snapshot = app.handles.sync.snapshot().await?;
    let mut hosts: BTreeMap<&str, u32> = ["online", "stale", "offline", "never"].map(|state| (state, 0)).into();
    for view in snapshot.state.hosts.values() {
        let state = match view.host.state {
            HostState::Online => "online",
            HostState::Stale => "stale",
            HostState::Offline => "offline",
            HostState::Never => "never",
        };
        *hosts.entry(state).or_default() += 1;
    }
    let open = snapshot.state.commands.values().filter(|command| !command.state.is_final()).count();
    let readable = u8::from(snapshot.state.remote.error.is_none() && snapshot.state.remote.read_at.is_some());
    let writes = u8::from(snapshot.state.server.store_error.is_none());
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(String, u64)]| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "# HELP nixfleet_{name} {help}\n# TYPE nixfleet_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "nixfleet_{name}{labels} {value}");
        }
    };
    let by_state: Vec<_> =
        hosts.iter().map(|(state, count)| (format!("{{state=\"{state}\"}}"), u64::from(*count))).collect();
    gauge("hosts", "Hosts by state.", &by_state);
    gauge("commands_open", "Commands that are not over.", &[(String::new(), open as u64)]);
    gauge("remote_readable", "Whether the remote can be read.", &[(String::new(), readable.into())]);
    gauge("store_writes", "Whether the store can write.", &[(String::new(), writes.into())]);
    gauge("state_version", "The version of the state.", &[(String::new(), snapshot.version.0)]);
    Ok(Answer::whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

/// `POST /webhook/github`.
pub(in crate::web) fn github(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let Some(secret) = &app.web.github_webhook_secret else { return Err(Refused::no_such_path()) };
    let sent = asked.headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok());
    let tag = sent
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    if tag.is_none_or(|tag| hmac::verify(&key, bytes, &tag).is_err()) {
        return Err(Refused::forbidden("signature", "The signature is missing or wrong."));
    }
    let remote = app.handles.remote.clone();
    tokio::spawn(async move {
        if let Err(error) = remote.ask(Duration::from_mins(1)).await {
            tracing::info!(%error, "the webhook could not have the remote asked");
        }
    });
    Ok(Answer::empty(StatusCode::ACCEPTED))
}
