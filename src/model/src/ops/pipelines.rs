//! The pipelines that come with the product: ordered lists of ops. Operators define more in their configuration.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Action, ActionKind};

/// An ordered list of ops, run stage by stage over some hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Its name.
    pub name: &'static str,
    /// What a button says.
    pub label: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Its stages, with the arguments of each: a JSON object as text.
    pub stages: &'static [(Op, &'static str)],
}

impl Pipeline {
    /// Its ops, one a stage.
    pub fn ops(&self) -> impl Iterator<Item = Op> {
        self.stages.iter().map(|(op, _)| *op)
    }

    /// The button that starts it.
    pub fn action(&self) -> Action {
        Action {
            kind: ActionKind::Pipeline,
            op: None,
            pipeline: Some(self.name.to_owned()),
            command_id: None,
            label: self.label.to_owned(),
            args: None,
        }
    }
}

pub(crate) const PULL_SWITCH: Pipeline = Pipeline {
    name: "pull-switch",
    label: "Pull and switch",
    description: "Pull, then switch.",
    stages: &[(Op::Pull, "{}"), (Op::Switch, "{}")],
};

pub(crate) const MERGE_DEPLOY: Pipeline = Pipeline {
    name: "merge-deploy",
    label: "Merge & Deploy",
    description: "Merge the update pull request, then pull, switch and test.",
    stages: &[(Op::MergePr, "{}"), (Op::Pull, "{}"), (Op::Switch, "{}"), (Op::Test, "{}")],
};

pub(crate) const UPDATE_AGENT: Pipeline = Pipeline {
    name: "update-agent",
    label: "Update the agent",
    description: "Pull, update the agent's own flake input, switch, and restart the agent.",
    stages: &[(Op::Pull, "{}"), (Op::BumpFlake, r#"{"inputs":["nixfleet"]}"#), (Op::Switch, "{}"), (Op::Restart, "{}")],
};

const PIPELINES: &[Pipeline] = &[
    PULL_SWITCH,
    Pipeline {
        name: "do-all",
        label: "Do all",
        description: "Pull, switch, and run the tests.",
        stages: &[(Op::Pull, "{}"), (Op::Switch, "{}"), (Op::Test, "{}")],
    },
    MERGE_DEPLOY,
    UPDATE_AGENT,
    Pipeline {
        name: "update",
        label: "Update all inputs",
        description: "Pull, update all flake inputs on the host, and switch.",
        stages: &[(Op::Pull, "{}"), (Op::BumpFlake, r#"{"inputs":["all"]}"#), (Op::Switch, "{}")],
    },
    Pipeline {
        name: "force-update",
        label: "Force update",
        description: "Rebuild past the caches, then restart the agent.",
        stages: &[(Op::ForceRebuild, "{}"), (Op::Restart, "{}")],
    },
];

/// All pipelines that come with the product.
pub const fn pipelines() -> &'static [Pipeline] {
    PIPELINES
}

/// The pipeline of this name.
pub fn pipeline(name: &str) -> Option<&'static Pipeline> {
    PIPELINES.iter().find(|pipeline| pipeline.name == name)
}
