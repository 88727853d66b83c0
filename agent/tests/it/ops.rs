//! The ops that need no plan: `check-version`, `refresh-lock`, `exec`, `journal`.

use std::fs;

use nixfleet_protocol::CommandId;
use nixfleet_protocol::agent::{DashboardMessage, Signal};
use nixfleet_protocol::agent::{KillCommand, VersionCheck};
use serde_json::json;

use crate::world::{World, executable, new_id, processes_with};

/// A journal that names its arguments and, when it is followed, never ends.
const JOURNALCTL: &str = "#!/bin/sh
echo \"asked for $*\"
case \"$*\" in *--follow*) ;; *) exit 0;; esac
i=0
while :; do i=$((i+1)); echo \"tick $i\"; sleep 0.05; done
";

#[tokio::test]
async fn check_version_compares_the_agent_that_runs_with_the_one_that_would_be_started() {
    let world = World::new().await;
    let root = world.path("root");
    let place = root.join("usr/bin/nixfleet-agent");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_nixfleet-agent"), &place).unwrap();
    let unit = root.join("etc/systemd/system/nixfleet-agent.service");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(&unit, "[Service]\nExecStart=/usr/bin/nixfleet-agent\n").unwrap();
    let mut world = world.with("NIXFLEET_ROOT", root.display().to_string());
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    let check = |world: &World, id: CommandId| {
        let result = world.dashboard.of(id).result();
        assert_eq!(result.exit_code, Some(0), "{result:?}");
        serde_json::from_str::<VersionCheck>(&result.details.as_ref().unwrap().to_string()).unwrap()
    };
    let id = world.dashboard.run(&mut link, "check-version").await;
    let found = check(&world, id);
    let (running, installed) = (found.running.unwrap(), found.installed.unwrap());
    assert_eq!(found.current, Some(true));
    assert_eq!(running.binary_hash, link.register.binary_hash);
    assert_eq!(installed.path, fs::canonicalize(&place).unwrap().display().to_string());
    assert_eq!(installed.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    // Another one is installed, and not even an agent.
    executable(&place, "#!/bin/sh\nsleep 1000\n");
    let id = world.dashboard.run(&mut link, "check-version").await;
    let found = check(&world, id);
    assert_eq!((found.current, found.installed.unwrap().version), (Some(false), None));
    assert!(world.dashboard.of(id).result().message.as_ref().unwrap().contains("another agent is installed"));
}

#[tokio::test]
async fn refresh_lock_brings_the_lock_of_this_moment_with_its_result() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    fs::write(world.checkout().join("flake.lock"), "").unwrap();
    let id = world.dashboard.run(&mut link, "refresh-lock").await;
    let result = world.dashboard.of(id).result();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!((result.exit_code, result.lock_hash.as_ref().unwrap().as_str()), (Some(0), empty));
    assert!(result.generation.is_some());
    fs::remove_file(world.checkout().join("flake.lock")).unwrap();
    let id = world.dashboard.run(&mut link, "refresh-lock").await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, &result.lock_hash), (Some(0), &None));
    assert!(result.message.as_ref().unwrap().contains("no flake.lock"));
}

#[tokio::test]
async fn exec_is_refused_where_the_host_does_not_allow_it() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert!(!link.register.features.iter().any(|feature| feature == "exec"));
    let id = new_id();
    let args = json!({ "argv": ["/bin/sh", "-c", "echo > \"$HOME/ran\""] });
    world.dashboard.order_with(&mut link, id, "exec", args).await;
    world.dashboard.until(&mut link, "the refusal", |dashboard| !dashboard.rejected.is_empty()).await;
    let rejected = &world.dashboard.rejected[0];
    assert!(rejected.reason.starts_with("exec_disabled") && rejected.command_id == Some(id), "{rejected:?}");
    assert!(!world.path("ran").exists() && !world.folder(id).exists());
}

#[tokio::test]
async fn exec_runs_a_vector_and_no_shell_sees_it() {
    let mut world = World::new().await.with("NIXFLEET_ALLOW_EXEC", "1");
    executable(&world.path("bin/say"), "#!/bin/sh\nfor word; do echo \"<$word>\"; done\nexit \"${#}\"\n");
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert!(link.register.features.iter().any(|feature| feature == "exec"));
    for (argv, code, lines) in [
        (json!(["say"]), 0, vec![]),
        (json!(["say", "$(id)", "a b; c", "*"]), 3, vec!["<$(id)>", "<a b; c>", "<*>"]),
        (json!(["no-such-program"]), 127, vec![]),
    ] {
        let id = new_id();
        world.dashboard.order_with(&mut link, id, "exec", json!({ "argv": argv })).await;
        world.dashboard.until_ended(&mut link, id).await;
        let kept = world.dashboard.of(id);
        assert_eq!(
            (kept.result().exit_code, kept.lines()),
            (Some(code), lines.iter().map(|&s| s.to_owned()).collect())
        );
        assert_eq!(kept.result().stage, None);
    }
    world.dashboard.order_with(&mut link, new_id(), "exec", json!({ "argv": "id" })).await;
    world.dashboard.until(&mut link, "the refusal", |dashboard| !dashboard.rejected.is_empty()).await;
    assert!(world.dashboard.rejected[0].reason.starts_with("bad_args"));
}

#[tokio::test]
async fn journals_run_beside_a_command_and_each_other_and_stop_by_their_ids_alone() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho ready\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\n")]);
    executable(&world.path("bin/journalctl"), JOURNALCTL);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let (switch, one, two, short) = (new_id(), new_id(), new_id(), new_id());
    // One of them was there before the command: it holds no lock that the command needs.
    world.dashboard.order_with(&mut link, one, "journal", json!({ "unit": "nginx.service", "follow": true })).await;
    world.dashboard.until_line(&mut link, one, "tick 2").await;
    world.dashboard.order(&mut link, switch, "switch").await;
    world.dashboard.until_line(&mut link, switch, "ready").await;
    world.dashboard.order_with(&mut link, two, "journal", json!({ "follow": true, "lines": 7 })).await;
    world.dashboard.until_line(&mut link, two, "tick 2").await;
    world.dashboard.order_with(&mut link, short, "journal", json!({ "unit": "sshd" })).await;
    world.dashboard.until_ended(&mut link, short).await;
    let first_of = |world: &World, id| world.dashboard.of(id).lines()[0].clone();
    let asked = "asked for --no-pager --output=short-iso";
    assert_eq!(first_of(&world, one), format!("{asked} --lines=100 --follow --unit=nginx.service"));
    assert_eq!(first_of(&world, two), format!("{asked} --lines=7 --follow"));
    assert_eq!(first_of(&world, short), format!("{asked} --lines=100 --unit=sshd"));
    world.dashboard.heartbeats.clear();
    world.dashboard.until(&mut link, "a heartbeat", |dashboard| !dashboard.heartbeats.is_empty()).await;
    let beat = &world.dashboard.heartbeats[0];
    let mut running = beat.running.clone().unwrap();
    running.sort();
    let mut wanted = [one, switch, two];
    wanted.sort();
    assert_eq!(running, wanted);
    assert_eq!(beat.pending_command.as_deref(), Some("switch"), "the slot is the switch's");
    // A stop without an id means the slot.
    let kill = KillCommand { signal: Signal::Term, pid: 0, command_id: None };
    world.dashboard.send(&mut link, DashboardMessage::KillCommand(kill.clone())).await;
    world.dashboard.until_ended(&mut link, switch).await;
    world.dashboard.send(&mut link, DashboardMessage::KillCommand(kill)).await;
    // Another command runs, and a journal is stopped by its id beside it.
    let switch = new_id();
    world.dashboard.order(&mut link, switch, "switch").await;
    world.dashboard.until_line(&mut link, switch, "ready").await;
    world.dashboard.stop(&mut link, one).await;
    world.dashboard.until_ended(&mut link, one).await;
    assert_eq!(world.dashboard.of(one).result().stage.as_deref(), Some("stopped"));
    assert_eq!(processes_with(&format!("NIXFLEET_COMMAND_ID={one}")), Vec::<i32>::new());
    assert!(world.dashboard.of(two).status.is_none() && world.dashboard.of(switch).status.is_none());
    // The other is followed on over a kill -9 of the agent.
    fs::write(world.path("go"), "").unwrap();
    world.dashboard.until_ended(&mut link, switch).await;
    assert_eq!(world.dashboard.of(switch).result().exit_code, Some(0));
    let seen = world.dashboard.of(two).lines().len();
    world.dashboard.until(&mut link, "more", |dashboard| dashboard.of(two).lines().len() > seen + 5).await;
    world.dashboard.stop(&mut link, two).await;
    world.dashboard.until_ended(&mut link, two).await;
    let lines = world.dashboard.of(two).lines();
    assert!(lines[1..].iter().zip(1..).all(|(line, n)| *line == format!("tick {n}")));
}

#[tokio::test]
async fn a_journal_is_refused_for_a_bad_unit_and_when_too_many_are_read() {
    let mut world = World::new().await;
    executable(&world.path("bin/journalctl"), JOURNALCTL);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.order_with(&mut link, new_id(), "journal", json!({ "unit": "--vacuum-size=1" })).await;
    world.dashboard.until(&mut link, "the refusal", |dashboard| dashboard.rejected.len() == 1).await;
    assert!(world.dashboard.rejected[0].reason.starts_with("bad_args"));
    let ids: Vec<CommandId> = (0..9).map(|_| new_id()).collect();
    for id in &ids {
        world.dashboard.order_with(&mut link, *id, "journal", json!({ "follow": true })).await;
    }
    world.dashboard.until(&mut link, "the refusal", |dashboard| dashboard.rejected.len() == 2).await;
    let rejected = &world.dashboard.rejected[1];
    assert!(rejected.reason.starts_with("too_many_journals") && rejected.command_id == Some(ids[8]), "{rejected:?}");
    for id in &ids[..8] {
        world.dashboard.stop(&mut link, *id).await;
        world.dashboard.until_ended(&mut link, *id).await;
    }
}

#[tokio::test]
async fn a_journal_that_never_ends_holds_up_no_result() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\nseq 1 20000\n")]);
    executable(
        &world.path("bin/journalctl"),
        "#!/bin/sh\nwhile :; do echo a line of the journal; seq 1 5000; sleep 0.1; done\n",
    );
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let journal = new_id();
    world.dashboard.order_with(&mut link, journal, "journal", json!({ "follow": true })).await;
    world.dashboard.until_line(&mut link, journal, "a line of the journal").await;
    let switch = world.dashboard.run(&mut link, "switch").await;
    assert_eq!(world.dashboard.of(switch).lines().len(), 20_000);
    assert!(world.dashboard.of(journal).status.is_none());
    world.dashboard.stop(&mut link, journal).await;
    world.dashboard.until_ended(&mut link, journal).await;
}

#[tokio::test]
async fn a_host_without_a_journal_says_so() {
    let mut world = World::new().await;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    let done = world.dashboard.run(&mut link, "refresh-lock").await;
    agent.kill();
    // The machine of the test may have one: this order looks for it where there is none.
    let id = new_id();
    let mut order: serde_json::Value =
        serde_json::from_slice(&fs::read(world.folder(done).join("command.json")).unwrap()).unwrap();
    (order["id"], order["word"], order["ops"]) = (json!(id), json!("journal"), json!(["journal"]));
    order["host"]["environment"]["PATH"] = json!("/nowhere");
    fs::create_dir(world.folder(id)).unwrap();
    fs::write(world.folder(id).join("command.json"), order.to_string()).unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.exit_code, Some(127));
    assert!(result.message.as_ref().unwrap().contains("no journal that can be read"), "{result:?}");
}
