//! Tests that run by themselves after a switch: when they begin, and when not.

use nixfleet_protocol::RunId;
use nixfleet_protocol::agent::Deployed;

use super::*;
use crate::host_core::auto_test::{ACTOR, IDLE_FOR, WITHIN};

/// A heartbeat of a host with so many tests.
fn beat(link: u64, tests: Option<u32>) -> Input {
    Input::Heard { link, message: AgentMessage::Heartbeat(Box::new(Heartbeat { tests, ..Heartbeat::default() })) }
}

/// A host with tests, linked and heard.
fn ready(settings: Settings, tests: Option<u32>) -> Core {
    let record = HostRecord::new(host(), at(0));
    let mut core = Core::revive(Arc::new(settings), record, Vec::new(), remote(HEAD, 0), at(0)).0;
    core.step(Input::LinkUp { link: 1, register: register(3, "aaaaaaa") }, at(1));
    core.step(beat(1, tests), at(1));
    core
}

fn usual() -> Settings {
    Settings::clone(&settings())
}

/// An op begins at this second.
fn begin(core: &mut Core, number: u8, request: Submit, second: i64) -> Step {
    core.step(Input::Submit { ask: 1, id: id(number), request }, at(second))
}

/// Its result comes.
fn end(core: &mut Core, number: u8, op: Op, exit_code: i32, second: i64) -> Step {
    let mut status = status(number, op.as_str(), exit_code, 0);
    status.generation = commit("aaaaaaa");
    let deployed =
        Deployed { commit: commit("aaaaaaa").unwrap(), lock_hash: lock(), system_path: None, number: None, at: at(1) };
    status.deployed = Some(deployed);
    core.step(heard(AgentMessage::Status(status)), at(second));
    core.step(Input::LogFlushed { command: id(number), bytes: 0 }, at(second))
}

fn forced(op: Op) -> Submit {
    Submit { force: true, ..wish(op) }
}

/// A good switch that ends at second 10.
fn switched(core: &mut Core) {
    begin(core, 1, forced(Op::Switch), 5);
    end(core, 1, Op::Switch, 0, 10);
    assert!(core.open().is_none(), "{:?}", core.open());
}

fn asks(step: &Step) -> bool {
    step.then.iter().any(|effect| matches!(effect, Effect::AutoTest))
}

/// Lets the timer fire whenever the core wants it, up to this second; the second at which it asks for an id.
fn wait(core: &mut Core, from: i64, until: i64) -> Option<i64> {
    let mut now = at(from);
    while let Some(wake) = core.next_wake(now) {
        if wake > at(until) {
            return None;
        }
        now = wake.max(now.plus(Duration::from_millis(1)));
        if asks(&core.step(Input::Timer, now)) {
            return Some((now.millis() - at(0).millis()) / 1000);
        }
    }
    None
}

#[test]
fn after_a_good_switch_the_tests_begin_when_the_host_was_idle_for_five_seconds() {
    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    assert_eq!(core.record().history.auto_test, Some(id(1)));
    assert_eq!(wait(&mut core, 10, 100), Some(15));
    let step = core.step(Input::AutoTest { id: id(9) }, at(15));
    let open = core.open().unwrap();
    assert_eq!((open.op, open.actor.as_str(), open.state), (Op::Test, ACTOR, CommandState::Executing));
    assert_eq!((frames(&step), actions(&step)), (vec!["command"], vec!["command_started"]));
    assert_eq!(core.record().history.auto_test, None);
    assert_eq!(core.view(None, at(15)).host.lights.tests.status, LightStatus::Working);
    end(&mut core, 9, Op::Test, 0, 20);
    assert_eq!(wait(&mut core, 20, 10_000), None, "once");
}

#[test]
fn where_no_tests_are_to_run_by_themselves_none_do() {
    let run: RunId = "0190b6a8-0000-7000-8000-0000000000ff".parse().unwrap();
    let in_a_run = Submit { run_id: Some(run), ..forced(Op::Switch) };
    let off = Settings { auto_test: false, ..usual() };
    for (what, settings, tests, request, exit_code) in [
        ("switched off", off, Some(2), forced(Op::Switch), 0),
        ("the host has none", usual(), Some(0), forced(Op::Switch), 0),
        ("its agent does not say", usual(), None, forced(Op::Switch), 0),
        ("the switch was of a run", usual(), Some(2), in_a_run, 0),
        ("the switch failed", usual(), Some(2), forced(Op::Switch), 1),
        ("it was no switch", usual(), Some(2), forced(Op::Restart), 0),
    ] {
        let mut core = ready(settings, tests);
        let op = request.op;
        begin(&mut core, 1, request, 5);
        end(&mut core, 1, op, exit_code, 10);
        let asked = wait(&mut core, 10, 10_000);
        if asked.is_some() {
            core.step(Input::AutoTest { id: id(9) }, at(15));
        }
        assert!(core.open().is_none_or(|open| open.op != Op::Test), "{what}");
        assert_eq!(core.record().history.auto_test, None, "{what}");
    }
}

#[test]
fn an_agent_that_does_not_know_test_is_not_asked() {
    let mut core = ready(usual(), Some(2));
    let register = Register { features: vec!["pull".into(), "switch".into()], ..*register(3, "aaaaaaa") };
    core.step(Input::LinkUp { link: 1, register: Box::new(register) }, at(2));
    switched(&mut core);
    assert_eq!(core.record().history.auto_test, None);
}

#[test]
fn what_a_person_asks_for_first_is_not_refused() {
    for (op, second, runs_later) in
        [(Op::Test, 12, false), (Op::Gc, 12, true), (Op::Gc, 14, true), (Op::Switch, 12, true)]
    {
        let mut core = ready(usual(), Some(2));
        switched(&mut core);
        let step = begin(&mut core, 2, forced(op), second);
        assert_eq!(refusal(&step), None, "{op}");
        assert_eq!(wait(&mut core, second, second + 10), None, "{op} runs");
        end(&mut core, 2, op, 0, second + 10);
        let begins = wait(&mut core, second + 10, 200);
        assert_eq!(begins, runs_later.then_some(second + 15), "{op}: idle for five seconds again");
    }
}

#[test]
fn what_comes_between_the_question_for_an_id_and_its_answer_goes_first() {
    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    assert_eq!(wait(&mut core, 10, 100), Some(15));
    assert_eq!(refusal(&begin(&mut core, 2, forced(Op::Gc), 15)), None);
    let step = core.step(Input::AutoTest { id: id(9) }, at(15));
    assert!(step.then.is_empty() && step.writes.commands.is_empty(), "no refused command is left behind");
    end(&mut core, 2, Op::Gc, 0, 20);
    assert_eq!(wait(&mut core, 20, 100), Some(25));
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    assert!(refusal(&begin(&mut core, 2, wish(Op::Reboot), 12)).is_some());
    assert_eq!(core.record().history.auto_test, Some(id(1)));
    assert_eq!(wait(&mut core, 12, 100), Some(15));
}

#[test]
fn it_waits_for_the_agent_to_come_back() {
    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    core.step(Input::LinkDown { link: 1 }, at(12));
    assert_eq!(wait(&mut core, 12, 100), None);
    core.step(Input::LinkUp { link: 2, register: register(3, "aaaaaaa") }, at(100));
    core.step(beat(2, Some(2)), at(101));
    assert_eq!(wait(&mut core, 101, 200), Some(106));
}

#[test]
fn it_is_forgotten_after_an_hour_and_when_something_else_is_deployed() {
    let hour = i64::try_from(WITHIN.as_secs()).unwrap();
    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    core.step(Input::LinkDown { link: 1 }, at(11));
    assert_eq!(wait(&mut core, 11, 10 + hour), None);
    assert_eq!(core.record().history.auto_test, None, "an hour");

    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    begin(&mut core, 2, forced(Op::Switch), 12);
    end(&mut core, 2, Op::Switch, 1, 13);
    assert_eq!(core.record().history.auto_test, None, "a switch that failed half-way");

    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    let moved = Heartbeat { generation: commit("ccccccc"), ..Heartbeat::default() };
    let step = core.step(heard(AgentMessage::Heartbeat(Box::new(moved))), at(12));
    assert_eq!(core.record().history.auto_test, None, "a pull");
    assert!(step.writes.host.is_some(), "and that is on disk");
}

#[test]
fn the_intent_survives_a_restart_and_waits_five_seconds_again() {
    let mut core = ready(usual(), Some(2));
    switched(&mut core);
    let record = core.record().clone();
    let mut core = Core::revive(settings(), record, Vec::new(), remote(HEAD, 0), at(13)).0;
    assert_eq!(wait(&mut core, 13, 30), None, "nobody is linked");
    core.step(Input::LinkUp { link: 2, register: register(3, "aaaaaaa") }, at(30));
    core.step(beat(2, Some(2)), at(30));
    assert_eq!(wait(&mut core, 30, 100), Some(35));
    core.step(Input::AutoTest { id: id(9) }, at(35));
    let (record, open) = (core.record().clone(), core.open().cloned().into_iter().collect());
    let mut core = Core::revive(settings(), record, open, remote(HEAD, 0), at(36)).0;
    assert_eq!(wait(&mut core, 36, 10_000), None, "once begun it is begun");
}

/// What may happen between a switch and its tests.
#[derive(Clone, Debug)]
enum Happens {
    Wait(u16),
    Submit(Op),
    Ends(bool),
    LinkGoes,
    LinkComes,
    Restart,
}

fn happens() -> impl Strategy<Value = Happens> {
    let ops = prop_oneof![Just(Op::Switch), Just(Op::Test), Just(Op::Gc), Just(Op::Rollback)];
    prop_oneof![
        (0_u16..3000).prop_map(Happens::Wait),
        (0_u16..8).prop_map(Happens::Wait),
        ops.prop_map(Happens::Submit),
        any::<bool>().prop_map(Happens::Ends),
        Just(Happens::LinkGoes),
        Just(Happens::LinkComes),
        Just(Happens::Restart),
    ]
}

proptest! {
    /// Whatever happens: it begins on an idle host alone, never within five seconds of anything else there, at most
    /// once for a switch, within the hour; and nobody is ever refused because of one that has not begun.
    #[test]
    fn it_never_stands_in_anybodys_way(story in prop::collection::vec(happens(), 1..60)) {
        let mut core = ready(usual(), Some(2));
        let (mut now, mut number, mut link) = (5_i64, 1_u8, 1_u64);
        let mut last_busy = now;
        for next in std::iter::once(Happens::Submit(Op::Switch)).chain(story) {
            match next {
                Happens::Wait(seconds) => {
                    for _ in 0..seconds {
                        now += 1;
                        while core.next_wake(at(now)).is_some_and(|wake| wake <= at(now)) {
                            let step = core.step(Input::Timer, at(now));
                            if asks(&step) {
                                prop_assert!(core.open().is_none() && core.link().is_some());
                                prop_assert!(now - last_busy >= i64::try_from(IDLE_FOR.as_secs()).unwrap());
                                let switch = core.record().history.last_switch.clone().unwrap();
                                prop_assert!(at(now).since(switch.at) < WITHIN);
                                number += 1;
                                core.step(Input::AutoTest { id: id(number) }, at(now));
                                prop_assert_eq!(core.record().history.auto_test, None);
                            }
                            if core.next_wake(at(now)).is_some_and(|wake| wake <= at(now)) && !asks(&step) {
                                break;
                            }
                        }
                        if core.open().is_some() {
                            last_busy = now;
                        }
                    }
                }
                Happens::Submit(op) => {
                    number += 1;
                    let busy = core.open().is_some();
                    let step = begin(&mut core, number, forced(op), now);
                    if !busy && core.link().is_some() {
                        prop_assert_ne!(refusal(&step), Some("host_busy"));
                        last_busy = now;
                    }
                }
                Happens::Ends(ok) => {
                    if let Some((command, op)) = core.open().map(|open| (open.id, open.op)) {
                        let mut status = status(1, op.as_str(), i32::from(!ok), 0);
                        (status.command_id, status.generation) = (Some(command), commit("aaaaaaa"));
                        core.step(Input::Heard { link, message: AgentMessage::Status(status) }, at(now));
                        core.step(Input::LogFlushed { command, bytes: 0 }, at(now));
                        last_busy = now;
                    }
                }
                Happens::LinkGoes => {
                    core.step(Input::LinkDown { link }, at(now));
                    last_busy = now;
                }
                Happens::LinkComes => {
                    link += 1;
                    let mut register = register(3, "aaaaaaa");
                    register.running.extend(core.open().map(|open| open.id));
                    core.step(Input::LinkUp { link, register }, at(now));
                    core.step(beat(link, Some(2)), at(now));
                    last_busy = now;
                }
                Happens::Restart => {
                    let open = core.open().cloned().into_iter().collect();
                    core = Core::revive(settings(), core.record().clone(), open, remote(HEAD, 0), at(now)).0;
                    last_busy = now;
                }
            }
        }
    }
}
