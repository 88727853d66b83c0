//! What a change moves on a page: the smallest elements that look different, from the same templates as the first
//! render.

use nixfleet_protocol::api::{Command, Event, Host};
use nixfleet_protocol::browser::{Change, Fragment, Place};

use super::row::{cells, row, row_id, same_shell, standing};
use super::{
    Fleet, PageKind, commands, events, filters as filters_room, fleet as fleet_room, host as host_room, html, rank,
    runs,
};

/// The fragments of one change for one kind of page. `fleet` has the change in it already. `before` is the host as
/// it was, for `HostUpdated` and `HostRemoved`; without it whole rows are sent instead of cells.
pub fn fragments(change: &Change, before: Option<&Host>, fleet: &Fleet<'_>, page: &PageKind) -> Vec<Fragment> {
    match (page, change) {
        (PageKind::Fleet, Change::HostAdded(host)) => vec![insert(fleet, host), counts(fleet), filters(fleet)],
        (PageKind::Fleet, Change::HostUpdated(host)) => host_updated(fleet, before, host),
        (PageKind::Fleet, Change::HostRemoved(id)) => {
            vec![Fragment { id: row_id(id), place: Place::Remove, html: String::new() }, counts(fleet), filters(fleet)]
        }
        (PageKind::Fleet, Change::CommandStarted(command)) => vec![first_command(fleet, command)],
        (PageKind::Fleet, Change::CommandProgress(command)) => vec![command_changed(fleet, command)],
        (PageKind::Fleet, Change::CommandFinished(command)) => {
            vec![command_changed(fleet, command), morph("said", commands::said(fleet))]
        }
        (PageKind::Fleet, Change::RunStarted(_) | Change::RunFinished(_)) => {
            vec![morph("runs", runs::list(fleet)), counts(fleet)]
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
        (PageKind::Fleet, Change::RemoteUpdated(_)) => vec![morph("target", fleet_room::target(fleet))],
        (PageKind::Fleet, Change::ServerUpdated(_)) => vec![morph("notices", fleet_room::notices(fleet))],
        (PageKind::Fleet, Change::Event(event)) => vec![first_event(fleet, event, events::FEW)],
        (PageKind::Events, Change::Event(event)) => vec![first_event(fleet, event, events::MANY)],
        (PageKind::Host(id), Change::HostAdded(host) | Change::HostUpdated(host)) if host.id == *id => {
            host_changed(fleet, before, host)
        }
        (PageKind::Host(id), Change::CommandStarted(command)) if command.host.as_ref() == Some(id) => {
            vec![first_command(fleet, command)]
        }
        (PageKind::Host(id), Change::CommandProgress(command) | Change::CommandFinished(command))
            if command.host.as_ref() == Some(id) =>
        {
            vec![command_changed(fleet, command)]
        }
        (PageKind::Host(id), Change::Event(event)) if event.host.as_ref() == Some(id) => {
            vec![first_event(fleet, event, events::FEW)]
        }
        (
            PageKind::Command(id),
            Change::CommandStarted(command) | Change::CommandProgress(command) | Change::CommandFinished(command),
        ) if command.id == *id => vec![morph("command-head", html(&commands::head(fleet, command)))],
        (
            PageKind::Host(_) | PageKind::Events | PageKind::Command(_) | PageKind::Run(_),
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

/// The fragments of every live region of a page, for `init` and `full_state`.
pub fn full_fragments(fleet: &Fleet<'_>, page: &PageKind) -> Vec<Fragment> {
    match page {
        PageKind::Fleet => vec![
            morph("notices", fleet_room::notices(fleet)),
            morph("target", fleet_room::target(fleet)),
            counts(fleet),
            filters(fleet),
            morph("hosts", fleet_room::hosts(fleet)),
            morph("runs", runs::list(fleet)),
            morph("said", commands::said(fleet)),
            morph("commands", fleet_room::command_list(fleet, None)),
            morph("events", events::list(fleet, events::FEW, None)),
        ],
        PageKind::Host(id) => {
            let mut all = vec![
                morph("commands", fleet_room::command_list(fleet, Some(id))),
                morph("events", events::list(fleet, events::FEW, Some(id))),
            ];
            if let Some(host) = fleet.host(id) {
                all.extend(host_changed(fleet, None, host));
            }
            all
        }
        PageKind::Run(id) => {
            let head = fleet.run(*id).map(|run| morph("run-head", runs::whole(fleet, run)));
            head.into_iter().chain([morph("commands", runs::command_list(fleet, *id))]).collect()
        }
        PageKind::Events => vec![morph("events", events::list(fleet, events::MANY, None))],
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
        return vec![insert(fleet, host), counts(fleet), filters(fleet)];
    };
    let mut all = if before.device_type != host.device_type {
        vec![insert(fleet, host)]
    } else if same_shell(before, host) {
        let old = cells(fleet, before);
        // The last cell has the reasons of what is not offered: they may change with something that is not in the
        // host, so it is sent with everything but the load.
        let only_load = only_load(before, host);
        cells(fleet, host)
            .into_iter()
            .zip(old)
            .filter(|(new, old)| new.html != old.html || (!only_load && new.id.ends_with(":do")))
            .map(|(new, _)| morph(new.id, new.html))
            .collect()
    } else {
        vec![morph(row_id(&host.id), html(&row(fleet, host)))]
    };
    if before.state != host.state || standing(before) != standing(host) {
        all.push(counts(fleet));
    }
    if !filters_room::same(before, host) {
        all.push(filters(fleet));
    }
    all
}

/// Whether a heartbeat told of nothing but the load and the time.
fn only_load(before: &Host, host: &Host) -> bool {
    let mut same = before.clone();
    same.metrics.clone_from(&host.metrics);
    same.last_seen = host.last_seen;
    same.disk = host.disk;
    same == *host
}

fn host_changed(fleet: &Fleet<'_>, before: Option<&Host>, host: &Host) -> Vec<Fragment> {
    let only_load = before.is_some_and(|before| only_load(before, host));
    let mut all =
        vec![morph("host-head", host_room::head(fleet, host)), morph("host-facts", host_room::facts(fleet, host))];
    if !only_load {
        all.push(morph("host-lights", host_room::cards(fleet, host)));
        all.push(morph("host-ops", host_room::ops(fleet, host)));
    }
    all
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

fn keep(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
