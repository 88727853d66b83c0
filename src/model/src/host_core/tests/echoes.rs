//! A second `status` of an old agent, which names no id: it ends nothing that has not begun.

use super::*;

fn old() -> Core {
    let mut core = core();
    core.step(Input::LinkUp { link: 1, register: register(2, "aaaaaaa") }, at(1));
    beats(&mut core, None, 1);
    core
}

fn beats(core: &mut Core, pending: Option<&str>, second: i64) {
    let beat = Heartbeat { pending_command: pending.map(str::to_owned), ..Heartbeat::default() };
    core.step(heard(AgentMessage::Heartbeat(Box::new(beat))), at(second));
}

/// An old agent says that an op ended.
fn says_ended(core: &mut Core, number: u8, op: &str, exit_code: i32, second: i64) {
    let status = Status { command_id: None, output_end: None, ..*status(number, op, exit_code, 0) };
    core.step(heard(AgentMessage::Status(Box::new(status))), at(second));
    core.step(Input::LogFlushed { command: id(number), bytes: 0 }, at(second));
}

fn open(core: &Core) -> Option<CommandId> {
    core.open().map(|open| open.id)
}

/// A test that ended, and a second one that was begun behind it.
fn begun_again() -> Core {
    let mut core = old();
    submit(&mut core, 1, Op::Test, 2);
    says_ended(&mut core, 1, "test", 0, 3);
    assert_eq!(open(&core), None, "the first of its kind is believed at once");
    beats(&mut core, None, 3);
    submit(&mut core, 2, Op::Test, 4);
    core
}

#[test]
fn a_second_status_does_not_end_the_next_command_of_the_same_op() {
    for word in ["test", ""] {
        let mut core = begun_again();
        says_ended(&mut core, 2, word, 0, 5);
        beats(&mut core, None, 5);
        assert_eq!(open(&core), Some(id(2)), "a heartbeat that may be older than the command says nothing");
        beats(&mut core, Some("test"), 9);
        beats(&mut core, Some("test"), 14);
        assert_eq!(open(&core), Some(id(2)), "{word:?}: it runs, so that was the first one's");
        says_ended(&mut core, 2, word, 1, 15);
        assert_eq!(open(&core), None);
        assert_eq!(core.record().history.last_test.as_ref().map(|run| run.ok), Some(false), "its own result counts");
    }
}

#[test]
fn a_command_that_is_quicker_than_a_heartbeat_and_says_nothing_ends_all_the_same() {
    let mut core = begun_again();
    says_ended(&mut core, 2, "test", 1, 5);
    beats(&mut core, None, 5);
    beats(&mut core, None, 9);
    assert_eq!(open(&core), None);
    assert_eq!(core.record().history.last_test.as_ref().map(|run| run.ok), Some(false));
    // Or at once, where two came.
    submit(&mut core, 3, Op::Test, 10);
    says_ended(&mut core, 3, "test", 1, 10);
    says_ended(&mut core, 3, "test", 0, 11);
    assert_eq!(open(&core), None);
    assert_eq!(core.record().history.last_test.as_ref().map(|run| run.ok), Some(true), "the second is its own");
}

#[test]
fn a_result_that_a_heartbeat_settles_is_seen_with_it() {
    let mut core = begun_again();
    says_ended(&mut core, 2, "test", 1, 5);
    core.changes(at(5));
    let beat = Input::Heard { link: 1, message: AgentMessage::Heartbeat(Box::default()) };
    let step = core.step(beat, at(9));
    let Some(StateChange::Host(told)) = step.writes.changes.last() else { panic!("the host is told last") };
    let tests = &told.host.lights.tests;
    assert_eq!((told.host.command.as_ref(), tests), (None, &core.view(None, at(9)).host.lights.tests));
    assert_eq!(tests.status, LightStatus::Error);
}

#[test]
fn what_a_late_result_of_a_command_that_was_given_up_says_of_the_host_is_seen() {
    let mut core = begun_again();
    let said = Status { command_id: None, output_end: None, generation: commit("ccccccc"), ..*status(2, "test", 0, 0) };
    core.step(heard(AgentMessage::Status(Box::new(said))), at(5));
    core.step(Input::LogFlushed { command: id(2), bytes: 0 }, at(5));
    assert_eq!(open(&core), Some(id(2)), "it may be an echo");
    core.step(Input::Act { ask: 1, command: id(2), action: Act::GiveUp, actor: "user".into() }, at(6));
    submit(&mut core, 3, Op::CheckVersion, 7);
    core.changes(at(7));
    beats(&mut core, None, 11);
    assert_eq!((open(&core), core.record().facts.generation.clone()), (Some(id(3)), commit("ccccccc")));
    let fresh = core.view(None, at(11));
    assert_eq!(core.changes(at(11)).pop(), Some(StateChange::Host(Arc::new(fresh))));
    says_ended(&mut core, 3, "check-version", 0, 12);
    assert_eq!(open(&core), None, "the result that was settled was another op's, so this is no echo");
}

#[test]
fn a_sign_of_life_makes_the_next_status_its_own() {
    let mut printed = begun_again();
    printed.step(Input::LogGrew { command: id(2), bytes: 9 }, at(5));
    says_ended(&mut printed, 2, "test", 0, 6);
    assert_eq!(open(&printed), None);
    let mut seen = begun_again();
    beats(&mut seen, Some("test"), 5);
    says_ended(&mut seen, 2, "test", 0, 6);
    assert_eq!(open(&seen), None);
    let mut other = begun_again();
    other.step(Input::Act { ask: 1, command: id(2), action: Act::GiveUp, actor: "user".into() }, at(5));
    submit(&mut other, 3, Op::CheckVersion, 6);
    says_ended(&mut other, 3, "check-version", 0, 6);
    assert_eq!(open(&other), None, "another op than the last one is no echo");
}
