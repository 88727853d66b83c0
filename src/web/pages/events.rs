//! Events: a line in the lists of other pages, and the page of the audit log with its filter.

mod told;

use std::sync::Arc;

use askama::Template;
use nixfleet_model::event::EventFilter;
use nixfleet_protocol::api::{Category, Event, Level};
use nixfleet_protocol::{EventId, HostId};

use self::told::Detail;
pub(super) use self::told::told;
use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, html, words};

/// How many the fleet page keeps.
pub(super) const FEW: usize = 12;
/// How many an open events page holds at most: what came first goes.
pub(super) const MOST: usize = 5_000;

/// A line in a list of events.
#[derive(Template)]
#[template(path = "event_item.html")]
pub(super) struct Item {
    id: String,
    look: &'static str,
    host: String,
    message: String,
    when: words::Ago,
}

impl askama::filters::HtmlSafe for Item {}

/// Id of an event's line.
pub(super) fn item_id(event: &Event) -> String {
    format!("event:{}", event.id)
}

pub(super) fn item(fleet: &Fleet<'_>, event: &Event) -> Item {
    Item {
        id: item_id(event),
        look: words::level(event.level),
        host: event.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        message: told(fleet, event),
        when: words::ago(event.time, fleet.now),
    }
}

/// A line of the events page, which unfolds.
#[derive(Template)]
#[template(path = "event_line.html")]
pub(super) struct Line {
    item: Item,
    category: &'static str,
    level: &'static str,
    by: String,
    actor: String,
    /// Those by the same.
    same: String,
    action: String,
    time: String,
    command: String,
    details: Vec<Detail>,
}

impl askama::filters::HtmlSafe for Line {}

pub(super) fn line(fleet: &Fleet<'_>, event: &Event) -> Line {
    let mut same = form_urlencoded::Serializer::new(String::new());
    same.append_pair("actor", &event.actor);
    Line {
        item: item(fleet, event),
        category: category_name(event.category),
        level: level_name(event.level),
        by: told::by(fleet, event),
        actor: event.actor.clone(),
        same: format!("/events?{}", same.finish()),
        action: event.action.clone(),
        time: words::second(event.time),
        command: told::command(event).map(|id| id.to_string()).unwrap_or_default(),
        details: told::details(fleet, event),
    }
}

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub struct EventsPage<'a> {
    /// Which.
    pub filter: &'a EventFilter,
    /// How far back, as it was chosen.
    pub within: &'a str,
    /// They are older than this one.
    pub before: Option<EventId>,
    /// The events, newest first.
    pub events: &'a [Arc<Event>],
    /// Before which number to go on; none: there are no more.
    pub next: Option<EventId>,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Page<'a> {
    shell: Shell,
    lines: Vec<Line>,
    filter: &'a EventFilter,
    words: String,
    older: String,
    export: String,
    is_all: bool,
    choices: [Choice; 3],
    hosts: String,
}

/// A list to choose from.
struct Choice {
    name: &'static str,
    label: &'static str,
    /// Value, name, and whether it is chosen.
    of: Vec<(&'static str, &'static str, bool)>,
}

/// How far back one can look with a click.
const WITHIN: [(&str, &str); 4] =
    [("", "Any time"), ("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days")];

/// The page `/events`.
pub fn events_page(fleet: &Fleet<'_>, page: EventsPage<'_>, session: Session<'_>) -> String {
    let EventsPage { filter, within, before, events, next } = page;
    // What comes now is after any time that is asked for: a tab that stays open for long must not forget the new.
    let kind = PageKind::search(EventFilter { since: None, ..filter.clone() });
    let mut parameters = filter.parameters();
    if !within.is_empty() {
        parameters.retain(|(name, _)| *name != "since");
        parameters.push(("within", within.to_owned()));
    }
    let address = |path: &str, more: &[(&str, String)]| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&parameters).extend_pairs(more);
        format!("{path}?{}", query.finish())
    };
    let chosen = |name, label, all: &[(&'static str, &'static str)], now: &str| Choice {
        name,
        label,
        of: all.iter().map(|(value, name)| (*value, *name, *value == now)).collect(),
    };
    let categories: Vec<_> =
        [("", "All kinds")].into_iter().chain(Category::ALL.map(|it| (it.as_str(), category_name(it)))).collect();
    let levels: Vec<_> =
        [("", "All outcomes")].into_iter().chain(Level::ALL.map(|it| (it.as_str(), level_name(it)))).collect();
    html(&Page {
        shell: shell(fleet, "Events", &kind, session),
        lines: events.iter().map(|event| line(fleet, event)).collect(),
        words: filter.words.join(" "),
        older: next.map(|next| address("/events", &[("before", next.to_string())])).unwrap_or_default(),
        export: address("/api/v1/events", &[("format", "ndjson".to_owned())]),
        is_all: filter.is_empty() && before.is_none(),
        choices: [
            chosen("category", "Kind", &categories, filter.category.map_or("", Category::as_str)),
            chosen("level", "Outcome", &levels, filter.level.map_or("", Level::as_str)),
            chosen("within", "When", &WITHIN, within),
        ],
        hosts: known_hosts(fleet),
        filter,
    })
}

#[derive(Template)]
#[template(path = "known_hosts.html")]
struct KnownHosts<'a> {
    hosts: Vec<&'a str>,
}

/// The names that are offered for the filter's host.
pub(super) fn known_hosts(fleet: &Fleet<'_>) -> String {
    html(&KnownHosts { hosts: fleet.state.hosts.keys().map(HostId::as_str).collect() })
}

const fn category_name(category: Category) -> &'static str {
    match category {
        Category::Audit => "What people did",
        Category::System => "What happened",
        Category::Error => "What went wrong",
    }
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Info => "Worth knowing",
        Level::Success => "Ended well",
        Level::Warn => "Worth a look",
        Level::Error => "A problem",
    }
}

#[derive(Template)]
#[template(path = "events_list.html")]
struct List {
    items: Vec<Item>,
}

/// The list with the last events, all or those of one host.
pub(super) fn list(fleet: &Fleet<'_>, keep: usize, host: Option<&nixfleet_protocol::HostId>) -> String {
    let events = fleet.state.events.iter().filter(|event| host.is_none_or(|host| event.host.as_ref() == Some(host)));
    list_of(fleet, events.take(keep))
}

/// The list of these events.
pub(super) fn list_of<'a>(fleet: &Fleet<'_>, events: impl Iterator<Item = &'a std::sync::Arc<Event>>) -> String {
    html(&List { items: events.map(|event| item(fleet, event)).collect() })
}
