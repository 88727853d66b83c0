//! Commands without a slot, ids that were forgotten, and what a restart of the dashboard does to those that had not
//! begun.

use super::*;

/// What happens, in which order and when, and where it leads.
type Row = (&'static str, Vec<(i64, Input)>, S);

#[test]
fn an_id_that_the_agent_forgot_is_orphaned_and_no_failure() {
    for (op, protocol) in [(Op::Switch, 3), (Op::Test, 3)] {
        let mut command = sent(op, protocol);
        step(&mut command, Input::Rejected { reason: "forgotten".into() }, at(1));
        assert_eq!((command.state, command.exit_code), (S::Orphaned, None));
    }
}

#[test]
fn a_journal_lives_as_long_as_it_is_read() {
    let up = |runs, result| said(agent(3, 1, 1, 1), runs, result);
    let revived = Input::Revived { last_heard: None };
    let table: Vec<Row> = vec![
        ("is read", vec![(900_000, TIMER)], S::Executing),
        ("ends by itself", vec![(1, ended(exit(0)))], S::Success),
        ("fails", vec![(1, ended(exit(1)))], S::Error),
        ("its reader left", vec![(1, Input::ReaderLeft)], S::Killing),
        ("and it is gone", vec![(1, Input::ReaderLeft), (2, ended(exit(130)))], S::Killed),
        ("ended well before", vec![(1, Input::ReaderLeft), (2, ended(exit(0)))], S::Success),
        ("the agent says nothing more", vec![(1, Input::ReaderLeft), (31, TIMER)], S::Killed),
        ("and the link went", vec![(1, Input::ReaderLeft), (2, Input::LinkDown)], S::Killed),
        ("a link that blinks", vec![(1, Input::LinkDown), (5, up(true, false))], S::Executing),
        ("away for long", vec![(1, Input::LinkDown), (91, TIMER)], S::Killed),
        ("left while it was away", vec![(1, Input::LinkDown), (2, Input::ReaderLeft)], S::Killed),
        ("a restart of the dashboard", vec![(1, revived)], S::Killed),
        ("stopped by a person", vec![(1, Input::Stop), (2, ended(exit(130)))], S::Killed),
    ];
    for (name, inputs, state) in table {
        let mut command = sent(Op::Journal, 3);
        for (second, input) in inputs {
            step(&mut command, input, at(second));
        }
        assert_eq!(command.state, state, "{name}: {:?}", command.message);
    }
    let mut other = sent(Op::Test, 3);
    assert_eq!(step(&mut other, Input::ReaderLeft, at(1)), []);
    assert_eq!(other.state, S::Executing, "nothing else ends with its readers");
}

#[test]
fn a_wake_ends_when_the_host_registers() {
    let table: Vec<Row> = vec![
        ("an old agent", vec![(1, said(agent(2, 1, 1, 1), false, false))], S::Success),
        ("one of ours", vec![(1, said(agent(3, 1, 1, 1), false, false))], S::Success),
        ("takes long", vec![(60, TIMER)], S::RunningWarning),
        ("does not wake", vec![(60, TIMER), (300, TIMER)], S::Timeout),
        ("is given more time", vec![(60, Input::Extend { minutes: 10 }), (300, TIMER)], S::Executing),
        ("over a restart", vec![(1, Input::Revived { last_heard: None }), (200, TIMER)], S::RunningWarning),
        ("stopped", vec![(1, Input::Stop)], S::Killed),
    ];
    for (name, inputs, state) in table {
        let mut command = sent(Op::Wake, 2);
        for (second, input) in inputs {
            step(&mut command, input, at(second));
        }
        assert_eq!(command.state, state, "{name}: {:?}", command.message);
    }
}

#[test]
fn what_had_not_begun_is_refused_at_once_by_the_dashboard_that_comes_back() {
    let mut command = new(Op::Pull);
    step(&mut command, Input::Validating, at(0));
    step(&mut command, Input::Revived { last_heard: None }, at(1));
    assert_eq!((command.state, command.code.as_deref()), (S::Blocked, Some("not_started")));
}

#[test]
fn who_waits_for_a_register_gives_time_to_come_back_after_a_restart_of_the_dashboard() {
    for (op, limit) in [(Op::Restart, 120), (Op::Reboot, 600)] {
        let mut command = sent(op, 3);
        step(&mut command, Input::Revived { last_heard: None }, at(limit + 1000));
        step(&mut command, TIMER, at(limit + 1089));
        assert_eq!(command.state, S::AwaitingReconnect, "{op}");
        step(&mut command, TIMER, at(limit + 1090));
        assert_eq!(command.state, S::Timeout, "{op}");
    }
}
