//! A disk that is full, and then is not.

use std::fs;
use std::process::Command;

use crate::links::skipped;
use crate::world::{World, new_id};

/// A file system of a few megabytes for the agent's state; unmounted at the end.
struct Small(std::path::PathBuf);

impl Small {
    fn mounted(at: &std::path::Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,nr_inodes=1000,mode=0700", "tmpfs"])
            .arg(at)
            .output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commands_in_clear_words_and_goes_on_when_there_is_room() {
    let mut world = World::new().await;
    let Some(_small) = Small::mounted(&world.path("state")) else {
        return skipped(
            "it::disk::a_full_disk_refuses_commands_in_clear_words_and_goes_on_when_there_is_room",
            "mounting a tmpfs needs root",
        );
    };
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let ballast = world.path("state/ballast");
    // To the last byte: what is written until nothing fits any more.
    let full = fs::write(&ballast, vec![1; 8 << 20]);
    assert!(full.is_err(), "the file system is not small");
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until(&mut link, "the refusal", |dashboard| !dashboard.rejected.is_empty()).await;
    let rejected = &world.dashboard.rejected[0];
    assert!(rejected.reason.starts_with("agent_disk_full"), "{rejected:?}");
    assert!(rejected.reason.contains("free some space"), "{rejected:?}");
    world.dashboard.heartbeats.clear();
    world.dashboard.until(&mut link, "heartbeats go on", |dashboard| dashboard.heartbeats.len() >= 2).await;
    fs::remove_file(&ballast).unwrap();
    // A refusal is not a run: the same id is good.
    world.dashboard.order(&mut link, id, "switch").await;
    world.dashboard.until_ended(&mut link, id).await;
    assert_eq!(world.dashboard.of(id).lines(), ["hello from the switch"]);
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_command_costs_lines_and_says_so() {
    let mut world = World::new().await;
    let Some(_small) = Small::mounted(&world.path("state")) else {
        return skipped(
            "it::disk::a_disk_that_fills_up_during_a_command_costs_lines_and_says_so",
            "mounting a tmpfs needs root",
        );
    };
    let printed = world.path("printed");
    let script = format!("#!/bin/sh\nseq 1 1000000\necho over\n: > {}\nexit 0\n", printed.display());
    world.commit(&[("hosts/h1/switch", &script)]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = new_id();
    world.dashboard.order(&mut link, id, "switch").await;
    // The result waits for room, and until then the command counts as running.
    let folder = world.folder(id);
    crate::world::until("the disk is full", || {
        rustix::fs::statvfs(&folder).is_ok_and(|stat| stat.f_bavail * stat.f_frsize < 64 * 1024)
    })
    .await;
    crate::world::until("the command has printed more than waits in memory", || printed.exists()).await;
    world.dashboard.heartbeats.clear();
    world.dashboard.until(&mut link, "heartbeats go on", |dashboard| !dashboard.heartbeats.is_empty()).await;
    let mount = Command::new("mount").args(["-o", "remount,size=64m"]).arg(world.path("state")).status().unwrap();
    assert!(mount.success());
    world.dashboard.until_ended(&mut link, id).await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.exit_code, Some(0), "{result:?}");
    assert!(result.message.as_ref().unwrap().contains("could not be kept"), "{result:?}");
}

#[tokio::test]
async fn a_command_that_filled_the_disk_is_stopped_while_the_disk_is_full() {
    // Not a byte is left; and then not even a place for an empty file.
    for places in [true, false] {
        let mut world = World::new().await;
        let Some(_small) = Small::mounted(&world.path("state")) else {
            return skipped(
                "it::disk::a_command_that_filled_the_disk_is_stopped_while_the_disk_is_full",
                "mounting a tmpfs needs root",
            );
        };
        world.commit(&[("hosts/h1/switch", "#!/bin/sh\nseq 1 1000\necho ready\nsleep 431081\n")]);
        let _agent = world.start();
        let mut link = world.dashboard.registered().await;
        world.dashboard.run(&mut link, "pull").await;
        let id = new_id();
        world.dashboard.order(&mut link, id, "switch").await;
        world.dashboard.until_line(&mut link, id, "ready").await;
        let ballast = world.path("state/ballast");
        assert!(fs::write(&ballast, vec![1; 8 << 20]).is_err(), "the file system is not small");
        let many = world.path("state/many");
        if !places {
            // The last place is that of the folder itself: it is there before the disk is full.
            fs::create_dir(&many).unwrap();
            let full = (0..2000).find(|n| fs::write(many.join(n.to_string()), "").is_err());
            assert!(full.is_some(), "the file system has places for ever");
        }
        world.dashboard.stop(&mut link, id).await;
        crate::world::until("the command is gone", || crate::world::processes_with("431081").is_empty()).await;
        assert_eq!(world.folder(id).join("stop").exists(), places);
        assert!(!world.folder(id).join("result.json").exists(), "there is no room for a result yet");
        if !places {
            fs::remove_dir_all(&many).unwrap();
        }
        fs::remove_file(&ballast).unwrap();
        world.dashboard.until_ended(&mut link, id).await;
        let result = world.dashboard.of(id).result();
        assert_eq!((result.exit_code, result.stage.as_deref()), (Some(130), Some("stopped")), "{result:?}");
    }
}
