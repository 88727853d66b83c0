//! Starting a pipeline: its place in the menu of a row and in the bar of what is selected, and the dialog that asks how
//! it is rolled out. Simple at first; who wants steps unfolds them.

use std::collections::BTreeSet;

use askama::Template;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Host, HostState, PipelineEntry};

use super::button::{Does, Offer};
use super::{Fleet, html};

/// Id of the dialog.
pub(super) const ID: &str = "form:run";
/// What a row says where a pipeline can be started on its host.
pub(super) const KEY: &str = "run";

/// What a select offers: value and text.
type Choices = &'static [(&'static str, &'static str)];

const WAVES: Choices = &[
    ("", "all at once"),
    ("2", "in 2 waves"),
    ("3", "in 3 waves"),
    ("4", "in 4 waves"),
    ("5", "in 5 waves"),
    ("10", "in 10 waves"),
];
const SOAK: Choices = &[
    ("", "no time"),
    ("60", "1 minute"),
    ("300", "5 minutes"),
    ("600", "10 minutes"),
    ("1800", "half an hour"),
    ("3600", "an hour"),
    ("86400", "a day"),
];
const FAILURES: Choices = &[
    ("", "as usual: one, where there are steps"),
    ("0", "one host has failed"),
    ("1", "more than one has failed"),
    ("2", "more than 2 have failed"),
    ("5", "more than 5 have failed"),
];
const PARALLEL: Choices = &[
    ("", "all of a group"),
    ("1", "one by one"),
    ("2", "2 hosts"),
    ("5", "5 hosts"),
    ("10", "10 hosts"),
    ("20", "20 hosts"),
];
const OFFLINE: Choices = &[("", "are waited for"), ("skip", "are skipped")];
const WAIT: Choices =
    &[("", "90 seconds"), ("300", "5 minutes"), ("900", "15 minutes"), ("3600", "an hour"), ("43200", "12 hours")];

/// A field of the form that is chosen from a few.
struct Field {
    label: &'static str,
    name: &'static str,
    kind: &'static str,
    choices: Choices,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct Form {
    tags: String,
    fields: [Field; 6],
}

/// The dialog.
pub(super) fn form(fleet: &Fleet<'_>) -> String {
    let field = |label, name, kind, choices| Field { label, name, kind, choices };
    html(&Form {
        tags: tags(fleet),
        fields: [
            field("The others follow", "waves", "number", WAVES),
            field("Each group stays good for", "soak_s", "number", SOAK),
            field("It halts and asks when", "max_failures", "number", FAILURES),
            field("At once", "parallel", "number", PARALLEL),
            field("Offline hosts", "offline", "text", OFFLINE),
            field("Waits at most", "wait_s", "number", WAIT),
        ],
    })
}

#[derive(Template)]
#[template(path = "rollout_tags.html")]
struct Tags {
    all: BTreeSet<String>,
}

/// Who may go first: the tags that there are.
pub(super) fn tags(fleet: &Fleet<'_>) -> String {
    html(&Tags { all: fleet.hosts().flat_map(|host| host.tags.iter().cloned()).collect() })
}

/// A pipeline in the menu that all rows share.
pub(super) struct Item {
    pub(super) label: String,
    pub(super) tip: String,
    pub(super) does: Does,
}

/// The pipelines for hosts that a person chooses. What merges is offered where the pull request stands.
pub(super) fn for_hosts<'a>(fleet: &Fleet<'a>) -> impl Iterator<Item = &'a PipelineEntry> {
    let of_remote = |op: &Op| matches!(op, Op::MergePr | Op::RevertPr);
    fleet.pipelines.iter().filter(move |pipeline| !pipeline.ops.iter().any(of_remote))
}

/// The lines of the menu.
pub(super) fn menu(fleet: &Fleet<'_>) -> Vec<Item> {
    for_hosts(fleet)
        .map(|entry| Item {
            label: entry.label.clone(),
            tip: entry.description.clone(),
            does: Does::pipeline(entry, "[\"{host}\"]", format!("{} On {{host}}.", entry.description), "{host}"),
        })
        .collect()
}

/// Whether a pipeline could be started with this host in it. One that is offline is waited for, or skipped.
pub(super) fn could_start(host: &Host) -> bool {
    let idle = [Op::Pull, Op::Switch, Op::Test, Op::Plan].iter().any(|op| host.offers.contains(op));
    match host.state {
        HostState::Online | HostState::Stale => idle,
        HostState::Offline => host.command.is_none(),
        HostState::Never => false,
    }
}

/// Why none can be started with this host in it now; nothing to say, where it can.
pub(super) fn why_not(host: &Host, refused: &[(Op, String)]) -> Option<String> {
    if could_start(host) {
        return None;
    }
    let why = [Op::Test, Op::Switch, Op::Pull].into_iter().find_map(|op| Offer::of(host, refused, op).why_not());
    Some(why.unwrap_or_default())
}
