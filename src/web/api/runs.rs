//! Pipelines and their runs. Starting one comes with the actor that owns runs; until then there are none.

use std::sync::Arc;

use nixfleet_protocol::api::Run;
use nixfleet_protocol::{Op, RunId, Version};
use serde::Serialize;

use super::super::answer::Answer;
use super::super::problem::Refused;
use super::super::{App, Asked};

/// A pipeline as the API lists it.
#[derive(Clone, Copy, Serialize)]
struct Pipeline {
    name: &'static str,
    ops: &'static [Op],
    description: &'static str,
}

/// The ones that every dashboard has.
const BUILT_IN: &[Pipeline] = &[
    Pipeline { name: "pull-switch", ops: &[Op::Pull, Op::Switch], description: "Pull, then switch." },
    Pipeline { name: "do-all", ops: &[Op::Pull, Op::Switch, Op::Test], description: "Pull, switch, then test." },
    Pipeline {
        name: "merge-deploy",
        ops: &[Op::MergePr, Op::Pull, Op::Switch, Op::Test],
        description: "Merge the update PR, then pull, switch and test.",
    },
    Pipeline {
        name: "update-agent",
        ops: &[Op::Pull, Op::BumpFlake, Op::Switch, Op::Restart],
        description: "Take the newest agent and restart it.",
    },
    Pipeline { name: "update", ops: &[Op::Pull, Op::BumpFlake, Op::Switch], description: "Update all flake inputs." },
    Pipeline {
        name: "force-update",
        ops: &[Op::ForceRebuild, Op::Restart],
        description: "Rebuild past the caches and restart the agent.",
    },
];

/// `GET /api/v1/pipelines`.
pub(in crate::web) fn pipelines() -> Result<Answer, Refused> {
    Answer::ok(&serde_json::json!({ "pipelines": BUILT_IN }))
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
    if BUILT_IN.iter().any(|pipeline| pipeline.name == name) {
        return Err(Refused::not_yet("Starting a pipeline"));
    }
    let message = format!("There is no pipeline called {:?}.", name.chars().take(80).collect::<String>());
    Err(Refused::new(hyper::StatusCode::NOT_FOUND, "no_such_pipeline", message))
}
