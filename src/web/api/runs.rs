//! Pipelines and their runs. What a run is and whether it may begin is decided by the model and the runs' actors; here
//! is the door: names become types, the scope is checked, the TOTP code is looked at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::StatusCode;
use nixfleet_model::access::Scope;
use nixfleet_model::checks::{Refusal, TotpProof};
use nixfleet_model::ops::{self, spec};
use nixfleet_model::pipeline::{Known, Wanted, draft};
use nixfleet_protocol::api::{DecideRequest, Decision, PipelineEntry, Run, RunRequest};
use nixfleet_protocol::{HostId, RunId, Time, Version};
use serde::Serialize;
use uuid::Uuid;

use super::super::answer::Answer;
use super::super::problem::{InTheWay, Refused};
use super::super::{App, Asked};
use super::{body, limit};
use crate::actors::runs::{Changed, NotBegun, Started};

/// Hosts that a refusal tells of in words; the others are counted.
const NAMED: usize = 10;

#[derive(Serialize)]
struct Pipelines {
    version: Version,
    pipelines: Vec<PipelineEntry>,
}

/// `GET /api/v1/pipelines`.
pub(in crate::web) async fn pipelines(app: &App) -> Result<Answer, Refused> {
    let version = app.handles.sync.snapshot().await?.version;
    Answer::ok(&Pipelines { version, pipelines: app.pipelines.all().iter().map(Known::entry).collect() })
}

#[derive(Serialize)]
struct Runs {
    version: Version,
    runs: Vec<Arc<Run>>,
}

/// `GET /api/v1/runs`, `?before=` a run.
pub(in crate::web) async fn list(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let before = asked.query.read::<RunId>("before")?;
    let stored = app.handles.store.runs(before, limit(&asked.query)?).await?;
    // The state is asked second: it may be newer than the record, never older.
    let snapshot = app.handles.sync.snapshot().await?;
    let live = |id: &RunId| snapshot.state.runs.get(id).cloned();
    let runs = stored.iter().map(|run| live(&run.record.id).unwrap_or_else(|| Arc::new(run.view(Vec::new()))));
    Answer::ok(&Runs { version: snapshot.version, runs: runs.collect() })
}

/// `GET /api/v1/runs/{id}`.
pub(in crate::web) async fn one(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id: RunId = asked.matched.id("id")?;
    Answer::ok(&*find(app, id).await?)
}

/// A run: of the state, else of the store.
pub(in crate::web) async fn find(app: &App, id: RunId) -> Result<Arc<Run>, Refused> {
    let snapshot = app.handles.sync.snapshot().await?;
    if let Some(run) = snapshot.state.runs.get(&id) {
        return Ok(Arc::clone(run));
    }
    let stored = app.handles.store.run(id).await?.ok_or_else(|| Refused::no_such_run(id))?;
    Ok(Arc::new(stored.view(Vec::new())))
}

/// `POST /api/v1/pipelines/{name}/runs`.
pub(in crate::web) async fn start(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let RunRequest { hosts, options, totp } = body(bytes)?;
    let name = asked.matched.text("name")?;
    let Some(known) = app.pipelines.get(name) else {
        let message = format!("There is no pipeline called {:?}.", name.chars().take(80).collect::<String>());
        return Err(Refused::new(StatusCode::NOT_FOUND, "no_such_pipeline", message));
    };
    for stage in &known.stages {
        asked.caller.must(match spec(stage.op).scope {
            ops::Scope::Operate => Scope::Operate,
            ops::Scope::Admin => Scope::Admin,
        })?;
    }
    let hosts = hosts.iter().map(|name| name.parse()).collect::<Result<Vec<HostId>, _>>()?;
    let snapshot = app.handles.sync.snapshot().await?;
    if let Some(unknown) = hosts.iter().find(|host| !snapshot.state.hosts.contains_key(*host)) {
        return Err(Refused::no_such_host(unknown));
    }
    let tags = |host: &HostId| snapshot.state.hosts.get(host).map(|view| view.host.tags.clone()).unwrap_or_default();
    let id = RunId::from_uuid(Uuid::now_v7());
    let wanted = Wanted { id, hosts, options, actor: asked.caller.actor(), totp: false };
    let mut run = draft(known, wanted, tags, Time::now()).map_err(|wrong| Refused::bad(wrong.0.join(" ")))?;
    run.bind_merge(snapshot.state.remote.pull_request.as_ref()).map_err(|refusal| match refusal.code {
        "bad_args" => Refused::bad(refusal.message),
        _ => Refused::by_check(refusal, None),
    })?;
    // A code is good once: it is not used up for what is not begun anyway.
    run.record.totp = prove(app, asked, known, totp).await?;
    match app.handles.runs.start(run).await {
        Started::Begun(run) => Answer::json(StatusCode::ACCEPTED, &*run),
        Started::Not(NotBegun::Hosts(refused)) => Err(busy(&refused)),
        Started::Not(NotBegun::Unavailable(why)) => Err(Refused::unavailable(why)),
    }
}

/// Whether a TOTP code was good, where one is needed.
async fn prove(app: &App, asked: &Asked, known: &Known, code: Option<String>) -> Result<bool, Refused> {
    if !known.needs_totp() {
        return Ok(false);
    }
    let proof = app.handles.access.prove_totp(code, asked.client.address).await?;
    nixfleet_model::checks::totp(proof).map_err(|refusal| Refused::by_check(refusal, None))?;
    Ok(proof == TotpProof::Valid)
}

/// 409 that names who is in the way.
fn busy(refused: &[(HostId, Refusal)]) -> Refused {
    let mut said: Vec<String> = refused.iter().take(NAMED).map(|(_, refusal)| refusal.message.clone()).collect();
    if refused.len() > NAMED {
        said.push(format!("So it is with {} more.", refused.len() - NAMED));
    }
    let codes: BTreeSet<&'static str> = refused.iter().map(|(_, refusal)| refusal.code).collect();
    let code = if codes.contains("host_busy") { Some("host_busy") } else { codes.first().copied() };
    let command_id = refused.iter().find_map(|(_, refusal)| refusal.command_id);
    let hosts = refused.iter().map(|(host, _)| host.clone()).collect();
    let in_the_way = Some(Box::new(InTheWay { hosts }));
    Refused {
        command_id,
        in_the_way,
        ..Refused::new(StatusCode::CONFLICT, code.unwrap_or("host_busy"), said.join(" "))
    }
}

/// `POST /api/v1/runs/{id}/cancel`.
pub(in crate::web) async fn cancel(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    body::<serde_json::Map<String, serde_json::Value>>(bytes)?;
    let id: RunId = asked.matched.id("id")?;
    changed(app, id, app.handles.runs.cancel(id, asked.caller.actor()).await).await
}

/// `POST /api/v1/runs/{id}/decide`.
pub(in crate::web) async fn decide(app: &App, asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    let DecideRequest { decision } = body(bytes)?;
    let id: RunId = asked.matched.id("id")?;
    let actor = asked.caller.actor();
    let done = match decision {
        Decision::Cancel => app.handles.runs.cancel(id, actor).await,
        Decision::Continue | Decision::RetryFailed | Decision::Rollback => {
            app.handles.runs.decide(id, decision, actor).await
        }
    };
    changed(app, id, done).await
}

async fn changed(app: &App, id: RunId, changed: Changed) -> Result<Answer, Refused> {
    match changed {
        Changed::Done(run) => Answer::json(StatusCode::ACCEPTED, &*run),
        Changed::NotNow(why) => Err(Refused::new(StatusCode::CONFLICT, why.code, why.message)),
        Changed::NotOpen => {
            find(app, id).await?;
            Err(Refused::new(StatusCode::CONFLICT, "run_over", "The run is over."))
        }
        Changed::Unavailable(why) => Err(Refused::unavailable(why)),
    }
}
