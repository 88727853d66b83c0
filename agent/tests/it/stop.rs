//! A stop at every moment of a command: no process is left, the agent is alive, idle, and takes the next command.

use std::fs;

use nixfleet_protocol::CommandId;
use nixfleet_protocol::agent::{DashboardMessage, KillCommand};

use crate::dashboard::Link;
use crate::deploys::nixos;
use crate::world::{AgentProcess, World, as_nobody, executable, new_id, processes_with, until};

/// Stops a command that runs, and looks at what is left: nothing of it, and an agent that goes on.
pub(crate) async fn stopped(world: &mut World, link: &mut Link, id: CommandId, trace: &str) {
    world.dashboard.stop(link, id).await;
    world.dashboard.until_ended(link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(130), Some("stopped")), "{result:?}");
    assert_eq!(processes_with(&format!("NIXFLEET_COMMAND_ID={id}")), Vec::<i32>::new());
    assert_eq!(processes_with(trace), Vec::<i32>::new(), "found by {trace}");
    world.dashboard.heartbeats.clear();
    world.dashboard.until(link, "a heartbeat", |dashboard| !dashboard.heartbeats.is_empty()).await;
    let beat = &world.dashboard.heartbeats[0];
    assert_eq!((&beat.pending_command, beat.running.as_deref()), (&None, Some(&[][..])), "the agent is idle");
    let next = world.dashboard.run(link, "refresh-lock").await;
    assert_eq!(world.dashboard.of(next).result().exit_code, Some(0));
}

/// A remote over a played `ssh`, which hangs while a file is there.
async fn far_away(number: u32) -> World {
    let world = World::new().await;
    executable(
        &world.path("bin/ssh"),
        &format!(
            "#!/bin/sh\nif [ -e \"$HOME/hang\" ]; then trap '' TERM; sleep {number}1 & while :; do sleep {number}2; done; fi\n\
             for last; do :; done\nexec sh -c \"$last\"\n"
        ),
    );
    let url = format!("ssh://git@far.example.org{}", world.path("remote.git").display());
    world.with("NIXFLEET_REPO_URL", url)
}

#[tokio::test]
async fn a_stop_during_the_clone_and_a_hanging_first_clone_hold_up_nothing() {
    let mut world = far_away(43101).await;
    fs::write(world.path("hang"), "").unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    // The first clone hangs by itself, with the lock of the checkout in its hands.
    until("the first clone hangs", || !processes_with("431012").is_empty()).await;
    let first = new_id();
    world.dashboard.order(&mut link, first, "pull").await;
    world.dashboard.until_line(&mut link, first, "fetch --prune").await;
    stopped(&mut world, &mut link, first, "43101").await;
    fs::remove_file(world.path("hang")).unwrap();
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0), "{}", world.dashboard.of(pull).text());
}

#[tokio::test]
async fn a_stop_during_a_pull_leaves_a_checkout_that_pulls_again() {
    let mut world = far_away(43102).await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let commit = world.commit(&[("new", "x")]);
    fs::write(world.path("hang"), "").unwrap();
    let id = new_id();
    world.dashboard.order(&mut link, id, "pull").await;
    world.dashboard.until_line(&mut link, id, "fetch --prune").await;
    until("git hangs", || !processes_with("431022").is_empty()).await;
    stopped(&mut world, &mut link, id, "43102").await;
    fs::remove_file(world.path("hang")).unwrap();
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().generation.as_ref().unwrap().as_str(), commit);
}

#[tokio::test]
async fn a_clone_that_is_ended_in_its_first_moment_is_still_known_as_ours() {
    let mut world = World::new().await;
    let found = std::process::Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    let git = String::from_utf8(found.stdout).unwrap().trim().to_owned();
    // It has made the repository, and does not come back.
    executable(
        &world.path("bin/git"),
        &format!(
            "#!/bin/sh\ncase \"$*\" in *init*) {git} \"$@\"; [ -e \"$HOME/hang\" ] && exec sleep 431061; exit 0;; esac\nexec {git} \"$@\"\n"
        ),
    );
    fs::write(world.path("hang"), "").unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    until("the first clone hangs", || !processes_with("431061").is_empty()).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "pull").await;
    until("the first clone made room", || world.folder(id).join("group").exists()).await;
    stopped(&mut world, &mut link, id, "431061").await;
    fs::remove_file(world.path("hang")).unwrap();
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0), "{}", world.dashboard.of(pull).text());
}

async fn pulled(world: &mut World) -> (AgentProcess, Link) {
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0), "{}", world.dashboard.of(pull).text());
    (agent, link)
}

#[tokio::test]
async fn a_stop_during_the_tests_tells_those_that_ran() {
    let mut world = World::new().await;
    world.commit(&[
        ("hosts/h1/tests/1.sh", "#!/bin/sh\nexit 0\n"),
        ("hosts/h1/tests/2.sh", "#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 424203; done\n"),
        ("hosts/h1/tests/3.sh", "#!/bin/sh\necho > \"$HOME/third\"\n"),
    ]);
    let (_agent, mut link) = pulled(&mut world).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "test").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    stopped(&mut world, &mut link, id, "424203").await;
    let details = world.dashboard.of(id).result().details.clone().unwrap();
    assert_eq!(
        (&details["passed"], details["tests"].as_array().unwrap().len()),
        (&serde_json::json!(1), 1),
        "{details}"
    );
    assert!(!world.path("third").exists());
}

#[tokio::test]
async fn a_stop_during_the_build_activates_nothing() {
    let mut world = nixos("#!/bin/sh\necho > \"$HOME/activated\"\n").await;
    executable(&world.path("bin/nix"), "#!/bin/sh\necho building >&2\n(trap '' TERM; sleep 431041) &\nsleep 431042\n");
    let (_agent, mut link) = pulled(&mut world).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "building").await;
    stopped(&mut world, &mut link, id, "43104").await;
    assert!(!world.path("activated").exists());
}

#[tokio::test]
async fn a_stop_reaches_what_runs_under_sudo_and_what_made_itself_a_daemon() {
    let mut world = World::new().await;
    // As sudo does: a child in a session and with an environment of its own. And a daemon, twice forked.
    executable(&world.path("bin/sudo"), "#!/bin/sh\nenv -i PATH=\"$PATH\" setsid \"$@\" &\nwait\n");
    world.commit(&[(
        "hosts/h1/switch",
        "#!/bin/sh\n(env -i PATH=\"$PATH\" setsid sh -c 'sleep 431051 & exit' &)\n\
         echo ready\nsudo sh -c 'trap \"\" TERM; while :; do sleep 431052; done'\n",
    )]);
    let (_agent, mut link) = pulled(&mut world).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    until("both run", || !processes_with("431051").is_empty() && !processes_with("431052").is_empty()).await;
    stopped(&mut world, &mut link, id, "43105").await;
}

#[tokio::test]
async fn a_runner_that_was_started_through_sudo_is_stopped_and_its_result_is_read() {
    let world = nixos("#!/bin/sh\necho > \"$HOME/activated\"\n").await;
    executable(
        &world.path("bin/our-sudo"),
        &format!(
            "#!/bin/sh\necho \"$*\" >> {}\n[ \"$1\" = -n ] && shift\n[ \"$1\" = -- ] && shift\n\"$@\" &\nwait\n",
            world.path("sudo.log").display()
        ),
    );
    executable(&world.path("bin/nix"), "#!/bin/sh\necho building >&2\nsleep 424208\n");
    let mut world = world.with("NIXFLEET_SUDO", "our-sudo -n");
    // Root needs no sudo.
    let _agent = as_nobody(&world).start(&world);
    let mut link = world.dashboard.registered().await;
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0), "{}", world.dashboard.of(pull).text());
    assert!(!world.path("sudo.log").exists(), "a pull needs nobody's leave");
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "building").await;
    let asked = fs::read_to_string(world.path("sudo.log")).unwrap();
    assert!(asked.starts_with("-n ") && asked.contains("run-command"), "{asked}");
    stopped(&mut world, &mut link, id, "424208").await;
}

#[tokio::test]
async fn a_kill_without_an_id_ends_what_runs_at_once() {
    let mut world = World::new().await;
    world
        .commit(&[("hosts/h1/switch", "#!/bin/sh\ntrap 'echo asked' TERM\necho ready\nwhile :; do sleep 0.1; done\n")]);
    let (_agent, mut link) = pulled(&mut world).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    let kill = KillCommand { signal: nixfleet_protocol::agent::Signal::Kill, pid: 0, command_id: None };
    world.dashboard.send(&mut link, DashboardMessage::KillCommand(kill)).await;
    world.dashboard.until_ended(&mut link, id).await;
    let kept = world.dashboard.of(id);
    assert_eq!(kept.result().exit_code, Some(130));
    assert!(!kept.lines().contains(&"asked".to_owned()), "SIGKILL asks nobody");
}

#[tokio::test]
async fn a_stop_reaches_a_command_that_prints_without_end() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho ready\nexec yes 431131\n")]);
    let (_agent, mut link) = pulled(&mut world).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    world.dashboard.stop(&mut link, id).await;
    until("it prints no more", || processes_with("431131").is_empty()).await;
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(130));
}
