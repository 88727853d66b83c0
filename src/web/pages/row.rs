//! A host's row in the table. Its cells are rooms with ids of their own, so that a heartbeat moves two numbers and
//! not a row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use askama::Template;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Host, HostState};

use super::button::{Button, Does, Offer, QUICK, op_icon};
use super::lights::{LightView, Now, lights, next_op, now};
use super::{Fleet, filters, forms, host as host_room, html, rollout, selection, words};

/// The whole row.
#[derive(Template)]
#[template(path = "row.html")]
pub(super) struct Row {
    id: String,
    state: &'static str,
    search: String,
    name: String,
    cells: Vec<Cell>,
}

impl askama::filters::HtmlSafe for Row {}

/// A cell that changes alone.
pub(super) struct Cell {
    /// Id of the element.
    pub(super) id: String,
    /// The element.
    pub(super) html: String,
}

#[derive(Template)]
#[template(path = "row_name.html")]
struct NameCell<'a> {
    id: &'a str,
    name: &'a str,
    color: &'a str,
    device: (&'static str, &'static str),
    tags: &'a [String],
    comment: &'a str,
}

#[derive(Template)]
#[template(path = "row_seen.html")]
struct SeenCell<'a> {
    id: &'a str,
    state: (&'static str, &'static str),
    away: bool,
    seen: Option<words::Ago>,
}

#[derive(Template)]
#[template(path = "row_place.html")]
struct PlaceCell<'a> {
    id: &'a str,
    location: (&'static str, &'static str),
    system: (&'static str, &'static str),
    version: &'a str,
}

#[derive(Template)]
#[template(path = "row_load.html")]
struct LoadCell<'a> {
    meters: &'a str,
    past: &'a str,
}

/// The figures of now; the graphs beside them change once a minute only.
#[derive(Template)]
#[template(path = "row_meters.html")]
struct Figures<'a> {
    id: &'a str,
    /// Behind each figure; here the heading says it.
    unit: &'static str,
    meters: [Meter; 3],
}

/// A percentage with its bar.
pub(super) struct Meter {
    pub(super) name: &'static str,
    pub(super) percent: Option<u8>,
}

impl Meter {
    /// From here on it wears a sign.
    pub(super) fn high(&self) -> bool {
        self.percent.is_some_and(|percent| percent >= 80)
    }
}

#[derive(Template)]
#[template(path = "row_commit.html")]
struct CommitCell<'a> {
    id: &'a str,
    commit: &'a str,
    deployed: &'a str,
}

#[derive(Template)]
#[template(path = "row_lights.html")]
struct LightsCell<'a> {
    id: &'a str,
    name: &'a str,
    lights: Vec<LightView>,
}

#[derive(Template)]
#[template(path = "row_now.html")]
struct NowCell<'a> {
    id: &'a str,
    now: Now,
}

#[derive(Template)]
#[template(path = "row_do.html")]
struct DoCell<'a> {
    id: &'a str,
    name: &'a str,
    quick: Vec<Button>,
    off: String,
    offers: String,
    command: String,
    fill: String,
}

/// Id of a host's row.
pub(super) fn row_id(host: &nixfleet_protocol::HostId) -> String {
    format!("host:{host}")
}

pub(super) fn row(fleet: &Fleet<'_>, host: &Host) -> Row {
    let mut cells = cells(fleet, host);
    let load = format!("{}:load", row_id(&host.id));
    if let Some(cell) = cells.iter_mut().find(|cell| cell.id == load) {
        cell.html = html(&LoadCell { meters: &cell.html, past: &host_room::small(host) });
    }
    Row {
        id: row_id(&host.id),
        state: words::host_state(host.state).0,
        search: search(host),
        name: host.id.to_string(),
        cells,
    }
}

/// Whether the row itself, and not only a cell of it, looks different.
pub(super) fn same_shell(before: &Host, host: &Host) -> bool {
    before.state == host.state && search(before) == search(host)
}

/// All cells of a row, in order; of the load only the figures of now.
pub(super) fn cells(fleet: &Fleet<'_>, host: &Host) -> Vec<Cell> {
    let name = host.id.as_str();
    let [of_name, of_seen, of_place, of_load, of_commit, of_lights, of_now, of_do] =
        ["name", "seen", "place", "load", "commit", "lights", "now", "do"].map(|part| format!("host:{name}:{part}"));
    let away = host.state == HostState::Offline;
    let metrics = host.metrics.unwrap_or_default();
    let refused = (fleet.refused)(host);
    let next = next_op(host);
    let made = [
        html(&NameCell {
            id: &of_name,
            name,
            color: words::color(host.color.as_deref()),
            device: words::device(host.device_type),
            tags: &host.tags,
            comment: host.comment.as_deref().unwrap_or_default(),
        }),
        html(&SeenCell {
            id: &of_seen,
            state: words::host_state(host.state),
            away,
            seen: host.last_seen.map(|seen| words::ago(seen, fleet.now)),
        }),
        html(&PlaceCell {
            id: &of_place,
            location: words::location(host.location),
            system: words::system(host.host_type),
            version: host.os_version.as_deref().unwrap_or_default(),
        }),
        html(&Figures { id: &of_load, unit: "", meters: meters(&metrics) }),
        html(&CommitCell {
            id: &of_commit,
            commit: host.generation.as_ref().map_or("", |commit| commit.short()),
            deployed: host.deployed.as_ref().map_or("", |deployed| deployed.commit.short()),
        }),
        html(&LightsCell { id: &of_lights, name, lights: lights(fleet, host) }),
        html(&NowCell { id: &of_now, now: now(fleet, host) }),
        html(&DoCell {
            id: &of_do,
            name,
            quick: QUICK
                .into_iter()
                .map(|op| {
                    let look = if next == Some(op) { "quick next" } else { "quick" };
                    let about = fleet.op(op).map_or("", |entry| entry.description.as_str());
                    let tip = format!("{}: {about}", fleet.label(op));
                    let does = Does::op(fleet, name, op).tip(tip).not(Offer::of(host, &refused, op).why_not());
                    Button::new(fleet.label(op), look, does).icon(op_icon(op)).of(name)
                })
                .collect(),
            off: off(host, &refused),
            fill: forms::chosen(host),
            offers: selection::offers(host),
            command: host.command.as_ref().map(|command| command.id.to_string()).unwrap_or_default(),
        }),
    ];
    [of_name, of_seen, of_place, of_load, of_commit, of_lights, of_now, of_do]
        .into_iter()
        .zip(made)
        .map(|(id, html)| Cell { id, html })
        .collect()
}

pub(super) fn meters(metrics: &nixfleet_protocol::agent::Metrics) -> [Meter; 3] {
    [
        Meter { name: "CPU", percent: words::percent(metrics.cpu) },
        Meter { name: "RAM", percent: words::percent(metrics.ram) },
        Meter { name: "Swap", percent: words::percent(metrics.swap) },
    ]
}

/// What is not offered and why, for the one menu that all rows share: lines of `pull switch: why`. Without a why
/// it is not shown at all.
pub(super) fn off(host: &Host, refused: &[(Op, String)]) -> String {
    let mut why: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for op in Op::ALL {
        match Offer::of(host, refused, *op) {
            Offer::Now => {}
            Offer::Not(reason) => why.entry(reason).or_default().push(op.as_str()),
            Offer::Never => why.entry(String::new()).or_default().push(op.as_str()),
        }
    }
    if let Some(reason) = rollout::why_not(host, refused) {
        why.entry(reason).or_default().push(rollout::KEY);
    }
    let line = |(why, ops): (String, Vec<&str>)| format!("{}: {}", ops.join(" "), why.replace('\n', " "));
    why.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The words that the search finds a row by, in small letters: its name, `key:value` for the filters, its commits, the
/// version of its system, what was written about it.
fn search(host: &Host) -> String {
    let (place, system) = (words::location(host.location).0, words::system(host.host_type).0);
    let device = words::device(host.device_type).0;
    let state = words::host_state(host.state).0;
    let away = if matches!(host.state, HostState::Offline | HostState::Stale) { " is:away" } else { "" };
    let mut words = format!("{} is:{state}{away} is:{} at:{place} os:{system} type:{device}", host.id, standing(host));
    // Writing to a String can't fail.
    for (name, light) in host.lights.each() {
        let _ = write!(words, " {name}:{}", words::status(light.status));
    }
    for tag in &host.tags {
        let _ = write!(words, " tag:{}", filters::slug(tag));
    }
    let (runs, checkout) = (host.deployed.as_ref().map(|deployed| &deployed.commit), host.generation.as_ref());
    for commit in runs.into_iter().chain(checkout.filter(|commit| runs != Some(commit))) {
        let _ = write!(words, " {commit}");
    }
    // What people and agents write is no filter.
    for text in host.os_version.iter().chain(&host.comment) {
        for word in text.to_lowercase().replace(':', " ").split_whitespace() {
            let _ = write!(words, " {word}");
        }
    }
    words
}

/// How a host stands as a whole; the header counts it.
pub(super) fn standing(host: &Host) -> &'static str {
    use nixfleet_protocol::api::LightStatus::{Error, Ok, Outdated, Unknown, Working};
    let any = |status| host.lights.each().into_iter().any(|(_, light)| light.status == status);
    if host.command.is_some() || any(Working) {
        "busy"
    } else if any(Error) || host.broken.is_some() {
        "failing"
    } else if any(Outdated) {
        "todo"
    } else if any(Unknown) || !any(Ok) {
        "unknown"
    } else {
        "current"
    }
}
