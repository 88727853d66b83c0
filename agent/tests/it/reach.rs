//! What a stop must reach beyond the processes that are ours: those of another user, and those that the service
//! manager runs for a command. And what the end of a stop that reached nobody is called.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::deploys::nixos;
use crate::links::skipped;
use crate::stop::stopped;
use crate::world::{World, as_nobody, executable, new_id, processes_with, real_sudo, until};

#[tokio::test]
async fn a_command_that_became_root_is_stopped_through_sudo() {
    // The whole command; a part of one, for which a shell of ours waits; and one that left the group.
    for script in [
        "#!/bin/sh\nexec our-sudo sh -c 'trap \"\" TERM; echo ready; while :; do sleep 431091; done'\n",
        "#!/bin/sh\nour-sudo sh -c 'trap \"\" TERM; echo ready; while :; do sleep 431091; done' &\nwait\nwait\n",
        "#!/bin/sh\nour-sudo setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 431091; done' &\nwait\nwait\n",
    ] {
        let mut world = World::new().await.with("NIXFLEET_SUDO", "our-sudo -n");
        world.commit(&[("hosts/h1/switch", script)]);
        if !real_sudo(&world) {
            let name = "it::reach::a_command_that_became_root_is_stopped_through_sudo";
            return skipped(name, "a setuid program needs root");
        }
        let _agent = as_nobody(&world).start(&world);
        let mut link = world.dashboard.registered().await;
        world.dashboard.run(&mut link, "pull").await;
        let id = new_id();
        world.dashboard.order(&mut link, id, "switch").await;
        world.dashboard.until_line(&mut link, id, "ready").await;
        stopped(&mut world, &mut link, id, "431091").await;
    }
}

#[tokio::test]
async fn a_stop_that_reached_nobody_is_no_stop() {
    let mut world = World::new().await.with("NIXFLEET_SUDO", "no-sudo -n");
    executable(&world.path("bin/no-sudo"), "#!/bin/sh\necho 'a password is required' >&2\nexit 1\n");
    world.commit(&[(
        "hosts/h1/switch",
        "#!/bin/sh\nexec our-sudo sh -c 'echo ready; while [ ! -e \"$HOME/go\" ]; do sleep 0.1; done; echo over; exit 7'\n",
    )]);
    if !real_sudo(&world) {
        return skipped("it::reach::a_stop_that_reached_nobody_is_no_stop", "a setuid program needs root");
    }
    let _agent = as_nobody(&world).start(&world);
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    world.dashboard.stop(&mut link, id).await;
    world.dashboard.until_line(&mut link, id, "can't be stopped: a password is required").await;
    fs::write(world.path("go"), "").unwrap();
    world.dashboard.until_ended(&mut link, id).await;
    let kept = world.dashboard.of(id);
    assert_eq!((kept.result().exit_code, kept.result().stage.as_deref()), (Some(7), Some("activation")));
    assert_eq!(kept.lines(), ["ready", "over"], "what it printed meanwhile was read");
    assert_eq!(kept.text().matches("a password is required").count(), 1, "{}", kept.text());
}

#[tokio::test]
async fn what_a_runner_left_that_was_root_holds_up_nothing_and_the_next_one_removes_it() {
    let mut world = nixos("#!/bin/sh\nexit 0\n").await.with("NIXFLEET_SUDO", "our-sudo -n");
    let good = fs::read_to_string(world.path("bin/nix")).unwrap();
    executable(
        &world.path("bin/nix"),
        "#!/bin/sh\nmkdir -m 700 built\necho > built/x\necho building >&2\nsleep 431121\n",
    );
    if !real_sudo(&world) {
        let name = "it::reach::what_a_runner_left_that_was_root_holds_up_nothing_and_the_next_one_removes_it";
        return skipped(name, "a setuid program needs root");
    }
    let nobody = as_nobody(&world);
    let agent = nobody.start(&world);
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "building").await;
    // Killed while it wrote: its log has half a record at its end, which the agent may not cut.
    let folder = world.folder(id);
    let claim: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("started")).unwrap()).unwrap();
    let runner = rustix::process::Pid::from_raw(i32::try_from(claim["pid"].as_i64().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(runner, rustix::process::Signal::KILL).unwrap();
    fs::File::options().append(true).open(folder.join("output.log")).unwrap().write_all(b"7 o torn").unwrap();
    fs::write(folder.join("result.json.new"), "{").unwrap();
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.stage.as_deref(), Some("interrupted"), "{result:?}");
    until("nothing of it runs any more", || processes_with("431121").is_empty()).await;
    until("the acknowledgement is written", || folder.join("acknowledged").exists()).await;
    agent.kill();
    // Old enough to be deleted, which the agent's user can't do.
    fs::write(folder.join("acknowledged"), "0").unwrap();
    let left = world.path("state/commands").join(format!(".old-{id}"));
    for _ in 0..2 {
        let agent = nobody.start(&world);
        let mut link = world.dashboard.registered().await;
        until("it is no command any more", || !folder.exists()).await;
        assert!(left.exists(), "this test wants something that stays");
        world.dashboard.run(&mut link, "pull").await;
        agent.kill();
    }
    executable(&world.path("bin/nix"), &good);
    let _agent = nobody.start(&world);
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "switch").await;
    assert!(!left.exists(), "a runner that is root removed it");
}

#[tokio::test]
async fn what_ends_the_agents_group_does_not_end_a_runner_that_was_started_through_sudo() {
    let world = nixos("#!/bin/sh\nexit 0\n").await;
    // As sudo does: it passes on to its child what it is asked to do.
    executable(
        &world.path("bin/our-sudo"),
        "#!/bin/sh\n[ \"$1\" = -n ] && shift\n[ \"$1\" = -- ] && shift\n\"$@\" &\nchild=$!\n\
         trap 'kill -TERM $child' TERM\nwait\nwait\n",
    );
    executable(&world.path("bin/nix"), "#!/bin/sh\necho building >&2\nsleep 431111\n");
    let mut world = world.with("NIXFLEET_SUDO", "our-sudo -n");
    let mut agent = as_nobody(&world).start(&world);
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "building").await;
    // As launchd ends a service.
    let group = rustix::process::Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    agent.ended().await;
    drop(link);
    let _agent = as_nobody(&world).start(&world);
    let mut link = world.dashboard.registered().await;
    assert_eq!((link.register.running.as_slice(), link.register.results.as_slice()), (&[id][..], &[][..]));
    world.dashboard.listen_for(&mut link, Duration::from_millis(700)).await;
    assert!(world.dashboard.of(id).status.is_none(), "{:?}", world.dashboard.of(id).status);
    stopped(&mut world, &mut link, id, "431111").await;
}

#[tokio::test]
async fn a_sudo_that_refuses_ends_the_command_at_once_and_says_why() {
    let world = nixos("#!/bin/sh\nexit 0\n").await;
    executable(&world.path("bin/no-sudo"), "#!/bin/sh\necho 'no-sudo: a password is required' >&2\nexit 1\n");
    let mut world = world.with("NIXFLEET_SUDO", "no-sudo -n");
    let _agent = as_nobody(&world).start(&world);
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let begun = std::time::Instant::now();
    let id = world.dashboard.run(&mut link, "switch").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for a runner that never comes");
    let result = world.dashboard.of(id).result();
    let message = result.message.as_ref().unwrap();
    assert!(message.contains("no-sudo ended with code 1: no-sudo: a password is required"), "{message}");
    assert!(message.contains("NIXFLEET_SUDO"), "{message}");
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(127), Some("interrupted")));
}

/// Tools as on a NixOS with systemd: the activation runs for PID 1, here a process of the test.
async fn with_systemd(activation: &str) -> (World, std::process::Child) {
    let world = nixos(
        "#!/bin/sh\necho activating\nln -sfn ROOT/store/new ROOT/nix/var/nix/profiles/system-10-link\n\
         ln -sfn system-10-link ROOT/nix/var/nix/profiles/system\n: > \"$HOME/wanted\"\nsleep 431071\n",
    )
    .await;
    fs::create_dir_all(world.path("root/run/systemd/system")).unwrap();
    executable(&world.path("bin/activation"), activation);
    executable(
        &world.path("bin/systemctl"),
        "#!/bin/sh
unit=$(cat \"$(dirname \"$0\")/../unit\" 2>/dev/null)
lives() { [ -n \"$unit\" ] && kill -0 \"$unit\" 2>/dev/null; }
case \"$*\" in
  list-units*nixos-rebuild-switch-to-configuration*)
    lives && echo 'nixos-rebuild-switch-to-configuration.service loaded active running an activation'; exit 0;;
  stop*nixos-rebuild-switch-to-configuration*) lives && kill -TERM \"$unit\"; exit 0;;
  kill*SIGKILL*nixos-rebuild-switch-to-configuration*) lives && kill -KILL \"$unit\"; exit 0;;
esac
exit 0
",
    );
    let manager = format!(
        "cd {}; while :; do if [ -e wanted ]; then rm wanted; bin/activation & echo $! > unit; wait; rm unit; fi; sleep 0.05; done",
        world.dir.path().display()
    );
    let manager = Command::new("/bin/sh").args(["-c", &manager]).stdout(Stdio::null()).spawn().unwrap();
    (world, manager)
}

#[tokio::test]
async fn a_stop_during_an_activation_reaches_the_unit_that_systemd_runs_and_says_how_it_left_the_host() {
    for activation in
        ["#!/bin/sh\nexec sleep 431072\n", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done # 431072\n"]
    {
        let (mut world, mut manager) = with_systemd(activation).await;
        let _agent = world.start();
        let mut link = world.dashboard.registered().await;
        world.dashboard.run(&mut link, "pull").await;
        let id = new_id();
        world.dashboard.order(&mut link, id, "switch").await;
        world.dashboard.until_line(&mut link, id, "activating").await;
        until("systemd activates", || world.path("unit").exists()).await;
        let unit: i32 = {
            let mut text = String::new();
            until("its number is written", || {
                text = fs::read_to_string(world.path("unit")).unwrap_or_default().trim().to_owned();
                !text.is_empty()
            })
            .await;
            text.parse().unwrap()
        };
        world.dashboard.stop(&mut link, id).await;
        world.dashboard.until_ended(&mut link, id).await;
        let alive = fs::read_to_string(format!("/proc/{unit}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(!alive, "the activation goes on");
        let result = world.dashboard.of(id).result();
        assert_eq!((result.exit_code, result.stage.as_deref()), (Some(130), Some("stopped")), "{result:?}");
        let report = &result.details.as_ref().unwrap()["activation"];
        assert!(report["profile"].as_str().unwrap().ends_with("/store/new"), "{report}");
        assert!(report["running"].as_str().unwrap().ends_with("/store/old"), "{report}");
        let message = result.message.as_ref().unwrap();
        assert!(message.starts_with("stopped; generation 10 is in the profile"), "{message}");
        assert_eq!(processes_with("431071"), Vec::<i32>::new());
        manager.kill().unwrap();
        manager.wait().unwrap();
    }
}

#[tokio::test]
async fn no_activation_begins_beside_one_that_systemd_still_runs() {
    let (mut world, mut manager) =
        with_systemd("#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\necho > over\n").await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    // Somebody else's: a person's at the console, or one whose runner was killed.
    fs::write(world.path("wanted"), "").unwrap();
    until("systemd activates", || world.path("unit").exists()).await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "waiting for nixos-rebuild-switch-to-configuration").await;
    world.dashboard.listen_for(&mut link, Duration::from_millis(300)).await;
    assert!(!world.dashboard.of(id).text().contains("activating"), "{}", world.dashboard.of(id).text());
    fs::write(world.path("go"), "").unwrap();
    world.dashboard.until_line(&mut link, id, "activating").await;
    assert!(world.path("over").exists());
    world.dashboard.stop(&mut link, id).await;
    world.dashboard.until_ended(&mut link, id).await;
    manager.kill().unwrap();
    manager.wait().unwrap();
}
