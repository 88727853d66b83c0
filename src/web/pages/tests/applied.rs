//! An open page that is given the fragments of every change is the page that a fresh render would be: nothing on it
//! was rendered once and forgotten.

use nixfleet_model::fleet_state::{FleetState, RECENT_EVENTS, StateChange};
use nixfleet_protocol::api::{Merged, Remote};

use super::*;

/// The same without the space between elements, which nobody sees.
fn tight(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    for part in html.split('>') {
        if !out.is_empty() {
            out.push('>');
        }
        out.push_str(if part.trim_start().starts_with('<') { part.trim_start() } else { part });
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A page as the browser has it after these fragments. What is asked for is answered from the fresh page.
fn applied(mut page: String, made: &[Fragment], fresh: &str) -> String {
    for fragment in made {
        let there = element(&page, &fragment.id).map(str::to_owned);
        page = match (&fragment.place, there) {
            (Place::Remove, Some(old)) => page.replacen(&old, "", 1),
            (Place::Morph, Some(old)) => page.replacen(&old, fragment.html.trim(), 1),
            (Place::Insert { into, before }, old) => {
                let page = old.map_or(page.clone(), |old| page.replacen(&old, "", 1));
                insert(&page, into, before.as_deref(), &fragment.html)
            }
            (Place::Prepend { into, .. }, _) => {
                let parent = element(&page, into).unwrap().to_owned();
                let at = parent.find('>').unwrap() + 1;
                page.replacen(&parent, &format!("{}{}{}", &parent[..at], fragment.html, &parent[at..]), 1)
            }
            (Place::Ask, Some(old)) => page.replacen(&old, element(fresh, &fragment.id).unwrap(), 1),
            (Place::Morph | Place::Remove | Place::Ask, _) => page,
        };
    }
    page
}

fn insert(page: &str, into: &str, before: Option<&str>, html: &str) -> String {
    let parent = element(page, into).unwrap();
    let next = before.map(|before| element(page, before).unwrap());
    let at = match next {
        Some(next) => page.find(next).unwrap(),
        None => page.find(parent).unwrap() + parent.rfind("</").unwrap(),
    };
    format!("{}{html}{}", &page[..at], &page[at..])
}

#[test]
fn a_page_that_was_given_every_change_is_a_fresh_one() {
    let ops = sample::op_entries();
    let old = sample::state();
    let before = host_of(&old, "hsb0").clone();
    let mut changes = Vec::new();
    let mut busy = before.clone();
    busy.command = Some(Box::new(sample::command(1, "hsb0", Op::Test, CommandState::Executing)));
    let mut gone = before.clone();
    gone.state = HostState::Offline;
    let mut warm = before.clone();
    warm.metrics = Some(Metrics { cpu: Some(91.0), ..Metrics::default() });
    let mut moved = before.clone();
    moved.device_type = DeviceType::Gaming;
    let mut painted = before.clone();
    painted.color = Some("#010203".to_owned());
    for host in [busy, gone, warm, moved, painted] {
        changes.push((Change::HostUpdated(Arc::new(host.clone())), with_host(sample::state(), host)));
    }
    for (name, device) in [("aaa", DeviceType::Server), ("zzz", DeviceType::Unknown)] {
        let new = sample::host(name, device, "#123456", sample::green());
        changes.push((Change::HostAdded(Arc::new(new.clone())), with_host(sample::state(), new)));
    }
    let mut less = sample::state();
    less.hosts.remove(&before.id);
    changes.push((Change::HostRemoved(before.id.clone()), less));
    let mut read = sample::state();
    let mut remote = sample::remote();
    remote.subject = Some("another subject, which was pushed a moment ago".to_owned());
    read.remote = Arc::new(remote);
    changes.push((Change::RemoteUpdated(read.remote.clone()), read));
    let mut broken = sample::state();
    broken.server = Arc::new(Server { store_error: Some("disk full".to_owned()), ..sample::server() });
    changes.push((Change::ServerUpdated(broken.server.clone()), broken));

    for (run, change) in runs::changes() {
        let mut state = sample::state();
        state.runs.insert(run.id, run);
        changes.push((change, state));
    }
    let mut ended = sample::state();
    let mut command = sample::command(1, "hsb1", Op::Switch, CommandState::Success);
    command.finished_at = Some(sample::ago(0));
    ended.commands.insert(command.id, Arc::new(command.clone()));
    changes.push((Change::CommandFinished(Arc::new(command)), ended));

    let page_of_host = PageKind::Host(before.id.clone());
    let mut minute = before.clone();
    let sample = LoadSample { cpu: Some(77), ram: None };
    Arc::make_mut(&mut minute.past).keep(LoadHistory::minute_of(sample::NOW), sample);
    let mut full = before.clone();
    full.disk = full.disk.map(|disk| Disk { store_free: 7, ..disk });
    let mut switched = before.clone();
    switched.generations = sample::generations();
    switched.deployed = None;
    let mut broken_unit = before.clone();
    broken_unit.failed_units = vec!["a.service".to_owned(), "b.service".to_owned()];
    broken_unit.reboot_required = Some(true);
    let mut aside = before.clone();
    aside.broken = Some("it fell over three times".to_owned());
    let mut never = before.clone();
    never.state = HostState::Never;
    let mut stuck = before.clone();
    stuck.offers = Arc::default();
    for host in [minute, full, switched, broken_unit, aside, never, stuck] {
        changes.push((Change::HostUpdated(Arc::new(host.clone())), with_host(sample::state(), host)));
    }
    let mut begun = sample::state();
    let command = Arc::new(sample::command(99, "hsb0", Op::Test, CommandState::Pending));
    begun.commands.insert(command.id, Arc::clone(&command));
    changes.push((Change::CommandStarted(command), begun.clone()));
    let mut over = sample::command(5, "hsb0", Op::Pull, CommandState::Error);
    over.message = Some("no route to host".to_owned());
    let over = Arc::new(over);
    begun.commands.remove(&begun.commands.keys().next_back().copied().unwrap());
    begun.commands.insert(over.id, Arc::clone(&over));
    changes.push((Change::CommandFinished(over), begun));

    let pages = [&PageKind::Fleet, &PageKind::Events, &page_of_host];
    for ((change, state), kind) in changes.iter().flat_map(|change| pages.map(|page| (change, page))) {
        if matches!((change, kind), (Change::HostRemoved(_), PageKind::Host(_))) {
            continue; // there is no fresh one
        }
        assert_right(&old, state, change, Some(&before), kind, &ops);
    }
}

#[test]
fn what_a_halted_run_merged_can_be_reverted_until_it_was() {
    let ops = sample::op_entries();
    let mut before = sample::state();
    let id = before.runs.values().find(|run| run.halted.is_some()).unwrap().id;
    let mut remote = sample::remote();
    remote.merged = Some(Merged {
        number: 7,
        title: "flake.lock: Update".to_owned(),
        url: "https://github.com/infra/fleet/pull/7".to_owned(),
        commit: remote.commit.clone().unwrap(),
        at: sample::ago(60),
        by: format!("pipeline:{id}"),
    });
    before.remote = Arc::new(remote.clone());
    let mut after = before.clone();
    after.remote = Arc::new(Remote { merged: None, ..remote });
    for kind in [PageKind::Fleet, PageKind::Run(id)] {
        assert!(page(&view(&before, &ops), &kind).contains("Revert #7"), "{kind}");
        assert!(!page(&view(&after, &ops), &kind).contains("Revert #7"), "{kind}");
        assert_right(&before, &after, &Change::RemoteUpdated(after.remote.clone()), None, &kind, &ops);
        assert_right(&after, &before, &Change::RemoteUpdated(before.remote.clone()), None, &kind, &ops);
    }
}

#[test]
fn a_host_s_page_forgets_with_the_fleet() {
    let ops = sample::op_entries();
    let kind = PageKind::Host("hsb0".parse().unwrap());
    let mut state = sample::state();
    state.events.clear();
    let event = |id: u64, host| Arc::new(sample::event(id, 0, Level::Info, Some(host), "agent_connected", "It came."));
    // One of this host, the oldest of all that the state has room for.
    state.apply(StateChange::Event(event(1000, "hsb0")));
    for id in 1001..1000 + RECENT_EVENTS as u64 {
        state.apply(StateChange::Event(event(id, "hsb1")));
    }
    let shown = page(&view(&state, &ops), &kind);
    assert!(shown.contains("event:1000"));
    let change = state.apply(StateChange::Event(event(2000, "hsb1"))).unwrap();
    let made = fragments(&change, None, &view(&state, &ops), &kind);
    let fresh = page(&view(&state, &ops), &kind);
    assert!(!fresh.contains("event:1000"));
    assert_eq!(tight(&applied(shown, &made, &fresh)), tight(&fresh));
}

/// A page of the state before, given the fragments of a change, is the page of the state after.
fn assert_right(
    old: &FleetState,
    new: &FleetState,
    change: &Change,
    before: Option<&Host>,
    kind: &PageKind,
    ops: &[OpEntry],
) {
    let what = format!("{} on {kind}", change.kind());
    let made = fragments(change, before, &view(new, ops), kind);
    let (shown, fresh) = (page(&view(old, ops), kind), page(&view(new, ops), kind));
    let (shown, fresh) = (tight(&applied(shown, &made, &fresh)), tight(&fresh));
    let differ = shown.bytes().zip(fresh.bytes()).position(|(one, other)| one != other);
    let at = differ.or((shown.len() != fresh.len()).then_some(shown.len().min(fresh.len())));
    if let Some(at) = at {
        let part = |page: &str| {
            String::from_utf8_lossy(&page.as_bytes()[at.saturating_sub(200)..page.len().min(at + 200)]).into_owned()
        };
        panic!("{what}: {:?}\n--- an open page\n{}\n--- a fresh one\n{}", ids(&made), part(&shown), part(&fresh));
    }
}

#[test]
fn a_commands_page_that_was_given_every_change_is_a_fresh_one() {
    let ops = sample::op_entries();
    let old = sample::state();
    let failed = old.commands.values().find(|command| command.exit_code == Some(4)).unwrap().clone();
    let kind = PageKind::Command(failed.id);
    let with_command = |command: &Command| {
        let mut state = sample::state();
        state.commands.insert(command.id, Arc::new(command.clone()));
        state
    };
    let mut running = (*failed).clone();
    running.state = CommandState::Executing;
    running.progress = Some(Progress {
        phase: "build".to_owned(),
        done: Some(3),
        expected: Some(12),
        text: "openssl-3.4.2".to_owned(),
    });
    let running_state = with_command(&running);
    assert_right(&old, &running_state, &Change::CommandProgress(Arc::new(running)), None, &kind, &ops);
    for stage in ["evaluation", "build", "activation", "interrupted"] {
        let over = Command { stage: Some(stage.to_owned()), ..(*failed).clone() };
        let state = with_command(&over);
        assert_right(&running_state, &state, &Change::CommandFinished(Arc::new(over)), None, &kind, &ops);
        let shown = page(&view(&state, &ops), &kind);
        assert!(shown.to_lowercase().contains(stage), "{stage} is named");
    }
    // What is offered after it goes by its host.
    let before = host_of(&old, failed.host.as_ref().unwrap().as_str()).clone();
    let mut busy = before.clone();
    busy.offers = Arc::default();
    busy.command = Some(Box::new(sample::command(9, before.id.as_str(), Op::Test, CommandState::Executing)));
    let state = with_host(sample::state(), busy.clone());
    assert_right(&old, &state, &Change::HostUpdated(Arc::new(busy)), Some(&before), &kind, &ops);
}
