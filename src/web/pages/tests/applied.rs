//! An open page that is given the fragments of every change is the page that a fresh render would be: nothing on it
//! was rendered once and forgotten.

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

/// A page as the browser has it after these fragments.
fn applied(mut page: String, made: &[Fragment]) -> String {
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
            (Place::Morph | Place::Remove, _) => page,
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
    busy.command = Some(sample::command(1, "hsb0", Op::Test, CommandState::Executing));
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

    for (change, state) in &changes {
        assert_right(&old, state, change, Some(&before), &PageKind::Fleet, &ops);
    }
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
    let what = change.kind();
    let made = fragments(change, before, &view(new, ops), kind);
    let (shown, fresh) = (page(&view(old, ops), kind), page(&view(new, ops), kind));
    let (shown, fresh) = (tight(&applied(shown, &made)), tight(&fresh));
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
    busy.offers = Vec::new();
    busy.command = Some(sample::command(9, before.id.as_str(), Op::Test, CommandState::Executing));
    let state = with_host(sample::state(), busy.clone());
    assert_right(&old, &state, &Change::HostUpdated(Arc::new(busy)), Some(&before), &kind, &ops);
}
