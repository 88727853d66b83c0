//! The matrix of a run: its groups in their order, of each its hosts, of each host its stages. A stage that has begun
//! leads to its log.

use askama::Template;
use nixfleet_protocol::HostId;
use nixfleet_protocol::api::{CommandState, GroupState, Run, RunGroup};

use super::super::button::Does;
use super::super::{Fleet, words};
use super::is_open;

#[derive(Template)]
#[template(path = "run_matrix.html")]
pub(super) struct Matrix {
    label: String,
    stages: Vec<String>,
    groups: Vec<Group>,
    /// How many columns there are.
    columns: usize,
}

impl askama::filters::HtmlSafe for Matrix {}

struct Group {
    /// Canary, wave; nothing, where all go together.
    label: String,
    look: &'static str,
    word: &'static str,
    /// Until when it soaks.
    left: Option<words::Left>,
    now: bool,
    rows: Vec<Row>,
    /// Those that are not named, and how they stand.
    rest: String,
}

struct Row {
    host: String,
    note: String,
    cells: Vec<Cell>,
}

struct Cell {
    stage: String,
    letter: char,
    look: &'static str,
    word: &'static str,
    /// Shows the log, where there is one.
    log: Option<Does>,
}

/// What stands in a cell, as in a light: the letter of the stage. "Run tests" is known by its tests.
fn letter(stage: &str) -> char {
    stage.strip_prefix("Run ").unwrap_or(stage).chars().next().unwrap_or(' ').to_ascii_uppercase()
}

/// How a stage stands on a host. What has not begun waits for its turn.
pub(super) const fn cell(state: Option<CommandState>) -> (&'static str, &'static str) {
    match state {
        Some(CommandState::Pending) | None => ("waits", "Waits"),
        Some(state) => words::command(state),
    }
}

const fn group_word(state: GroupState) -> (&'static str, &'static str) {
    match state {
        GroupState::Waiting => ("waits", "Waits for its turn"),
        GroupState::Running => ("working", "Running"),
        GroupState::Soaking => ("working", "Soaking"),
        GroupState::Passed => ("ok", "Passed"),
        GroupState::Failed => ("error", "Failed"),
    }
}

impl Matrix {
    /// Names `most` hosts: where there are more, those that run or went wrong come first.
    pub(super) fn of(fleet: &Fleet<'_>, run: &Run, most: usize) -> Self {
        let stages = super::stage_labels(fleet, run);
        let mut free = most.saturating_sub(run.hosts.keys().filter(|host| matters(run, host)).count());
        let all = run.hosts.len() <= most;
        let mut group = |at: usize, group: &RunGroup| {
            let (named, rest): (Vec<&HostId>, Vec<&HostId>) = group.hosts.iter().partition(|host| {
                all || matters(run, host) || {
                    let fits = free > 0;
                    free = free.saturating_sub(1);
                    fits
                }
            });
            let (look, word) = group_word(group.state);
            Group {
                label: if run.groups.len() > 1 { group.label.clone() } else { String::new() },
                look,
                word,
                left: group
                    .soak_until
                    .filter(|_| group.state == GroupState::Soaking)
                    .map(|at| words::left(at, fleet.now)),
                now: is_open(run) && usize::try_from(run.group) == Ok(at),
                rows: named.into_iter().map(|host| row(run, &stages, host)).collect(),
                rest: rest_said(run, &rest),
            }
        };
        let groups = run.groups.iter().enumerate().map(|(at, it)| group(at, it)).collect();
        Self { label: run.label.clone(), groups, columns: stages.len() + 1, stages }
    }
}

/// Whether it is worth a look: something of it runs, or went wrong.
fn matters(run: &Run, host: &HostId) -> bool {
    let states = run.hosts.get(host);
    states.is_some_and(|states| {
        states.iter().any(|state| matches!(cell(Some(*state)).0, "working" | "error" | "outdated"))
    })
}

fn row(run: &Run, stages: &[String], host: &HostId) -> Row {
    let begun = run.hosts.get(host).map(Vec::as_slice).unwrap_or_default();
    let commands = run.commands.get(host).map(Vec::as_slice).unwrap_or_default();
    let cells = stages.iter().enumerate().map(|(at, stage)| {
        let (look, word) = cell(begun.get(at).copied());
        let log = commands.get(at).copied().flatten();
        let log = log.map(|id| Does::log(id, format!("{host} · {stage}")).tip(format!("{stage}: {word}")));
        Cell { stage: stage.clone(), letter: letter(stage), look, word, log }
    });
    let note = run.notes.get(host).cloned().unwrap_or_default();
    Row { host: host.to_string(), note, cells: cells.collect() }
}

fn rest_said(run: &Run, rest: &[&HostId]) -> String {
    if rest.is_empty() {
        return String::new();
    }
    let through = |host: &&&HostId| {
        run.hosts.get(**host).is_some_and(|states| states.iter().all(|state| cell(Some(*state)).0 == "ok"))
    };
    let done = rest.iter().filter(through).count();
    let said = [(done, "came through"), (rest.len() - done, "wait or were skipped")];
    let said: Vec<_> = said.into_iter().filter(|it| it.0 > 0).map(|(count, word)| format!("{count} {word}")).collect();
    format!("and {} more: {}", rest.len(), said.join(", "))
}
