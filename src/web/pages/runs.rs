//! Runs of pipelines: a matrix of stages by hosts while they run, what they wait for, what a person has to decide, then
//! a line of history, and a page for each.

mod halt;
mod matrix;
mod options;

use askama::Template;
use nixfleet_protocol::RunId;
use nixfleet_protocol::api::{Event, Run, RunState, WaitKind};

use self::halt::Halt;
use self::matrix::{Matrix, cell};
use super::button::{Button, Does};
use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, commands, events, fleet as fleet_room, html, words};

/// Hosts that a matrix on the fleet page names. Of more those are named that are worth a look.
const FEW: usize = 48;
/// The same on a run's own page.
const MANY: usize = 240;
/// Things that are waited for which are named.
const WAITS: usize = 4;
/// Events of a run that its page shows.
const EVENTS: usize = 50;

/// A list on the fleet page.
#[derive(Template)]
#[template(path = "runs.html")]
struct List {
    id: &'static str,
    items: Vec<Item>,
}

/// A run in the list: with its matrix while it is not over.
#[derive(Template)]
#[template(path = "run_item.html")]
struct Item {
    id: String,
    page: String,
    head: Head,
    open: Option<Open>,
}

impl askama::filters::HtmlSafe for Item {}

/// What is said of a run that goes on.
struct Open {
    waits: Waits,
    halt: Option<Halt>,
    matrix: Matrix,
}

/// What is said of a run in a line.
struct Head {
    look: &'static str,
    word: &'static str,
    label: String,
    message: String,
    actor: String,
    created: words::Ago,
    took: String,
    stages: Vec<Stage>,
    hosts: usize,
    buttons: Vec<Button>,
}

/// A stage over all hosts.
struct Stage {
    label: String,
    /// It runs now.
    now: bool,
    done: usize,
    counts: Vec<(&'static str, usize, &'static str)>,
}

/// What it waits for, in sentences with the time that is left.
#[derive(Template)]
#[template(path = "run_waits.html")]
struct Waits {
    all: Vec<(String, Option<words::Left>)>,
    more: usize,
}

impl askama::filters::HtmlSafe for Waits {}

/// Id of a run's element.
pub(super) fn item_id(run: &Run) -> String {
    format!("run:{}", run.id)
}

/// Whether it goes on, or waits for a person.
pub(super) fn is_open(run: &Run) -> bool {
    !run.state.is_final()
}

fn stage_labels(fleet: &Fleet<'_>, run: &Run) -> Vec<String> {
    run.ops.iter().map(|op| fleet.label(*op).to_owned()).collect()
}

/// Whether what it merged may be offered to be reverted: that goes by what the remote says.
pub(super) fn may_revert(run: &Run) -> bool {
    run.halted.is_some() || halt::may_revert(run)
}

fn head(fleet: &Fleet<'_>, run: &Run) -> Head {
    let (look, word) = words::run(run.state);
    let label = run.label.clone();
    let stages = stage_labels(fleet, run).into_iter().enumerate().map(|(at, label)| {
        let cells = || run.hosts.values().map(move |states| cell(states.get(at).copied()));
        let of = |look: &str| cells().filter(|(other, _)| *other == look).count();
        let counts = [("working", "running"), ("error", "failed"), ("outdated", "to look at"), ("unknown", "skipped")];
        Stage {
            label,
            now: is_open(run) && usize::try_from(run.stage) == Ok(at),
            done: of("ok"),
            counts: counts.map(|(look, word)| (look, of(look), word)).into_iter().filter(|it| it.1 > 0).collect(),
        }
    });
    // Who is asked to decide has it among the decisions.
    let can_cancel = run.state == RunState::Running;
    let cancel = Does::post(format!("/api/v1/runs/{}/cancel", run.id), label.clone()).confirm(
        "What runs ends by itself; what has not begun never begins. Nothing is taken back.".to_owned(),
        "Cancel the run",
    );
    Head {
        look,
        word,
        message: run.message.clone(),
        actor: run.actor.clone(),
        created: words::ago(run.created_at, fleet.now),
        took: run.finished_at.map(|at| words::span(run.created_at, at)).unwrap_or_default(),
        stages: stages.collect(),
        hosts: run.hosts.len(),
        buttons: can_cancel
            .then(|| Button::new("Cancel", "small", cancel).icon("i-stop").of(&label))
            .into_iter()
            .chain(halt::afterwards(fleet, run))
            .collect(),
        label,
    }
}

/// Commands that run are seen in the matrix, and a person is asked below: neither is said here.
fn waits(fleet: &Fleet<'_>, run: &Run) -> Waits {
    let told = |kind: WaitKind| match kind {
        WaitKind::Online | WaitKind::Idle | WaitKind::Soak => true,
        WaitKind::Command | WaitKind::Person => false,
    };
    let all: Vec<_> = run.waits.iter().filter(|wait| is_open(run) && told(wait.kind)).collect();
    Waits {
        more: all.len().saturating_sub(WAITS),
        all: all
            .into_iter()
            .take(WAITS)
            .map(|wait| (wait.message.clone(), wait.until.map(|until| words::left(until, fleet.now))))
            .collect(),
    }
}

fn open(fleet: &Fleet<'_>, run: &Run, most: usize) -> Open {
    Open { waits: waits(fleet, run), halt: Halt::of(fleet, run), matrix: Matrix::of(fleet, run, most) }
}

/// A run as it stands in the list.
pub(super) fn item(fleet: &Fleet<'_>, run: &Run) -> String {
    html(&made(fleet, run))
}

fn made(fleet: &Fleet<'_>, run: &Run) -> Item {
    Item {
        id: item_id(run),
        page: format!("/runs/{}", run.id),
        head: head(fleet, run),
        open: is_open(run).then(|| open(fleet, run, FEW)),
    }
}

/// The runs that go on, the newest first. Without any there is no room for them on the page.
pub(super) fn list(fleet: &Fleet<'_>) -> String {
    listed(fleet, "runs", true)
}

/// Those that are over.
pub(super) fn history(fleet: &Fleet<'_>) -> String {
    listed(fleet, "past-runs", false)
}

fn listed(fleet: &Fleet<'_>, id: &'static str, wanted: bool) -> String {
    let runs = fleet.state.runs.values().rev().filter(|run| is_open(run) == wanted);
    html(&List { id, items: runs.map(|run| made(fleet, run)).collect() })
}

#[derive(Template)]
#[template(path = "run_head.html")]
struct Whole {
    head: Head,
    open: Open,
    options: Vec<String>,
    about: String,
}

/// The live part of a run's page.
pub(super) fn whole(fleet: &Fleet<'_>, run: &Run) -> String {
    let about = fleet.pipelines.iter().find(|pipeline| pipeline.name == run.pipeline);
    html(&Whole {
        head: head(fleet, run),
        open: open(fleet, run, MANY),
        options: options::said(run),
        about: about.map(|pipeline| pipeline.description.clone()).unwrap_or_default(),
    })
}

/// The commands of a run, the newest first.
pub(super) fn command_list(fleet: &Fleet<'_>, id: RunId) -> String {
    let newest = fleet.state.commands.values().rev().filter(|command| command.run_id == Some(id));
    let items = newest.take(fleet_room::COMMANDS).map(|command| commands::item(fleet, command)).collect();
    fleet_room::commands_of(items)
}

/// Whether an event tells of this run.
pub(super) fn is_told(event: &Event, id: RunId) -> bool {
    let of = event.details.get("run_id").and_then(|id| id.as_str());
    of.is_some_and(|of| of.parse() == Ok(id))
}

/// The events of a run, the newest first.
pub(super) fn event_list(fleet: &Fleet<'_>, id: RunId) -> String {
    events::list_of(fleet, fleet.state.events.iter().filter(|event| is_told(event, id)).take(EVENTS))
}

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    shell: Shell,
    whole: String,
    commands: String,
    events: String,
}

/// The page `/runs/{id}`.
pub fn run_page(fleet: &Fleet<'_>, run: &Run, session: Session<'_>) -> String {
    html(&Page {
        shell: shell(fleet, &run.label, &PageKind::Run(run.id), session),
        whole: whole(fleet, run),
        commands: command_list(fleet, run.id),
        events: event_list(fleet, run.id),
    })
}
