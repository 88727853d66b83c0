//! What is told, in its order, is what a fresh look gives.

use nixfleet_protocol::agent::{Disk, Generation, Metrics};
use nixfleet_protocol::api::{Remote, Server};

use super::sequences::inputs;
use super::*;
use crate::fleet_state::FleetState;
use crate::view::HostView;

/// Heartbeats that tell more or less, often the same as the one before.
fn beats() -> impl Strategy<Value = Input> {
    let small = (any::<bool>(), 0_u8..3, 0_u64..3).prop_map(|(load, cpu, free)| Heartbeat {
        metrics: load.then(|| Metrics { cpu: Some(cpu.into()), ..Metrics::default() }),
        disk: (free > 0).then_some(Disk { store_free: free, store_total: 9, boot_free: None, boot_total: None }),
        ..Heartbeat::default()
    });
    let commits = prop::option::of(prop::sample::select(vec!["aaaaaaa", HEAD, "ccccccc"]));
    let texts = || prop::option::of(prop::sample::select(vec!["", "a", "b"]));
    let more = (commits, texts(), texts(), prop::option::of(0_u32..2), prop::option::of(any::<bool>()), 0_u64..3)
        .prop_map(|(generation, system, error, tests, local, number)| Heartbeat {
            generation: generation.and_then(commit),
            lock_hash: local.and_then(|_| lock()),
            lock_local: local,
            system_path: system.map(str::to_owned),
            repo_error: error.map(str::to_owned),
            failed_units: error.map(|error| vec![error.to_owned()]),
            pending_command: system.map(str::to_owned),
            reboot_required: local,
            tests,
            generations: (number > 0).then(|| {
                (0..number).map(|it| Generation { number: it, commit: None, at: None, current: it == 1 }).collect()
            }),
            ..Heartbeat::default()
        });
    prop_oneof![3 => small, 1 => more]
        .prop_map(|beat| Input::Heard { link: 1, message: AgentMessage::Heartbeat(Box::new(beat)) })
}

/// A remote that fails since then, with an answer from before.
fn failing() -> impl Strategy<Value = Input> {
    (0_i64..4000, any::<bool>()).prop_map(|(read, fails)| {
        let mut remote = (*remote(HEAD, read)).clone();
        if fails {
            remote.failed("no route", at(read + 1));
        }
        Input::Remote(Arc::new(remote))
    })
}

fn reboot() -> impl Strategy<Value = Input> {
    any::<u8>().prop_map(|ask| {
        let request = Submit { totp: TotpProof::Valid, ..wish(Op::Reboot) };
        Input::Submit { ask: u64::from(ask), id: id(0), request }
    })
}

fn told(core: &mut Core, now: Time) -> StateChange {
    core.changes(now).pop().unwrap()
}

fn nobody() -> FleetState {
    let server = Server { version: "3.0.0".into(), started_at: at(0), store_error: None, shared_agent_token: false };
    FleetState::new(Remote::default(), server)
}

/// The host, as a state shows it that was told all that the core told.
fn seen(state: &mut FleetState, changes: Vec<StateChange>) -> Option<&HostView> {
    for change in changes {
        state.apply(change);
    }
    state.hosts.get(&host()).map(|view| &**view)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_told_is_what_a_fresh_look_gives(
        steps in prop::collection::vec(
            (prop_oneof![8 => beats(), 2 => inputs(), 1 => failing(), 1 => reboot()], -100_i64..400, 0_i64..2000),
            1..60,
        )
    ) {
        let (mut core, mut state) = (linked(), nobody());
        let mut now = 0;
        for (number, (mut input, wait, later)) in (100_u8..).zip(steps) {
            now += wait;
            if let Input::Submit { id: submitted, .. } = &mut input {
                *submitted = id(number);
            }
            let Step { writes, publish, .. } = core.step(input, at(now));
            if writes.removed.is_some() {
                break;
            }
            if !writes.changes.is_empty() {
                let fresh = core.view(None, at(now));
                prop_assert_eq!(seen(&mut state, writes.changes), Some(&fresh), "written");
            } else if !publish {
                continue;
            }
            for moment in [now, now + later, now] {
                let fresh = core.view(None, at(moment));
                let changes = core.changes(at(moment));
                prop_assert_eq!(seen(&mut state, changes), Some(&fresh), "at {}", moment);
            }
            if later < 20 {
                state = nobody();
                core.forget_told();
            }
        }
    }
}

fn whole(core: &mut Core, now: Time) -> HostView {
    match told(core, now) {
        StateChange::Host(view) => (*view).clone(),
        other => panic!("not told whole: {other:?}"),
    }
}

fn git(core: &mut Core, second: i64) -> LightStatus {
    whole(core, at(second)).host.lights.git.status
}

fn beat(core: &mut Core, beat: Heartbeat, second: i64) {
    core.step(Input::Heard { link: 1, message: AgentMessage::Heartbeat(Box::new(beat)) }, at(second));
}

#[test]
fn a_heartbeat_that_tells_another_load_is_told_as_such_and_one_with_news_whole() {
    let (mut core, mut state) = (linked(), nobody());
    beat(&mut core, Heartbeat::default(), 2);
    let view = Arc::new(whole(&mut core, at(2)));
    state.apply(StateChange::Host(Arc::clone(&view)));
    drop(view);
    let before = Arc::as_ptr(&state.hosts[&host()].host);
    let metrics = Some(Metrics { cpu: Some(5.0), ..Metrics::default() });
    beat(&mut core, Heartbeat { metrics, ..Heartbeat::default() }, 3);
    let change = told(&mut core, at(3));
    assert!(matches!(change, StateChange::Beat(_)), "{change:?}");
    assert_eq!(seen(&mut state, vec![change.clone()]).map(|view| (view.host.metrics, view.host.last_seen)), {
        Some((metrics, Some(at(3))))
    });
    assert_eq!(Arc::as_ptr(&state.hosts[&host()].host), before, "nobody else has it: nothing is copied");
    assert_eq!(state.apply(change), None, "the same again is no change");
    beat(&mut core, Heartbeat { generation: commit("aaaaaaa"), ..Heartbeat::default() }, 4);
    let change = told(&mut core, at(4));
    assert!(matches!(change, StateChange::Beat(_)), "what is known already is no news: {change:?}");
    assert_eq!(nobody().apply(change), None, "nobody knows the host: it is told whole when it is asked to");
    beat(&mut core, Heartbeat { generation: commit(HEAD), ..Heartbeat::default() }, 5);
    assert_eq!(git(&mut core, 5), LightStatus::Ok);
}

#[test]
fn who_forgot_is_told_whole_again() {
    let mut core = linked();
    beat(&mut core, Heartbeat::default(), 2);
    whole(&mut core, at(2));
    assert!(matches!(told(&mut core, at(2)), StateChange::Beat(_)));
    core.forget_told();
    whole(&mut core, at(2));
}

#[test]
fn time_ends_what_was_kept_where_it_counts() {
    let mut core = linked();
    let mut failing = (*remote(HEAD, 0)).clone();
    failing.failed("no route", at(1));
    core.step(Input::Remote(Arc::new(failing)), at(1));
    beat(&mut core, Heartbeat::default(), 2);
    assert_eq!(git(&mut core, 2), LightStatus::Outdated);
    // Three intervals of 30 s without a good answer.
    beat(&mut core, Heartbeat::default(), 91);
    assert_eq!(git(&mut core, 91), LightStatus::Error);
    beat(&mut core, Heartbeat::default(), 3);
    assert_eq!(git(&mut core, 3), LightStatus::Outdated, "a clock that was set back counts");
}

#[test]
fn a_reboot_is_offered_again_when_the_hour_is_over() {
    let mut core = linked();
    core.record.history.reboots = (0..5).map(|it| at(100 * it)).collect();
    beat(&mut core, Heartbeat::default(), 500);
    let offered = |core: &mut Core, second: i64| whole(core, at(second)).host.offers.contains(&Op::Reboot);
    assert!(!offered(&mut core, 500));
    beat(&mut core, Heartbeat::default(), 3599);
    assert!(matches!(told(&mut core, at(3599)), StateChange::Beat(_)), "the oldest of five was an hour ago at 3600");
    beat(&mut core, Heartbeat::default(), 3600);
    assert!(offered(&mut core, 3600));
}
