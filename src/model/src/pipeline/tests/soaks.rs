//! What a group has to stay in its soak, and how it is looked at.

use nixfleet_protocol::api::{Decision, GroupState, WaitKind};

use super::decisions::{rollout, soaking};
use super::*;
use CommandState::{Error, Success};

#[test]
fn the_others_follow_when_the_soak_is_over() {
    let mut world = soaking();
    assert_eq!((world.waits(), world.wakes_in()), (vec![WaitKind::Soak], Some(600)));
    let groups = world.run.view(Vec::new()).groups;
    assert_eq!([groups[0].state, groups[1].state], [GroupState::Soaking, GroupState::Waiting]);
    world.after(599);
    assert_eq!(world.began(), "");
    world.after(1);
    assert_eq!(world.began(), "pull b, pull c");
    for _ in 0..2 {
        world.ends("b", Success);
        world.ends("c", Success);
    }
    assert_eq!(world.state(), RunState::Complete, "behind the last group nothing soaks");
}

#[test]
fn who_turns_red_or_goes_offline_in_the_soak_has_failed() {
    let mut red = soaking();
    red.fact("a").red = true;
    red.look();
    assert_eq!(red.state(), RunState::Halted);
    let mut gone = soaking();
    gone.is("a", HostState::Offline);
    assert_eq!(gone.state(), RunState::Halted);
    let halted = gone.run.view(Vec::new()).halted.unwrap();
    assert_eq!((halted.failed, halted.switched), (vec![host("a")], vec![host("a")]));
    assert_eq!(gone.told, ["run_halted"]);
}

#[test]
fn who_was_red_before_and_stays_so_has_not_failed() {
    let mut world = World::new("pull-switch", &["a", "b"], rollout());
    world.fact("a").red = true;
    world.ends("a", Success);
    world.ends("a", Success);
    world.after(600);
    assert_eq!(world.run.record.group, 1);
}

#[test]
fn who_is_silent_for_a_moment_at_the_end_of_the_soak_is_waited_for() {
    let mut world = soaking();
    world.is("a", HostState::Stale);
    world.after(600);
    assert_eq!((world.state(), world.began()), (RunState::Running, String::new()));
    world.is("a", HostState::Online);
    assert_eq!(world.began(), "pull b, pull c");
    let mut silent = soaking();
    silent.is("a", HostState::Stale);
    silent.after(690);
    assert_eq!(silent.state(), RunState::Halted, "and not for ever");
}

#[test]
fn a_daemon_that_was_away_in_the_soak_lets_its_hosts_come_back() {
    let mut world = soaking();
    world.facts.daemon_started = START.plus(Duration::from_hours(1));
    world.now = world.facts.daemon_started;
    world.is("a", HostState::Offline);
    world.after(60);
    assert_eq!((world.state(), world.began()), (RunState::Running, String::new()));
    world.is("a", HostState::Online);
    assert_eq!(world.began(), "pull b, pull c");
}

/// The run of a canary of which this becomes true in its soak.
fn after(change: impl Fn(&mut HostFact)) -> World {
    let mut world = soaking();
    change(world.fact("a"));
    world.look();
    world
}

#[test]
fn whose_system_is_changed_or_whose_units_fail_in_the_soak_has_failed() {
    let why = |world: &World| world.run.view(Vec::new()).notes.get(&host("a")).cloned().unwrap_or_default();
    for (system, said) in [
        (SystemNow::ChangedOutside, "a: its running system was changed in the soak."),
        (SystemNow::NotSwitched, "a: its checkout was changed in the soak."),
    ] {
        let world = after(|a| a.system = system);
        assert_eq!((world.state(), why(&world).as_str()), (RunState::Halted, said));
    }
    let world = after(|a| a.failed_units = vec!["web.service".to_owned()]);
    assert_eq!((world.state(), why(&world).as_str()), (RunState::Halted, "a: web.service failed in the soak."));
    assert_eq!(after(|a| a.system = SystemNow::Unknown).state(), RunState::Running, "nobody can say is no failure");
}

#[test]
fn what_was_bad_before_the_soak_is_not_held_against_it_and_what_got_better_is() {
    let mut world = World::new("pull-switch", &["a", "b"], rollout());
    world.fact("a").system = SystemNow::NotSwitched;
    world.fact("a").failed_units = vec!["old.service".to_owned()];
    world.ends("a", Success);
    world.ends("a", Success);
    world.after(10);
    assert_eq!((world.state(), world.waits()), (RunState::Running, vec![WaitKind::Soak]));
    world.fact("a").system = SystemNow::Current;
    world.look();
    world.fact("a").system = SystemNow::ChangedOutside;
    world.look();
    assert_eq!(world.state(), RunState::Halted);
}

#[test]
fn the_tests_run_once_more_when_the_soak_is_over() {
    let through = || {
        let mut world = World::new("do-all", &["a", "b"], rollout());
        for _ in 0..3 {
            world.ends("a", Success);
        }
        assert_eq!(world.began(), "pull a, switch a, test a");
        world.after(600);
        assert_eq!(world.began(), "test a", "and nobody else");
        world
    };
    let mut good = through();
    good.ends("a", Success);
    assert_eq!(good.began(), "pull b", "without another soak");
    assert!(good.run.view(Vec::new()).notes.is_empty());
    let mut bad = through();
    bad.ends("a", Error);
    assert_eq!((bad.state(), bad.began()), (RunState::Halted, String::new()));
    bad.run.decide(Decision::RetryFailed, "user", bad.now).unwrap();
    bad.look();
    assert_eq!(bad.began(), "test a");
    bad.ends("a", Success);
    assert_eq!((bad.began(), bad.waits()), (String::new(), vec![WaitKind::Soak]), "it soaks again");
}

#[test]
fn a_clock_that_was_ahead_makes_nobody_wait_for_its_time() {
    let hours = |number: u64| Duration::from_hours(number);
    // It was ten hours ahead when the soak began.
    let mut world = World::new("pull-switch", &["a", "b"], rollout());
    world.now = START.plus(hours(10));
    world.ends("a", Success);
    world.ends("a", Success);
    world.began();
    world.now = START;
    world.look();
    assert_eq!(world.wakes_in(), Some(600));
    world.after(600);
    assert_eq!(world.began(), "pull b");

    let mut turn = World::new("pull-switch", &["a"], RunOptions::default());
    let (ahead, command) = (Some(START.plus(hours(10))), turn.under_way("a"));
    let cell = &mut turn.run.hosts.get_mut(&host("a")).unwrap().cells[0];
    (cell.turn_at, cell.begun_at) = (ahead, ahead);
    turn.facts.daemon_started = START.plus(hours(10));
    turn.facts.said.insert(command, Said::NotNow("busy".to_owned()));
    turn.look();
    assert_eq!(turn.wakes_in(), Some(90));
}
