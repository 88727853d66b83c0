//! Files of the state directory that nobody can read or remove: the agent lives, registers, and each command ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use nixfleet_protocol::CommandId;

use crate::world::{AgentProcess, World, as_nobody, new_id, until};

fn warnings(world: &World) -> usize {
    fs::read_to_string(world.path("agent.log")).unwrap().lines().filter(|line| line.contains("WARN")).count()
}

/// A command that ended well while no agent was there, and of which nobody heard yet.
async fn ended_alone(world: &mut World) -> CommandId {
    world.dashboard.acks_status = false;
    let agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    agent.kill();
    world.dashboard.acks_status = true;
    world.dashboard.kept.clear();
    id
}

#[tokio::test]
async fn a_result_that_nobody_can_read_is_an_interrupted_command_and_the_host_is_free() {
    for junk in ["", "{\"exit_code\":", "{}", "\u{0}\u{0}\u{0}"] {
        let mut world = World::new().await;
        let id = ended_alone(&mut world).await;
        fs::write(world.folder(id).join("result.json"), junk).unwrap();
        let _agent = world.start();
        let mut link = world.dashboard.registered().await;
        assert!(link.register.running.is_empty(), "{junk:?}: it runs no more");
        world.dashboard.until_ended(&mut link, id).await;
        let result = world.dashboard.of(id).result();
        assert_eq!((result.exit_code, result.stage.as_deref()), (Some(1), Some("interrupted")), "{result:?}");
        assert!(result.message.as_ref().unwrap().contains("result can't be read"), "{result:?}");
        assert_eq!(world.dashboard.of(id).lines(), ["hello from the switch"], "its output is told all the same");
        assert_eq!(fs::read_to_string(world.folder(id).join("result.unreadable")).unwrap(), junk, "kept for people");
        let next = world.dashboard.run(&mut link, "switch").await;
        assert_eq!(world.dashboard.of(next).result().exit_code, Some(0));
    }
}

#[tokio::test]
async fn junk_in_the_place_of_a_result_is_waited_out_while_the_runner_lives_and_without_a_flood_of_words() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho ready\nsleep 1000\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_line(&mut link, id, "ready").await;
    fs::write(world.folder(id).join("result.json"), "{\"exit_code\":0,").unwrap();
    world.dashboard.heartbeats.clear();
    world.dashboard.until(&mut link, "heartbeats go on", |dashboard| dashboard.heartbeats.len() >= 2).await;
    assert!(world.dashboard.of(id).status.is_none(), "its runner lives");
    world.dashboard.stop(&mut link, id).await;
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(130));
    assert!(warnings(&world) < 5, "{} warnings", warnings(&world));
}

#[tokio::test]
async fn a_stage_of_a_newer_agent_is_no_reason_to_disbelieve_its_result() {
    let mut world = World::new().await;
    let id = ended_alone(&mut world).await;
    let path = world.folder(id).join("result.json");
    let mut result: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    result["stage"] = "confirm".into();
    result["exit_code"] = 4.into();
    fs::write(&path, result.to_string()).unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert!(link.register.running.is_empty());
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(4), Some("other")), "{result:?}");
}

#[tokio::test]
async fn a_log_that_is_shorter_than_its_result_says_is_led_over_with_a_mark() {
    // As a power cut leaves it: half a record at its end, nothing at all, or no file.
    for left in [Some("1 o hello\n2 o fro"), Some(""), None] {
        let mut world = World::new().await;
        let id = ended_alone(&mut world).await;
        let log = world.folder(id).join("output.log");
        match left {
            Some(text) => fs::write(&log, text).unwrap(),
            None => fs::remove_file(&log).unwrap(),
        }
        let _agent = world.start();
        let mut link = world.dashboard.registered().await;
        world.dashboard.until_ended(&mut link, id).await;
        let kept = world.dashboard.of(id);
        assert_eq!(kept.result().exit_code, Some(0), "{left:?}");
        assert!(kept.text().contains("bytes of the log are lost"), "{left:?}: {}", kept.text());
        assert_eq!(kept.lines(), if left.is_some_and(|text| !text.is_empty()) { vec!["hello"] } else { vec![] });
        until("the acknowledgement is written", || world.folder(id).join("acknowledged").exists()).await;
    }
}

/// The agent registers with what is there, and carries out a command.
async fn works(world: &mut World, _agent: &AgentProcess) -> nixfleet_protocol::JournalId {
    let mut link = world.dashboard.registered().await;
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0));
    link.register.journal.unwrap()
}

#[tokio::test]
async fn what_can_not_be_removed_keeps_no_agent_from_its_work() {
    let mut world = World::new().await;
    // As a runner that was root left it: a deleted command's directory that the agent's user can't empty.
    let left = world.path("state/commands/.old-0199/work");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("built"), "").unwrap();
    fs::set_permissions(world.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    let agent = as_nobody(&world);
    if rustix::process::geteuid().is_root() {
        chown(&left, Some(0), Some(0)).unwrap();
    } else {
        fs::set_permissions(&left, fs::Permissions::from_mode(0o500)).unwrap();
    }
    let agent = agent.start(&world);
    works(&mut world, &agent).await;
    assert!(left.exists(), "this test wants something that stays");
    drop(agent);
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&left, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[tokio::test]
async fn a_journal_file_that_nobody_can_read_is_put_aside_and_a_new_one_made() {
    for junk in [&b"not an id"[..], b"", b"\xff\xfe"] {
        let mut world = World::new().await;
        fs::create_dir_all(world.path("state")).unwrap();
        fs::write(world.path("state/journal"), junk).unwrap();
        let agent = world.start();
        let first = works(&mut world, &agent).await;
        assert_eq!(fs::read(world.path("state/journal.unreadable")).unwrap(), junk);
        agent.kill();
        let agent = world.start();
        assert_eq!(works(&mut world, &agent).await, first, "the new id is kept");
    }
}

#[tokio::test]
async fn a_damaged_order_whose_result_can_not_be_written_yet_keeps_no_agent_from_its_work() {
    let mut world = World::new().await;
    let id = ended_alone(&mut world).await;
    let folder = world.folder(id);
    fs::remove_file(folder.join("result.json")).unwrap();
    fs::write(folder.join("command.json"), "{\"id\":").unwrap();
    // A directory stands where the result would be written first.
    fs::create_dir_all(folder.join("result.json.new/x")).unwrap();
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!(link.register.running, [id], "not ended as long as its end can't be written down");
    fs::remove_dir_all(folder.join("result.json.new")).unwrap();
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.stage.as_deref(), Some("interrupted"), "{result:?}");
    assert!(result.message.as_ref().unwrap().contains("order can't be read"), "{result:?}");
    let pull = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(pull).result().exit_code, Some(0));
    until("the acknowledgement is written", || folder.join("acknowledged").exists()).await;
}
