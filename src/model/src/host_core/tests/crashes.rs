//! The daemon dies, the link breaks, a result comes twice: what is known stays true.

use super::*;

#[test]
fn an_answer_to_the_question_of_a_core_that_died_answers_nothing() {
    let mut dead = core();
    dead.step(Input::LinkUp { link: 1, register: register(3, HEAD) }, at(1));
    let step = submit(&mut dead, 1, Op::Pull, 2);
    let validating = step.writes.commands.clone();
    let (mut core, step) = Core::revive(settings(), *step.writes.host.unwrap(), validating, remote(HEAD, 0), at(3));
    assert_eq!(state_of(&step, 1), Some(CommandState::Blocked), "who asked is gone, and nothing had begun");
    assert_eq!(core.record().open, None);
    core.step(Input::LinkUp { link: 2, register: register(3, HEAD) }, at(4));
    submit(&mut core, 2, Op::Pull, 5);
    let step = core.step(Input::RemoteAsked { number: FIRST }, at(6));
    assert!(step.then.is_empty() && step.writes.is_empty());
    assert_eq!(core.open().map(|open| open.state), Some(CommandState::Validating));
    let step = core.step(Input::RemoteAsked { number: FIRST + 3000 }, at(6));
    assert_eq!(state_of(&step, 2), Some(CommandState::Blocked));
}

#[test]
fn a_pull_whose_verdict_was_waited_for_is_judged_after_a_crash() {
    // The clock before the crash may have been half a day ahead.
    for (head, noted_at, state) in [
        (HEAD, 3, CommandState::Success),
        ("ddddddd", 3, CommandState::Partial),
        ("ddddddd", 40_000, CommandState::Partial),
    ] {
        let mut core = linked();
        submit(&mut core, 1, Op::Pull, 2);
        core.step(heard(AgentMessage::Status(status(1, "pull", 0, 0))), at(noted_at));
        let step = core.step(Input::LogFlushed { command: id(1), bytes: 0 }, at(noted_at));
        let noted = step.writes.commands.clone();
        let (mut core, step) = Core::revive(settings(), *step.writes.host.unwrap(), noted, remote(HEAD, 0), at(5));
        assert!(core.open().and_then(crate::command::deadline).is_some_and(|deadline| deadline <= at(40)));
        let number = step.then.iter().find_map(|effect| match effect {
            Effect::AskRemote { number, .. } => Some(*number),
            _ => None,
        });
        core.step(Input::Remote(remote(head, 6)), at(6));
        let step = core.step(Input::RemoteAsked { number: number.unwrap() }, at(6));
        assert_eq!(state_of(&step, 1), Some(state), "{head}");
    }
}

#[test]
fn a_link_that_breaks_in_a_switch_is_neither_success_nor_failure() {
    let mut core = linked();
    submit(&mut core, 1, Op::Switch, 2);
    let step = core.step(Input::LinkDown { link: 1 }, at(3));
    assert_eq!(state_of(&step, 1), Some(CommandState::AwaitingReconnect));
    assert_eq!(core.record().history.last_switch, None, "and the light concludes nothing");
    let mut back = register(3, "aaaaaaa");
    back.results = vec![id(1)];
    core.step(Input::LinkUp { link: 2, register: back }, at(400));
    let failed = AgentMessage::Status(status(1, "switch", 4, 0));
    core.step(Input::Heard { link: 2, message: failed }, at(401));
    let step = core.step(Input::LogFlushed { command: id(1), bytes: 0 }, at(401));
    assert_eq!(state_of(&step, 1), Some(CommandState::Error), "only the agent's journal says how it ended");
}

#[test]
fn a_command_goes_on_over_a_crash() {
    let mut core = linked();
    let sent = submit(&mut core, 1, Op::Switch, 2);
    assert_eq!(frames(&sent), ["command"]);
    let open = sent.writes.commands.last().cloned().into_iter().collect();
    let (mut core, step) = Core::revive(settings(), *sent.writes.host.unwrap(), open, remote(HEAD, 0), at(9));
    assert_eq!(state_of(&step, 1), Some(CommandState::AwaitingReconnect));
    let mut back = register(3, "aaaaaaa");
    back.running = vec![id(1)];
    let step = core.step(Input::LinkUp { link: 2, register: back }, at(10));
    assert_eq!((frames(&step).len(), state_of(&step, 1)), (0, Some(CommandState::Executing)));
    assert!(matches!(&step.then[0], Effect::Registered { link: 2, commands } if commands[..] == [id(1)]));
}

#[test]
fn a_second_status_that_overtakes_the_log_changes_nothing() {
    for protocol in [2, 3] {
        let mut core = core();
        core.step(Input::LinkUp { link: 1, register: register(protocol, "aaaaaaa") }, at(1));
        submit(&mut core, 1, Op::Test, 2);
        for code in [0, 1] {
            let mut status = status(1, "test", code, 0);
            status.command_id = status.command_id.filter(|_| protocol >= 3);
            core.step(heard(AgentMessage::Status(status)), at(3));
        }
        let step = core.step(Input::LogFlushed { command: id(1), bytes: 0 }, at(3));
        assert_eq!(state_of(&step, 1), Some(CommandState::Success), "{protocol}");
    }
}
