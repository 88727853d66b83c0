//! A host's own page: its lights in words, everything that can be done, its facts, its commands and events.

use askama::Template;
use nixfleet_protocol::api::{Host, HostState};

use super::button::{Button, Does, MENU, Offer, op_icon};
use super::lights::{LightView, Now, lights, now};
use super::row::{Meter, meters};
use super::shell::{Shell, shell};
use super::{Fleet, PageKind, Session, events, fleet as fleet_room, forms, html, words};

#[derive(Template)]
#[template(path = "host.html")]
struct Page<'a> {
    shell: Shell<'a>,
    head: String,
    lights: String,
    facts: String,
    ops: String,
    commands: String,
    events: String,
}

/// The page `/hosts/{host}`.
pub fn host_page(fleet: &Fleet<'_>, host: &Host, session: Session<'_>) -> String {
    html(&Page {
        shell: shell(fleet, host.id.as_str(), &PageKind::Host(host.id.clone()), session),
        head: head(fleet, host),
        lights: cards(fleet, host),
        facts: facts(fleet, host),
        ops: ops(fleet, host),
        commands: fleet_room::command_list(fleet, Some(&host.id)),
        events: events::list(fleet, events::FEW, Some(&host.id)),
    })
}

#[derive(Template)]
#[template(path = "host_head.html")]
struct Head<'a> {
    name: &'a str,
    color: &'a str,
    device: (&'static str, &'static str),
    state: (&'static str, &'static str),
    seen: Option<words::Ago>,
    comment: &'a str,
    tags: &'a [String],
    now: Now,
}

pub(super) fn head(fleet: &Fleet<'_>, host: &Host) -> String {
    html(&Head {
        name: host.id.as_str(),
        color: words::color(host.color.as_deref()),
        device: words::device(host.device_type),
        state: words::host_state(host.state),
        seen: host.last_seen.map(|seen| words::ago(seen, fleet.now)),
        comment: host.comment.as_deref().unwrap_or_default(),
        tags: &host.tags,
        now: now(fleet, host),
    })
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
#[template(path = "host_facts.html")]
struct Facts {
    meters: [Meter; 3],
    lines: Vec<(&'static str, String)>,
    deployed: Option<words::Ago>,
    failed: Vec<String>,
    repo_error: String,
}

pub(super) fn facts(fleet: &Fleet<'_>, host: &Host) -> String {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut fact = |name, value: Option<String>| facts.extend(value.filter(|v| !v.is_empty()).map(|v| (name, v)));
    fact("System", Some(format!("{} {}", words::system(host.host_type).1, text(host.os_version.as_ref()))));
    fact("nixpkgs", host.nixpkgs_version.clone());
    fact("Deploys with", host.platform.map(|platform| platform.as_str().to_owned()));
    fact(
        "Agent",
        host.agent_version.as_ref().map(|version| match host.agent_protocol {
            Some(protocol) => format!("{version}, protocol {protocol}"),
            None => version.clone(),
        }),
    );
    fact("Place", Some(words::location(host.location).1.to_owned()));
    fact("Checked out", host.generation.as_ref().map(ToString::to_string));
    fact("Lock", host.lock_hash.as_ref().map(|hash| hash.as_str().chars().take(12).collect()));
    fact("Deployed", host.deployed.as_ref().map(|deployed| deployed.commit.to_string()));
    fact("System path", host.deployed.as_ref().and_then(|deployed| deployed.system_path.clone()));
    fact(
        "Disk",
        host.disk
            .as_ref()
            .map(|disk| format!("{} free of {}", words::bytes(disk.store_free), words::bytes(disk.store_total))),
    );
    fact("Reboot", host.reboot_required.map(|needed| if needed { "needed" } else { "not needed" }.to_owned()));
    html(&Facts {
        meters: meters(&host.metrics.unwrap_or_default()),
        lines: facts,
        deployed: host.deployed.as_ref().map(|deployed| words::ago(deployed.at, fleet.now)),
        failed: host.failed_units.clone(),
        repo_error: text(host.repo_error.as_ref()).to_owned(),
    })
}

fn text(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

#[derive(Template)]
#[template(path = "host_ops.html")]
struct Ops {
    groups: Vec<Vec<(Button, String)>>,
}

pub(super) fn ops(fleet: &Fleet<'_>, host: &Host) -> String {
    let refused = (fleet.refused)(host);
    let group = |ops: &&[nixfleet_protocol::Op]| {
        ops.iter()
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
