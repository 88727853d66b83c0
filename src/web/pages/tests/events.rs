//! Events: what the pages are told of, and what a line says.

use super::super::{EventsPage, events_page};
use super::*;

/// The page of events, of those that the state has.
pub(super) fn shown(fleet: &Fleet<'_>, filter: &EventFilter) -> String {
    let found: Vec<_> = fleet.state.events.iter().filter(|event| filter.takes(event)).cloned().collect();
    let page = EventsPage { filter, within: "", before: None, events: &found, next: None };
    events_page(fleet, page, SESSION)
}

#[test]
fn a_filtered_page_is_told_of_what_its_filter_takes_and_of_nothing_else() {
    let ops = sample::op_entries();
    let state = sample::state();
    let fleet = view(&state, &ops);
    let page = PageKind::search(EventFilter { words: vec!["caddy".to_owned()], ..EventFilter::default() });
    for (message, told) in [("The unit caddy.service failed.", 1), ("Another one failed.", 0)] {
        let event = Arc::new(sample::event(10, 0, Level::Error, None, "command_finished", message));
        let made = fragments(&Change::Event(event), None, &fleet, &page);
        assert_eq!(ids(&made).iter().filter(|id| **id != "said").count(), told, "{message}");
    }
}

#[test]
fn an_event_unfolds_its_details_and_leads_to_its_command() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    let mut event = sample::event(10, 0, Level::Error, Some("csb0"), "command_finished", "Switch failed.");
    let id = "01920000-0000-7000-8000-000000000002";
    event.message = "switch failed: switch ended with code 4: no space".to_owned();
    event.details = serde_json::json!({
        "command_id": id, "op": "switch", "exit_code": 4, "state": "ERROR", "forced": false, "args": { "unit": "a" },
        "none": null,
    });
    state.events.push_front(Arc::new(event));
    let page = page(&view(&state, &ops), &PageKind::Events);
    let line = element(&page, "event:10").unwrap();
    assert!(line.contains(&format!("href=\"/commands/{id}\"")) && line.contains("href=\"/hosts/csb0\""), "{line}");
    for told in [
        ">Switch failed with code 4: no space<",
        "<dt>Exit code</dt><dd><span class=\"event-value\">4</span>",
        "<dt>State</dt><dd><span class=\"event-value\">Failed</span>",
        "<dt>Unit</dt><dd><span class=\"event-value\">a</span>",
        "<dt>Kind</dt><dd>What people did",
    ] {
        assert!(line.contains(told), "{told}: {line}");
    }
    let summary = line.split("</summary>").next().unwrap();
    for machine in ["command_finished", "audit", "exit_code", "ERROR", "Forced", "None"] {
        assert!(!summary.contains(machine), "{machine}: {line}");
    }
    assert!(!line.contains("Forced") && !line.contains("<dt>None"), "{line}");
}

#[test]
fn an_event_does_not_say_its_host_twice_and_no_name_is_written_in_another_way() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    for (n, host, message) in [(10, Some("csb0"), "csb0 disconnected"), (11, None, "hsb0 and hsb1 were merged")] {
        state.events.push_front(Arc::new(sample::event(n, 0, Level::Info, host, "told", message)));
    }
    let page = page(&view(&state, &ops), &PageKind::Events);
    for (id, told) in [("event:10", ">Disconnected<"), ("event:11", ">hsb0 and hsb1 were merged<")] {
        assert!(element(&page, id).unwrap().contains(told), "{told}");
    }
}

#[test]
fn an_event_of_a_run_names_the_run_and_leads_to_it() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    let run = state.runs.values().next().unwrap().clone();
    let mut event = sample::event(10, 0, Level::Warn, None, "run_halted", "Do all halted: atlas has failed.");
    event.actor = format!("pipeline:{}", run.id);
    event.details = serde_json::json!({ "run_id": run.id, "pipeline": "do-all", "state": "HALTED" });
    state.events.push_front(Arc::new(event));
    let page = page(&view(&state, &ops), &PageKind::Events);
    let line = element(&page, "event:10").unwrap();
    assert!(line.contains("<span class=\"event-by cut\">Do all</span>"), "{line}");
    assert!(line.contains(&format!("<a href=\"/runs/{}\" rel=\"noreferrer\">Do all</a>", run.id)), "{line}");
    for told in [
        "<dt>Pipeline</dt><dd><span class=\"event-value\">Do all<",
        "<dt>State</dt><dd><span class=\"event-value\">Halted<",
    ] {
        assert!(line.contains(told), "{told}: {line}");
    }
}

#[test]
fn the_settings_read_themselves_anew_when_tokens_or_sessions_changed() {
    let ops = sample::op_entries();
    let state = sample::state();
    let fleet = view(&state, &ops);
    for (action, told) in [("token_created", 1), ("session_ended", 1), ("login", 1), ("command_finished", 0)] {
        let event = Arc::new(sample::event(10, 0, Level::Info, None, action, "It happened."));
        let made = fragments(&Change::Event(event), None, &fleet, &PageKind::Settings);
        let told_anew: Vec<_> = made.iter().filter(|fragment| fragment.id != "said").collect();
        assert_eq!(told_anew.len(), told, "{action}");
        assert!(told_anew.iter().all(|fragment| fragment.html.contains("data-stale")), "{action}");
    }
    let page = page(&fleet, &PageKind::Settings);
    assert!(!page.contains("data-stale"));
    for part in
        ["this one", "End all others", "NIXFLEET_TOTP_SECRET", "otpauth://totp/", "30 days", "data-method=\"DELETE\""]
    {
        assert!(page.contains(part), "{part}");
    }
}
