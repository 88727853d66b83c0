//! Pipelines and their runs. Starting one comes with the actor that owns runs; until then there are none.

use std::sync::Arc;

use nixfleet_model::ops;
use nixfleet_protocol::api::Run;
use nixfleet_protocol::{RunId, Version};
use serde::Serialize;

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};

/// `GET /api/v1/pipelines`.
pub(in crate::web) fn pipelines() -> Result<Answer, Refused> {
    let listed: Vec<_> = ops::pipelines()
        .iter()
        .map(|known| {
            let ops: Vec<_> = known.ops().collect();
            serde_json::json!({
                "name": known.name,
                "label": known.label,
                "ops": ops,
                "description": known.description,
            })
        })
        .collect();
    Answer::ok(&serde_json::json!({ "pipelines": listed }))
}

#[derive(Serialize)]
struct Runs {
    version: Version,
    runs: Vec<Arc<Run>>,
}

/// `GET /api/v1/runs`.
pub(in crate::web) async fn list(app: &App) -> Result<Answer, Refused> {
    let snapshot = app.handles.sync.snapshot().await?;
    let runs = snapshot.state.runs.values().rev().cloned().collect();
    Answer::ok(&Runs { version: snapshot.version, runs })
}

/// `GET /api/v1/runs/{id}` and `POST …/cancel`.
pub(in crate::web) fn one(asked: &Asked) -> Result<Answer, Refused> {
    let id: RunId = asked.matched.id("id")?;
    Err(Refused::new(hyper::StatusCode::NOT_FOUND, "no_such_run", format!("There is no run {id}.")))
}

/// `POST /api/v1/pipelines/{name}/runs`.
pub(in crate::web) fn start(asked: &Asked, bytes: &[u8]) -> Result<Answer, Refused> {
    super::body::<serde_json::Map<String, serde_json::Value>>(bytes)?;
    let name = asked.matched.text("name")?;
    if ops::pipeline(name).is_some() {
        return Err(Refused::not_yet("Starting a pipeline"));
    }
    let message = format!("There is no pipeline called {:?}.", name.chars().take(80).collect::<String>());
    Err(Refused::new(hyper::StatusCode::NOT_FOUND, "no_such_pipeline", message))
}
