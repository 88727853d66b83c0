//! Events: a line of the audit log, and the page with the last ones.

use askama::Template;
use nixfleet_protocol::api::{Category, Event};

use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, html, words};

/// How many the fleet page keeps.
pub(super) const FEW: usize = 12;
/// How many the events page keeps: as many as a fresh one can have, or an open one would show more.
pub(super) const MANY: usize = nixfleet_model::fleet_state::RECENT_EVENTS;

/// A line in a list of events.
#[derive(Template)]
#[template(path = "event_item.html")]
pub(super) struct Item {
    id: String,
    look: &'static str,
    search: String,
    category: &'static str,
    host: String,
    actor: String,
    message: String,
    action: String,
    when: words::Ago,
}

impl askama::filters::HtmlSafe for Item {}

/// Id of an event's line.
pub(super) fn item_id(event: &Event) -> String {
    format!("event:{}", event.id)
}

pub(super) fn item(fleet: &Fleet<'_>, event: &Event) -> Item {
    let host = event.host.as_ref().map(ToString::to_string).unwrap_or_default();
    let category = match event.category {
        Category::Audit => "audit",
        Category::System => "system",
        Category::Error => "error",
    };
    Item {
        id: item_id(event),
        look: words::level(event.level),
        search: format!("{host} {} {category} {} {}", event.actor, event.action, event.message).to_lowercase(),
        category,
        host,
        actor: event.actor.clone(),
        message: event.message.clone(),
        action: event.action.clone(),
        when: words::ago(event.time, fleet.now),
    }
}

#[derive(Template)]
#[template(path = "events.html")]
struct Page<'a> {
    shell: Shell<'a>,
    list: String,
}

/// The page `/events`.
pub fn events_page(fleet: &Fleet<'_>, session: Session<'_>) -> String {
    html(&Page { shell: shell(fleet, "Events", &PageKind::Events, session), list: list(fleet, MANY, None) })
}

#[derive(Template)]
#[template(path = "events_list.html")]
struct List {
    items: Vec<Item>,
}

/// The list with the last events, all or those of one host.
pub(super) fn list(fleet: &Fleet<'_>, keep: usize, host: Option<&nixfleet_protocol::HostId>) -> String {
    let events = fleet.state.events.iter().filter(|event| host.is_none_or(|host| event.host.as_ref() == Some(host)));
    html(&List { items: events.take(keep).map(|event| item(fleet, event)).collect() })
}
