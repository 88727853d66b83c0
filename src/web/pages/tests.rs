//! The fragments against the fresh render, and everything from outside against the markup.

mod applied;
mod clicks;
mod events;
mod runs;
mod said;
pub(super) mod update;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_protocol::agent::{DeviceType, Disk, Metrics};
use nixfleet_protocol::api::{
    Command, CommandState, Host, HostState, Level, LoadHistory, LoadSample, OpEntry, Progress, Server,
};
use nixfleet_protocol::browser::{Change, Fragment, Place};
use nixfleet_protocol::{Op, Version};

use nixfleet_model::event::EventFilter;

use super::{
    Fleet, PageKind, Session, Stored, command_page, fleet_page, fragments, full_fragments, host, host_page, run_page,
    sample, settings_page,
};

const SESSION: Session<'static> = Session { csrf_token: "session-secret" };

fn view<'a>(state: &'a FleetState, ops: &'a [OpEntry]) -> Fleet<'a> {
    Fleet {
        state,
        ops,
        pipelines: sample::pipelines(),
        refused: &sample::refused,
        version: Version(7),
        epoch: "01920000-0000-7000-8000-0000000000ee".parse().unwrap(),
        now: sample::NOW,
    }
}

pub(super) fn page(fleet: &Fleet<'_>, kind: &PageKind) -> String {
    match kind {
        PageKind::Fleet => fleet_page(fleet, SESSION),
        PageKind::Host(id) => {
            let commands = host::past::of_state(fleet, id);
            host_page(fleet, fleet.host(id).unwrap(), &Stored { commands: &commands, ..Stored::default() }, SESSION)
        }
        PageKind::Events => events::shown(fleet, &EventFilter::default()),
        PageKind::Search(filter) => events::shown(fleet, filter),
        PageKind::Settings => settings_page(fleet, sample::settings(), SESSION),
        PageKind::Command(id) => command_page(fleet, fleet.command(*id).unwrap(), SESSION),
        PageKind::Run(id) => run_page(fleet, fleet.run(*id).unwrap(), SESSION),
    }
}

/// The element with this id as it stands in a page.
fn element<'a>(page: &'a str, id: &str) -> Option<&'a str> {
    let at = page.find(&format!(" id=\"{id}\""))?;
    let start = page[..at].rfind('<')?;
    let name = page[start + 1..at].split_whitespace().next()?;
    let mut depth = 0;
    let mut from = start;
    loop {
        let open = page[from..].find(&format!("<{name}")).map(|at| at + from);
        let close = page[from..].find(&format!("</{name}>")).map(|at| at + from)?;
        if let Some(open) = open.filter(|open| *open < close) {
            depth += 1;
            from = open + 1;
        } else {
            depth -= 1;
            from = close + 1;
            if depth == 0 {
                return Some(&page[start..close + name.len() + 3]);
            }
        }
    }
}

/// Every fragment is the element of a fresh render, or tells of one that is gone.
fn assert_fresh(made: &[Fragment], fresh: &str, what: &str) {
    // What says that the page is to read itself anew is in no page that was just made.
    for fragment in made.iter().filter(|fragment| fragment.id != "stale") {
        let there = element(fresh, &fragment.id);
        match fragment.place {
            Place::Remove => assert_eq!(there, None, "{what}: {}", fragment.id),
            Place::Ask => {
                let there = there.unwrap_or_else(|| panic!("{what}: no {}", fragment.id));
                assert!(there.split('>').next().unwrap().contains(" data-src=\"/"), "{what}: {there}");
            }
            Place::Morph | Place::Prepend { .. } | Place::Insert { .. } => {
                assert_eq!(there, Some(fragment.html.trim()), "{what}: {}", fragment.id);
            }
        }
        assert!(!fragment.html.contains("session-secret"), "{what}: {}", fragment.id);
    }
}

fn host_of<'a>(state: &'a FleetState, name: &str) -> &'a Host {
    &state.hosts[&name.parse().unwrap()].host
}

/// Puts a host into a state, as the owner of the state does.
fn with_host(mut state: FleetState, host: Host) -> FleetState {
    sample::put(&mut state, host);
    state
}

fn kinds(state: &FleetState) -> Vec<PageKind> {
    vec![
        PageKind::Fleet,
        PageKind::Events,
        PageKind::search(EventFilter { level: Some(Level::Warn), ..EventFilter::default() }),
        PageKind::Settings,
        PageKind::Host("hsb0".parse().unwrap()),
        PageKind::Command(*state.commands.keys().next().unwrap()),
        PageKind::Run(*state.runs.keys().next().unwrap()),
        PageKind::Run(*state.runs.keys().next_back().unwrap()),
    ]
}

fn ids(made: &[Fragment]) -> Vec<&str> {
    made.iter().map(|fragment| fragment.id.as_str()).collect()
}

#[test]
fn each_fragment_is_the_element_of_a_fresh_render() {
    let ops = sample::op_entries();
    let old = sample::state();
    let before = host_of(&old, "hsb0").clone();
    let mut changes = Vec::new();

    let mut busy = before.clone();
    busy.command = Some(Box::new(sample::command(1, "hsb0", Op::Test, CommandState::Executing)));
    busy.offers = Arc::default();
    let mut moved = before.clone();
    moved.device_type = DeviceType::Gaming;
    let mut gone = before.clone();
    gone.state = HostState::Offline;
    let mut warm = before.clone();
    warm.metrics = Some(Metrics { cpu: Some(91.0), ..Metrics::default() });
    warm.last_seen = Some(sample::ago(0));
    for host in [busy, moved, gone, warm] {
        changes.push((Change::HostUpdated(Arc::new(host.clone())), with_host(sample::state(), host)));
    }
    let new = sample::host("aaa", DeviceType::Server, "#123456", sample::green());
    changes.push((Change::HostAdded(Arc::new(new.clone())), with_host(sample::state(), new)));

    let mut started = sample::state();
    let command = Arc::new(sample::command(99, "hsb0", Op::Pull, CommandState::Pending));
    started.commands.insert(command.id, command.clone());
    changes.push((Change::CommandStarted(command), started));
    let mut ended = sample::state();
    let command = Arc::new(sample::command(1, "hsb1", Op::Switch, CommandState::Partial));
    ended.commands.insert(command.id, command.clone());
    changes.push((Change::CommandFinished(command.clone()), ended.clone()));
    changes.push((Change::CommandProgress(command), ended));

    for (run, change) in runs::changes() {
        let mut state = sample::state();
        state.runs.insert(run.id, run);
        changes.push((change, state));
    }
    let mut told = sample::state();
    let event = Arc::new(sample::event(10, 0, Level::Warn, Some("hsb0"), "host_stale", "Heard nothing."));
    told.events.push_front(event.clone());
    changes.push((Change::Event(event), told));
    let mut read = sample::state();
    read.remote = Arc::new(sample::remote());
    changes.push((Change::RemoteUpdated(read.remote.clone()), read));
    let mut broken = sample::state();
    broken.server = Arc::new(Server { store_error: Some("disk full".to_owned()), ..sample::server() });
    changes.push((Change::ServerUpdated(broken.server.clone()), broken));

    let mut seen = 0;
    for (change, state) in &changes {
        let fleet = view(state, &ops);
        for kind in kinds(state) {
            for before in [None, Some(&before)] {
                let made = fragments(change, before, &fleet, &kind);
                seen += made.len();
                assert_fresh(&made, &page(&fleet, &kind), &format!("{} on {kind}", change.kind()));
            }
        }
    }
    assert!(seen > 40, "{seen}");

    let mut less = sample::state();
    less.hosts.remove(&before.id);
    let fleet = view(&less, &ops);
    let made = fragments(&Change::HostRemoved(before.id.clone()), Some(&before), &fleet, &PageKind::Fleet);
    assert_eq!(ids(&made), ["host:hsb0", "any", "counts", "filters", "canary-tags", "update"]);
    assert_fresh(&made, &page(&fleet, &PageKind::Fleet), "removed");
}

#[test]
fn the_whole_state_is_the_fresh_render_of_every_region() {
    let ops = sample::op_entries();
    for state in [sample::state(), sample::empty()] {
        let fleet = view(&state, &ops);
        let kinds = if state.hosts.is_empty() { vec![PageKind::Fleet, PageKind::Events] } else { kinds(&state) };
        for kind in kinds {
            let made = full_fragments(&fleet, &kind);
            assert!(!made.is_empty());
            assert_fresh(&made, &page(&fleet, &kind), &format!("full state of {kind}"));
        }
    }
}

#[test]
fn a_heartbeat_moves_two_cells_and_no_row() {
    let ops = sample::op_entries();
    let old = sample::state();
    let before = host_of(&old, "hsb0").clone();
    let mut host = before.clone();
    host.last_seen = Some(sample::ago(-9));
    host.metrics = Some(Metrics { cpu: Some(13.0), ..before.metrics.unwrap() });
    let state = with_host(sample::state(), Host { last_seen: Some(sample::ago(60)), ..host.clone() });
    let host = Host { last_seen: Some(sample::ago(60)), ..host };
    let change = Change::HostUpdated(Arc::new(host));
    let made = fragments(&change, Some(&before), &view(&state, &ops), &PageKind::Fleet);
    assert_eq!(ids(&made), ["host:hsb0:seen", "host:hsb0:load"]);
}

#[test]
fn graphs_are_drawn_when_a_minute_is_over_and_not_with_each_heartbeat() {
    let ops = sample::op_entries();
    let before = host_of(&sample::state(), "hsb0").clone();
    let mut beat = before.clone();
    beat.metrics = Some(Metrics { cpu: Some(13.0), ..before.metrics.unwrap() });
    let mut minute = beat.clone();
    let sample = LoadSample { cpu: Some(77), ram: Some(1) };
    Arc::make_mut(&mut minute.past).keep(LoadHistory::minute_of(sample::NOW), sample);
    let page = PageKind::Host(before.id.clone());
    for (host, row, own) in [
        (beat, &["host:hsb0:load"][..], &["host-seen", "host-load"][..]),
        (minute, &["host:hsb0:load", "host:hsb0:past"], &["host-seen", "host-load", "host-graphs"]),
    ] {
        let state = with_host(sample::state(), host.clone());
        let change = Change::HostUpdated(Arc::new(host));
        assert_eq!(ids(&fragments(&change, Some(&before), &view(&state, &ops), &PageKind::Fleet)), row);
        assert_eq!(ids(&fragments(&change, Some(&before), &view(&state, &ops), &page)), own);
    }
}

#[test]
fn a_row_is_inserted_where_it_belongs() {
    let ops = sample::op_entries();
    let place = |name: &str, device| {
        let host = sample::host(name, device, "#123456", sample::green());
        let state = with_host(sample::state(), host.clone());
        let made = fragments(&Change::HostAdded(Arc::new(host)), None, &view(&state, &ops), &PageKind::Fleet);
        match &made[0].place {
            Place::Insert { into, before } => (into.clone(), before.clone()),
            Place::Morph | Place::Prepend { .. } | Place::Remove | Place::Ask => panic!("{:?}", made[0].place),
        }
    };
    let hosts = || "hosts".to_owned();
    assert_eq!(place("aaa", DeviceType::Server), (hosts(), Some("host:csb0".to_owned())));
    assert_eq!(place("hsb1-b", DeviceType::Server), (hosts(), Some("host:hsb2".to_owned())));
    assert_eq!(place("zzz", DeviceType::Server), (hosts(), Some("host:imac0".to_owned())));
    assert_eq!(place("aaa", DeviceType::Laptop), (hosts(), Some("host:mba-air".to_owned())));
    assert_eq!(place("zzz", DeviceType::Unknown), (hosts(), None));
}

#[test]
fn rows_stand_by_criticality_and_then_by_name() {
    let ops = sample::op_entries();
    let state = sample::state();
    let page = fleet_page(&view(&state, &ops), SESSION);
    let names: Vec<_> = page.split("<tr id=\"host:").skip(1).map(|row| row.split('"').next().unwrap()).collect();
    let order = "csb0 csb1 hsb0 hsb1 hsb2 hsb8 imac0 mba-air mbp-work gpc0 nuc-den";
    assert_eq!(names.join(" "), order);
}

#[test]
fn what_is_not_offered_is_off_and_says_why() {
    let ops = sample::op_entries();
    let state = sample::state();
    let page = fleet_page(&view(&state, &ops), SESSION);
    let cell = element(&page, "host:hsb0:do").unwrap();
    assert!(
        cell.contains("aria-disabled=\"true\" data-tip=\"The checkout is at the remote’s head already.\""),
        "{cell}"
    );
    assert!(cell.contains("data-post=\"/api/v1/hosts/hsb0/ops/test\""));
    assert!(cell.contains("pull: The checkout is at"));
    let late = element(&page, "host:csb1:now").unwrap();
    for verb in ["extend", "stop", "ignore"] {
        assert!(late.contains(&format!("/{verb}\"")), "{verb}: {late}");
    }
}

#[test]
fn what_is_neither_offered_nor_refused_is_not_shown() {
    let ops = sample::op_entries();
    let state = sample::state();
    let host = Host { offers: [Op::Test].into(), ..host_of(&state, "hsb0").clone() };
    let state = with_host(state, host.clone());
    let refused = |_: &Host| vec![(Op::Pull, "At the head.".to_owned())];
    let fleet = Fleet { refused: &refused, ..view(&state, &ops) };
    let page = host_page(&fleet, &host, &Stored::default(), SESSION);
    let shown = element(&page, "host-ops").unwrap();
    assert!(shown.contains("/ops/test\"") && shown.contains("At the head."), "{shown}");
    assert!(!shown.contains("/ops/gc\"") && !shown.contains("/ops/refresh-git\""), "{shown}");
    // The menu leaves out what has no reason.
    let cell = fleet_page(&fleet, SESSION);
    let cell = element(&cell, "host:hsb0:do").unwrap();
    let off = cell.split("data-off=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(off.lines().any(|line| line.starts_with(": ") || line.split(": ").nth(1) == Some("")), "{off}");
    assert!(off.lines().any(|line| line == "pull: At the head."), "{off}");
}

#[test]
fn nothing_from_outside_becomes_markup() {
    const EVIL: &str = "\"><img src=x onerror=alert(1)><script>alert('1')</script>{{7*7}}\n&amp;";
    let ops = sample::op_entries();
    let evil = || EVIL.to_owned();
    let mut state = sample::state();
    let mut host = host_of(&state, "csb0").clone();
    host.agent_version = Some(evil());
    host.os_version = Some(evil());
    host.nixpkgs_version = Some(evil());
    host.color = Some(evil());
    host.tags = vec![evil()];
    host.comment = Some(evil());
    host.failed_units = vec![evil()];
    host.repo_error = Some(evil());
    host.broken = Some(evil());
    host.deployed.as_mut().unwrap().system_path = Some(evil());
    let lights = Arc::make_mut(&mut host.lights);
    lights.git.message = evil();
    lights.git.action.label = evil();
    lights.lock.action.pipeline = Some(evil());
    lights.system.also[0].label = evil();
    let mut command = sample::command(1, "csb0", Op::Switch, CommandState::Error);
    command.message = Some(evil());
    command.actor = evil();
    command.code = Some(evil());
    command.args = serde_json::json!({ "argv": [EVIL] });
    let mut test = sample::command(2, "csb0", Op::Test, CommandState::Error);
    test.details = serde_json::json!({ "tests": [{ "name": EVIL, "ok": false, "exit_code": EVIL }], "total": EVIL });
    test.message = Some(evil());
    let mut event = sample::event(1, 1, Level::Error, Some("csb0"), EVIL, EVIL);
    event.actor = evil();
    event.details = serde_json::json!({ EVIL: EVIL, "command_id": EVIL, "nested": [{ "a": EVIL }] });
    let mut remote = sample::remote();
    remote.source = Some(format!("javascript:{EVIL}"));
    remote.subject = Some(evil());
    remote.author = Some(evil());
    remote.error = Some(evil());
    remote.pull_request = state.remote.pull_request.clone();
    if let Some(request) = &mut remote.pull_request {
        request.title = evil();
        request.url = format!("javascript:alert(1){EVIL}");
    }
    state = with_host(state, host.clone());
    state.commands = BTreeMap::from([(command.id, Arc::new(command.clone())), (test.id, Arc::new(test))]);
    state.events = VecDeque::from([Arc::new(event)]);
    state.remote = Arc::new(remote);
    state.server = Arc::new(Server { store_error: Some(evil()), version: evil(), ..sample::server() });
    let refused = |_: &Host| vec![(Op::Pull, EVIL.to_owned())];
    let fleet = Fleet { refused: &refused, ..view(&state, &ops) };
    let kinds = [
        PageKind::Fleet,
        PageKind::Events,
        PageKind::Settings,
        PageKind::Host(host.id.clone()),
        PageKind::Command(command.id),
    ];
    for kind in &kinds {
        let page = page(&fleet, kind);
        assert!(!page.contains("<img"), "{kind}");
        assert!(!page.contains("<script>"), "{kind}");
        assert!(!page.contains("href=\"javascript:"), "{kind}");
        assert!(!page.contains("fill=\"\""), "{kind}");
        // Nothing inline, or the policy would refuse it.
        assert!(!page.contains(" style=") && !page.contains(" onclick=") && !page.contains("<style"), "{kind}");
    }
}

#[test]
fn a_page_kind_reads_back() {
    let id = "01920000-0000-7000-8000-000000000001".parse().unwrap();
    let run = "01920000-0000-7000-8000-000000000002".parse().unwrap();
    let filter = EventFilter {
        host: "a.b".parse().ok(),
        level: Some(Level::Error),
        words: vec!["a&b=c".to_owned(), "é?".to_owned()],
        ..EventFilter::default()
    };
    let search = PageKind::search(filter);
    assert!(search.to_string().starts_with("events?level=error&"), "{search}");
    let named = PageKind::Host("a.b".parse().unwrap());
    for page in [
        PageKind::Fleet,
        PageKind::Events,
        PageKind::Settings,
        search,
        named,
        PageKind::Command(id),
        PageKind::Run(run),
    ] {
        assert_eq!(PageKind::parse(&page.to_string()), Some(page));
    }
    for bad in ["", "fleets", "host/", "host/<b>", "command/7", "run/x", "fleet/x", "events?level=loud", "settings/x"] {
        assert_eq!(PageKind::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_state_that_says_little_says_what_it_means_and_what_to_do() {
    let ops = sample::op_entries();
    for (state, offered, said) in [
        (CommandState::TimeoutPending, &["extend", "stop", "ignore"][..], "wait for it, stop it"),
        (CommandState::AwaitingReconnect, &["give-up"], "The host is away since <time"),
        (CommandState::Orphaned, &[], "Compare the host"),
        (CommandState::Partial, &[], "its goal is not reached"),
        (CommandState::StaleBinary, &[], "Restart the agent"),
        (CommandState::Suspicious, &[], "Check how its package is built"),
        (CommandState::Timeout, &[], "Nobody heard how it ended"),
    ] {
        let command = sample::command(99, "hsb0", Op::Switch, state);
        let page = command_page(&view(&sample::state(), &ops), &command, SESSION);
        let head = element(&page, "command-head").unwrap();
        assert!(head.contains(said), "{state:?}: {head}");
        for verb in ["extend", "stop", "ignore", "give-up"] {
            assert_eq!(head.contains(&format!("/{verb}\"")), offered.contains(&verb), "{state:?} {verb}: {head}");
        }
    }
}

#[test]
fn a_command_that_was_refused_gets_a_place_although_nobody_saw_it_begin() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    let mut refused = sample::command(99, "hsb0", Op::Pull, CommandState::Blocked);
    refused.sent_at = None;
    let refused = Arc::new(refused);
    state.commands.insert(refused.id, Arc::clone(&refused));
    let mut ended = sample::command(1, "hsb0", Op::Switch, CommandState::Success);
    ended.sent_at = Some(sample::NOW);
    let page = PageKind::Fleet;
    let made = fragments(&Change::CommandFinished(Arc::clone(&refused)), None, &view(&state, &ops), &page);
    assert!(matches!(made[0].place, Place::Prepend { .. }), "{made:?}");
    let made = fragments(&Change::CommandFinished(Arc::new(ended.clone())), None, &view(&state, &ops), &page);
    assert_eq!(made[0].place, Place::Morph);
    // A host's own page asks for its history.
    let page = PageKind::Host("hsb0".parse().unwrap());
    let made = fragments(&Change::CommandFinished(refused), None, &view(&state, &ops), &page);
    assert_eq!((made[0].place.clone(), ids(&made)), (Place::Ask, vec!["host-past", "host-ops"]));
}
