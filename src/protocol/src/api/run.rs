//! A run of a pipeline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CommandState;
use crate::ids::{HostId, RunId};
use crate::op::Op;
use crate::time::Time;

/// States of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It waits for a person.
    Halted,
    /// All hosts through all stages.
    Complete,
    /// Some hosts.
    Partial,
    /// No host.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// A pipeline run as everyone sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// Who started it.
    pub actor: String,
    /// Where it stands.
    pub state: RunState,
    /// The stage that runs, from 0.
    pub stage: u32,
    /// The ops, one a stage.
    pub ops: Vec<Op>,
    /// For each host the state of each stage.
    pub hosts: BTreeMap<HostId, Vec<CommandState>>,
    /// How it was started; an object.
    pub options: Value,
    /// When it began.
    pub created_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
}
