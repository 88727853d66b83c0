//! How everything is: for the service manager and for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hyper::StatusCode;
use nixfleet_protocol::api::HostState;

use super::super::App;
use super::super::answer::Answer;
use super::super::problem::Refused;

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
