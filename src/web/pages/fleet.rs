//! The fleet page: the target, the counts, the table of hosts, and what happened last.

use askama::Template;
use nixfleet_protocol::api::HostState;
use nixfleet_protocol::{HostId, Op};

use super::button::{Button, Does, MENU, op_icon};
use super::lights::NAMES;
use super::rollout::Item as PipelineItem;
use super::row::{Row, row, standing};
use super::shell::{Shell, shell, source};
use super::{
    Fleet, PageKind, Session, commands, events, filters, forms, html, rollout, runs, selection, update, words,
};

/// How many commands a list keeps; the state has no more.
pub(super) const COMMANDS: usize = 50;

#[derive(Template)]
#[template(path = "fleet.html")]
struct Page<'a> {
    shell: Shell,
    source: &'a str,
    notices: String,
    target: String,
    update: String,
    counts: String,
    filters: String,
    any: String,
    hosts: String,
    runs: String,
    past_runs: String,
    rollout: String,
    pipelines: Vec<PipelineItem>,
    picked: String,
    commands: String,
    events: String,
    names: [(&'static str, &'static str); 5],
    menu: Vec<Vec<Item>>,
}

/// A line of the menu that all rows share. `{host}` stands for the row's.
struct Item {
    op: String,
    label: String,
    tip: String,
    icon: &'static str,
    /// It can't be undone.
    bad: bool,
    does: Does,
}

/// The page `/`.
pub fn fleet_page(fleet: &Fleet<'_>, session: Session<'_>) -> String {
    html(&Page {
        source: source(fleet),
        shell: shell(fleet, "Fleet", &PageKind::Fleet, session),
        notices: notices(fleet),
        target: target(fleet),
        update: update::region(fleet),
        counts: counts(fleet),
        filters: filters::filters(fleet),
        any: any(fleet),
        hosts: hosts(fleet),
        runs: runs::list(fleet),
        past_runs: runs::history(fleet),
        rollout: rollout::form(fleet),
        pipelines: rollout::menu(fleet),
        picked: selection::bar(fleet),
        commands: command_list(fleet, None),
        events: events::list(fleet, events::FEW, None),
        names: NAMES,
        menu: menu(fleet),
    })
}

fn menu(fleet: &Fleet<'_>) -> Vec<Vec<Item>> {
    let group = |ops: &&[Op]| {
        ops.iter()
            .filter_map(|op| fleet.op(*op))
            .map(|entry| Item {
                op: entry.id.to_string(),
                label: entry.label.clone(),
                tip: entry.description.clone(),
                icon: op_icon(entry.id),
                bad: entry.id == Op::Remove,
                does: Does::op(fleet, "{host}", entry.id).fill(forms::chosen_of_row(entry)),
            })
            .collect::<Vec<_>>()
    };
    MENU.iter().map(group).filter(|group| !group.is_empty()).collect()
}

#[derive(Template)]
#[template(path = "notices.html")]
struct Notices {
    all: Vec<(&'static str, String)>,
}

/// What is wrong with the dashboard itself.
pub(super) fn notices(fleet: &Fleet<'_>) -> String {
    let server = &fleet.state.server;
    let mut all = Vec::new();
    if let Some(error) = &server.store_error {
        all.push(("error", format!("The store can't be written, so nothing is accepted: {error}")));
    }
    if server.shared_agent_token {
        all.push((
            "outdated",
            "Agents use the shared token. Any of them can register as any host; give each host a token of its own."
                .to_owned(),
        ));
    }
    html(&Notices { all })
}

#[derive(Template)]
#[template(path = "target.html")]
struct Target<'a> {
    branch: &'a str,
    commit: &'a str,
    link: String,
    subject: &'a str,
    author: &'a str,
    committed: Option<words::Ago>,
    read: Option<words::Ago>,
    source: &'a str,
    error: &'a str,
    refresh: Button,
}

/// What the whole fleet should be at.
pub(super) fn target(fleet: &Fleet<'_>) -> String {
    let remote = &fleet.state.remote;
    let source = remote.source.as_deref().unwrap_or_default();
    let commit = remote.commit.as_ref();
    let link = commit.and_then(|commit| words::commit_link(remote, commit));
    html(&Target {
        branch: &remote.branch,
        commit: commit.map_or("", |commit| commit.short()),
        link: link.unwrap_or_default(),
        subject: remote.subject.as_deref().unwrap_or_default(),
        author: remote.author.as_deref().unwrap_or_default(),
        committed: remote.committed_at.map(|at| words::ago(at, fleet.now)),
        read: remote.read_at.map(|at| words::ago(at, fleet.now)),
        source,
        error: remote.error.as_deref().unwrap_or_default(),
        refresh: Button::new(
            "Check for commits",
            "ghost",
            Does::post("/api/v1/remote/refresh".to_owned(), "Remote".to_owned()),
        )
        .icon("i-restart"),
    })
}

#[derive(Template)]
#[template(path = "counts.html")]
struct Counts {
    all: usize,
    /// Runs that are not over.
    runs: usize,
    states: Vec<Count>,
    standings: Vec<Count>,
}

struct Count {
    number: usize,
    word: &'static str,
    look: &'static str,
    query: String,
}

/// How many hosts are how; each is a filter too.
pub(super) fn counts(fleet: &Fleet<'_>) -> String {
    let states = [HostState::Online, HostState::Stale, HostState::Offline, HostState::Never].into_iter().map(|state| {
        let (look, word) = words::host_state(state);
        Count {
            number: fleet.hosts().filter(|host| host.state == state).count(),
            word,
            look,
            query: format!("is:{look}"),
        }
    });
    let standings = [
        ("failing", "Failing", "error"),
        ("todo", "To do", "outdated"),
        ("busy", "Busy", "working"),
        ("unknown", "Unknown", "unknown"),
        ("current", "Current", "ok"),
    ]
    .into_iter()
    .map(|(name, word, look)| Count {
        number: fleet.hosts().filter(|host| standing(host) == name).count(),
        word,
        look,
        query: format!("is:{name}"),
    });
    html(&Counts {
        all: fleet.state.hosts.len(),
        runs: fleet.state.runs.values().filter(|run| runs::is_open(run)).count(),
        states: states.collect(),
        standings: standings.collect(),
    })
}

/// Says whether there is any host: without one, how to add the first stands in the table's place.
pub(super) fn any(fleet: &Fleet<'_>) -> String {
    let none = if fleet.state.hosts.is_empty() { " data-none" } else { "" };
    format!("<i id=\"any\" hidden{none}></i>")
}

#[derive(Template)]
#[template(path = "hosts.html")]
struct Hosts {
    rows: Vec<Row>,
}

/// The body of the table.
pub(super) fn hosts(fleet: &Fleet<'_>) -> String {
    html(&Hosts { rows: fleet.sorted().into_iter().map(|host| row(fleet, host)).collect() })
}

#[derive(Template)]
#[template(path = "commands_list.html")]
struct Commands {
    items: Vec<commands::Item>,
}

/// The list of recent commands, all or those of one host.
pub(super) fn command_list(fleet: &Fleet<'_>, host: Option<&HostId>) -> String {
    // Ids sort by time, and the newest stands first.
    let newest = fleet.state.commands.values().rev();
    let of_host = newest.filter(|command| host.is_none_or(|host| command.host.as_ref() == Some(host)));
    commands_of(of_host.take(COMMANDS).map(|command| commands::item(fleet, command)).collect())
}

/// The list with these lines.
pub(super) fn commands_of(items: Vec<commands::Item>) -> String {
    html(&Commands { items })
}
