//! One line a check: what is the case, which op is asked for, and which word comes back.

use nixfleet_protocol::agent::Generation;
use nixfleet_protocol::api::{ActionKind, CommandState};
use nixfleet_protocol::{Op, RunId};
use proptest::prelude::*;

use super::*;
use crate::compartments::tests::fixture::{Scene, Step, command, id, lock};
use crate::ops::{RunsOn, registry};

const ASKED: Request = Request { force: false, totp: TotpProof::Valid, run_id: None };

type Row = (&'static str, fn(&mut Scene), Op, Option<&'static str>, &'static str);

/// The offer in one word.
fn offered(refusal: &Refusal) -> String {
    match &refusal.offer {
        None => String::new(),
        Some(Action { op: Some(op), .. }) => op.to_string(),
        Some(Action { pipeline: Some(pipeline), .. }) => pipeline.clone(),
        Some(Action { kind, .. }) => format!("{kind:?}"),
    }
}

fn table(rows: &[Row]) {
    for (what, change, op, code, offer) in rows {
        let mut scene = Scene::current();
        change(&mut scene);
        let refusal = check(*op, &ASKED, &scene.standing()).err();
        assert_eq!(refusal.as_ref().map(|refusal| refusal.code), *code, "{what}: {op}: {refusal:?}");
        assert_eq!(refusal.as_ref().map_or(String::new(), offered), *offer, "{what}: {op}");
    }
}

fn go(scene: &mut Scene, steps: &[Step]) {
    *scene = scene.clone().after(steps);
}

fn generation(number: u64, current: bool) -> Generation {
    Generation { number, commit: None, at: None, current }
}

#[test]
fn pull() {
    table(&[
        ("behind", |s| go(s, &[Step::Push]), Op::Pull, None, ""),
        ("at the head", |_| (), Op::Pull, Some("already_current"), ""),
        ("pulled, not switched", |s| go(s, &[Step::Push, Step::Pull]), Op::Pull, Some("already_current"), "switch"),
        ("the lock was changed on the host", |s| go(s, &[Step::BumpsFlake]), Op::Pull, None, ""),
        ("an update waits", |s| go(s, &[Step::PrOpens]), Op::Pull, Some("already_current"), ""),
        ("no commit reported", |s| s.host.facts.generation = None, Op::Pull, None, ""),
        (
            "unreadable",
            |s| go(s, &[Step::Push, Step::RemoteFails]),
            Op::Pull,
            Some("remote_unavailable"),
            "refresh-git",
        ),
        (
            "one failed poll",
            |s| {
                go(s, &[Step::Push]);
                s.remote.failed("timed out", s.now);
            },
            Op::Pull,
            None,
            "",
        ),
        ("not configured", |s| s.remote.source = None, Op::Pull, Some("remote_unavailable"), ""),
        ("not read yet", |s| s.remote.desired = None, Op::Pull, Some("remote_unavailable"), "refresh-git"),
    ]);
}

#[test]
fn switch() {
    table(&[
        ("current", |_| (), Op::Switch, Some("already_current"), ""),
        ("pulled, not switched", |s| go(s, &[Step::Push, Step::Pull]), Op::Switch, None, ""),
        (
            "behind, and what is there runs",
            |s| go(s, &[Step::Push]),
            Op::Switch,
            Some("already_current"),
            "pull-switch",
        ),
        ("the lock is behind", |s| go(s, &[Step::PushLock]), Op::Switch, Some("lock_behind"), "pull"),
        (
            "unreadable, and what is there runs",
            |s| go(s, &[Step::RemoteFails]),
            Op::Switch,
            Some("already_current"),
            "",
        ),
        ("unreadable, not switched", |s| go(s, &[Step::Push, Step::Pull, Step::RemoteFails]), Op::Switch, None, ""),
        ("changed on the host", |s| go(s, &[Step::BumpsFlake]), Op::Switch, None, ""),
        (
            "changed on the host and switched",
            |s| go(s, &[Step::BumpsFlake, Step::Switch]),
            Op::Switch,
            Some("already_current"),
            "",
        ),
        ("rolled back by hand", |s| go(s, &[Step::RollsBackByHand]), Op::Switch, None, ""),
        ("rolled back", |s| go(s, &[Step::Rollback]), Op::Switch, None, ""),
        ("the last one failed", |s| go(s, &[Step::SwitchFails]), Op::Switch, None, ""),
        ("never switched by us", |s| *s = Scene::first_connect(), Op::Switch, None, ""),
        ("no lock on either side", |s| *s = Scene::current_without_lock(), Op::Switch, Some("already_current"), ""),
        ("an old agent, current", |s| *s = Scene::current_v2(), Op::Switch, Some("already_current"), ""),
        ("an old agent, pulled", |s| *s = Scene::current_v2().after(&[Step::Push, Step::Pull]), Op::Switch, None, ""),
        ("current, the old way of forcing", |_| (), Op::ForceRebuild, None, ""),
    ]);
}

/// What an agent of protocol 3 says that it can do.
fn ours() -> Vec<String> {
    ["pull", "switch", "test", "rollback", "restart", "reboot", "tests"].map(str::to_owned).to_vec()
}

/// A switch that failed in this stage.
fn half_way(stage: &str) -> crate::host::SwitchRun {
    crate::host::SwitchRun {
        command: "00000000-0000-7000-8000-000000000001".parse().unwrap(),
        op: Op::Switch,
        ok: false,
        commit: None,
        stage: Some(stage.to_owned()),
        at: Time::from_millis(0),
        rolled_back: None,
    }
}

#[test]
fn what_asks_for_more() {
    table(&[
        ("no generations reported", |_| (), Op::Rollback, None, ""),
        (
            "two",
            |s| s.host.facts.generations = [generation(10, true), generation(9, false)].into(),
            Op::Rollback,
            None,
            "",
        ),
        (
            "the oldest runs",
            |s| s.host.facts.generations = [generation(10, false), generation(9, true)].into(),
            Op::Rollback,
            Some("no_previous_generation"),
            "",
        ),
        (
            "the oldest runs, and the profile names one whose activation failed",
            |s| {
                s.host.facts.generations = [generation(10, false), generation(9, true)].into();
                s.host.history.last_switch = Some(half_way("activation"));
            },
            Op::Rollback,
            None,
            "",
        ),
        (
            "the oldest runs, and nothing was built since",
            |s| {
                s.host.facts.generations = [generation(10, false), generation(9, true)].into();
                s.host.history.last_switch = Some(half_way("build"));
            },
            Op::Rollback,
            Some("no_previous_generation"),
            "",
        ),
        (
            "only one",
            |s| s.host.facts.generations = [generation(1, true)].into(),
            Op::Rollback,
            Some("no_previous_generation"),
            "",
        ),
        (
            "only one, and nobody says that it runs",
            |s| s.host.facts.generations = [generation(1, false)].into(),
            Op::Rollback,
            Some("no_previous_generation"),
            "",
        ),
        ("the fourth reboot", |s| s.reboots = 4, Op::Reboot, None, ""),
        ("the fifth was before", |s| s.reboots = 5, Op::Reboot, Some("too_many_reboots"), ""),
        ("exec is not allowed", |_| (), Op::Exec, Some("exec_disabled"), ""),
        ("exec is allowed", |s| s.host.facts.features = ["exec"].into_iter().collect(), Op::Exec, None, ""),
        (
            "the agent names its ops",
            |s| s.host.facts.features = ours().into_iter().collect(),
            Op::Gc,
            Some("unsupported_by_agent"),
            "",
        ),
        (
            "a host without Nix has no store",
            |s| {
                s.host.facts.features = ours().into_iter().collect();
                s.host.facts.platform = Some(nixfleet_protocol::agent::Platform::Script);
            },
            Op::Gc,
            Some("unsupported_by_agent"),
            "",
        ),
        ("one that it names", |s| s.host.facts.features = ours().into_iter().collect(), Op::Test, None, ""),
        (
            "exec is no matter of knowing",
            |s| s.host.facts.features = ours().into_iter().collect(),
            Op::Exec,
            Some("exec_disabled"),
            "",
        ),
        (
            "what the dashboard does itself",
            |s| s.host.facts.features = ours().into_iter().collect(),
            Op::SetTags,
            None,
            "",
        ),
        ("features, and no ops", |s| s.host.facts.features = ["systemd"].into_iter().collect(), Op::Gc, None, ""),
        ("connected", |_| (), Op::Wake, Some("host_online"), ""),
        ("gone, no address", |s| s.linked = false, Op::Wake, Some("mac_unknown"), ""),
        (
            "gone, address known",
            |s| {
                s.linked = false;
                s.host.facts.mac_addresses = vec!["02:00:00:00:00:01".to_owned()];
            },
            Op::Wake,
            None,
            "",
        ),
        ("connected", |_| (), Op::Remove, Some("host_online"), ""),
        ("gone", |s| s.linked = false, Op::Remove, None, ""),
        (
            "never there",
            |s| {
                s.linked = false;
                s.host.first_seen = None;
            },
            Op::Remove,
            None,
            "",
        ),
        ("gone", |s| s.linked = false, Op::SetColor, None, ""),
        ("busy", |s| go(s, &[Step::Starts(Op::Switch)]), Op::SetTags, None, ""),
        ("nothing waits", |_| (), Op::MergePr, Some("no_pending_pr"), "refresh-git"),
        ("one waits", |s| go(s, &[Step::PrOpens]), Op::MergePr, None, ""),
        (
            "one that can't be merged",
            |s| {
                go(s, &[Step::PrOpens]);
                s.remote.pull_request.as_mut().unwrap().mergeable = Some(false);
            },
            Op::MergePr,
            Some("no_pending_pr"),
            "",
        ),
        ("nothing merged from here", |_| (), Op::RevertPr, Some("nothing_to_revert"), ""),
        (
            "merged from here",
            |s| {
                let desired = s.remote.desired.clone().unwrap();
                s.remote.merged = Some(nixfleet_protocol::api::Merged {
                    number: 12,
                    title: String::new(),
                    url: String::new(),
                    commit: desired.commit,
                    at: s.now,
                    by: "user".to_owned(),
                });
            },
            Op::RevertPr,
            None,
            "",
        ),
        ("anything", |s| go(s, &[Step::RemoteFails]), Op::RefreshGit, None, ""),
    ]);
}

#[test]
fn an_agents_op_needs_a_link_and_a_free_slot() {
    for spec in registry() {
        let mut offline = Scene::current();
        offline.linked = false;
        let mut sleeping = offline.clone();
        sleeping.host.facts.mac_addresses = vec!["02:00:00:00:00:01".to_owned()];
        let busy = Scene::current().after(&[Step::Starts(Op::Test)]);
        let code = |scene: &Scene| check(spec.id, &ASKED, &scene.standing()).err().map(|refusal| refusal.code);
        let offer = |scene: &Scene| check(spec.id, &ASKED, &scene.standing()).err().map(|refusal| offered(&refusal));
        assert_eq!(code(&offline) == Some("host_offline"), spec.runs_on == RunsOn::Agent, "{}", spec.id);
        assert_eq!(code(&busy) == Some("host_busy"), spec.takes_slot, "{}", spec.id);
        if spec.runs_on == RunsOn::Agent {
            assert_eq!(offer(&offline).as_deref(), Some(""));
            assert_eq!(offer(&sleeping).as_deref(), Some("wake"));
        }
    }
}

#[test]
fn a_busy_host_names_what_is_in_the_way() {
    for (state, offer) in [
        (CommandState::Pending, Some(ActionKind::Stop)),
        (CommandState::Executing, Some(ActionKind::Stop)),
        (CommandState::AwaitingReconnect, Some(ActionKind::Stop)),
        (CommandState::TimeoutPending, Some(ActionKind::Stop)),
        (CommandState::Killing, None),
    ] {
        let mut scene = Scene::current();
        scene.running = Some(command(7, Op::Test, state, scene.now));
        let refusal = check(Op::Pull, &ASKED, &scene.standing()).unwrap_err();
        assert_eq!((refusal.code, refusal.command_id), ("host_busy", Some(id(7))), "{state:?}");
        assert_eq!(refusal.offer.map(|action| action.kind), offer, "{state:?}");
        assert!(refusal.message.contains("test") && refusal.message.contains("hsb0"), "{}", refusal.message);
    }
}

#[test]
fn a_command_that_is_over_is_in_nobodys_way() {
    let mut scene = Scene::current();
    scene.running = Some(command(7, Op::Test, CommandState::Success, scene.now));
    assert_eq!(check(Op::Test, &ASKED, &scene.standing()), Ok(()));
}

#[test]
fn what_only_the_agent_knows_of_is_in_the_way_too() {
    let mut scene = Scene::current();
    scene.host.facts.running = vec![id(8)];
    let refusal = check(Op::Test, &ASKED, &scene.standing()).unwrap_err();
    assert_eq!((refusal.code, refusal.command_id), ("host_busy", Some(id(8))));
}

#[test]
fn a_run_owns_its_hosts_and_its_own_commands_pass() {
    let run: RunId = "01900000-0000-7000-8000-0000000000aa".parse().unwrap();
    let other: RunId = "01900000-0000-7000-8000-0000000000bb".parse().unwrap();
    let scene = Scene::current();
    let standing = Standing { run: Some(run), ..scene.standing() };
    let by = |run_id| check(Op::Test, &Request { run_id, ..ASKED }, &standing);
    assert_eq!(by(Some(run)), Ok(()));
    for run_id in [None, Some(other)] {
        let refusal = by(run_id).unwrap_err();
        assert_eq!((refusal.code, refusal.command_id), ("host_busy", None));
        assert!(refusal.message.contains(&run.to_string()), "{}", refusal.message);
    }
}

#[test]
fn a_reboot_needs_a_code_whoever_asks_and_force_does_not_help() {
    for (totp, code) in [
        (TotpProof::Valid, None),
        (TotpProof::NotGiven, Some("totp_required")),
        (TotpProof::Invalid, Some("totp_invalid")),
        (TotpProof::NotConfigured, Some("totp_not_configured")),
    ] {
        for force in [false, true] {
            let scene = Scene::current();
            let refusal = check(Op::Reboot, &Request { force, totp, run_id: None }, &scene.standing()).err();
            assert_eq!(refusal.map(|refusal| refusal.code), code);
        }
    }
    let scene = Scene::current();
    assert_eq!(check(Op::Test, &Request { totp: TotpProof::Invalid, ..ASKED }, &scene.standing()), Ok(()));
}

#[test]
fn an_old_agent_is_not_asked_for_what_it_does_not_know() {
    let scene = Scene::current_v2();
    for spec in registry().filter(|spec| spec.runs_on == RunsOn::Agent) {
        let refused = check(spec.id, &ASKED, &scene.standing()).err();
        let unsupported = refused.as_ref().is_some_and(|refusal| refusal.code == "unsupported_by_agent");
        assert_eq!(unsupported, spec.v2.is_none(), "{}: {refused:?}", spec.id);
    }
}

#[test]
fn force_skips_current_and_behind_and_nothing_else() {
    let force = |scene: &Scene, op| check(op, &Request { force: true, ..ASKED }, &scene.standing()).err();
    let current = Scene::current();
    let mut behind = Scene::current();
    behind.remote.desired.as_mut().unwrap().lock_hash = Some(lock(7));
    assert_eq!(force(&current, Op::Pull), None);
    assert_eq!(force(&current, Op::Switch), None);
    assert_eq!(force(&behind, Op::Switch), None);
    let mut offline = Scene::current();
    offline.linked = false;
    let refused: Vec<(Scene, Op, &str)> = vec![
        (offline, Op::Pull, "host_offline"),
        (Scene::current().after(&[Step::Starts(Op::Test)]), Op::Switch, "host_busy"),
        (Scene::current().after(&[Step::RemoteFails]), Op::Pull, "remote_unavailable"),
        (Scene::current(), Op::Exec, "exec_disabled"),
        (Scene::current(), Op::Remove, "host_online"),
        (Scene::current_v2(), Op::Plan, "unsupported_by_agent"),
        (Scene::current(), Op::MergePr, "no_pending_pr"),
    ];
    for (scene, op, code) in refused {
        assert_eq!(force(&scene, op).map(|refusal| refusal.code), Some(code), "{op}");
    }
}

#[test]
fn only_a_pull_that_is_current_asks_the_remote_first() {
    let refusal = |code| Refusal::new(code, "");
    assert!(asks_remote_first(Op::Pull, &refusal("already_current")));
    assert!(!asks_remote_first(Op::Switch, &refusal("already_current")));
    assert!(!asks_remote_first(Op::Pull, &refusal("host_busy")));
    assert!(!asks_remote_first(Op::Pull, &refusal("remote_unavailable")));
}

#[test]
fn a_refusal_says_what_is_in_the_way_in_sentences() {
    let scenes: [fn() -> Scene; 7] = [
        Scene::current,
        Scene::current_v2,
        Scene::first_connect,
        || Scene::current().after(&[Step::RemoteFails]),
        || Scene::current().after(&[Step::PushLock]),
        || Scene { linked: false, ..Scene::current() },
        || Scene { reboots: 5, ..Scene::current() },
    ];
    for (scene, op) in scenes.iter().flat_map(|scene| Op::ALL.iter().map(move |op| (scene(), *op))) {
        let Err(refusal) = check(op, &Request { totp: TotpProof::NotGiven, ..ASKED }, &scene.standing()) else {
            continue;
        };
        assert!(refusal.message.ends_with('.') && refusal.message.len() > 20, "{op}: {}", refusal.message);
        assert!(refusal.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{op}");
    }
}

proptest! {
    /// A check made twice is the same, and force never makes an op worse.
    #[test]
    fn force_never_hurts(op in prop::sample::select(Op::ALL), linked: bool, reboots in 0_u32..9, busy: bool, behind: bool) {
        let mut scene = Scene::current();
        scene.linked = linked;
        scene.reboots = reboots;
        if busy {
            scene = scene.after(&[Step::Starts(Op::Gc)]);
        }
        if behind {
            scene = scene.after(&[Step::PushLock]);
        }
        let plain = check(op, &ASKED, &scene.standing());
        prop_assert_eq!(&plain, &check(op, &ASKED, &scene.standing()));
        let forced = check(op, &Request { force: true, ..ASKED }, &scene.standing());
        if plain.is_ok() {
            prop_assert_eq!(forced, Ok(()));
        }
    }
}
