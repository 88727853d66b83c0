//! What is told to those who can't see it.

use nixfleet_protocol::api::Event;

use super::*;

fn said_of(state: &FleetState, kind: &PageKind) -> String {
    let ops = sample::op_entries();
    element(&page(&view(state, &ops), kind), "said").unwrap().to_owned()
}

fn ended(number: u64, host: &str, actor: &str) -> Arc<Event> {
    let mut event = sample::event(
        number,
        0,
        Level::Error,
        Some(host),
        "command_finished",
        "switch failed: switch ended with code 1",
    );
    event.actor = actor.to_owned();
    event.details = serde_json::json!({ "op": "switch", "state": "ERROR" });
    Arc::new(event)
}

#[test]
fn the_end_of_a_command_is_told_on_every_page() {
    let mut state = sample::state();
    let event = ended(90, "hsb0", "user");
    state.events.push_front(Arc::clone(&event));
    let ops = sample::op_entries();
    for kind in kinds(&state) {
        assert!(said_of(&state, &kind).contains("hsb0: Switch failed with code 1"), "{kind}");
        let made = fragments(&Change::Event(Arc::clone(&event)), None, &view(&state, &ops), &kind);
        assert_eq!(ids(&made).last(), Some(&"said"), "{kind}");
    }
}

#[test]
fn of_the_commands_of_a_run_nobody_is_told_and_of_its_halt_and_its_end_everyone() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    let before = said_of(&state, &PageKind::Settings);
    let id = *state.runs.keys().next().unwrap();
    let event = ended(90, "hsb0", &format!("pipeline:{id}"));
    state.events.push_front(Arc::clone(&event));
    assert_eq!(said_of(&state, &PageKind::Settings), before);
    let made = fragments(&Change::Event(event), None, &view(&state, &ops), &PageKind::Fleet);
    assert!(!ids(&made).contains(&"said"), "{made:?}");
    for (n, action, message) in [
        (91, "run_halted", "Do all halted: hsb0 has failed."),
        (92, "run_decided", "Do all goes on"),
        (93, "run_finished", "Do all: 3 hosts came through."),
    ] {
        let mut event = sample::event(n, 0, Level::Warn, None, action, message);
        event.actor = format!("pipeline:{id}");
        let event = Arc::new(event);
        state.events.push_front(Arc::clone(&event));
        let made = fragments(&Change::Event(event), None, &view(&state, &ops), &PageKind::Fleet);
        let said = made.iter().find(|fragment| fragment.id == "said").unwrap();
        assert!(said.html.contains(message), "{said:?}");
    }
}

#[test]
fn a_host_that_goes_offline_is_told_and_one_that_is_stale_is_not() {
    let ops = sample::op_entries();
    let before = host_of(&sample::state(), "hsb0").clone();
    for (how, told) in [(HostState::Stale, false), (HostState::Offline, true)] {
        let host = Host { state: how, ..before.clone() };
        let state = with_host(sample::state(), host.clone());
        let change = Change::HostUpdated(Arc::new(host));
        let made = fragments(&change, Some(&before), &view(&state, &ops), &PageKind::Events);
        assert_eq!(ids(&made) == ["said"], told, "{how:?}: {made:?}");
        assert_eq!(said_of(&state, &PageKind::Events).contains("Offline: hsb0 and mba-air."), told);
    }
}

#[test]
fn what_was_told_last_is_silent_when_the_state_forgets_it() {
    use nixfleet_model::fleet_state::RECENT_EVENTS;
    let ops = sample::op_entries();
    let mut state = sample::state();
    state.events.clear();
    for n in (0_u64..).take(RECENT_EVENTS) {
        let event = sample::event(n, 0, Level::Info, None, "login", "Signed in.");
        state.events.push_front(Arc::new(event));
    }
    let event = Arc::clone(&state.events[0]);
    let fleet = view(&state, &ops);
    let made = fragments(&Change::Event(event), None, &fleet, &PageKind::Fleet);
    assert_fresh(&made, &page(&fleet, &PageKind::Fleet), "forgotten");
    assert!(ids(&made).contains(&"said"));
}
