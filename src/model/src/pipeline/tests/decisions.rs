//! Canary, soak, waves, and what a person decides when too much has failed.

use nixfleet_protocol::api::{self, Decision, WaitKind, Waves};
use serde_json::{Value, json};

use super::*;
use CommandState::{Cancelled, Error, Skipped, Success};

pub(super) fn rollout() -> RunOptions {
    RunOptions { canary: Some(canary(&["a"])), soak_s: 600, ..RunOptions::default() }
}

/// `a` is the canary and went through pull and switch; it soaks.
pub(super) fn soaking() -> World {
    let mut world = World::new("pull-switch", &["a", "b", "c"], rollout());
    assert_eq!(world.began(), "pull a");
    world.ends("a", Success);
    world.ends("a", Success);
    assert_eq!(world.began(), "switch a");
    world
}

/// The canary's switch failed.
fn halted() -> World {
    let mut world = World::new("pull-switch", &["a", "b", "c"], rollout());
    world.ends("a", Success);
    world.ends("a", Error);
    world.began();
    world
}

#[test]
fn the_failed_canary_stops_the_others() {
    let mut world = halted();
    assert_eq!((world.state(), world.waits()), (RunState::Halted, vec![WaitKind::Person]));
    let view = world.run.view(Vec::new());
    let asked = view.halted.unwrap();
    assert_eq!((asked.reason.as_str(), asked.failed), ("a has failed.", vec![host("a")]));
    assert_eq!(asked.decisions, [Decision::RetryFailed, Decision::Continue, Decision::Cancel]);
    world.after(1_000_000);
    assert_eq!((world.state(), world.began()), (RunState::Halted, String::new()), "until a person decides");
    let error = world.run.decide(Decision::Rollback, "user", world.now).unwrap_err();
    assert_eq!(error.code, "not_possible", "nothing was switched");
}

#[test]
fn who_fails_after_the_halt_is_in_its_reason() {
    let options = RunOptions { canary: Some(canary(&["a", "b"])), ..RunOptions::default() };
    let mut world = World::new("pull-switch", &["a", "b", "c"], options);
    let reason = |world: &World| world.run.view(Vec::new()).halted.unwrap().reason;
    world.ends("a", Error);
    assert_eq!(reason(&world), "a has failed.");
    world.ends("b", Error);
    assert_eq!(reason(&world), "a, b have failed.");
}

#[test]
fn continue_goes_on_without_those_that_failed() {
    let mut world = halted();
    world.run.decide(Decision::Continue, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "pull b, pull c");
    world.ends("b", Error);
    assert_eq!(world.state(), RunState::Halted, "another one has failed");
    world.run.decide(Decision::Continue, "user", world.now).unwrap();
    world.look();
    world.ends("c", Success);
    world.ends("c", Success);
    assert_eq!(world.state(), RunState::Partial);
}

#[test]
fn retry_failed_tries_from_the_stage_that_failed_and_goes_on() {
    let mut world = halted();
    let first = world.run.hosts[&host("a")].cells[1].command;
    world.run.decide(Decision::RetryFailed, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "switch a");
    let again = &world.run.hosts[&host("a")];
    assert_ne!(again.cells[1].command, first);
    assert_eq!((again.tried.len(), again.tried[0].command), (1, first));
    world.ends("a", Success);
    world.after(600);
    assert_eq!(world.began(), "pull b, pull c");
}

#[test]
fn who_did_not_stay_good_goes_through_all_again() {
    let mut world = soaking();
    world.is("a", HostState::Offline);
    world.run.decide(Decision::RetryFailed, "user", world.now).unwrap();
    world.is("a", HostState::Online);
    assert_eq!(world.began(), "pull a");
    world.ends("a", Success);
    world.ends("a", Success);
    assert_eq!(world.wakes_in(), Some(600), "and soaks again");
}

#[test]
fn rollback_takes_back_what_was_switched_and_nothing_else() {
    let options = RunOptions { waves: Some(Waves::Sizes(vec![3, 1])), ..RunOptions::default() };
    let mut world = World::new("do-all", &["a", "b", "c", "d"], options);
    for name in ["a", "b", "c"] {
        world.ends(name, Success);
    }
    world.ends("a", Success);
    world.blocked("b", "already_current");
    world.ends("c", Error);
    assert_eq!(world.state(), RunState::Halted);
    world.began();
    world.run.decide(Decision::Rollback, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "rollback a");
    assert_eq!(ops(&world.run), [Op::Pull, Op::Switch, Op::Test, Op::Rollback]);
    assert_eq!(world.states("a"), [Success, Success, Cancelled, CommandState::Pending]);
    assert_eq!(world.states("b")[3], Skipped);
    assert_eq!(world.states("d"), [Cancelled, Cancelled, Cancelled, Skipped]);
    world.ends("a", Success);
    assert_eq!(
        (world.state(), world.run.record.message.as_deref()),
        (RunState::Failed, Some("rolled back on 1 host."))
    );
}

/// A switch that is over, as everyone sees it.
fn switch(state: CommandState, exit_code: Option<i32>, details: Value) -> api::Command {
    let mut command = crate::command::Command::new(id(99), Some(host("a")), Op::Switch, "user".to_owned(), START);
    command.state = state;
    api::Command { exit_code, details, ..crate::view::command_view(&command) }
}

#[test]
fn a_switch_that_failed_when_the_new_system_ran_already_is_taken_back_too() {
    use CommandState::{Blocked, Executing, Partial, StaleBinary, Suspicious, Timeout};
    let left = |running: &str, profile: &str| json!({ "activation": { "wanted": "new", "running": running, "profile": profile } });
    for (what, state, exit, details, changed) in [
        ("it came to its end", Success, Some(0), Value::Null, true),
        ("inferred, by an old agent", Success, None, Value::Null, true),
        ("the build failed", Error, Some(1), Value::Null, false),
        ("the build failed, and the system before runs", Error, Some(4), left("old", "old"), false),
        ("the new one runs half-way", Error, Some(4), left("new", "new"), true),
        ("the new one boots next", Error, Some(4), left("old", "new"), true),
        ("the agent is the old one", StaleBinary, Some(0), Value::Null, true),
        ("the agent is odd", Suspicious, Some(0), Value::Null, true),
        ("not all of the goal", Partial, Some(0), Value::Null, true),
        ("nobody came back after it", Timeout, Some(0), Value::Null, true),
        ("there was nothing to do", Blocked, None, Value::Null, false),
        ("it still runs", Executing, None, Value::Null, false),
    ] {
        let said = Said::from(&switch(state, exit, details));
        assert!(matches!(said, Said::Is { switched, .. } if switched == changed), "{what}: {said:?}");
    }

    let mut world = World::new("pull-switch", &["a", "b"], rollout());
    world.ends("a", Success);
    world.say("a", Said::from(&switch(Error, Some(4), left("new", "new"))));
    let halted = world.run.view(Vec::new()).halted.unwrap();
    assert_eq!((halted.failed, halted.switched), (vec![host("a")], vec![host("a")]));
    // Another try, whose build fails, does not undo it.
    world.run.decide(Decision::RetryFailed, "user", world.now).unwrap();
    world.look();
    world.say("a", Said::from(&switch(Error, Some(1), Value::Null)));
    world.began();
    world.run.decide(Decision::Rollback, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "rollback a");
}

#[test]
fn rollback_waits_for_what_still_runs_on_a_host() {
    let options = RunOptions { canary: Some(canary(&["a", "b", "c"])), ..RunOptions::default() };
    let mut world = World::new("pull-switch", &["a", "b", "c"], options);
    for name in ["a", "b", "c"] {
        world.ends(name, Success);
    }
    world.ends("a", Success);
    world.ends("b", Error);
    world.began();
    world.run.decide(Decision::Rollback, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "rollback a", "c still switches");
    world.ends("c", Success);
    assert_eq!(world.began(), "rollback c");
    world.ends("a", Success);
    world.ends("c", Error);
    assert_eq!(world.run.record.message.as_deref(), Some("rolled back on 1 host, and not on c."));
}

#[test]
fn cancel_ends_a_halted_run() {
    let mut world = halted();
    world.run.decide(Decision::Cancel, "user", world.now).unwrap();
    world.look();
    assert_eq!((world.state(), world.states("b")), (RunState::Cancelled, vec![Cancelled, Cancelled]));
    assert_eq!(world.run.decide(Decision::Continue, "user", world.now).unwrap_err().code, "not_halted");
}

#[test]
fn a_canary_that_nobody_could_reach_stops_the_others_too() {
    let mut world = World::new("pull-switch", &["a", "b"], RunOptions { max_failures: Some(5), ..rollout() });
    world.say("a", Said::NotNow("a is not connected.".to_owned()));
    world.after(90);
    assert_eq!(world.state(), RunState::Halted);
    assert_eq!(world.run.view(Vec::new()).halted.unwrap().reason, "No host of Canary came through.");
}

#[test]
fn as_many_as_allowed_may_fail_and_without_groups_any_number() {
    let options = RunOptions { max_failures: Some(1), ..RunOptions::default() };
    let mut world = World::new("pull-switch", &["a", "b", "c"], options);
    world.ends("a", Error);
    assert_eq!(world.state(), RunState::Running);
    world.ends("b", Error);
    assert_eq!(world.state(), RunState::Halted);
    let mut any = World::new("pull-switch", &["a", "b"], RunOptions::default());
    any.ends("a", Error);
    any.ends("b", Error);
    assert_eq!(any.state(), RunState::Failed);
}

#[test]
fn a_merge_that_failed_is_tried_again_once_for_all() {
    let mut world = World::new("merge-deploy", &["a", "b"], rollout());
    world.blocked("", "no_pending_pr");
    assert_eq!(world.state(), RunState::Halted);
    world.began();
    world.run.decide(Decision::RetryFailed, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "merge-pr");
    world.ends("", Success);
    assert_eq!(world.began(), "pull a");
}
