//! A halted run asks a person: why it halted, which hosts failed and what of, and what can be decided, each with its
//! consequence written out.

use askama::Template;
use nixfleet_protocol::api::{Decision, Halted, Run, RunState};
use nixfleet_protocol::{HostId, Op};

use super::super::button::{Button, Does};
use super::super::{Fleet, words};
use super::matrix::cell;

#[derive(Template)]
#[template(path = "run_halt.html")]
pub(super) struct Halt {
    pub(super) reason: String,
    since: words::Ago,
    failed: Vec<Failed>,
    decisions: Vec<(Button, String)>,
    /// The same decisions in one line.
    pub(super) brief: Vec<Button>,
}

impl askama::filters::HtmlSafe for Halt {}

struct Failed {
    host: String,
    said: String,
    log: Option<Button>,
}

impl Halt {
    /// What is asked, while the run waits for a person.
    pub(super) fn of(fleet: &Fleet<'_>, run: &Run) -> Option<Self> {
        let halted = run.halted.as_ref()?;
        let decision = |(at, decision): (usize, &Decision)| {
            let (label, icon, consequence) = told(run, halted, *decision);
            let does = Does::post(format!("/api/v1/runs/{}/decide", run.id), format!("{} · {label}", run.label))
                .body(&serde_json::json!({ "decision": decision }))
                .confirm(consequence.clone(), label);
            (Button::new(label, if at == 0 { "main" } else { "" }, does).icon(icon).of(&run.label), consequence)
        };
        let decisions = || halted.decisions.iter().enumerate().map(decision).chain(beside(fleet, run));
        let brief = |(mut button, consequence): (Button, String)| {
            button.look = if button.look == "main" { "main small" } else { "small" };
            button.does = button.does.tip(consequence);
            button
        };
        Some(Self {
            reason: halted.reason.clone(),
            since: words::ago(halted.at, fleet.now),
            failed: halted.failed.iter().map(|host| failed(fleet, run, host)).collect(),
            decisions: decisions().collect(),
            brief: decisions().map(brief).collect(),
        })
    }
}

/// Taking back what this run merged is no decision about the run: that waits on.
fn beside(fleet: &Fleet<'_>, run: &Run) -> Option<(Button, String)> {
    let (button, consequence) =
        reverting(fleet, run, "The run still waits; hosts that have the update are behind then.")?;
    Some((Button { look: "", ..button }, consequence))
}

/// Whether what a run merged is offered to be reverted when it is over: it may be the head still, however it ended
/// before all hosts had it.
pub(in crate::web::pages) fn may_revert(run: &Run) -> bool {
    let over = match run.state {
        RunState::Partial | RunState::Failed | RunState::Cancelled => true,
        RunState::Running | RunState::Halted | RunState::Complete => false,
    };
    over && run.ops.contains(&Op::MergePr)
}

/// Taking back what a run merged that is over and did not complete.
pub(super) fn afterwards(fleet: &Fleet<'_>, run: &Run) -> Option<Button> {
    let offered = may_revert(run).then(|| reverting(fleet, run, "Hosts that have the update are behind then."));
    offered.flatten().map(|(button, _)| button)
}

/// Taking back what this run merged, while it is the last that was merged; with what follows from it.
fn reverting(fleet: &Fleet<'_>, run: &Run, then: &str) -> Option<(Button, String)> {
    let merged = fleet.state.remote.merged.as_ref().filter(|merged| merged.by == format!("pipeline:{}", run.id))?;
    let label = format!("Revert #{}", merged.number);
    let branch = &fleet.state.remote.branch;
    let consequence = format!("A commit on {branch} takes back what this run merged. {then}");
    let does = Does::post(format!("/api/v1/ops/{}", Op::RevertPr), label.clone())
        .body(&serde_json::json!({ "args": { "number": merged.number } }))
        .confirm(consequence.clone(), "Revert");
    Some((Button::new(&label, "small", does).icon("i-back"), consequence))
}

/// What a host failed of, and its log.
fn failed(fleet: &Fleet<'_>, run: &Run, host: &HostId) -> Failed {
    let begun = run.hosts.get(host).map(Vec::as_slice).unwrap_or_default();
    let bad = begun.iter().position(|state| matches!(cell(Some(*state)).0, "error" | "outdated"));
    let command = bad.and_then(|at| run.commands.get(host)?.get(at).copied().flatten());
    let stage = bad.and_then(|at| run.ops.get(at)).map(|op| fleet.label(*op)).unwrap_or_default();
    let message = || command.and_then(|id| fleet.command(id)).and_then(|command| command.message.clone());
    let said = run.notes.get(host).cloned().or_else(|| Some(format!("{stage}: {}", message()?)));
    let said = said.unwrap_or_else(|| match bad.and_then(|at| begun.get(at)) {
        Some(stood) => format!("{stage}: {}", cell(Some(*stood)).1),
        None => "It did not stay good.".to_owned(),
    });
    let log = command.map(|id| {
        Button::new("Show the log", "small", Does::log(id, format!("{host} · {stage}"))).icon("i-log").of(host.as_str())
    });
    Failed { host: host.to_string(), said, log }
}

/// Label, icon and consequence of a decision.
fn told(run: &Run, halted: &Halted, decision: Decision) -> (&'static str, &'static str, String) {
    let failed = words::names(&halted.failed);
    match decision {
        Decision::Continue => {
            let left = run.hosts.len().saturating_sub(halted.failed.len());
            let left = format!("{left} {}", if left == 1 { "other host" } else { "other hosts" });
            let said = if failed.is_empty() {
                format!("The run goes on with the {left}.")
            } else {
                format!("The run goes on with the {left}. What failed stays as it is: {failed}.")
            };
            ("Go on", "i-run", said)
        }
        Decision::RetryFailed => (
            "Retry the failed",
            "i-restart",
            format!("Tries {failed} again, from the stage that failed; when that is good, the run goes on."),
        ),
        Decision::Rollback => (
            "Roll back",
            "i-back",
            format!(
                "Rolls back what this run switched, to the generation before: {}. Then the run is over.",
                words::names(&halted.switched)
            ),
        ),
        Decision::Cancel => (
            "Cancel the run",
            "i-stop",
            "What runs ends by itself; what has not begun never begins. Nothing is taken back.".to_owned(),
        ),
    }
}
