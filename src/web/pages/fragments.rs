//! What a change moves on a page: the smallest elements that look different, from the same templates as the first
//! render.

use std::sync::Arc;

use nixfleet_model::fleet_state::RECENT_EVENTS;
use nixfleet_protocol::HostId;
use nixfleet_protocol::api::{Command, Event, Host};
use nixfleet_protocol::browser::{Change, Fragment, Place};

use super::row::{cells, row, row_id, same_shell, standing};
use super::{
    Fleet, PageKind, commands, events, filters as filters_room, fleet as fleet_room, host as host_room, html, rank,
    rollout, runs, said, settings, shell, update,
};

/// The fragments of one change for one kind of page. `fleet` has the change in it already. `before` is the host as
/// it was, for `HostUpdated` and `HostRemoved`; without it whole rows are sent instead of cells.
pub fn fragments(change: &Change, before: Option<&Host>, fleet: &Fleet<'_>, page: &PageKind) -> Vec<Fragment> {
    let mut all = of_page(change, before, fleet, page);
    all.extend(said::differs(change, before, fleet).then(|| said(fleet)));
    all
}

fn of_page(change: &Change, before: Option<&Host>, fleet: &Fleet<'_>, page: &PageKind) -> Vec<Fragment> {
    match (page, change) {
        (PageKind::Fleet, Change::HostAdded(host)) => {
            vec![insert(fleet, host), any(fleet), counts(fleet), filters(fleet), tags(fleet), update(fleet)]
        }
        (PageKind::Fleet, Change::HostUpdated(host)) => host_updated(fleet, before, host),
        (PageKind::Fleet, Change::HostRemoved(id)) => {
            let row = Fragment { id: row_id(id), place: Place::Remove, html: String::new() };
            vec![row, any(fleet), counts(fleet), filters(fleet), tags(fleet), update(fleet)]
        }
        (PageKind::Fleet, Change::CommandStarted(command)) => vec![first_command(fleet, command)],
        (PageKind::Fleet, Change::CommandProgress(command) | Change::CommandFinished(command)) => {
            vec![command_changed(fleet, command)]
        }
        (PageKind::Fleet, Change::RunStarted(_) | Change::RunFinished(_)) => {
            vec![morph("runs", runs::list(fleet)), morph("past-runs", runs::history(fleet)), counts(fleet)]
        }
        (PageKind::Fleet, Change::RunUpdated(run)) => {
            vec![morph(runs::item_id(run), runs::item(fleet, run))]
        }
        (PageKind::Run(id), Change::RunStarted(run) | Change::RunUpdated(run) | Change::RunFinished(run))
            if run.id == *id =>
        {
            vec![morph("run-head", runs::whole(fleet, run))]
        }
        (PageKind::Run(id), Change::CommandStarted(command)) if command.run_id == Some(*id) => {
            vec![first_command(fleet, command)]
        }
        (PageKind::Run(id), Change::CommandProgress(command) | Change::CommandFinished(command))
            if command.run_id == Some(*id) =>
        {
            vec![command_changed(fleet, command)]
        }
        // The state forgets the oldest event with each new one, so the list is told as it is.
        (PageKind::Run(id), Change::Event(event)) if runs::is_told(event, *id) || all_are_full(fleet) => {
            vec![morph("events", runs::event_list(fleet, *id))]
        }
        (PageKind::Fleet, Change::RemoteUpdated(_)) => {
            // What a run merged that halted, or did not complete, can be taken back, until it was.
            let reverting = fleet.state.runs.values().filter(|run| runs::may_revert(run));
            let reverting = reverting.map(|run| morph(runs::item_id(run), runs::item(fleet, run)));
            [morph("target", fleet_room::target(fleet)), update(fleet)].into_iter().chain(reverting).collect()
        }
        (PageKind::Run(id), Change::RemoteUpdated(_)) => {
            let reverting = fleet.run(*id).filter(|run| runs::may_revert(run));
            reverting.map(|run| morph("run-head", runs::whole(fleet, run))).into_iter().collect()
        }
        (PageKind::Fleet, Change::ServerUpdated(_)) => vec![morph("notices", fleet_room::notices(fleet))],
        (PageKind::Fleet, Change::Event(event)) => vec![first_event(fleet, event, events::FEW)],
        (PageKind::Events | PageKind::Search(_), Change::HostAdded(_) | Change::HostRemoved(_)) => {
            vec![morph("known-hosts", events::known_hosts(fleet))]
        }
        (PageKind::Events, Change::Event(event)) => vec![first_line(fleet, event)],
        (PageKind::Search(filter), Change::Event(event)) if filter.takes(event) => vec![first_line(fleet, event)],
        (PageKind::Settings, Change::ServerUpdated(_)) => vec![morph("about", settings::about(fleet))],
        (PageKind::Settings, Change::Event(event)) if settings::is_told(event) => vec![stale()],
        (PageKind::Host(id), Change::HostAdded(host) | Change::HostUpdated(host)) if host.id == *id => {
            host_changed(fleet, before, host)
        }
        (PageKind::Host(id), Change::RemoteUpdated(_)) => {
            let facts = |host: &Arc<Host>| morph("host-facts", host_room::facts(fleet, host));
            fleet.host(id).map(facts).into_iter().collect()
        }
        (PageKind::Host(id), Change::HostRemoved(host)) if host == id => {
            vec![morph("host-notices", host_room::gone(id))]
        }
        (PageKind::Host(id), Change::CommandStarted(command) | Change::CommandFinished(command))
            if command.host.as_ref() == Some(id) =>
        {
            let mut all = vec![ask(host_room::PAST)];
            // How long it took stands where it is confirmed.
            let host = fleet.host(id).filter(|_| command.state.is_final());
            all.extend(host.map(|host| morph("host-ops", host_room::ops(fleet, host))));
            all
        }
        (PageKind::Host(id), Change::CommandProgress(command)) if command.host.as_ref() == Some(id) => {
            vec![morph(commands::item_id(command), html(&commands::item(fleet, command)))]
        }
        (PageKind::Host(id), Change::Event(event)) => {
            let own = event.host.as_ref() == Some(id);
            let mut all = Vec::new();
            if events_are_full(fleet, id) {
                all.push(morph("events", events::list(fleet, events::FEW, Some(id))));
            } else if own {
                all.push(first_event(fleet, event, events::FEW));
            }
            all.extend((own && event.action.starts_with("token")).then(|| ask(host_room::TOKENS)));
            all
        }
        (
            PageKind::Command(id),
            Change::CommandStarted(command) | Change::CommandProgress(command) | Change::CommandFinished(command),
        ) if command.id == *id => vec![morph("command-head", html(&commands::head(fleet, command)))],
        // What is offered after a command goes by its host.
        (PageKind::Command(id), Change::HostUpdated(host)) if !before.is_some_and(|before| only_load(before, host)) => {
            let of_host = fleet.command(*id).filter(|command| command.host.as_ref() == Some(&host.id));
            of_host.map(|command| morph("command-head", html(&commands::head(fleet, command)))).into_iter().collect()
        }
        (
            PageKind::Host(_)
            | PageKind::Events
            | PageKind::Search(_)
            | PageKind::Settings
            | PageKind::Command(_)
            | PageKind::Run(_),
            Change::HostAdded(_)
            | Change::HostUpdated(_)
            | Change::HostRemoved(_)
            | Change::CommandStarted(_)
            | Change::CommandProgress(_)
            | Change::CommandFinished(_)
            | Change::RunStarted(_)
            | Change::RunUpdated(_)
            | Change::RunFinished(_)
            | Change::RemoteUpdated(_)
            | Change::Event(_)
            | Change::ServerUpdated(_),
        ) => Vec::new(),
    }
}

/// The fragments of every live region of a page, for `init` and `full_state`, and which build made them.
pub fn full_fragments(fleet: &Fleet<'_>, page: &PageKind) -> Vec<Fragment> {
    let mut all = regions(fleet, page);
    all.extend([morph("build", shell::build()), said(fleet)]);
    all
}

fn regions(fleet: &Fleet<'_>, page: &PageKind) -> Vec<Fragment> {
    match page {
        PageKind::Fleet => vec![
            morph("notices", fleet_room::notices(fleet)),
            morph("target", fleet_room::target(fleet)),
            update(fleet),
            counts(fleet),
            filters(fleet),
            tags(fleet),
            any(fleet),
            morph("hosts", fleet_room::hosts(fleet)),
            morph("runs", runs::list(fleet)),
            morph("past-runs", runs::history(fleet)),
            morph("commands", fleet_room::command_list(fleet, None)),
            morph("events", events::list(fleet, events::FEW, None)),
        ],
        PageKind::Host(id) => {
            let mut all = vec![morph("events", events::list(fleet, events::FEW, Some(id))), ask(host_room::TOKENS)];
            match fleet.host(id) {
                Some(host) => all.extend(host_changed(fleet, None, host)),
                None => all.push(morph("host-notices", host_room::gone(id))),
            }
            all
        }
        // They show more than the state has: the page reads itself anew.
        PageKind::Events | PageKind::Search(_) => vec![stale()],
        PageKind::Settings => vec![morph("about", settings::about(fleet)), stale()],
        PageKind::Run(id) => {
            let head = fleet.run(*id).map(|run| morph("run-head", runs::whole(fleet, run)));
            let lists = [("commands", runs::command_list(fleet, *id)), ("events", runs::event_list(fleet, *id))];
            head.into_iter().chain(lists.map(|(list, html)| morph(list, html))).collect()
        }
        PageKind::Command(id) => fleet
            .command(*id)
            .map(|command| morph("command-head", html(&commands::head(fleet, command))))
            .into_iter()
            .collect(),
    }
}

fn morph(id: impl Into<String>, html: String) -> Fragment {
    Fragment { id: id.into(), place: Place::Morph, html }
}

/// Something changed that the state does not have: the page asks for the region.
fn ask(id: &str) -> Fragment {
    Fragment { id: id.to_owned(), place: Place::Ask, html: String::new() }
}

fn said(fleet: &Fleet<'_>) -> Fragment {
    morph("said", said::said(fleet))
}

fn any(fleet: &Fleet<'_>) -> Fragment {
    morph("any", fleet_room::any(fleet))
}

fn tags(fleet: &Fleet<'_>) -> Fragment {
    morph("canary-tags", rollout::tags(fleet))
}

fn update(fleet: &Fleet<'_>) -> Fragment {
    morph(update::ID, update::region(fleet))
}

fn counts(fleet: &Fleet<'_>) -> Fragment {
    morph("counts", fleet_room::counts(fleet))
}

fn filters(fleet: &Fleet<'_>) -> Fragment {
    morph("filters", filters_room::filters(fleet))
}

/// The row, put where it belongs; one that is there already moves.
fn insert(fleet: &Fleet<'_>, host: &Host) -> Fragment {
    let later = fleet.hosts().filter(|other| rank(other) > rank(host));
    let before = later.min_by_key(|other| rank(other)).map(|next| row_id(&next.id));
    Fragment {
        id: row_id(&host.id),
        place: Place::Insert { into: "hosts".to_owned(), before },
        html: html(&row(fleet, host)),
    }
}

fn host_updated(fleet: &Fleet<'_>, before: Option<&Host>, host: &Host) -> Vec<Fragment> {
    let Some(before) = before else {
        return vec![insert(fleet, host), counts(fleet), filters(fleet), tags(fleet), update(fleet)];
    };
    let mut all = if before.device_type != host.device_type {
        vec![insert(fleet, host)]
    } else if same_shell(before, host) {
        let old = cells(fleet, before);
        // The last cell has the reasons of what is not offered: they may change with something that is not in the
        // host, so it is sent with everything but the load.
        let only_load = only_load(before, host);
        let mut made: Vec<_> = cells(fleet, host)
            .into_iter()
            .zip(old)
            .filter(|(new, old)| new.html != old.html || (!only_load && new.id.ends_with(":do")))
            .map(|(new, _)| morph(new.id, new.html))
            .collect();
        if before.past != host.past {
            made.push(morph(host_room::small_id(host), host_room::small(host)));
        }
        made
    } else {
        vec![morph(row_id(&host.id), html(&row(fleet, host)))]
    };
    if before.state != host.state || standing(before) != standing(host) {
        all.push(counts(fleet));
    }
    if !filters_room::same(before, host) {
        all.extend([filters(fleet), tags(fleet)]);
    }
    if update::may_differ(fleet, Some(before), host) {
        all.push(update(fleet));
    }
    all
}

/// Whether a heartbeat told of nothing but the load and the time.
fn only_load(before: &Host, host: &Host) -> bool {
    let mut same = before.clone();
    same.metrics.clone_from(&host.metrics);
    same.past = Arc::clone(&host.past);
    same.last_seen = host.last_seen;
    same.disk = host.disk;
    same == *host
}

/// The regions of a host's page that look different. `before`: none, and all are told.
fn host_changed(fleet: &Fleet<'_>, before: Option<&Host>, host: &Host) -> Vec<Fragment> {
    let mut all = Vec::new();
    match before.filter(|before| only_load(before, host)) {
        Some(before) => {
            all.push(morph("host-seen", host_room::seen(fleet, host)));
            let numbers = host_room::numbers(host);
            if numbers != host_room::numbers(before) {
                all.push(morph("host-load", numbers));
            }
            if host.disk != before.disk {
                all.push(morph("host-facts", host_room::facts(fleet, host)));
            }
        }
        None => all.extend([
            morph("host-notices", host_room::notices(fleet, host)),
            morph("host-head", host_room::head(fleet, host)),
            morph("host-lights", host_room::cards(fleet, host)),
            morph("host-load", host_room::numbers(host)),
            morph("host-facts", host_room::facts(fleet, host)),
            morph("host-ops", host_room::ops(fleet, host)),
            morph("host-rollback", host_room::past::rollback(fleet, host)),
            morph("host-danger", host_room::danger(fleet, host)),
        ]),
    }
    if before.is_none_or(|before| before.past != host.past) {
        all.push(morph("host-graphs", host_room::graphs(fleet, host)));
    }
    // What runs now stands among what was deployed, and the head's subject beside its commit: the light names the head.
    let same = |before: &Host| {
        before.generations == host.generations
            && before.deployed == host.deployed
            && before.lights.git == host.lights.git
    };
    if !before.is_some_and(same) {
        all.push(ask(host_room::PAST));
    }
    all
}

pub(super) fn all_are_full(fleet: &Fleet<'_>) -> bool {
    fleet.state.events.len() >= RECENT_EVENTS
}

/// With each event the state forgets the oldest one of the fleet, which may be one that this host's list shows.
fn events_are_full(fleet: &Fleet<'_>, host: &HostId) -> bool {
    let all = &fleet.state.events;
    all_are_full(fleet) && all.iter().filter(|event| event.host.as_ref() == Some(host)).count() < events::FEW
}

/// A command that was refused, or done here at once, is over before anyone saw it begin: it has no place yet.
fn command_changed(fleet: &Fleet<'_>, command: &Command) -> Fragment {
    if command.state.is_final() && command.sent_at.is_none() {
        return first_command(fleet, command);
    }
    morph(commands::item_id(command), html(&commands::item(fleet, command)))
}

fn first_command(fleet: &Fleet<'_>, command: &Command) -> Fragment {
    Fragment {
        id: commands::item_id(command),
        place: Place::Prepend { into: "commands".to_owned(), keep: keep(fleet_room::COMMANDS) },
        html: html(&commands::item(fleet, command)),
    }
}

fn first_event(fleet: &Fleet<'_>, event: &Event, many: usize) -> Fragment {
    Fragment {
        id: events::item_id(event),
        place: Place::Prepend { into: "events".to_owned(), keep: keep(many) },
        html: html(&events::item(fleet, event)),
    }
}

fn first_line(fleet: &Fleet<'_>, event: &Event) -> Fragment {
    Fragment {
        id: events::item_id(event),
        place: Place::Prepend { into: "events".to_owned(), keep: keep(events::MOST) },
        html: html(&events::line(fleet, event)),
    }
}

/// What a page shows beside the state is not what it was: the page reads itself anew.
fn stale() -> Fragment {
    morph("stale", "<i id=\"stale\" data-stale hidden></i>".to_owned())
}

fn keep(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
