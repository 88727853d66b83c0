//! A run of a pipeline: where it stands, whom it waits for, and what a person can decide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::CommandState;
use crate::ids::{CommandId, HostId, RunId, Version};
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

impl RunState {
    /// Whether it never changes again.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Running | Self::Halted => false,
            Self::Complete | Self::Partial | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// A pipeline run as everyone sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// What the pipeline is called on a button.
    pub label: String,
    /// Who started it.
    pub actor: String,
    /// Where it stands.
    pub state: RunState,
    /// One sentence: what it does now, why it halted, how it ended.
    pub message: String,
    /// The stage that runs, from 0.
    pub stage: u32,
    /// The ops, one a stage. After the decision `rollback` one more stage follows, `rollback`.
    pub ops: Vec<Op>,
    /// For each host the state of each stage.
    pub hosts: BTreeMap<HostId, Vec<CommandState>>,
    /// For each host the command of each stage; null where none was begun. An op that concerns no host runs once, and
    /// its command stands here for every host.
    pub commands: BTreeMap<HostId, Vec<Option<CommandId>>>,
    /// For hosts of which there is something to say: why they did not come further, that they are tried again.
    pub notes: BTreeMap<HostId, String>,
    /// Who goes first and who follows: the canary and the waves in their order. One group, where it is not staged.
    pub groups: Vec<RunGroup>,
    /// The group that goes now, from 0.
    pub group: u32,
    /// What it waits for now.
    pub waits: Vec<RunWait>,
    /// Why it halted and what can be decided, while it is `HALTED`.
    pub halted: Option<Halted>,
    /// How it was started.
    pub options: RunOptions,
    /// When it began.
    pub created_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// Hosts that go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGroup {
    /// `Canary`, `Wave 2 of 3`, `All hosts`.
    pub label: String,
    /// Whether it is the canary.
    pub canary: bool,
    /// Its hosts, in the order in which they take their turn.
    pub hosts: Vec<HostId>,
    /// Where it stands.
    pub state: GroupState,
    /// Until when it soaks, while it does.
    pub soak_until: Option<Time>,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupState {
    /// Its turn has not come.
    Waiting,
    /// It goes through the stages.
    Running,
    /// It went through, and has to stay good for a while.
    Soaking,
    /// It is over, and every host of it is good.
    Passed,
    /// It is over, and not every host of it is good.
    Failed,
}

/// Something that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWait {
    /// What kind of thing.
    pub kind: WaitKind,
    /// Which host; null where it concerns all.
    pub host: Option<HostId>,
    /// Which command.
    pub command_id: Option<CommandId>,
    /// Until when at most; null: as long as it takes.
    pub until: Option<Time>,
    /// One sentence.
    pub message: String,
}

/// What a run can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// A command to end.
    Command,
    /// A host to come online.
    Online,
    /// A host to be idle.
    Idle,
    /// The soak time.
    Soak,
    /// A person to decide.
    Person,
}

/// Why a run halted, and what can be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Since when.
    pub at: Time,
    /// One sentence.
    pub reason: String,
    /// The hosts that count as failed.
    pub failed: Vec<HostId>,
    /// The hosts that this run switched: those that `rollback` would take back.
    pub switched: Vec<HostId>,
    /// What can be decided now, the likeliest first.
    pub decisions: Vec<Decision>,
}

/// What a person can decide of a halted run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Go on with the others; what failed stays as it is.
    Continue,
    /// Try the failed hosts again, from the stage that failed; then go on.
    RetryFailed,
    /// Roll back every host that this run switched, and end.
    Rollback,
    /// End: what runs finishes, what has not begun never does.
    Cancel,
}

impl Decision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Continue, Self::RetryFailed, Self::Rollback, Self::Cancel];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::RetryFailed => "retry-failed",
            Self::Rollback => "rollback",
            Self::Cancel => "cancel",
        }
    }
}

/// How a run is started. What is left out is as it stands in the pipeline, or as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// Who goes first, alone, through all stages.
    pub canary: Option<Canary>,
    /// How the others follow; null: all at once.
    pub waves: Option<Waves>,
    /// Seconds for which a group has to stay good before the next one begins.
    pub soak_s: u64,
    /// How many hosts may fail before the run halts and asks; null: 0 where there is a canary or waves, else any number.
    pub max_failures: Option<u32>,
    /// How many hosts at once in a stage; null: all.
    pub parallel: Option<u32>,
    /// Seconds for which a host is waited for at its turn, until it is online and idle; null: 90.
    pub wait_s: Option<u64>,
    /// What becomes of a host that is offline when its first turn comes.
    pub offline: Offline,
    /// Skip `already_current` and `lock_behind` in every stage.
    pub force: bool,
    /// Arguments of the stages by their ops, on top of the pipeline's own.
    pub args: BTreeMap<Op, Map<String, Value>>,
}

/// Who goes first: these hosts, or those with this tag. One of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Canary {
    /// By name.
    pub hosts: Vec<HostId>,
    /// By tag.
    pub tag: Option<String>,
}

/// How those behind the canary are divided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Waves {
    /// Into so many waves of one size.
    Count(u32),
    /// By the sizes of the waves; the last one again until no host is left.
    Sizes(Vec<u32>),
}

/// What becomes of a host that is offline at its first turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offline {
    /// It is waited for, for `wait_s`.
    #[default]
    Wait,
    /// It is skipped at once.
    Skip,
}

/// Body of `POST /api/v1/pipelines/{name}/runs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunRequest {
    /// On which hosts, in this order.
    pub hosts: Vec<String>,
    /// How.
    pub options: RunOptions,
    /// A TOTP code, where an op of the pipeline needs one.
    pub totp: Option<String>,
}

/// Body of `POST /api/v1/runs/{id}/decide`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideRequest {
    /// What.
    pub decision: Decision,
}

/// A pipeline as the API lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineEntry {
    /// Its name.
    pub name: String,
    /// What a button says.
    pub label: String,
    /// What it does.
    pub description: String,
    /// Its ops, one a stage.
    pub ops: Vec<Op>,
    /// How many hosts at once, where the run says nothing; null: all.
    pub parallel: Option<u32>,
    /// Whether an op of it needs a TOTP code.
    pub totp: bool,
    /// Whether it comes with the product; else from the configuration file.
    pub built_in: bool,
}

/// `GET /api/v1/runs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunList {
    /// The state version that this is.
    pub version: Version,
    /// Newest first.
    pub runs: Vec<Run>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_people_write_them() {
        let read = |text: &str| serde_json::from_str::<RunOptions>(text);
        assert_eq!(read("{}").unwrap(), RunOptions::default());
        let all = r#"{"canary":{"tag":"canary"},"waves":[1,5],"soak_s":600,"max_failures":1,"parallel":2,"wait_s":30,
            "offline":"skip","force":true,"args":{"bump-flake":{"inputs":["all"]}}}"#;
        let all = read(all).unwrap();
        assert_eq!(all.waves, Some(Waves::Sizes(vec![1, 5])));
        assert_eq!(all.offline, Offline::Skip);
        assert_eq!(read(&serde_json::to_string(&all).unwrap()).unwrap(), all);
        assert_eq!(read(r#"{"waves":3}"#).unwrap().waves, Some(Waves::Count(3)));
        for bad in [r#"{"soak":1}"#, r#"{"waves":"all"}"#, r#"{"args":{"pul":{}}}"#, r#"{"canary":{"host":"a"}}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_decision_is_written_as_its_word() {
        for decision in Decision::ALL {
            assert_eq!(serde_json::to_string(&decision).unwrap(), format!("{:?}", decision.as_str()));
        }
    }
}
