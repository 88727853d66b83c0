//! Hosts: looked at in the state that everyone sees, made and removed by their actors.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header;
use nixfleet_protocol::api::{Host, HostLoad};
use nixfleet_protocol::{HostId, Op, Version};
use serde::{Deserialize, Serialize};

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};
use super::{body, ops};
use crate::actors::hosts::Created;

#[derive(Serialize)]
struct Hosts {
    version: Version,
    hosts: Vec<Arc<Host>>,
}

/// `GET /api/v1/hosts`.
pub(in crate::web) async fn list(app: &App) -> Result<Answer, Refused> {
    let snapshot = app.handles.sync.snapshot().await?;
    Answer::ok(&Hosts { version: snapshot.version, hosts: snapshot.state.hosts_in_order() })
}

/// `GET /api/v1/hosts/{host}`.
pub(in crate::web) async fn one(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id: HostId = asked.matched.id("host")?;
    Answer::ok(&*find(app, &id).await?)
}

/// `GET /api/v1/hosts/{host}/metrics`.
pub(in crate::web) async fn metrics(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id: HostId = asked.matched.id("host")?;
    Answer::ok(&HostLoad::from(&*find(app, &id).await?.past))
}

/// A host that there is.
pub(super) async fn find(app: &App, id: &HostId) -> Result<Arc<Host>, Refused> {
    let snapshot = app.handles.sync.snapshot().await?;
    let view = snapshot.state.hosts.get(id).ok_or_else(|| Refused::no_such_host(id))?;
    Ok(Arc::clone(&view.host))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(alias = "id", alias = "host", alias = "hostname")]
    name: String,
}

/// `POST /api/v1/hosts`.
pub(in crate::web) async fn create(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let create: Create = body(bytes)?;
    let id: HostId = create.name.parse()?;
    match app.handles.hosts.create(id.clone(), asked.caller.actor()).await? {
        Created::Existed => {
            Err(Refused::new(StatusCode::CONFLICT, "host_exists", format!("There is a host called {id} already.")))
        }
        Created::Made => {
            let host = find(app, &id).await?;
            let mut answer = Answer::json(StatusCode::CREATED, &*host)?;
            answer.set_text(header::LOCATION, &format!("/api/v1/hosts/{id}"));
            Ok(answer)
        }
    }
}

/// `DELETE /api/v1/hosts/{host}`: the op `remove`.
pub(in crate::web) async fn remove(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id: HostId = asked.matched.id("host")?;
    find(app, &id).await?;
    let command = ops::submit(app, asked, Op::Remove, Some(id), &ops::Wish::default()).await?;
    ops::accepted(&command)
}
