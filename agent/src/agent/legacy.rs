//! What an old dashboard is told of a command beside its output and its result: progress by stages. Pure.

use std::collections::BTreeMap;

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::{AgentMessage, OperationProgress, StageProgress, TestProgress};

use crate::record::{Outcome, ProgressRecord};

/// The stage of an op, in the words of old dashboards.
const fn stage_of_op(op: Op) -> Option<&'static str> {
    if matches!(op, Op::Pull | Op::RefreshGit) {
        Some("pull")
    } else if matches!(op, Op::BumpFlake | Op::RefreshLock) {
        Some("lock")
    } else if matches!(op, Op::Switch | Op::Rollback | Op::ForceRebuild | Op::RefreshSystem) {
        Some("system")
    } else if matches!(op, Op::Test) {
        Some("tests")
    } else {
        None
    }
}

/// The stage of a phase.
fn stage_of_phase(phase: &str) -> Option<&'static str> {
    match phase {
        "fetch" => Some("pull"),
        "lock" | "update" => Some("lock"),
        "evaluate" | "build" | "copy" | "activate" => Some("system"),
        "test" => Some("tests"),
        _ => None,
    }
}

/// The messages about a command that runs.
pub fn running(ops: &[Op], progress: &ProgressRecord) -> Vec<AgentMessage> {
    let mut messages = Vec::new();
    if let Some(passed) = progress.passed {
        messages.push(AgentMessage::TestProgress(TestProgress {
            current: progress.done.map(|done| done + 1),
            total: progress.expected,
            passed: Some(passed),
            running: true,
            result: progress.text.clone(),
            command_id: None,
        }));
    }
    let now = stage_of_phase(&progress.phase);
    messages.extend(stages(ops, |stage, before| {
        if now == Some(stage) {
            let (current, total) = (progress.done.unwrap_or(0), progress.expected.unwrap_or(1));
            return (current, total, "in_progress");
        }
        if before.contains(&now.unwrap_or_default()) { (0, 1, "pending") } else { (1, 1, "complete") }
    }));
    messages
}

/// The messages about a command that ended.
pub fn ended(ops: &[Op], last: Option<&ProgressRecord>, outcome: &Outcome) -> Vec<AgentMessage> {
    let mut messages = Vec::new();
    if ops.contains(&Op::Test) {
        let number = |name: &str| outcome.details.as_ref().and_then(|details| details.get(name)?.as_u64());
        let total = number("total");
        messages.push(AgentMessage::TestProgress(TestProgress {
            current: total,
            total,
            passed: number("passed"),
            running: false,
            result: outcome.message.clone(),
            command_id: None,
        }));
    }
    let failed_in = last.and_then(|progress| stage_of_phase(&progress.phase)).or_else(|| first_stage(ops));
    messages.extend(stages(ops, |stage, before| {
        if outcome.exit_code == 0 {
            (1, 1, "complete")
        } else if failed_in == Some(stage) {
            (0, 1, "error")
        } else if before.contains(&failed_in.unwrap_or_default()) {
            (0, 1, "pending")
        } else {
            (1, 1, "complete")
        }
    }));
    messages
}

fn first_stage(ops: &[Op]) -> Option<&'static str> {
    ops.iter().find_map(|op| stage_of_op(*op))
}

/// Each stage of these ops as `look` sees it, which is also given the stages before it.
fn stages(
    ops: &[Op],
    look: impl Fn(&'static str, &[&'static str]) -> (u64, u64, &'static str),
) -> Option<AgentMessage> {
    let names: Vec<&'static str> = ops.iter().filter_map(|op| stage_of_op(*op)).collect();
    let progress: BTreeMap<String, StageProgress> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let (current, total, status) = look(name, &names[..n]);
            let stage = StageProgress { current: Some(current), total: Some(total), status: status.to_owned() };
            ((*name).to_owned(), stage)
        })
        .collect();
    (!progress.is_empty()).then_some(AgentMessage::OperationProgress(OperationProgress { progress }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(messages: &[AgentMessage]) -> String {
        let stage = |(name, stage): (&String, &StageProgress)| {
            format!("{name} {}/{} {}", stage.current.unwrap(), stage.total.unwrap(), stage.status)
        };
        messages
            .iter()
            .map(|message| {
                if let AgentMessage::OperationProgress(told) = message {
                    told.progress.iter().map(stage).collect::<Vec<_>>().join(", ")
                } else if let AgentMessage::TestProgress(told) = message {
                    format!("tests {:?} of {:?} {} {}", told.current, told.total, told.running, told.result)
                } else {
                    panic!("{message:?}")
                }
            })
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn stages_are_pending_then_in_progress_then_complete() {
        let ops = [Op::Pull, Op::Switch];
        let phase = |phase: &str| ProgressRecord { phase: phase.into(), ..ProgressRecord::default() };
        assert_eq!(told(&running(&ops, &phase("fetch"))), "pull 0/1 in_progress, system 0/1 pending");
        let build = ProgressRecord { done: Some(3), expected: Some(7), ..phase("build") };
        assert_eq!(told(&running(&ops, &build)), "pull 1/1 complete, system 3/7 in_progress");
        let tests =
            ProgressRecord { done: Some(1), expected: Some(2), passed: Some(1), text: "b".into(), ..phase("test") };
        assert_eq!(told(&running(&[Op::Test], &tests)), "tests Some(2) of Some(2) true b | tests 1/2 in_progress");
        assert_eq!(told(&running(&[Op::CheckVersion], &phase("x"))), "");
    }

    #[test]
    fn the_end_names_the_stage_that_failed() {
        let order = crate::record::tests_support::order(nixfleet_protocol::CommandId::from_uuid(uuid::Uuid::nil()));
        let outcome = |exit_code| Outcome { exit_code, ..crate::runner::facts_now(&order) };
        let ops = [Op::Pull, Op::Switch];
        let fetch = ProgressRecord { phase: "fetch".into(), ..ProgressRecord::default() };
        assert_eq!(told(&ended(&ops, None, &outcome(0))), "pull 1/1 complete, system 1/1 complete");
        assert_eq!(told(&ended(&ops, Some(&fetch), &outcome(1))), "pull 0/1 error, system 0/1 pending");
        let build = ProgressRecord { phase: "build".into(), ..ProgressRecord::default() };
        assert_eq!(told(&ended(&ops, Some(&build), &outcome(1))), "pull 1/1 complete, system 0/1 error");
    }
}
