//! Runs of pipelines: a matrix of stages by hosts while they run, then a line of history, and a page for each.

use askama::Template;
use nixfleet_protocol::RunId;
use nixfleet_protocol::api::{CommandState, Run, RunState};

use super::button::{Button, Does};
use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, commands, fleet as fleet_room, html, words};

/// The list on the fleet page.
#[derive(Template)]
#[template(path = "runs.html")]
struct List {
    items: Vec<Item>,
}

/// A run in the list: with its matrix while it is not over.
#[derive(Template)]
#[template(path = "run_item.html")]
struct Item {
    id: String,
    page: String,
    head: Head,
    matrix: Option<Matrix>,
}

impl askama::filters::HtmlSafe for Item {}

/// What is said of a run in a line.
struct Head {
    look: &'static str,
    word: &'static str,
    label: String,
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

/// The hosts, with the state of each stage.
#[derive(Template)]
#[template(path = "run_matrix.html")]
struct Matrix {
    label: String,
    stages: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl askama::filters::HtmlSafe for Matrix {}

struct Cell {
    stage: String,
    look: &'static str,
    word: &'static str,
}

/// Id of a run's element.
pub(super) fn item_id(run: &Run) -> String {
    format!("run:{}", run.id)
}

/// Whether it goes on, or waits for a person.
pub(super) fn is_open(run: &Run) -> bool {
    matches!(run.state, RunState::Running | RunState::Halted)
}

/// How a stage stands on a host. What has not begun waits for its turn.
const fn cell(state: Option<CommandState>) -> (&'static str, &'static str) {
    match state {
        Some(CommandState::Pending) | None => ("waits", "Waits"),
        Some(state) => words::command(state),
    }
}

fn stage_labels(fleet: &Fleet<'_>, run: &Run) -> Vec<String> {
    run.ops.iter().map(|op| fleet.label(*op).to_owned()).collect()
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
    let cancel = Does::post(format!("/api/v1/runs/{}/cancel", run.id), label.clone());
    Head {
        look,
        word,
        actor: run.actor.clone(),
        created: words::ago(run.created_at, fleet.now),
        took: run.finished_at.map(|at| words::span(run.created_at, at)).unwrap_or_default(),
        stages: stages.collect(),
        hosts: run.hosts.len(),
        buttons: is_open(run)
            .then(|| Button::new("Cancel", "small", cancel).icon("i-stop").of(&label))
            .into_iter()
            .collect(),
        label,
    }
}

fn matrix(fleet: &Fleet<'_>, run: &Run) -> Matrix {
    let stages = stage_labels(fleet, run);
    let row = |states: &Vec<CommandState>| {
        let cells = stages.iter().enumerate().map(|(at, stage)| {
            let (look, word) = cell(states.get(at).copied());
            Cell { stage: stage.clone(), look, word }
        });
        cells.collect()
    };
    let rows = run.hosts.iter().map(|(host, states)| (host.to_string(), row(states))).collect();
    Matrix { label: run.label.clone(), rows, stages }
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
        matrix: is_open(run).then(|| matrix(fleet, run)),
    }
}

/// All runs of the state, the newest first. Without any there is no room for them on the page.
pub(super) fn list(fleet: &Fleet<'_>) -> String {
    html(&List { items: fleet.state.runs.values().rev().map(|run| made(fleet, run)).collect() })
}

#[derive(Template)]
#[template(path = "run_head.html")]
struct Whole {
    head: Head,
    matrix: Matrix,
}

/// The live part of a run's page.
pub(super) fn whole(fleet: &Fleet<'_>, run: &Run) -> String {
    html(&Whole { head: head(fleet, run), matrix: matrix(fleet, run) })
}

/// The commands of a run, the newest first.
pub(super) fn command_list(fleet: &Fleet<'_>, id: RunId) -> String {
    let newest = fleet.state.commands.values().rev().filter(|command| command.run_id == Some(id));
    let items = newest.take(fleet_room::COMMANDS).map(|command| commands::item(fleet, command)).collect();
    fleet_room::commands_of(items)
}

#[derive(Template)]
#[template(path = "run.html")]
struct Page<'a> {
    shell: Shell<'a>,
    whole: String,
    commands: String,
}

/// The page `/runs/{id}`.
pub fn run_page(fleet: &Fleet<'_>, run: &Run, session: Session<'_>) -> String {
    html(&Page {
        shell: shell(fleet, &run.label, &PageKind::Run(run.id), session),
        whole: whole(fleet, run),
        commands: command_list(fleet, run.id),
    })
}
