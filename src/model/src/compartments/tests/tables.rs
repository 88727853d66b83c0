//! Every cell: status, sentence, click, and what else is offered.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Action, ActionKind, Light, Lights};

use super::fixture::{Scene, Step, commit, drawn};
use crate::remote::Relation;

mod deployed;

/// A light in few words: `🟡 pull; pull-switch`.
fn short(light: &Light) -> String {
    let also: Vec<_> = light.also.iter().map(click).collect();
    let also = if also.is_empty() { String::new() } else { format!("; {}", also.join(", ")) };
    format!("{} {}{also}", drawn(light.status), click(&light.action))
}

fn click(action: &Action) -> String {
    match (action.kind, action.op, &action.pipeline) {
        (ActionKind::Op, Some(op), None) => op.to_string(),
        (ActionKind::Pipeline, None, Some(pipeline)) => pipeline.clone(),
        (ActionKind::Details, None, None) => "details".to_owned(),
        (ActionKind::Log, None, None) => "log".to_owned(),
        (ActionKind::Stop, None, None) => "stop".to_owned(),
        (ActionKind::Help, None, None) => "help".to_owned(),
        (kind, op, pipeline) => panic!("an action of two kinds: {kind:?} {op:?} {pipeline:?}"),
    }
}

type Row = (&'static str, fn(&mut Scene), &'static str, &'static str);

/// From everything green: what is changed, the light that follows, and its sentence.
fn table(light: fn(&Lights) -> &Light, rows: &[Row]) {
    for (what, change, expected, sentence) in rows {
        let mut scene = Scene::current();
        change(&mut scene);
        let lights = scene.lights();
        let light = light(&lights);
        assert_eq!(short(light), *expected, "{what}: {}", light.message);
        assert_eq!(light.message, *sentence, "{what}");
    }
}

fn go(scene: &mut Scene, steps: &[Step]) {
    *scene = scene.clone().after(steps);
}

#[test]
fn agent() {
    table(
        |lights| &lights.agent,
        &[
            ("same version", |_| (), "🟢 details", "The agent (1.0.0) is the dashboard's version."),
            (
                "a dirty build of the same version",
                |scene| scene.host.facts.agent_version = Some("1.0.0-dirty".to_owned()),
                "🟢 details",
                "The agent (1.0.0-dirty) is the dashboard's version.",
            ),
            (
                "newer",
                |scene| scene.host.facts.agent_version = Some("1.0.10".to_owned()),
                "🟡 help",
                "The dashboard (1.0.0) is older than the agent (1.0.10): update the dashboard.",
            ),
            (
                "no version",
                |scene| scene.host.facts.agent_version = Some("dev".to_owned()),
                "🟡 details",
                "The agent's version \"dev\" can't be compared with the dashboard's, \"1.0.0\".",
            ),
            (
                "older",
                |scene| scene.host.facts.agent_version = Some("0.9.99".to_owned()),
                "🔴 update-agent",
                "The agent (0.9.99) is older than the dashboard (1.0.0). Update the flake input nixfleet in the configuration repository, then pull and switch.",
            ),
            (
                "protocol 2, whatever its version",
                |scene| {
                    scene.host.facts.protocol = Some(2);
                    scene.host.facts.agent_version = Some("99.0.0".to_owned());
                },
                "🔴 update-agent; pull-switch",
                "The agent (99.0.0) is of the old kind, older than the dashboard (1.0.0). Update the flake input nixfleet in the configuration repository, then pull and switch.",
            ),
            (
                "no protocol said is protocol 2",
                |scene| {
                    scene.host.facts.protocol = None;
                    scene.host.facts.agent_version = None;
                },
                "🔴 update-agent; pull-switch",
                "The agent is of the old kind, older than the dashboard (1.0.0). Update the flake input nixfleet in the configuration repository, then pull and switch.",
            ),
            ("never connected", |scene| scene.host.first_seen = None, "⚪ details", "No agent has connected yet."),
            (
                "no version said",
                |scene| scene.host.facts.agent_version = None,
                "⚪ details",
                "The agent did not say its version.",
            ),
            ("restart runs", |scene| go(scene, &[Step::Starts(Op::Restart)]), "🔵 log; stop", "Restart is running."),
        ],
    );
}

fn standing(scene: &mut Scene, relation: Relation) {
    go(scene, &[Step::Push]);
    scene.remote.relations.insert(commit(1), relation);
}

#[test]
fn git() {
    table(
        |lights| &lights.git,
        &[
            ("equal", |_| (), "🟢 details", "At the remote's head, 0000001 \"change 1\"."),
            (
                "equal, abbreviated",
                |scene| scene.host.facts.generation = Some("0000001".parse().unwrap()),
                "🟢 details",
                "At the remote's head, 0000001 \"change 1\".",
            ),
            (
                "behind by one",
                |scene| go(scene, &[Step::Push]),
                "🟡 pull; pull-switch",
                "Behind by 1 commit; the head is 0000002 \"change 2\".",
            ),
            (
                "behind by two",
                |scene| go(scene, &[Step::Push, Step::Push]),
                "🟡 pull; pull-switch",
                "Behind by 2 commits; the head is 0000003 \"change 3\".",
            ),
            (
                "ahead",
                |scene| standing(scene, Relation::Ahead(2)),
                "🟡 pull; pull-switch",
                "0000001 has 2 commits that the remote lacks; the head is 0000002 \"change 2\".",
            ),
            (
                "diverged",
                |scene| standing(scene, Relation::Diverged { ahead: 1, behind: 3 }),
                "🟡 pull; pull-switch",
                "0000001 and the remote have diverged: 1 commit of its own, behind by 3 commits; the head is 0000002 \
                 \"change 2\".",
            ),
            (
                "a commit from elsewhere",
                |scene| standing(scene, Relation::Foreign),
                "🟡 pull; pull-switch",
                "0000001 is a commit that the remote does not know; the head is 0000002 \"change 2\".",
            ),
            (
                "nobody told how they stand",
                |scene| {
                    go(scene, &[Step::Push]);
                    scene.remote.relations.clear();
                },
                "🟡 pull; pull-switch",
                "0000001 is not the remote's head; the head is 0000002 \"change 2\".",
            ),
            (
                "the remote can't be read",
                |scene| go(scene, &[Step::RemoteFails]),
                "🔴 help; refresh-git",
                "The remote can't be read since 2026-11-21 06:04 UTC: no route to host.",
            ),
            (
                "one failed poll is no red fleet",
                |scene| scene.remote.failed("timed out", scene.now),
                "🟢 details",
                "At the remote's head, 0000001 \"change 1\".",
            ),
            (
                "none is configured",
                |scene| scene.remote.source = None,
                "🔴 help",
                "No remote is configured: set NIXFLEET_REPO_URL, NIXFLEET_GITHUB_REPO or NIXFLEET_VERSION_URL for the \
                 dashboard.",
            ),
            (
                "not read yet",
                |scene| scene.remote.desired = None,
                "⚪ details; refresh-git",
                "The remote has not been read yet.",
            ),
            (
                "no commit reported",
                |scene| scene.host.facts.generation = None,
                "⚪ details",
                "The host has reported no commit yet.",
            ),
            (
                "no commit, and the remote can't be read: unknown comes before error",
                |scene| {
                    go(scene, &[Step::RemoteFails]);
                    scene.host.facts.generation = None;
                },
                "⚪ details",
                "The host has reported no commit yet.",
            ),
            (
                "the clone failed",
                |scene| {
                    scene.host.facts.generation = None;
                    scene.host.facts.repo_error = Some("fatal: could not read\nfrom remote repository.".to_owned());
                },
                "⚪ details",
                "The host has no checkout: fatal: could not read from remote repository.",
            ),
            ("pull runs", |scene| go(scene, &[Step::Starts(Op::Pull)]), "🔵 log; stop", "Pull is running."),
        ],
    );
}

#[test]
fn what_merges_an_update_names_it_as_it_is_shown() {
    let mut scene = Scene::current();
    go(&mut scene, &[Step::PrOpens]);
    let light = scene.lights().lock;
    let shown = serde_json::json!({ "number": 12, "head": scene.remote.pull_request.as_ref().unwrap().head });
    let args = |action: &nixfleet_protocol::api::Action| serde_json::json!(action.args);
    assert_eq!(args(&light.action), shown);
    assert_eq!(args(&light.also[0]), serde_json::json!({ "merge-pr": shown }));
}

#[test]
fn lock_light() {
    table(
        |lights| &lights.lock,
        &[
            ("equal", |_| (), "🟢 details", "flake.lock is the remote's, and no update waits."),
            ("behind", |scene| go(scene, &[Step::PushLock]), "🟡 pull; pull-switch", "flake.lock is not the remote's."),
            (
                "the remote has none any more",
                |scene| scene.remote.desired.as_mut().unwrap().lock_hash = None,
                "🟡 pull; pull-switch",
                "flake.lock is not the remote's.",
            ),
            (
                "changed on the host",
                |scene| go(scene, &[Step::BumpsFlake]),
                "🟡 pull; switch",
                "flake.lock was changed on the host; a pull brings the remote's back.",
            ),
            (
                "update available",
                |scene| go(scene, &[Step::PrOpens]),
                "🟡 merge-pr; merge-deploy",
                "flake.lock is the remote's; an update waits: #12 flake.lock: Update.",
            ),
            (
                "update available that can't be merged",
                |scene| {
                    go(scene, &[Step::PrOpens]);
                    scene.remote.pull_request.as_mut().unwrap().mergeable = Some(false);
                },
                "🟡 help",
                "flake.lock is the remote's; an update waits: #12 flake.lock: Update. It can't be merged as it is: \
                 look at the pull request.",
            ),
            (
                "nobody knows yet whether it can be merged",
                |scene| {
                    go(scene, &[Step::PrOpens]);
                    scene.remote.pull_request.as_mut().unwrap().mergeable = None;
                },
                "🟡 merge-pr; merge-deploy",
                "flake.lock is the remote's; an update waits: #12 flake.lock: Update.",
            ),
            (
                "behind comes before an update",
                |scene| go(scene, &[Step::PrOpens, Step::PushLock]),
                "🟡 pull; pull-switch",
                "flake.lock is not the remote's.",
            ),
            (
                "the remote can't be read",
                |scene| go(scene, &[Step::RemoteFails]),
                "🔴 help; refresh-git",
                "The remote can't be read since 2026-11-21 06:04 UTC: no route to host.",
            ),
            (
                "no lock hash reported",
                |scene| scene.host.facts.lock_hash = None,
                "⚪ details",
                "The host has not said which flake.lock it has.",
            ),
            (
                "no flake.lock on either side",
                |scene| *scene = Scene::current_without_lock(),
                "⚪ details",
                "No flake.lock on either side: nothing to compare.",
            ),
            (
                "bump-flake runs",
                |scene| go(scene, &[Step::Starts(Op::BumpFlake)]),
                "🔵 log; stop",
                "Bump-flake is running.",
            ),
        ],
    );
}
