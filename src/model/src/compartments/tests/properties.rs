//! What holds whatever happened, in whatever order.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{ActionKind, CommandState, LightStatus};
use proptest::prelude::*;

use super::fixture::{Scene, Step, command, commit, lock, path};
use crate::ops::{RunsOn, pipeline, spec};
use crate::remote::Relation;

const STEPS: &[Step] = &[
    Step::Push,
    Step::PushLock,
    Step::Pull,
    Step::Switch,
    Step::SwitchFails,
    Step::Rollback,
    Step::TestsPass,
    Step::TestsFail,
    Step::PrOpens,
    Step::PrMerges,
    Step::DashboardUpdates,
    Step::Starts(Op::Pull),
    Step::Starts(Op::Switch),
    Step::Starts(Op::Test),
    Step::Starts(Op::Reboot),
    Step::Ends,
    Step::RemoteFails,
    Step::RemoteRecovers,
    Step::RollsBackByHand,
    Step::BumpsFlake,
];

const STATES: &[CommandState] = &[
    CommandState::Pending,
    CommandState::Executing,
    CommandState::TimeoutPending,
    CommandState::AwaitingReconnect,
    CommandState::Killing,
    CommandState::Success,
    CommandState::Blocked,
];

/// What no step would do: facts that do not fit together, agents that lie, times that jump.
#[derive(Clone, Debug)]
enum Odd {
    Version(String),
    Protocol(Option<u32>),
    Checkout(Option<u32>),
    Lock(Option<u32>),
    LockLocal(bool),
    Deployed(bool),
    Inferred(bool),
    Path(Option<u32>),
    Revision(Option<u32>),
    Tests(Option<u32>),
    TestRun(u64, u64, Vec<String>),
    RemoteLock(Option<u32>),
    Source(bool),
    Read(bool),
    Relation(u8, u32),
    RepoError(String),
    Subject(String),
    Running(Op, CommandState),
    Now(i64),
    NeverSeen,
}

fn odd() -> impl Strategy<Value = Odd> {
    let number = || prop::option::of(0_u32..4);
    prop_oneof![
        ".{0,20}".prop_map(Odd::Version),
        prop::option::of(0_u32..5).prop_map(Odd::Protocol),
        number().prop_map(Odd::Checkout),
        number().prop_map(Odd::Lock),
        any::<bool>().prop_map(Odd::LockLocal),
        any::<bool>().prop_map(Odd::Deployed),
        any::<bool>().prop_map(Odd::Inferred),
        number().prop_map(Odd::Path),
        number().prop_map(Odd::Revision),
        number().prop_map(Odd::Tests),
        (any::<u64>(), any::<u64>(), prop::collection::vec(".{0,9}", 0..9)).prop_map(|(a, b, c)| Odd::TestRun(a, b, c)),
        number().prop_map(Odd::RemoteLock),
        any::<bool>().prop_map(Odd::Source),
        any::<bool>().prop_map(Odd::Read),
        (any::<u8>(), any::<u32>()).prop_map(|(kind, by)| Odd::Relation(kind, by)),
        ".{0,300}".prop_map(Odd::RepoError),
        ".{0,300}".prop_map(Odd::Subject),
        (prop::sample::select(Op::ALL), prop::sample::select(STATES)).prop_map(|(op, state)| Odd::Running(op, state)),
        any::<i64>().prop_map(Odd::Now),
        Just(Odd::NeverSeen),
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Step(Step),
    Odd(Odd),
}

fn bend(scene: &mut Scene, odd: Odd) {
    let facts = &mut scene.host.facts;
    match odd {
        Odd::Version(version) => facts.agent_version = Some(version),
        Odd::Protocol(protocol) => facts.protocol = protocol,
        Odd::Checkout(number) => facts.generation = number.map(commit),
        Odd::Lock(number) => facts.lock_hash = number.map(lock),
        Odd::LockLocal(local) => facts.lock_local = local,
        Odd::Deployed(keep) => facts.deployed = facts.deployed.take().filter(|_| keep),
        Odd::Inferred(keep) => scene.host.history.inferred = scene.host.history.inferred.take().filter(|_| keep),
        Odd::Path(number) => facts.system_path = number.map(path),
        Odd::Revision(number) => facts.system_revision = number.map(commit),
        Odd::Tests(tests) => facts.tests = tests,
        Odd::TestRun(passed, total, failed) => {
            if let Some(run) = &mut scene.host.history.last_test {
                (run.passed, run.total, run.failed) = (passed, total, failed);
            }
        }
        Odd::RemoteLock(number) => {
            if let Some(desired) = &mut scene.remote.desired {
                desired.lock_hash = number.map(lock);
            }
        }
        Odd::Source(keep) => scene.remote.source = keep.then(|| "here".to_owned()),
        Odd::Read(keep) => {
            if let Some(desired) = scene.remote.desired.clone().filter(|_| keep) {
                scene.remote.read(desired, scene.now);
            }
        }
        Odd::Relation(kind, by) => {
            let relation = match kind % 5 {
                0 => Relation::Behind(by),
                1 => Relation::Ahead(by),
                2 => Relation::Diverged { ahead: by, behind: by },
                3 => Relation::Foreign,
                _ => Relation::Equal,
            };
            for number in 0..4 {
                scene.remote.relations.insert(commit(number), relation);
            }
        }
        Odd::RepoError(why) => facts.repo_error = Some(why),
        Odd::Subject(subject) => {
            if let Some(desired) = &mut scene.remote.desired {
                desired.subject = subject;
            }
        }
        Odd::Running(op, state) => scene.running = Some(command(9, op, state, scene.now)),
        Odd::Now(millis) => scene.now = nixfleet_protocol::Time::from_millis(millis),
        Odd::NeverSeen => scene.host.first_seen = None,
    }
}

fn scene() -> impl Strategy<Value = Scene> {
    let start = prop_oneof![
        Just(Scene::current()),
        Just(Scene::current_v2()),
        Just(Scene::current_without_lock()),
        Just(Scene::first_connect()),
    ];
    let event = prop_oneof![
        2 => prop::sample::select(STEPS).prop_map(Event::Step),
        1 => odd().prop_map(Event::Odd),
    ];
    (start, prop::collection::vec(event, 0..14)).prop_map(|(mut scene, events)| {
        for event in events {
            match event {
                Event::Step(step) => scene = scene.after(&[step]),
                Event::Odd(odd) => bend(&mut scene, odd),
            }
        }
        scene
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_light_says_why_and_offers_something_that_exists(scene in scene()) {
        let lights = scene.lights();
        for (name, light) in lights.each() {
            prop_assert!(!light.message.is_empty(), "{name}");
            prop_assert!(light.message.ends_with('.') || light.message.contains('…'), "{name}: {}", light.message);
            prop_assert!(!light.message.contains('\n') && light.message.chars().count() < 700, "{name}");
            for action in std::iter::once(&light.action).chain(&light.also) {
                prop_assert!(!action.label.is_empty(), "{name}: {action:?}");
                prop_assert_eq!(action.kind == ActionKind::Op, action.op.is_some());
                prop_assert_eq!(action.kind == ActionKind::Pipeline, action.pipeline.is_some());
                prop_assert_eq!(matches!(action.kind, ActionKind::Log | ActionKind::Stop), action.command_id.is_some());
                if let Some(name) = &action.pipeline {
                    prop_assert!(pipeline(name).is_some(), "{name}");
                }
            }
        }
    }

    /// Green means: current with the remote, proven, now.
    #[test]
    fn a_green_system_is_what_the_remote_wants(scene in scene()) {
        let lights = scene.lights();
        if lights.system.status != LightStatus::Ok {
            return Ok(());
        }
        let facts = &scene.host.facts;
        let desired = scene.remote.desired.as_ref().unwrap();
        let deployed = crate::compartments::deployed(&scene.host).unwrap();
        let checkout = facts.generation.as_ref().unwrap();
        prop_assert!(checkout.is(&desired.commit) && checkout.is(deployed.commit));
        prop_assert_eq!(&facts.lock_hash, &desired.lock_hash);
        prop_assert!(deployed.lock_hash.is_none_or(|hash| Some(hash) == desired.lock_hash.as_ref() || desired.lock_hash.is_none()));
        prop_assert!(matches!(lights.git.status, LightStatus::Ok | LightStatus::Working));
        let waits = scene.remote.pull_request.is_some() && lights.lock.status == LightStatus::Outdated;
        let nothing = facts.lock_hash.is_none() && lights.lock.status == LightStatus::Unknown;
        prop_assert!(waits || nothing || matches!(lights.lock.status, LightStatus::Ok | LightStatus::Working));
        prop_assert!(!facts.lock_local || facts.lock_hash.is_none());
    }

    /// The bug "switch was refused as already up to date while the light was yellow", for all lights and ops.
    #[test]
    fn what_a_light_offers_is_not_refused_for_a_reason_that_the_light_denies(mut scene in scene()) {
        scene.running = None;
        let lights = scene.lights();
        for (name, light) in lights.each() {
            for action in std::iter::once(&light.action).chain(&light.also) {
                let Some(op) = action.op else { continue };
                if let Err(refusal) = scene.check(op) {
                    let denied = ["already_current", "lock_behind", "no_pending_pr"].contains(&refusal.code);
                    prop_assert!(!denied, "{name} offers {op}, and it is refused: {}", refusal.message);
                }
            }
        }
    }

    #[test]
    fn a_pull_is_refused_as_current_exactly_when_git_is_green_and_the_lock_is_not_behind(mut scene in scene()) {
        scene.running = None;
        scene.host.facts.protocol = Some(3);
        scene.linked = true;
        let lights = scene.lights();
        let refused = scene.check(Op::Pull).err().is_some_and(|refusal| refusal.code == "already_current");
        let offered = [&lights.git, &lights.lock].iter().any(|light| light.action.op == Some(Op::Pull));
        prop_assert_eq!(refused, lights.git.status == LightStatus::Ok && !offered);
    }

    #[test]
    fn only_the_compartment_of_the_running_command_is_blue(scene in scene()) {
        let blue: Vec<_> = scene.lights().each().iter().filter(|(_, light)| light.status == LightStatus::Working)
            .map(|(name, _)| *name).collect();
        let open = scene.running.as_ref().filter(|command| !command.state.is_final());
        let expected = open.and_then(|command| spec(command.op).compartment);
        prop_assert_eq!(blue.len(), usize::from(expected.is_some()));
        if let Some(command) = open {
            prop_assert!(expected.is_none() || spec(command.op).runs_on == RunsOn::Agent);
        }
    }

    #[test]
    fn time_alone_changes_no_light_but_by_the_age_of_the_remote(scene in scene(), seconds in 0_u64..1_000_000) {
        let mut later = scene.clone();
        later.now = later.now.plus(Duration::from_secs(seconds));
        if scene.remote.readability(scene.now) == later.remote.readability(later.now) {
            prop_assert_eq!(scene.lights(), later.lights());
        }
    }
}
