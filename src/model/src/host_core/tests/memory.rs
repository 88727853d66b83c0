//! What is remembered of commands that are over, and of commits that the remote is to know.

use super::*;

#[test]
fn a_good_test_run_of_an_old_agent_is_green() {
    let mut core = core();
    core.step(Input::LinkUp { link: 1, register: register(2, HEAD) }, at(1));
    for (number, exit_code, light) in [(1, 0, LightStatus::Ok), (2, 1, LightStatus::Error)] {
        submit(&mut core, number, Op::Test, 2);
        let mut status = status(number, "test", exit_code, 0);
        (status.command_id, status.output_end) = (None, None);
        core.step(heard(AgentMessage::Status(status)), at(3));
        core.step(Input::LogFlushed { command: id(number), bytes: 9 }, at(3));
        let run = core.record().history.last_test.clone().unwrap();
        assert_eq!((run.ok, run.total), (exit_code == 0, 1));
        assert_eq!(core.view(None, at(4)).host.lights.tests.status, light);
    }
}

#[test]
fn a_result_that_comes_late_says_nothing_of_what_happened_since() {
    let mut core = linked();
    submit(&mut core, 1, Op::Switch, 20);
    core.step(heard(AgentMessage::Status(status(1, "switch", 0, 0))), at(30));
    core.step(Input::LogFlushed { command: id(1), bytes: 0 }, at(30));
    let before = core.record().history.clone();
    assert!(before.last_switch.as_ref().is_some_and(|switch| switch.ok));
    // One that was lost from the store, ended earlier and failed.
    let mut late = status(9, "switch", 1, 0);
    late.finished_at = Some(at(10));
    core.step(heard(AgentMessage::Status(late)), at(40));
    let mut found = Command::new(id(9), Some(host()), Op::Switch, "user".into(), at(5));
    found.state = CommandState::Executing;
    core.step(Input::Found { id: id(9), command: Some(Box::new(found)) }, at(40));
    let step = core.step(Input::LogFlushed { command: id(9), bytes: 0 }, at(40));
    assert_eq!(state_of(&step, 9), Some(CommandState::Error));
    assert_eq!(core.record().history.last_switch, before.last_switch);
}

#[test]
fn a_remote_that_was_restarted_hears_of_the_commit_again() {
    let mut core = linked();
    let step = core.step(Input::Remote(remote("ccccccc", 5)), at(5));
    assert!(matches!(&step.then[..], [Effect::Interest(named)] if Some(named) == commit("aaaaaaa").as_ref()));
}
