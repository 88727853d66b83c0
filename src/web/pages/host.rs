//! A host's own page: its lights in words, its load, everything that can be done, what happened, what is known.
//!
//! ```text
//! state that everyone sees ── notices, head, lights, load, facts, actions, danger ── as fragments, with each change
//! store, by the route ─────── past (history, generations, tests), tokens ─────────── asked for when a delta says so
//! ```

mod facts;
mod load;
pub(super) mod past;
mod tokens;

use std::sync::Arc;

use askama::Template;
use nixfleet_protocol::api::{Command, Host, HostState};
use nixfleet_protocol::{CommandId, HostId, Op};

pub(super) use self::facts::facts;
pub(super) use self::load::{graphs, numbers, small, small_id};
use super::button::{Button, Does, MENU, Offer, op_icon};
use super::lights::{LightView, Now, lights, now};
use super::shell::{Shell, shell, source};
use super::{Fleet, PageKind, Session, events, forms, html, words};
use crate::actors::access::TokenInfo;

/// Id of the region that tells what happened.
pub(super) const PAST: &str = "host-past";
/// Id of the region with the tokens.
pub(super) const TOKENS: &str = "host-tokens";

/// What the page shows and the state that everyone sees does not have.
#[derive(Clone, Copy, Default)]
pub struct Stored<'a> {
    /// The host's commands, newest first; some more than are listed at once.
    pub commands: &'a [Arc<Command>],
    /// They begin before this one.
    pub before: Option<CommandId>,
    /// The host's tokens.
    pub tokens: &'a [TokenInfo],
}

/// A region of the page that is asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPart {
    /// What happened.
    Past,
    /// The tokens.
    Tokens,
}

impl HostPart {
    /// From `?part=`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "past" => Some(Self::Past),
            "tokens" => Some(Self::Tokens),
            _ => None,
        }
    }
}

#[derive(Template)]
#[template(path = "host.html")]
struct Page<'a> {
    shell: Shell,
    name: &'a str,
    notices: String,
    head: String,
    lights: String,
    numbers: String,
    graphs: String,
    past: String,
    events: String,
    ops: String,
    facts: String,
    tokens: String,
    danger: String,
}

/// The page `/hosts/{host}`.
pub fn host_page(fleet: &Fleet<'_>, host: &Host, stored: &Stored<'_>, session: Session<'_>) -> String {
    html(&Page {
        name: host.id.as_str(),
        shell: shell(fleet, host.id.as_str(), &PageKind::Host(host.id.clone()), session),
        notices: notices(fleet, host),
        head: head(fleet, host),
        lights: cards(fleet, host),
        numbers: numbers(host),
        graphs: graphs(fleet, host),
        past: past::past(fleet, host, stored),
        events: events::list(fleet, events::FEW, Some(&host.id)),
        ops: ops(fleet, host),
        facts: facts(fleet, host),
        tokens: tokens::tokens(fleet, host, stored.tokens),
        danger: danger(fleet, host),
    })
}

/// A region alone.
pub fn host_part(fleet: &Fleet<'_>, host: &Host, stored: &Stored<'_>, part: HostPart) -> String {
    match part {
        HostPart::Past => past::past(fleet, host, stored),
        HostPart::Tokens => tokens::tokens(fleet, host, stored.tokens),
    }
}

#[derive(Template)]
#[template(path = "host_notices.html")]
struct Notices<'a> {
    name: String,
    source: &'a str,
    all: Vec<(&'static str, String)>,
    never: bool,
    gone: bool,
}

/// What is wrong with the host, and how to begin where it never came.
pub(super) fn notices(fleet: &Fleet<'_>, host: &Host) -> String {
    let mut all = Vec::new();
    if let Some(why) = &host.broken {
        let text = "The dashboard’s part for this host keeps failing and was put aside. It is tried again by itself; \
                    what you see is what was known last.";
        all.push(("error", format!("{text} {why}")));
    }
    if let Some(why) = host.repo_error.as_ref().filter(|why| !why.is_empty()) {
        all.push(("error", format!("The checkout on the host can’t be used: {why}")));
    }
    match host.failed_units.as_slice() {
        [] => {}
        [unit] => all.push(("error", format!("{unit} failed."))),
        units => all.push(("error", format!("{} units failed: {}.", units.len(), units.join(", ")))),
    }
    if host.reboot_required == Some(true) {
        all.push(("outdated", "The running kernel is not the deployed one. It comes with the next reboot.".to_owned()));
    }
    let name = host.id.to_string();
    html(&Notices { name, source: source(fleet), all, never: host.state == HostState::Never, gone: false })
}

/// The same when the host is no more.
pub(super) fn gone(host: &HostId) -> String {
    html(&Notices { name: host.to_string(), source: "", all: Vec::new(), never: false, gone: true })
}

#[derive(Template)]
#[template(path = "host_head.html")]
struct Head<'a> {
    name: &'a str,
    color: &'a str,
    device: (&'static str, &'static str),
    seen: String,
    comment: &'a str,
    tags: &'a [String],
    now: Now,
}

#[derive(Template)]
#[template(path = "host_seen.html")]
struct Seen {
    state: (&'static str, &'static str),
    seen: Option<words::Ago>,
}

pub(super) fn head(fleet: &Fleet<'_>, host: &Host) -> String {
    html(&Head {
        name: host.id.as_str(),
        color: words::color(host.color.as_deref()),
        device: words::device(host.device_type),
        seen: seen(fleet, host),
        comment: host.comment.as_deref().unwrap_or_default(),
        tags: &host.tags,
        now: now(fleet, host).at_home(),
    })
}

pub(super) fn seen(fleet: &Fleet<'_>, host: &Host) -> String {
    let seen = host.last_seen.map(|seen| words::ago(seen, fleet.now));
    html(&Seen { state: words::host_state(host.state), seen })
}

#[derive(Template)]
#[template(path = "host_lights.html")]
struct Cards {
    away: bool,
    lights: Vec<LightView>,
}

pub(super) fn cards(fleet: &Fleet<'_>, host: &Host) -> String {
    html(&Cards {
        away: host.state == HostState::Offline,
        lights: lights(fleet, host).into_iter().map(LightView::at_home).collect(),
    })
}

#[derive(Template)]
#[template(path = "host_ops.html")]
struct Ops {
    groups: Vec<Vec<(Button, String)>>,
}

pub(super) fn ops(fleet: &Fleet<'_>, host: &Host) -> String {
    let refused = (fleet.refused)(host);
    let group = |ops: &&[Op]| {
        ops.iter()
            // What can't be undone stands apart.
            .filter(|op| **op != Op::Remove)
            .map(|op| (*op, Offer::of(host, &refused, *op)))
            .filter(|(_, offer)| *offer != Offer::Never)
            .filter_map(|(op, offer)| Some((fleet.op(op)?, offer.why_not())))
            .map(|(entry, not)| {
                let about = not.clone().unwrap_or_else(|| entry.description.clone());
                let does = Does::op(fleet, host.id.as_str(), entry.id)
                    .fill(forms::chosen(host))
                    .took(forms::took(fleet, host, entry.id))
                    .not(not);
                (Button::new(&entry.label, "op", does).icon(op_icon(entry.id)), about)
            })
            .collect::<Vec<_>>()
    };
    html(&Ops { groups: MENU.iter().map(group).filter(|group| !group.is_empty()).collect() })
}

#[derive(Template)]
#[template(path = "host_danger.html")]
struct Danger {
    name: String,
    /// The name as a pattern of the field.
    pattern: String,
    consequence: String,
    button: Option<Button>,
    not: String,
}

/// What can't be undone.
pub(super) fn danger(fleet: &Fleet<'_>, host: &Host) -> String {
    let name = host.id.as_str();
    let offer = Offer::of(host, &(fleet.refused)(host), Op::Remove);
    let entry = fleet.op(Op::Remove);
    let button = entry.filter(|_| offer == Offer::Now).map(|entry| {
        // The name that was typed says that it is meant.
        Button::new(&entry.label, "bad", Does::op(fleet, name, Op::Remove).sure()).icon(op_icon(Op::Remove)).of(name)
    });
    html(&Danger {
        name: name.to_owned(),
        pattern: name.replace('.', "\\."),
        consequence: entry.and_then(|entry| entry.confirm.clone()).unwrap_or_default().replace("{host}", name),
        button,
        not: offer.why_not().unwrap_or_default(),
    })
}
