#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for")]

use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Deployed, Heartbeat, Register, Status};
use nixfleet_protocol::api::{CommandState, LightStatus};
use nixfleet_protocol::{HostId, Op};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::checks::TotpProof;
use crate::remote::Desired;

mod auto_tests;
mod crashes;
mod echoes;
mod memory;
mod owner;
mod played;
mod sequences;
mod shown;
mod wishes;

const HEAD: &str = "bbbbbbb";
/// The first question of a core that began at second 0.
const FIRST: u64 = 1_000_000_000_001;

fn at(seconds: i64) -> Time {
    Time::from_millis(1_000_000_000_000 + seconds * 1000)
}

fn id(number: u8) -> CommandId {
    format!("0190b6a8-0000-7000-8000-0000000000{number:02x}").parse().unwrap()
}

fn commit(text: &str) -> Option<Commit> {
    text.parse().ok()
}

fn lock() -> Option<nixfleet_protocol::LockHash> {
    "1".repeat(64).parse().ok()
}

fn remote(head: &str, read: i64) -> Arc<RemoteState> {
    let mut remote = RemoteState::new(Some("/repo".into()), "main", Duration::from_secs(30));
    let desired = Desired {
        commit: head.parse().unwrap(),
        subject: "a change".into(),
        author: "a".into(),
        committed_at: at(0),
        lock_hash: lock(),
    };
    remote.read(desired, at(read));
    Arc::new(remote)
}

fn host() -> HostId {
    "h".parse().unwrap()
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        server_version: "3.0.0".into(),
        daemon_started: at(0),
        totp_configured: true,
        kill_at_limit: false,
        alike: Arc::default(),
        auto_test: true,
    })
}

fn core() -> Core {
    Core::revive(settings(), HostRecord::new(host(), at(0)), Vec::new(), remote(HEAD, 0), at(0)).0
}

fn register(protocol: u32, generation: &str) -> Box<Register> {
    let uuid = |number: u8| format!("0190b6a8-0000-7000-8000-0000000000{number:02x}");
    let deployed =
        Deployed { commit: commit("aaaaaaa").unwrap(), lock_hash: lock(), system_path: None, number: None, at: at(0) };
    Box::new(Register {
        hostname: "H".into(),
        agent_version: "3.0.0".into(),
        protocol: Some(protocol),
        journal: uuid(1).parse().ok().filter(|_| protocol >= 3),
        instance: uuid(2).parse().ok().filter(|_| protocol >= 3),
        generation: commit(generation),
        lock_hash: lock(),
        deployed: Some(deployed).filter(|_| protocol >= 3),
        heartbeat_interval: Some(5),
        ..Register::default()
    })
}

fn linked() -> Core {
    let mut core = core();
    core.step(Input::LinkUp { link: 1, register: register(3, "aaaaaaa") }, at(1));
    core
}

fn wish(op: Op) -> Submit {
    Submit::new(op, "user")
}

fn submit(core: &mut Core, number: u8, op: Op, second: i64) -> Step {
    let request = Submit { force: op == Op::Switch, ..wish(op) };
    core.step(Input::Submit { ask: u64::from(number), id: id(number), request }, at(second))
}

fn status(number: u8, op: &str, exit_code: i32, end: u64) -> Box<Status> {
    Box::new(Status {
        command: op.into(),
        exit_code: Some(exit_code),
        command_id: Some(id(number)),
        output_end: Some(end),
        generation: commit(HEAD),
        lock_hash: lock(),
        ..Status::default()
    })
}

fn heard(message: AgentMessage) -> Input {
    Input::Heard { link: 1, message }
}

fn frames(step: &Step) -> Vec<&'static str> {
    step.then
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { message, .. } | Effect::Order { message, .. } => Some(match message {
                DashboardMessage::Registered(_) => "registered",
                DashboardMessage::Command(_) => "command",
                DashboardMessage::KillCommand(_) => "kill",
                DashboardMessage::OutputAck(_) => "output_ack",
                DashboardMessage::StatusAck(_) => "status_ack",
            }),
            _ => None,
        })
        .collect()
}

fn state_of(step: &Step, number: u8) -> Option<CommandState> {
    step.writes.commands.iter().rev().find(|command| command.id == id(number)).map(|command| command.state)
}

fn actions(step: &Step) -> Vec<&str> {
    step.writes.events.iter().map(|event| event.action.as_str()).collect()
}

fn refusal(step: &Step) -> Option<&str> {
    step.then.iter().find_map(|effect| match effect {
        Effect::Answer { answer: Submitted::Blocked(_, refusal), .. } => Some(refusal.code),
        _ => None,
    })
}

#[test]
fn a_pull_from_the_click_to_the_light() {
    let mut core = linked();
    let step = submit(&mut core, 1, Op::Pull, 2);
    assert_eq!((frames(&step), state_of(&step, 1)), (vec!["command"], Some(CommandState::Executing)));
    assert_eq!(actions(&step), ["command_started"]);
    assert_eq!(core.view(None, at(2)).host.lights.git.status, LightStatus::Working);

    let step = core.step(heard(AgentMessage::Status(status(1, "pull", 0, 100))), at(3));
    assert!(matches!(step.then[..], [Effect::FlushLog(_)]), "first the log");
    let step = core.step(Input::LogFlushed { command: id(1), bytes: 100 }, at(3));
    assert_eq!(frames(&step), ["status_ack"], "acknowledged behind its commit");
    assert_eq!(state_of(&step, 1), Some(CommandState::Executing), "judged against the poll that follows");
    assert!(step.then.iter().any(|effect| matches!(effect, Effect::AskRemote { number: FIRST, .. })));

    core.step(Input::Remote(remote(HEAD, 4)), at(4));
    let step = core.step(Input::RemoteAsked { number: FIRST }, at(4));
    assert_eq!((state_of(&step, 1), actions(&step)), (Some(CommandState::Success), vec!["command_finished"]));
    assert_eq!(core.record().open, None);
    let lights = core.view(None, at(4)).host.lights.clone();
    assert_eq!(lights.git.status, LightStatus::Ok);
    assert_eq!(lights.system.status, LightStatus::Outdated, "pulled, not switched");
}

#[test]
fn a_result_waits_for_its_log_and_a_gap_brings_the_agent_back() {
    let mut core = linked();
    submit(&mut core, 1, Op::Test, 2);
    core.step(heard(AgentMessage::Status(status(1, "test", 0, 100))), at(3));
    let step = core.step(Input::LogFlushed { command: id(1), bytes: 60 }, at(3));
    assert!(matches!(step.then[..], [Effect::CloseLink { link: 1, .. }]));
    assert!(core.open().is_some());
}

#[test]
fn a_second_op_is_refused_and_names_the_first() {
    let mut core = linked();
    submit(&mut core, 1, Op::Test, 2);
    let step = submit(&mut core, 2, Op::Pull, 2);
    assert_eq!((refusal(&step), state_of(&step, 2)), (Some("host_busy"), Some(CommandState::Blocked)));
    assert_eq!(actions(&step), ["command_blocked"]);
    assert!(frames(&step).is_empty());
    assert_eq!(core.record().open, Some(id(1)));
}

#[test]
fn an_op_on_a_host_that_is_not_linked_is_refused() {
    let step = submit(&mut core(), 1, Op::Pull, 2);
    assert_eq!(refusal(&step), Some("host_offline"));
}

#[test]
fn a_pull_asks_the_remote_before_it_is_refused_as_current() {
    for (head, state) in [("bbbbbbb", CommandState::Blocked), ("ccccccc", CommandState::Executing)] {
        let mut core = core();
        core.step(Input::LinkUp { link: 1, register: register(3, HEAD) }, at(1));
        let step = submit(&mut core, 1, Op::Pull, 2);
        assert_eq!(state_of(&step, 1), Some(CommandState::Validating));
        assert!(matches!(step.then[..], [Effect::AskRemote { number: FIRST, .. }]), "nobody is answered yet");
        core.step(Input::Remote(remote(head, 3)), at(3));
        let step = core.step(Input::RemoteAsked { number: FIRST }, at(3));
        assert_eq!(state_of(&step, 1), Some(state), "{head}");
        assert!(step.then.iter().any(|effect| matches!(effect, Effect::Answer { ask: 1, .. })));
    }
}

#[test]
fn stop_acts_on_what_runs() {
    let mut core = linked();
    submit(&mut core, 1, Op::Switch, 2);
    let asked = |ask, number| Input::Act { ask, command: id(number), action: Act::Stop, actor: "user".into() };
    let step = core.step(asked(5, 1), at(3));
    assert_eq!((frames(&step), actions(&step)), (vec!["kill"], vec!["command_stop_asked"]));
    let step = core.step(asked(6, 2), at(3));
    assert!(matches!(step.then[..], [Effect::AnswerAct { ask: 6, answer: Err(ActRefused::NotOpen) }]));
    let act = Input::Act { ask: 7, command: id(1), action: Act::Ignore, actor: "user".into() };
    let step = core.step(act, at(3));
    assert!(matches!(step.then[..], [Effect::AnswerAct { answer: Err(ActRefused::NotNow { .. }), .. }]));
}

#[test]
fn a_failed_switch_is_remembered_until_one_succeeds() {
    let mut core = linked();
    for (number, exit_code) in [(1, 1), (2, 0)] {
        core.step(Input::Submit { ask: 1, id: id(number), request: Submit { force: true, ..wish(Op::Switch) } }, at(2));
        core.step(heard(AgentMessage::Status(status(number, "switch", exit_code, 0))), at(3));
        core.step(Input::LogFlushed { command: id(number), bytes: 0 }, at(3));
        let run = core.record().history.last_switch.clone().unwrap();
        assert_eq!((run.command, run.ok), (id(number), exit_code == 0));
    }
}

#[test]
fn no_rollback_makes_a_switch_that_failed_forgotten() {
    for (switched, rolled_back, remembered) in [(1, 0, false), (1, 1, false), (0, 0, true), (0, 1, true)] {
        let mut core = linked();
        for (number, op, exit_code) in [(1, Op::Switch, switched), (2, Op::Rollback, rolled_back)] {
            core.step(Input::Submit { ask: 1, id: id(number), request: Submit { force: true, ..wish(op) } }, at(2));
            core.step(heard(AgentMessage::Status(status(number, op.as_str(), exit_code, 0))), at(3));
            core.step(Input::LogFlushed { command: id(number), bytes: 0 }, at(3));
        }
        let run = core.record().history.last_switch.clone().unwrap();
        let went_back = switched == 1 && rolled_back == 0;
        assert_eq!((run.ok, run.rolled_back.is_some()), (remembered, went_back), "{switched} {rolled_back}");
    }
}

#[test]
fn tests_are_remembered_with_what_was_deployed() {
    let mut core = linked();
    submit(&mut core, 1, Op::Test, 2);
    let mut status = status(1, "test", 1, 0);
    let tests = json!([{"name": "dns", "ok": false}, {"name": "web", "ok": true}]);
    status.details = Some(json!({"passed": 1, "total": 2, "tests": tests}));
    core.step(heard(AgentMessage::Status(status)), at(3));
    core.step(Input::LogFlushed { command: id(1), bytes: 0 }, at(3));
    let run = core.record().history.last_test.clone().unwrap();
    assert_eq!((run.ok, run.passed, run.total), (false, 1, 2));
    assert_eq!((run.failed, run.commit), (vec!["dns".to_owned()], commit("aaaaaaa")));
}

#[test]
fn an_unknown_result_is_adopted_and_a_foreign_one_is_not() {
    let mut core = linked();
    let step = core.step(heard(AgentMessage::Status(status(9, "pull", 0, 0))), at(3));
    assert!(matches!(step.then[..], [Effect::Find(_)]));
    core.step(Input::Found { id: id(9), command: None }, at(3));
    let step = core.step(Input::LogFlushed { command: id(9), bytes: 0 }, at(3));
    assert_eq!((state_of(&step, 9), frames(&step)), (Some(CommandState::Success), vec!["status_ack"]));

    core.step(heard(AgentMessage::Status(status(8, "pull", 0, 0))), at(4));
    let other = Command::new(id(8), Some("other".parse().unwrap()), Op::Pull, "user".into(), at(0));
    core.step(Input::Found { id: id(8), command: Some(Box::new(other)) }, at(4));
    let step = core.step(Input::LogFlushed { command: id(8), bytes: 0 }, at(4));
    assert!(step.writes.is_empty() && step.then.is_empty());
}

#[test]
fn an_unknown_command_that_runs_takes_the_slot() {
    let mut core = linked();
    let beat = Heartbeat { running: Some(vec![id(9)]), pending_command: Some("switch".into()), ..Heartbeat::default() };
    let step = core.step(heard(AgentMessage::Heartbeat(Box::new(beat))), at(3));
    assert!(step.then.iter().any(|effect| matches!(effect, Effect::Find(_))));
    let step = core.step(Input::Found { id: id(9), command: None }, at(3));
    assert_eq!((actions(&step), core.record().open), (vec!["command_adopted"], Some(id(9))));
}

#[test]
fn facts_alone_are_written_at_leisure() {
    let mut core = linked();
    let step = core.step(heard(AgentMessage::Heartbeat(Box::default())), at(5));
    assert!(step.publish && step.writes.is_empty());
    let due = core.facts_due().unwrap();
    assert!(due >= at(65) && due <= at(95));
    let step = core.step(Input::Timer, due);
    assert!(step.writes.host.is_some());
    assert_eq!(core.facts_due(), None);
}

#[test]
fn an_old_link_says_nothing_any_more() {
    let mut core = linked();
    core.step(Input::LinkUp { link: 2, register: register(3, "aaaaaaa") }, at(2));
    let before = core.record().clone();
    let step = core.step(heard(AgentMessage::Heartbeat(Box::default())), at(3));
    assert!(step.writes.is_empty() && !step.publish);
    core.step(Input::LinkDown { link: 1 }, at(3));
    assert_eq!((core.record(), core.link()), (&before, Some(2)));
}

#[test]
fn output_of_a_command_that_was_not_named_waits_for_the_store_and_of_too_many_nowhere() {
    let mut core = linked();
    let of = |number: u16| Output {
        command_id: Some(format!("0190b6a8-0000-7000-8000-00000001{number:04x}").parse().unwrap()),
        ..Output::default()
    };
    for number in 0..1500 {
        let output = of(number);
        let id = output.command_id.unwrap();
        match core.log_of(1, &output) {
            Belongs::ToUnknown(asked) => {
                assert_eq!((asked, number < 1000), (id, true));
                let step = core.step(Input::HeardOf { command: id }, at(2));
                assert!(matches!(step.then[..], [Effect::Find(_)]));
                assert!(core.step(Input::HeardOf { command: id }, at(2)).then.is_empty(), "asked once");
                let foreign = Command::new(id, Some("other".parse().unwrap()), Op::Pull, "user".into(), at(0));
                let command = (number % 2 == 0).then(|| Box::new(foreign));
                core.step(Input::Found { id, command }, at(2));
                let belongs = if number % 2 == 0 { Belongs::Nowhere } else { Belongs::To(id) };
                assert_eq!(core.log_of(1, &output), belongs);
            }
            belongs => assert_eq!((belongs, number >= 1000), (Belongs::Nowhere, true), "{number}"),
        }
    }
    assert_eq!(core.log_of(2, &of(1)), Belongs::Nowhere, "on another link nobody speaks");
}
