mod beside;
mod freshness;

use std::time::Duration;

use nixfleet_protocol::agent::Status;
use proptest::prelude::*;
use uuid_of::id;

use super::*;

/// What happens, to which op, in which order and when, and where it leads.
type Row = (&'static str, Op, Vec<(i64, Input)>, S);

/// Ids without randomness.
mod uuid_of {
    use nixfleet_protocol::{BootId, CommandId, InstanceId, JournalId};

    fn text(number: u8) -> String {
        format!("0190b6a8-0000-7000-8000-0000000000{number:02x}")
    }
    pub(super) fn id(number: u8) -> CommandId {
        text(number).parse().unwrap()
    }
    pub(super) fn journal(number: u8) -> JournalId {
        text(number).parse().unwrap()
    }
    pub(super) fn instance(number: u8) -> InstanceId {
        text(number).parse().unwrap()
    }
    pub(super) fn boot(number: u8) -> BootId {
        BootId(text(number))
    }
}

const OPS: [Op; 10] = [
    Op::Pull,
    Op::Switch,
    Op::Test,
    Op::Rollback,
    Op::Restart,
    Op::Reboot,
    Op::BumpFlake,
    Op::CheckVersion,
    Op::Journal,
    Op::Wake,
];

fn at(seconds: i64) -> Time {
    Time::from_millis(1_000_000_000_000 + seconds * 1000)
}

fn commit(text: &str) -> Option<Commit> {
    text.parse().ok()
}

fn agent(protocol: u32, journal: u8, instance: u8, boot: u8) -> AgentNow {
    let new = protocol >= 3;
    AgentNow {
        protocol,
        journal: new.then(|| uuid_of::journal(journal)),
        instance: new.then(|| uuid_of::instance(instance)),
        boot_id: new.then(|| uuid_of::boot(boot)),
        freshness: Freshness {
            source_commit: commit("aaaaaaa"),
            store_path: Some("/nix/store/a".into()),
            binary_hash: "1".repeat(64).parse().ok(),
        },
        was: Was { system_path: Some("/sys/1".into()), lock_hash: "1".repeat(64).parse().ok(), ..Was::default() },
    }
}

fn new(op: Op) -> Command {
    Command::new(id(1), Some("h".parse().unwrap()), op, "user".into(), at(0))
}

/// A command that was sent at second 0.
fn sent(op: Op, protocol: u32) -> Command {
    let mut command = new(op);
    assert_eq!(step(&mut command, Input::Passed(Box::new(agent(protocol, 1, 1, 1))), at(0)), [Effect::Send]);
    command
}

fn said(agent: AgentNow, runs: bool, has_result: bool) -> Input {
    Input::LinkUp(Box::new(Said { agent, runs, has_result }))
}

fn exit(exit_code: i32) -> Outcome {
    Outcome { exit_code, ..Outcome::default() }
}

fn ended(outcome: Outcome) -> Input {
    Input::Result(Box::new(outcome))
}

fn beat(pending: bool, system: &str) -> Input {
    Input::FirstHeartbeat(Box::new(Beat { pending, system: system.into(), message: String::new() }))
}

const TIMER: Input = Input::Timer { kill_at_limit: false };

use CommandState as S;

#[test]
fn a_command_of_our_agents_lives_by_the_table() {
    let deployed = |commit: &str, path: &str| {
        let commit = commit.parse().unwrap();
        let path = Some(path.to_owned());
        crate::host::DeployedRecord { commit, lock_hash: None, system_path: path, number: None, at: at(0) }
    };
    let switched = |deployed, restarting| Outcome {
        generation: commit("bbbbbbb"),
        deployed: Some(deployed),
        system_path: Some("/sys/2".into()),
        restarting,
        ..exit(0)
    };
    let good = switched(deployed("bbbbbbb", "/sys/2"), false);
    let same_path = Outcome { system_path: Some("/sys/1".into()), ..exit(0) };
    let pulled = Outcome { generation: commit("bbbbbbb"), ..exit(0) };
    let tests = |passed, exit_code| Outcome { tests: Some((passed, 3)), ..exit(exit_code) };
    let fresh = |source: &str, path: &str, binary: &str| {
        let mut agent = agent(3, 1, 2, 1);
        let binary_hash = binary.repeat(64).parse().ok();
        agent.freshness = Freshness { source_commit: commit(source), store_path: Some(path.into()), binary_hash };
        said(agent, false, false)
    };
    let restarting = switched(deployed("bbbbbbb", "/sys/2"), true);
    let up = |journal, instance, boot, runs, result| said(agent(3, journal, instance, boot), runs, result);
    let table: Vec<Row> = vec![
        ("accepted", Op::Switch, vec![(1, Input::Accepted)], S::Executing),
        ("ends well", Op::CheckVersion, vec![(1, ended(exit(0)))], S::Success),
        ("fails", Op::CheckVersion, vec![(1, ended(exit(1)))], S::Error),
        ("rejected", Op::Switch, vec![(1, Input::Rejected { reason: "unsupported".into() })], S::Error),
        ("stopped", Op::Switch, vec![(1, Input::Stop), (2, ended(exit(130)))], S::Killed),
        ("failed before the stop came", Op::Switch, vec![(1, Input::Stop), (2, ended(exit(4)))], S::Error),
        (
            "stopped, says its agent",
            Op::Switch,
            vec![(1, Input::Stop), (2, ended(Outcome { stage: Some("stopped".into()), ..exit(1) }))],
            S::Killed,
        ),
        ("ended well before the stop came", Op::Test, vec![(1, Input::Stop), (2, ended(exit(0)))], S::Success),
        ("stop asked", Op::Switch, vec![(1, Input::Stop)], S::Killing),
        ("warned", Op::Switch, vec![(600, TIMER)], S::RunningWarning),
        ("not warned early", Op::Switch, vec![(599, TIMER)], S::Executing),
        ("past the limit", Op::Switch, vec![(600, TIMER), (1800, TIMER)], S::TimeoutPending),
        ("past the limit at once", Op::Switch, vec![(9999, TIMER)], S::TimeoutPending),
        ("stopped at the limit", Op::Switch, vec![(1800, Input::Timer { kill_at_limit: true })], S::Killing),
        ("extended", Op::Switch, vec![(1800, TIMER), (1800, Input::Extend { minutes: 5 })], S::Executing),
        (
            "extended, and past that too",
            Op::Switch,
            vec![(1800, TIMER), (1800, Input::Extend { minutes: 5 }), (2100, TIMER)],
            S::TimeoutPending,
        ),
        ("ignored", Op::Switch, vec![(1800, TIMER), (1800, Input::Ignore), (99_999, TIMER)], S::RunningWarning),
        ("link down", Op::Switch, vec![(1, Input::LinkDown)], S::AwaitingReconnect),
        ("still runs", Op::Switch, vec![(1, Input::LinkDown), (2, up(1, 2, 1, true, false))], S::Executing),
        (
            "clocks stand still",
            Op::Switch,
            vec![(1, Input::LinkDown), (9000, up(1, 2, 1, true, false)), (9598, TIMER)],
            S::Executing,
        ),
        (
            "clocks go on",
            Op::Switch,
            vec![(1, Input::LinkDown), (9000, up(1, 2, 1, true, false)), (9599, TIMER)],
            S::RunningWarning,
        ),
        ("has a result", Op::Switch, vec![(1, Input::LinkDown), (2, up(1, 2, 1, false, true))], S::Executing),
        ("named nowhere", Op::Switch, vec![(1, Input::LinkDown), (2, up(1, 2, 1, false, false))], S::Executing),
        ("another journal", Op::Switch, vec![(1, Input::LinkDown), (2, up(2, 2, 1, false, false))], S::Orphaned),
        ("away for a week", Op::Switch, vec![(1, Input::LinkDown), (604_801, TIMER)], S::Orphaned),
        ("away for less", Op::Switch, vec![(1, Input::LinkDown), (604_800, TIMER)], S::AwaitingReconnect),
        (
            "stopped while away",
            Op::Switch,
            vec![(1, Input::LinkDown), (2, Input::Stop), (3, up(1, 1, 1, true, false))],
            S::Killing,
        ),
        (
            "stopped before it came there",
            Op::Switch,
            vec![(1, Input::LinkDown), (2, Input::Stop), (3, up(1, 1, 1, false, false))],
            S::Killed,
        ),
        ("came back old", Op::Test, vec![(1, said(agent(2, 1, 1, 1), false, false))], S::Orphaned),
        ("given up", Op::Switch, vec![(1, Input::GiveUp { actor: "user".into() })], S::Orphaned),
        ("restarted", Op::Restart, vec![(1, Input::LinkDown), (2, up(1, 2, 1, false, false))], S::Success),
        ("not restarted", Op::Restart, vec![(1, Input::LinkDown), (2, up(1, 1, 1, true, false))], S::Executing),
        ("restart told", Op::Restart, vec![(1, ended(exit(0))), (2, up(1, 2, 1, false, false))], S::Success),
        ("restart failed", Op::Restart, vec![(1, ended(exit(1)))], S::Error),
        ("never came back", Op::Restart, vec![(1, Input::LinkDown), (120, TIMER)], S::Timeout),
        ("rebooted", Op::Reboot, vec![(1, Input::LinkDown), (60, up(1, 2, 2, false, true))], S::Success),
        ("only the agent restarted", Op::Reboot, vec![(1, up(1, 2, 1, true, false))], S::Executing),
        ("the reboot takes long", Op::Reboot, vec![(120, TIMER)], S::RunningWarning),
        ("never booted", Op::Reboot, vec![(120, TIMER), (600, TIMER)], S::Timeout),
        ("a good switch", Op::Switch, vec![(1, ended(good.clone()))], S::Success),
        ("without facts", Op::Switch, vec![(1, ended(exit(0)))], S::Success),
        (
            "another commit is deployed",
            Op::Switch,
            vec![(1, ended(switched(deployed("ccccccc", "/sys/2"), false)))],
            S::Partial,
        ),
        (
            "another system runs",
            Op::Switch,
            vec![(1, ended(switched(deployed("bbbbbbb", "/sys/3"), false)))],
            S::Partial,
        ),
        ("waits for the new agent", Op::Switch, vec![(1, ended(restarting.clone()))], S::Executing),
        (
            "the new agent came",
            Op::Switch,
            vec![(1, ended(restarting.clone())), (2, Input::LinkDown), (3, fresh("bbbbbbb", "/nix/store/b", "2"))],
            S::Success,
        ),
        (
            "the same agent came",
            Op::Switch,
            vec![(1, ended(restarting.clone())), (3, fresh("aaaaaaa", "/nix/store/a", "1"))],
            S::StaleBinary,
        ),
        (
            "another source, the same binary",
            Op::Switch,
            vec![(1, ended(restarting.clone())), (3, fresh("bbbbbbb", "/nix/store/b", "1"))],
            S::Suspicious,
        ),
        (
            "a layer is missing",
            Op::Switch,
            vec![(1, ended(restarting.clone())), (3, fresh("", "/nix/store/a", "1"))],
            S::Success,
        ),
        (
            "the old process blinked",
            Op::Switch,
            vec![(1, ended(restarting.clone())), (2, Input::LinkDown), (3, up(1, 1, 1, false, false))],
            S::Executing,
        ),
        ("the new agent never came", Op::Switch, vec![(1, ended(restarting.clone())), (91, TIMER)], S::Timeout),
        ("rolled back", Op::Rollback, vec![(1, ended(good))], S::Success),
        (
            "the profile rolled back to what ran all the time",
            Op::Rollback,
            vec![(1, ended(Outcome { went_back: true, ..same_path.clone() }))],
            S::Success,
        ),
        ("rolled back to the same", Op::Rollback, vec![(1, ended(same_path))], S::Partial),
        (
            "the lock stayed",
            Op::BumpFlake,
            vec![(1, ended(Outcome { lock_hash: "1".repeat(64).parse().ok(), ..exit(0) }))],
            S::Partial,
        ),
        (
            "the lock changed",
            Op::BumpFlake,
            vec![(1, ended(Outcome { lock_hash: "2".repeat(64).parse().ok(), ..exit(0) }))],
            S::Success,
        ),
        ("no plan came", Op::Plan, vec![(1, ended(exit(0)))], S::Partial),
        ("a plan came", Op::Plan, vec![(1, ended(Outcome { details: Some("{}".into()), ..exit(0) }))], S::Success),
        ("tests pass", Op::Test, vec![(1, ended(tests(3, 0)))], S::Success),
        ("a test is missing", Op::Test, vec![(1, ended(tests(2, 0)))], S::Partial),
        ("a test fails", Op::Test, vec![(1, ended(tests(2, 1)))], S::Error),
        ("pulled, the remote is asked", Op::Pull, vec![(1, ended(pulled.clone()))], S::Executing),
        ("pulled", Op::Pull, vec![(1, ended(pulled.clone())), (2, Input::RemoteRead(commit("bbbbbbb")))], S::Success),
        (
            "pulled old",
            Op::Pull,
            vec![(1, ended(pulled.clone())), (2, Input::RemoteRead(commit("ccccccc")))],
            S::Partial,
        ),
        ("pulled, unreadable", Op::Pull, vec![(1, ended(pulled.clone())), (2, Input::RemoteRead(None))], S::Success),
        ("pulled, no answer", Op::Pull, vec![(1, ended(pulled)), (31, TIMER)], S::Success),
    ];
    for (name, op, inputs, state) in table {
        let mut command = sent(op, 3);
        for (second, input) in inputs {
            step(&mut command, input, at(second));
        }
        assert_eq!(command.state, state, "{name}: {:?}", command.message);
    }
}

#[test]
fn a_command_of_old_agents_lives_by_the_table() {
    let up = || said(agent(2, 0, 0, 0), false, false);
    let table: Vec<Row> = vec![
        ("pulled", Op::Pull, vec![(1, ended(exit(0))), (2, Input::RemoteRead(None))], S::Success),
        ("a good switch waits", Op::Switch, vec![(1, ended(exit(0)))], S::Executing),
        ("a good switch", Op::Switch, vec![(1, ended(exit(0))), (2, Input::LinkDown), (3, up())], S::Success),
        ("no register after it", Op::Switch, vec![(1, ended(exit(0))), (91, TIMER)], S::Timeout),
        ("the register alone decides nothing", Op::Switch, vec![(1, up())], S::AwaitingReconnect),
        ("it still runs", Op::Switch, vec![(1, up()), (2, beat(true, ""))], S::Executing),
        ("switched, inferred", Op::Switch, vec![(1, up()), (2, beat(false, ""))], S::Success),
        ("switch failed", Op::Switch, vec![(1, up()), (2, beat(false, "error"))], S::Error),
        ("a pull that nobody knows", Op::Pull, vec![(1, up()), (2, beat(false, ""))], S::Orphaned),
        ("restarted", Op::Restart, vec![(1, up()), (2, beat(false, ""))], S::Success),
        ("rebooted", Op::Reboot, vec![(1, Input::LinkDown), (60, up()), (61, beat(false, ""))], S::Success),
        ("stop killed the agent", Op::Switch, vec![(1, Input::Stop), (2, up()), (3, beat(false, ""))], S::Killed),
        ("stopped, with another code", Op::Switch, vec![(1, Input::Stop), (2, ended(exit(1)))], S::Killed),
        ("stop without an answer", Op::Switch, vec![(1, Input::Stop), (91, TIMER)], S::Timeout),
        ("away too long", Op::Switch, vec![(10, Input::LinkDown), (10 + 1790 + 90, TIMER)], S::Timeout),
        (
            "the switch brought an agent of ours",
            Op::Switch,
            vec![(1, Input::LinkDown), (2, said(agent(3, 1, 1, 1), false, false)), (3, beat(false, ""))],
            S::Success,
        ),
    ];
    for (name, op, inputs, state) in table {
        let mut command = sent(op, 2);
        for (second, input) in inputs {
            let effects = step(&mut command, input, at(second));
            assert!(!effects.contains(&Effect::Send), "{name}: nothing is sent twice to an old agent");
        }
        assert_eq!(command.state, state, "{name}: {:?}", command.message);
    }
}

#[test]
fn what_never_reached_the_agent_goes_out_again_with_the_same_journal_only() {
    for (journal, runs, result, again) in
        [(1, false, false, true), (1, true, false, false), (1, false, true, false), (2, false, false, false)]
    {
        let mut command = sent(Op::Switch, 3);
        step(&mut command, Input::Revived { last_heard: None }, at(1));
        let effects = step(&mut command, said(agent(3, journal, 1, 1), runs, result), at(2));
        assert_eq!(effects.contains(&Effect::Send), again, "{journal} {runs} {result}");
    }
}

#[test]
fn a_crash_of_the_dashboard_stops_the_clock_where_the_host_was_last_heard() {
    let mut command = sent(Op::Switch, 3);
    step(&mut command, Input::Revived { last_heard: Some(at(100)) }, at(50_000));
    step(&mut command, said(agent(3, 1, 1, 1), true, false), at(50_001));
    assert_eq!(deadline(&command), Some(at(50_001 + 500)), "100 of 600 seconds have run");
}

#[test]
fn a_command_that_never_began_is_refused_after_a_crash() {
    let mut command = new(Op::Pull);
    step(&mut command, Input::Validating, at(0));
    step(&mut command, Input::Revived { last_heard: None }, at(60));
    step(&mut command, TIMER, at(60));
    assert_eq!((command.state, command.code.as_deref()), (S::Blocked, Some("not_started")));
}

#[test]
fn a_result_is_read_from_what_agents_send() {
    let status = Status {
        status: "ok".into(),
        details: Some(serde_json::json!({"passed": 2, "total": 3, "restarting": true})),
        ..Status::default()
    };
    let outcome = Outcome::from(&status);
    assert_eq!((outcome.exit_code, outcome.tests, outcome.restarting), (0, Some((2, 3)), true));
    assert_eq!(Outcome::from(&Status { status: "error".into(), ..Status::default() }).exit_code, 1);
    assert_eq!(Outcome::from(&Status { status: "ok".into(), exit_code: Some(2), ..Status::default() }).exit_code, 2);
}

fn inputs() -> impl Strategy<Value = Input> {
    let agents = (2_u32..4, 1_u8..3, 1_u8..3, 1_u8..3).prop_map(|(p, j, i, b)| agent(p, j, i, b));
    let outcome =
        (prop_oneof![Just(0), Just(1), Just(130)], any::<bool>(), any::<bool>()).prop_map(|(code, again, same)| {
            Outcome {
                restarting: again,
                generation: commit(if same { "aaaaaaa" } else { "bbbbbbb" }),
                system_path: Some(if same { "/sys/1" } else { "/sys/2" }.into()),
                ..exit(code)
            }
        });
    prop_oneof![
        Just(Input::Validating),
        Just(Input::Refused { code: "host_busy".into(), message: String::new() }),
        agents.clone().prop_map(|agent| Input::Passed(Box::new(agent))),
        Just(Input::Accepted),
        Just(Input::Progress(Progress::default())),
        (0_u64..1000).prop_map(Input::LogGrew),
        outcome.prop_map(ended),
        any::<bool>().prop_map(|same| Input::RemoteRead(commit(if same { "aaaaaaa" } else { "bbbbbbb" }))),
        Just(Input::Rejected { reason: "busy".into() }),
        Just(Input::Done { state: S::Success, message: None }),
        (agents, any::<bool>(), any::<bool>()).prop_map(|(agent, runs, result)| said(agent, runs, result)),
        any::<bool>().prop_map(|pending| beat(pending, "")),
        Just(Input::LinkDown),
        Just(Input::Revived { last_heard: None }),
        any::<bool>().prop_map(|kill_at_limit| Input::Timer { kill_at_limit }),
        Just(Input::Stop),
        Just(Input::TooLate),
        Just(Input::ReaderLeft),
        Just(Input::Rejected { reason: "forgotten".into() }),
        any::<u32>().prop_map(|minutes| Input::Extend { minutes }),
        Just(Input::Ignore),
        Just(Input::GiveUp { actor: "user".into() }),
    ]
}

/// Somebody will end it: its own clock, a person who was asked, or an agent that may take as long as it likes.
fn has_an_owner(command: &Command) -> bool {
    deadline(command).is_some() || command.state == S::TimeoutPending || command.life.no_limit || command.is_read()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_breaks_a_command(op in 0..OPS.len(), steps in prop::collection::vec((inputs(), 0_i64..3000), 1..40)) {
        let mut command = new(OPS[op]);
        let mut now = 0;
        let mut taken = 0;
        for (input, wait) in steps {
            now += wait;
            let before = command.clone();
            let is_result = matches!(input, Input::Result(_));
            let old = before.life.protocol == Some(2);
            let link_up = matches!(input, Input::LinkUp(_));
            let effects = step(&mut command, input, at(now));
            if before.state.is_final() {
                prop_assert_eq!(&before, &command, "a final state never changes");
            }
            if is_result && before.exit_code != command.exit_code {
                taken += 1;
            }
            if effects.contains(&Effect::Send) && before.sent_at.is_some() {
                prop_assert!(link_up && !old && before.exit_code.is_none(), "sent again only as allowed");
            }
            prop_assert_eq!(effects.contains(&Effect::Finished), !before.state.is_final() && command.state.is_final());
            prop_assert_eq!(command.finished_at.is_some(), command.state.is_final());
            prop_assert!(command.state.is_final() || has_an_owner(&command), "stuck in {:?}", command);
        }
        prop_assert!(taken <= 1, "a result is taken once");
    }

    #[test]
    fn time_alone_ends_every_command_or_asks_a_person(op in 0..OPS.len(), steps in prop::collection::vec((inputs(), 0_i64..3000), 0..20)) {
        let mut command = new(OPS[op]);
        let mut now = at(0);
        for (input, wait) in steps {
            now = now.plus(Duration::from_secs(wait.unsigned_abs()));
            step(&mut command, input, now);
        }
        step(&mut command, Input::LinkDown, now);
        for _ in 0..5 {
            let Some(deadline) = deadline(&command) else { break };
            now = now.max(deadline);
            let before = command.clone();
            step(&mut command, Input::Timer { kill_at_limit: false }, now);
            prop_assert_ne!(&before, &command, "a deadline that changes nothing would come again at once");
        }
        // The link is down: nobody but the clock can end it.
        prop_assert!(command.state.is_final(), "{:?}", command);
    }
}
