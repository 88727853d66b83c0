//! The five lights of a host, each with its sentence and what a click offers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::CommandId;
use crate::op::Op;

/// Status of a compartment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LightStatus {
    /// Green: current with the remote, proven.
    Ok,
    /// Yellow: something to do, or it can't be verified right now.
    Outdated,
    /// Red: a real problem.
    Error,
    /// Blue: a command of this compartment runs.
    Working,
    /// Grey: no signal yet, or switched off.
    Unknown,
}

/// What a click on a light, or a button beside it, does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Which kind of action.
    pub kind: ActionKind,
    /// The op, where `kind` is `op`.
    pub op: Option<Op>,
    /// The pipeline, where `kind` is `pipeline`.
    pub pipeline: Option<String>,
    /// The command that is shown or stopped, where there is one.
    pub command_id: Option<CommandId>,
    /// What the button says.
    pub label: String,
    /// What is sent with it, so that it does what was shown and nothing newer: the op's `args`, or the pipeline's
    /// `options.args`; null where there is nothing to say.
    pub args: Option<Map<String, Value>>,
}

/// The kinds of [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Show the host's details.
    Details,
    /// Start an op on the host.
    Op,
    /// Start a pipeline on the host.
    Pipeline,
    /// Show the log of a command.
    Log,
    /// Stop the running command.
    Stop,
    /// Say what to do; `message` of the light has the sentence.
    Help,
}

/// One of the five lights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Light {
    /// Its status.
    pub status: LightStatus,
    /// One sentence that says why.
    pub message: String,
    /// What a click does.
    pub action: Action,
    /// What else is offered.
    pub also: Vec<Action>,
}

/// The five lights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lights {
    /// The agent's version against the dashboard's.
    pub agent: Light,
    /// The checkout against the remote's head.
    pub git: Light,
    /// The lock against the remote's.
    pub lock: Light,
    /// What is deployed against both.
    pub system: Light,
    /// The tests of what is deployed.
    pub tests: Light,
}

impl Lights {
    /// The five with their names, in order.
    pub fn each(&self) -> [(&'static str, &Light); 5] {
        [
            ("agent", &self.agent),
            ("git", &self.git),
            ("lock", &self.lock),
            ("system", &self.system),
            ("tests", &self.tests),
        ]
    }
}
