//! Runs: the matrix, the history, and the room that they take.

use nixfleet_protocol::api::{Command, CommandState, Run, RunState};

use super::*;

/// A run begins, goes on, and ends.
pub(super) fn changes() -> Vec<(Arc<Run>, Change)> {
    use CommandState::{Executing, Pending, Success};
    let run = |n, state, stage, states| Arc::new(sample::run(n, state, stage, &[("hsb0", states)]));
    let begun = run(40, RunState::Running, 0, [Executing, Pending, Pending]);
    let further = run(23, RunState::Running, 1, [Success, Executing, Pending]);
    let ended = run(23, RunState::Complete, 2, [Success; 3]);
    vec![
        (Arc::clone(&begun), Change::RunStarted(begun)),
        (Arc::clone(&further), Change::RunUpdated(further)),
        (Arc::clone(&ended), Change::RunFinished(ended)),
    ]
}

#[test]
fn without_runs_there_is_no_room_for_them() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    state.runs.clear();
    let page = fleet_page(&view(&state, &ops), SESSION);
    // The stylesheet hides the section around an empty list.
    assert_eq!(element(&page, "runs"), Some("<ol id=\"runs\" class=\"runs\"></ol>"));
    assert!(!element(&page, "counts").unwrap().contains("#all-runs"));
}

#[test]
fn a_run_shows_each_stage_of_each_host_while_it_goes_on() {
    let ops = sample::op_entries();
    let state = sample::state();
    let page = fleet_page(&view(&state, &ops), SESSION);
    let id = "run:01920000-0000-7000-8000-000000000017";
    let run = element(&page, id).unwrap();
    for host in ["hsb0", "hsb1", "hsb8", "csb0", "imac0"] {
        assert!(run.contains(&format!("href=\"/hosts/{host}\"")), "{host}");
    }
    for told in ["Switch: Running", "Switch: Failed", "Test: Skipped", "Test: Waits", "Pull: Success"] {
        assert!(run.contains(told), "{told}");
    }
    assert!(run.contains("<b>Pull</b> <span class=\"num\">5/5</span>"), "{run}");
    assert!(run.contains("aria-current=\"step\"><b>Switch</b> <span class=\"num\">1/5</span>"), "{run}");
    assert!(run.contains("/cancel\""));
    assert!(element(&page, "counts").unwrap().contains("#all-runs"));
    // What is over is a line; its matrix is on its own page.
    let over = element(&page, "run:01920000-0000-7000-8000-000000000016").unwrap();
    assert!(!over.contains("<table") && !over.contains("/cancel"), "{over}");
}

#[test]
fn the_page_of_a_run_has_its_own_commands() {
    let ops = sample::op_entries();
    let mut state = sample::state();
    let run = state.runs.values().next_back().unwrap().clone();
    let mut own = sample::command(50, "hsb1", Op::Switch, CommandState::Executing);
    own.run_id = Some(run.id);
    let own = Arc::new(own);
    state.commands.insert(own.id, Arc::clone(&own));
    let fleet = view(&state, &ops);
    let kind = PageKind::Run(run.id);
    let page = page(&fleet, &kind);
    let list = element(&page, "commands").unwrap();
    assert!(list.contains(&own.id.to_string()));
    assert_eq!(list.matches("<li").count(), 1, "and no other's");
    let made = fragments(&Change::CommandStarted(Arc::clone(&own)), None, &fleet, &kind);
    assert_fresh(&made, &page, "a command of a run");
    assert_eq!(made.len(), 1);
    let mut other = Command::clone(&own);
    other.run_id = None;
    assert!(fragments(&Change::CommandStarted(Arc::new(other)), None, &fleet, &kind).is_empty());
}
