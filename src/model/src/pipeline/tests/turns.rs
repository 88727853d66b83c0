//! Stages, turns and waiting: what begins when, and how a run ends.

use nixfleet_protocol::api::{Offline, WaitKind};

use super::*;
use CommandState::{AwaitingReconnect, Cancelled, Error, Executing, Skipped, Success, Timeout, TimeoutPending};

#[test]
fn stage_by_stage_over_all_hosts() {
    let mut world = World::new("do-all", &["a", "b"], RunOptions::default());
    assert_eq!(world.began(), "pull a, pull b");
    world.ends("a", Success);
    assert_eq!(world.began(), "", "b has still to pull");
    world.ends("b", Success);
    assert_eq!(world.began(), "switch a, switch b");
    for _ in 0..2 {
        world.ends("a", Success);
        world.ends("b", Success);
    }
    assert_eq!(
        (world.state(), world.run.record.message.as_deref()),
        (RunState::Complete, Some("2 hosts came through."))
    );
    assert_eq!(world.told, ["run_finished"]);
}

#[test]
fn who_fails_skips_what_follows_and_the_others_go_on() {
    let mut world = World::new("do-all", &["a", "b"], RunOptions::default());
    world.ends("a", Error);
    assert_eq!(world.states("a"), [Error, Skipped, Skipped]);
    for _ in 0..3 {
        world.ends("b", Success);
    }
    assert_eq!(world.state(), RunState::Partial);
    let message = world.run.record.message.clone().unwrap();
    assert_eq!(message, "1 of 2 hosts came through; not a.");
}

#[test]
fn nothing_to_do_counts_as_passed_and_another_refusal_does_not() {
    let mut world = World::new("pull-switch", &["a", "b"], RunOptions::default());
    world.blocked("a", "already_current");
    world.blocked("b", "remote_unavailable");
    assert_eq!((world.states("a")[0], world.states("b")), (Success, vec![CommandState::Blocked, Skipped]));
    assert_eq!(world.run.view(Vec::new()).notes[&host("b")], "Pull: because of remote_unavailable");
    world.blocked("a", "already_current");
    assert_eq!(world.state(), RunState::Partial);
}

#[test]
fn no_more_at_once_than_parallel() {
    let options = RunOptions { parallel: Some(2), ..RunOptions::default() };
    let mut world = World::new("pull-switch", &["c", "b", "a"], options);
    assert_eq!(world.began(), "pull b, pull c", "in the order that was asked for");
    world.ends("b", Success);
    assert_eq!(world.began(), "pull a");
    world.ends("c", Success);
    assert_eq!(world.began(), "");
}

#[test]
fn a_host_that_is_away_has_its_turn_when_it_comes_and_not_for_ever() {
    let mut world = World::new("pull-switch", &["a", "b"], RunOptions::default());
    world.ends("a", Success);
    world.ends("b", Success);
    world.is("a", HostState::Online);
    let mut world = World::new("pull-switch", &["b"], RunOptions::default());
    world.began();
    world.ends("b", Success);
    world.began();
    world.facts.hosts.get_mut(&host("b")).unwrap().state = HostState::Stale;
    let mut away = World::new("pull-switch", &["a", "b"], RunOptions::default());
    away.facts.hosts.get_mut(&host("a")).unwrap().state = HostState::Offline;
    away.run = draft(
        Registry::default().get("pull-switch").unwrap(),
        wanted(&["a", "b"], RunOptions::default()),
        |_| Vec::new(),
        START,
    )
    .unwrap();
    away.begun.clear();
    away.look();
    assert_eq!((away.began(), away.wakes_in()), ("pull b".to_owned(), Some(90)));
    assert_eq!(away.waits(), [WaitKind::Online]);
    away.after(89);
    away.is("a", HostState::Online);
    assert_eq!(away.began(), "pull a");

    away.is("a", HostState::Offline);
    away.ends("a", Success);
    away.ends("b", Success);
    assert_eq!(away.began(), "switch b");
    away.after(90);
    assert_eq!(away.states("a"), [Success, Skipped]);
    away.ends("b", Success);
    assert_eq!(away.state(), RunState::Partial);
}

#[test]
fn who_is_offline_at_its_first_turn_can_be_skipped_at_once() {
    let options = RunOptions { offline: Offline::Skip, ..RunOptions::default() };
    let mut world = World::new("pull-switch", &["a"], options.clone());
    world.ends("a", Success);
    assert_eq!(world.began(), "pull a, switch a");
    let again = |started: Time| {
        let mut world = World::new("pull-switch", &["a"], options.clone());
        let known = Registry::default();
        let fresh = draft(known.get("pull-switch").unwrap(), wanted(&["a"], options.clone()), |_| Vec::new(), START);
        world.run = fresh.unwrap();
        world.facts.daemon_started = started;
        world.is("a", HostState::Offline);
        world
    };
    assert_eq!(again(START.minus(Duration::from_hours(1))).state(), RunState::Failed);
    let mut young = again(START.minus(Duration::from_secs(30)));
    assert_eq!((young.state(), young.wakes_in()), (RunState::Running, Some(90)), "the daemon has just started");
    young.after(60);
    assert_eq!(young.state(), RunState::Failed);
}

#[test]
fn a_host_that_could_not_take_it_is_asked_again_with_the_same_command() {
    let mut world = World::new("pull-switch", &["a"], RunOptions::default());
    let first = world.under_way("a");
    world.say("a", Said::NotNow("a is busy.".to_owned()));
    assert_eq!((world.under_way("a"), world.wakes_in()), (first, Some(90)));
    world.after(89);
    assert_eq!(world.under_way("a"), first);
    world.after(1);
    assert_eq!((world.states("a"), world.state()), (vec![Skipped, Skipped], RunState::Failed));
}

#[test]
fn a_command_that_does_not_come_back_is_waited_for_until_its_limit_and_90_seconds_more() {
    for (state, seconds) in [(AwaitingReconnect, 300 + 90), (TimeoutPending, 300 + 90), (Executing, 24 * 3600)] {
        let mut world = World::new("pull-switch", &["a", "b"], RunOptions::default());
        world.ends("b", Success);
        world.ends("a", state);
        assert_eq!(world.wakes_in(), Some(seconds), "{state:?}");
        world.after(seconds - 1);
        assert_eq!(world.states("a")[0], state);
        world.began();
        world.after(1);
        assert_eq!(world.states("a"), [Timeout, Skipped], "{state:?}");
        assert_eq!(world.began(), "switch b", "the run goes on without it");
    }
    let mut silent = World::new("pull-switch", &["a"], RunOptions::default());
    silent.after(390);
    assert_eq!(silent.state(), RunState::Failed, "of which nobody ever said anything");
}

#[test]
fn a_command_that_ran_long_is_not_over_with_the_first_loss_of_its_link() {
    let mut world = World::new("pull-switch", &["a", "b"], RunOptions::default());
    world.ends("b", Success);
    world.ends("a", TimeoutPending);
    // A person extends it; it goes on for an hour, and then its link is gone for a moment.
    world.ends("a", Executing);
    world.after(3600);
    world.ends("a", AwaitingReconnect);
    assert_eq!((world.states("a")[0], world.wakes_in()), (AwaitingReconnect, Some(90)));
    world.after(60);
    world.ends("a", Executing);
    world.after(600);
    world.ends("a", TimeoutPending);
    world.after(89);
    assert_eq!(world.states("a")[0], TimeoutPending);
    world.after(1);
    assert_eq!(world.states("a"), [Timeout, Skipped]);
}

#[test]
fn a_run_that_nobody_carries_on_ends_with_all_that_is_open() {
    let mut world = World::new("pull-switch", &["a", "b"], RunOptions::default());
    world.ends("b", Success);
    let told: Vec<_> = world.run.abandon("user", world.now).unwrap().into_iter().map(|event| event.action).collect();
    assert_eq!(
        (told, world.state()),
        (vec!["run_cancelled".to_owned(), "run_finished".to_owned()], RunState::Cancelled)
    );
    assert_eq!((world.states("a"), world.states("b")), (vec![Cancelled, Cancelled], vec![Success, Cancelled]));
    assert!(world.run.record.is_over());
    assert_eq!(world.run.abandon("user", world.now).unwrap_err().code, "run_over");
}

#[test]
fn a_daemon_that_was_away_waits_for_its_agents_first() {
    let mut world = World::new("pull-switch", &["a"], RunOptions::default());
    world.ends("a", AwaitingReconnect);
    world.facts.daemon_started = START.plus(Duration::from_hours(2));
    world.now = world.facts.daemon_started;
    world.after(89);
    assert_eq!(world.states("a")[0], AwaitingReconnect);
    world.ends("a", Success);
    assert_eq!(world.began(), "pull a, switch a");
}

#[test]
fn a_dashboard_op_runs_once_and_stands_for_every_host() {
    let mut world = World::new("merge-deploy", &["a", "b"], RunOptions::default());
    assert_eq!(world.began(), "merge-pr");
    world.ends("", Executing);
    assert_eq!(world.states("a")[0], Executing);
    world.ends("", Success);
    assert_eq!((world.states("b")[0], world.began()), (Success, "pull a, pull b".to_owned()));

    let mut refused = World::new("merge-deploy", &["a", "b"], RunOptions::default());
    refused.blocked("", "no_pending_pr");
    assert_eq!(refused.states("b"), [CommandState::Blocked, Skipped, Skipped, Skipped]);
    assert_eq!(refused.state(), RunState::Failed);

    // Merged, and the head does not show it: who went on would deploy the old head, and call it done.
    let mut unseen = World::new("merge-deploy", &["a", "b"], RunOptions::default());
    assert_eq!(unseen.began(), "merge-pr");
    unseen.ends("", CommandState::Partial);
    assert_eq!(unseen.began(), "", "nothing is pulled");
    assert_eq!(unseen.states("a"), [CommandState::Partial, Skipped, Skipped, Skipped]);
    assert_eq!(unseen.state(), RunState::Failed);
}

#[test]
fn cancel_lets_what_runs_finish_and_begins_nothing_more() {
    let options = RunOptions { parallel: Some(1), ..RunOptions::default() };
    let mut world = World::new("pull-switch", &["a", "b"], options);
    world.run.cancel("user", world.now).unwrap();
    world.look();
    assert_eq!((world.states("b"), world.state()), (vec![Cancelled, Cancelled], RunState::Running));
    assert_eq!(world.waits(), [WaitKind::Command]);
    world.ends("a", Success);
    assert_eq!((world.states("a"), world.state()), (vec![Success, Cancelled], RunState::Cancelled));
    assert_eq!(world.run.cancel("user", world.now).unwrap_err().code, "run_over");

    let mut waits = World::new("pull-switch", &["a"], RunOptions::default());
    waits.say("a", Said::NotNow("busy".to_owned()));
    waits.run.cancel("user", waits.now).unwrap();
    waits.look();
    assert_eq!((waits.states("a"), waits.state()), (vec![Cancelled, Cancelled], RunState::Cancelled));
}
