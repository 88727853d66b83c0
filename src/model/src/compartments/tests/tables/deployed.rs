//! System and Tests, cell by cell.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::CommandState;

use super::{go, short, table};
use crate::compartments::tests::fixture::{Scene, Step, command, commit, lock, path};

#[test]
fn system() {
    table(
        |lights| &lights.system,
        &[
            ("current", |_| (), "🟢 details", "0000001 is deployed and runs; it is what the remote wants."),
            (
                "current, by the history",
                |scene| *scene = Scene::current_v2(),
                "🟢 details",
                "0000001 is deployed, by the history of switches; it is what the remote wants.",
            ),
            (
                "current, as the running system says",
                |scene| {
                    *scene = Scene::first_connect();
                    scene.host.facts.system_revision = Some(commit(1));
                },
                "🟢 details",
                "0000001 runs, as the system itself says; it is what the remote wants.",
            ),
            (
                "never switched by us, and runs another commit",
                |scene| {
                    *scene = Scene::first_connect();
                    scene.host.facts.system_revision = Some(commit(9));
                },
                "🟡 switch",
                "Pulled, not switched: 0000001 is checked out, 0000009 is deployed.",
            ),
            (
                "pulled, not switched",
                |scene| go(scene, &[Step::Push, Step::Pull]),
                "🟡 switch",
                "Pulled, not switched: 0000002 is checked out, 0000001 is deployed.",
            ),
            (
                "behind",
                |scene| go(scene, &[Step::Push]),
                "🟡 pull-switch",
                "0000001 is deployed. The remote wants 0000002 \"change 2\": pull, then switch.",
            ),
            (
                "behind, and what was pulled before was not switched",
                |scene| go(scene, &[Step::Push, Step::Pull, Step::Push]),
                "🟡 pull-switch; switch",
                "0000001 is deployed. The remote wants 0000003 \"change 3\": pull, then switch.",
            ),
            (
                "the lock alone is behind",
                |scene| scene.remote.desired.as_mut().unwrap().lock_hash = Some(lock(7)),
                "🟡 pull-switch",
                "0000001 is deployed. The remote wants another flake.lock: pull, then switch.",
            ),
            (
                "inputs updated on the host",
                |scene| go(scene, &[Step::BumpsFlake]),
                "🟡 switch",
                "0000001 is deployed with another flake.lock than the checkout has: switch.",
            ),
            (
                "inputs updated on the host and switched",
                |scene| go(scene, &[Step::BumpsFlake, Step::Switch]),
                "🟡 pull-switch",
                "0000001 is deployed with a flake.lock that was changed on the host.",
            ),
            (
                "changed outside",
                |scene| go(scene, &[Step::RollsBackByHand]),
                "🟡 switch",
                "Changed outside NixFleet: the running system is not the one deployed with 0000001.",
            ),
            (
                "a switch of nobody knows what",
                |scene| {
                    *scene = Scene::first_connect().after(&[Step::Switch]);
                    scene.host.facts.deployed = None;
                    scene.host.history.last_switch.as_mut().unwrap().commit = None;
                },
                "🟡 switch",
                "The switch of 2026-11-21 06:02 UTC succeeded, but nobody can say of which commit: switch again.",
            ),
            (
                "the remote can't be read",
                |scene| go(scene, &[Step::RemoteFails]),
                "🟡 refresh-git",
                "Can't be verified: the remote can't be read since 2026-11-21 06:04 UTC: no route to host.",
            ),
            (
                "the remote can't be read, pulled and not switched",
                |scene| go(scene, &[Step::Push, Step::Pull, Step::RemoteFails]),
                "🟡 switch",
                "Can't be verified: the remote can't be read since 2026-11-21 06:04 UTC: no route to host. What is \
                 checked out is not deployed either.",
            ),
            (
                "the remote can't be read, changed outside",
                |scene| go(scene, &[Step::RollsBackByHand, Step::RemoteFails]),
                "🟡 switch",
                "Can't be verified: the remote can't be read since 2026-11-21 06:04 UTC: no route to host. And the \
                 running system is not the one deployed from here.",
            ),
            ("no remote", |scene| scene.remote.source = None, "🟡 help", "Can't be verified: no remote is configured."),
            (
                "the remote was not read yet",
                |scene| scene.remote.desired = None,
                "🟡 refresh-git",
                "Can't be verified: the remote has not been read yet.",
            ),
            (
                "no commit reported",
                |scene| scene.host.facts.generation = None,
                "🟡 pull-switch",
                "Can't be verified: the host has reported no commit.",
            ),
            (
                "no lock reported",
                |scene| scene.host.facts.lock_hash = None,
                "🟡 refresh-lock",
                "Can't be verified: the host has not said which flake.lock it has.",
            ),
            (
                "the last switch failed",
                |scene| go(scene, &[Step::Push, Step::Pull, Step::SwitchFails]),
                "🔴 log; switch, rollback",
                "Switch of 0000002 failed (build) on 2026-11-21 06:02 UTC.",
            ),
            (
                "the activation failed",
                |scene| {
                    go(scene, &[Step::SwitchFails]);
                    let switch = scene.host.history.last_switch.as_mut().unwrap();
                    switch.op = Op::ForceRebuild;
                    switch.commit = None;
                    switch.stage = Some("activation".to_owned());
                },
                "🔴 log; force-rebuild, rollback",
                "Force-rebuild failed (activation) on 2026-11-21 06:02 UTC. The profile names the new generation \
                 already: try again, or roll back.",
            ),
            (
                "rolled back after the activation failed",
                |scene| {
                    go(scene, &[Step::SwitchFails]);
                    let switch = scene.host.history.last_switch.as_mut().unwrap();
                    switch.stage = Some("activation".to_owned());
                    switch.rolled_back = Some(switch.at.plus(std::time::Duration::from_mins(3)));
                },
                "🔴 log; switch",
                "Switch of 0000001 failed (activation) on 2026-11-21 06:02 UTC. It was rolled back on 2026-11-21 \
                 06:05 UTC: what runs is what ran before.",
            ),
            (
                "no history",
                |scene| *scene = Scene::first_connect(),
                "⚪ details; switch",
                "Nothing was ever switched from here, and the running system names no commit.",
            ),
            ("switch runs", |scene| go(scene, &[Step::Starts(Op::Switch)]), "🔵 log; stop", "Switch is running."),
        ],
    );
}

#[test]
fn tests_light() {
    table(
        |lights| &lights.tests,
        &[
            ("passed", |_| (), "🟢 log", "All 3 tests passed on 0000001, 2026-11-21 06:02 UTC."),
            (
                "failed",
                |scene| go(scene, &[Step::TestsFail]),
                "🔴 log; test, rollback",
                "2 of 3 tests failed: disk.sh and web.sh (2026-11-21 06:02 UTC).",
            ),
            (
                "failed before the first of them",
                |scene| {
                    go(scene, &[Step::TestsFail]);
                    let run = scene.host.history.last_test.as_mut().unwrap();
                    (run.total, run.passed) = (0, 0);
                },
                "🔴 log; test, rollback",
                "The test run of 2026-11-21 06:02 UTC failed.",
            ),
            (
                "many failed",
                |scene| {
                    go(scene, &[Step::TestsFail]);
                    let run = scene.host.history.last_test.as_mut().unwrap();
                    (run.total, run.passed) = (99, 59);
                    run.failed = (1..=20).map(|number| format!("{number}.sh")).collect();
                },
                "🔴 log; test, rollback",
                "40 of 99 tests failed: 1.sh, 2.sh, 3.sh and 37 more (2026-11-21 06:02 UTC).",
            ),
            (
                "another commit is deployed",
                |scene| go(scene, &[Step::Push, Step::Pull, Step::Switch]),
                "🟡 test; log",
                "Last ran for another deployed state (passed on 0000001): run them.",
            ),
            (
                "failed, and then another commit was deployed",
                |scene| go(scene, &[Step::TestsFail, Step::Push, Step::Pull, Step::Switch]),
                "🟡 test; log",
                "Last ran for another deployed state (failed on 0000001): run them.",
            ),
            (
                "another system runs",
                |scene| scene.host.facts.system_path = Some(path(99)),
                "🟡 test; log",
                "Last ran for another deployed state (passed on 0000001): run them.",
            ),
            (
                "the remote can't be read",
                |scene| go(scene, &[Step::RemoteFails]),
                "🟡 test; log",
                "Can't be verified: the remote can't be read. The tests passed on 2026-11-21 06:02 UTC.",
            ),
            (
                "a system of unknown commit, and it still runs",
                |scene| scene.host.history.last_test.as_mut().unwrap().commit = None,
                "🟢 log",
                "All 3 tests passed, 2026-11-21 06:02 UTC.",
            ),
            (
                "never ran",
                |scene| scene.host.history.last_test = None,
                "⚪ help; test",
                "3 tests never ran here. Add executable files hosts/<host>/tests/*.sh to the configuration repository \
                 for more.",
            ),
            (
                "never ran, and nobody said whether there are any",
                |scene| {
                    scene.host.history.last_test = None;
                    scene.host.facts.tests = None;
                },
                "⚪ help; test",
                "No test ran here yet. Add executable files hosts/<host>/tests/*.sh to the configuration repository \
                 if there are none.",
            ),
            (
                "no tests in the checkout",
                |scene| scene.host.facts.tests = Some(0),
                "⚪ help",
                "This host has no tests. Add executable files hosts/<host>/tests/*.sh to the configuration repository.",
            ),
            (
                "no tests when they ran",
                |scene| {
                    scene.host.facts.tests = None;
                    let run = scene.host.history.last_test.as_mut().unwrap();
                    (run.total, run.passed) = (0, 0);
                },
                "⚪ help",
                "This host has no tests. Add executable files hosts/<host>/tests/*.sh to the configuration repository.",
            ),
            ("tests run", |scene| go(scene, &[Step::Starts(Op::Test)]), "🔵 log; stop", "Test is running."),
        ],
    );
}

#[test]
fn a_command_that_is_not_over_is_blue_in_every_state() {
    for (state, expected) in [
        (CommandState::Pending, "🔵 log; stop"),
        (CommandState::Validating, "🔵 log; stop"),
        (CommandState::Executing, "🔵 log; stop"),
        (CommandState::RunningWarning, "🔵 log; stop"),
        (CommandState::TimeoutPending, "🔵 log; stop"),
        (CommandState::AwaitingReconnect, "🔵 log; stop"),
        (CommandState::Killing, "🔵 log"),
        (CommandState::Blocked, "🟢 details"),
        (CommandState::Success, "🟢 details"),
        (CommandState::Error, "🟢 details"),
        (CommandState::Partial, "🟢 details"),
        (CommandState::Killed, "🟢 details"),
        (CommandState::Timeout, "🟢 details"),
        (CommandState::StaleBinary, "🟢 details"),
        (CommandState::Suspicious, "🟢 details"),
        (CommandState::Orphaned, "🟢 details"),
        (CommandState::Cancelled, "🟢 details"),
        (CommandState::Skipped, "🟢 details"),
    ] {
        let mut scene = Scene::current();
        scene.running = Some(command(9, Op::Switch, state, scene.now));
        assert_eq!(short(&scene.lights().system), expected, "{state:?}");
    }
}

#[test]
fn an_agent_that_went_back_to_the_old_kind_is_told_from_what_is_newer() {
    let mut scene = Scene::current().after(&[Step::Push, Step::Pull]);
    scene.host.facts.protocol = Some(2);
    scene = scene.after(&[Step::Switch]);
    assert_eq!(short(&scene.lights().system), "🟢 details");
    scene.host.facts.protocol = Some(3);
    assert_eq!(short(&scene.lights().system), "🟡 switch", "the agent's own record counts again");
}
