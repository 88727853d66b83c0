//! Ops from order to result: on the platform `script`, and on `nixos` with tools made for the test.

use std::fs;
use std::os::unix::fs::symlink;

use nixfleet_protocol::agent::Stream;

use crate::world::{World, executable, git, new_id};

#[tokio::test]
async fn pull_switch_and_test_work_from_nothing() {
    let mut world = World::new().await;
    let commit = world.commit(&[("hosts/h1/tests/10-good.sh", "#!/bin/sh\necho fine\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert_eq!((link.register.hostname.as_str(), link.register.protocol), ("h1", Some(3)));
    assert!(link.register.journal.is_some() && link.register.instance.is_some());
    for feature in ["pull", "switch", "test", "rollback", "restart", "reboot", "tests"] {
        assert!(link.register.features.iter().any(|has| has == feature), "{feature}");
    }
    let pull = world.dashboard.run(&mut link, "pull").await;
    let result = world.dashboard.of(pull).result();
    assert_eq!((result.exit_code, result.status.as_str()), (Some(0), "ok"), "{result:?}");
    assert_eq!(result.generation.as_ref().unwrap().as_str(), commit);
    assert!(result.lock_hash.is_some());
    let switch = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(switch);
    assert_eq!((kept.result().exit_code, kept.accepted), (Some(0), 1), "{:?}", kept.result());
    assert_eq!(kept.lines(), ["hello from the switch"]);
    assert_eq!(kept.result().deployed.as_ref().unwrap().commit.as_str(), commit);
    let test = world.dashboard.run(&mut link, "test").await;
    let result = world.dashboard.of(test).result();
    assert_eq!(result.details.as_ref().unwrap()["passed"], 1);
    assert_eq!(git(&world.checkout(), &["rev-parse", "HEAD"]), commit);
}

#[tokio::test]
async fn the_first_clone_is_made_after_the_first_register() {
    let mut world = World::new().await;
    let commit = world.commit(&[]);
    let _agent = world.start();
    let mut link = world.dashboard.dialled().await;
    assert_eq!(link.register.generation, None);
    assert!(!world.checkout().exists());
    drop(link);
    link = world.dashboard.registered().await;
    world
        .dashboard
        .until(&mut link, "the clone", |dashboard| {
            dashboard.heartbeats.iter().any(|beat| beat.generation.as_ref().is_some_and(|one| one.as_str() == commit))
        })
        .await;
}

#[tokio::test]
async fn a_clone_that_fails_is_told_in_gits_own_words_and_the_link_stays() {
    let mut world = World::new().await;
    world = {
        let url = world.path("nowhere.git").display().to_string();
        world.with("NIXFLEET_REPO_URL", url)
    };
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world
        .dashboard
        .until(&mut link, "the error", |dashboard| {
            dashboard
                .heartbeats
                .iter()
                .any(|beat| beat.repo_error.as_ref().is_some_and(|error| error.contains("fatal:")))
        })
        .await;
    let pull = world.dashboard.run(&mut link, "pull").await;
    let result = world.dashboard.of(pull).result();
    assert_eq!(result.stage.as_deref(), Some("checkout"));
    assert!(result.message.as_ref().unwrap().contains("fatal:"), "{result:?}");
    let switch = world.dashboard.run(&mut link, "switch").await;
    assert_eq!(world.dashboard.of(switch).result().stage.as_deref(), Some("checkout"));
}

#[tokio::test]
async fn a_script_that_ends_with_nixs_words_about_a_build_failed_in_the_build() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    for (words, stage) in [
        ("error: 1 dependencies of derivation '/nix/store/abc-x.drv' failed to build", "build"),
        ("error: builder for '/nix/store/abc-x.drv' failed with exit code 1", "build"),
        ("the unit would not start", "activation"),
    ] {
        world.commit(&[("hosts/h1/switch", &format!("#!/bin/sh\necho \"{words}\" >&2\nexit 1\n"))]);
        world.dashboard.run(&mut link, "pull").await;
        let id = world.dashboard.run(&mut link, "switch").await;
        let result = world.dashboard.of(id).result();
        assert_eq!((result.exit_code, result.stage.as_deref()), (Some(1), Some(stage)), "{result:?}");
    }
}

#[tokio::test]
async fn a_failing_test_before_a_passing_one_fails_the_run() {
    let world = World::new().await;
    world.commit(&[
        ("hosts/h1/tests/1-bad.sh", "#!/bin/sh\necho broken >&2\nexit 3\n"),
        ("hosts/h1/tests/2-good.sh", "#!/bin/sh\nexit 0\n"),
        ("hosts/h1/tests/3-slow.sh", "#!/bin/sh\nsleep 1000\n"),
        ("hosts/h1/tests/README.sh", "not executable\n"),
        ("hosts/h1/tests/4-other.txt", "#!/bin/sh\nexit 1\n"),
    ]);
    let mut world = world.with("NIXFLEET_TEST_TIMEOUT", "1");
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    world
        .dashboard
        .until(&mut link, "the number of tests", |dashboard| {
            dashboard.heartbeats.iter().any(|beat| beat.tests == Some(3))
        })
        .await;
    let id = world.dashboard.run(&mut link, "test").await;
    let kept = world.dashboard.of(id);
    let result = kept.result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(1), Some("tests")));
    assert_eq!(result.message.as_deref(), Some("2 of 3 tests failed: 1-bad.sh, 3-slow.sh"));
    let details = result.details.as_ref().unwrap();
    assert_eq!((details["passed"].as_u64(), details["total"].as_u64()), (Some(1), Some(3)));
    let told: Vec<(&str, bool, i64)> = details["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| {
            assert!(test["duration_ms"].is_u64());
            (test["name"].as_str().unwrap(), test["ok"].as_bool().unwrap(), test["exit_code"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(told, [("1-bad.sh", false, 3), ("2-good.sh", true, 0), ("3-slow.sh", false, 124)]);
    assert!(kept.progress.iter().any(|phase| phase == "test"));
}

#[tokio::test]
async fn no_tests_at_all_is_no_failure() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "test").await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.message.as_deref()), (Some(0), Some("no tests")));
    assert_eq!(result.details.as_ref().unwrap()["total"], 0);
}

#[tokio::test]
async fn what_is_unknown_or_comes_while_another_runs_is_refused() {
    let mut world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho ready\nsleep 1000\n")]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let (unknown, running, late) = (new_id(), new_id(), new_id());
    world.dashboard.order(&mut link, unknown, "dance").await;
    world.dashboard.order(&mut link, running, "switch").await;
    world.dashboard.until_line(&mut link, running, "ready").await;
    world.dashboard.order(&mut link, late, "pull").await;
    world.dashboard.until(&mut link, "both refusals", |dashboard| dashboard.rejected.len() == 2).await;
    let [first, second] = &world.dashboard.rejected[..] else { panic!("not two") };
    assert_eq!((first.reason.as_str(), first.command_id), ("unsupported", Some(unknown)));
    assert_eq!((second.current_command.as_deref(), second.command_id), (Some("switch"), Some(late)));
    assert!(second.reason.contains(&running.to_string()), "{}", second.reason);
    // A refusal is not a run: the id is still good.
    world.dashboard.stop(&mut link, running).await;
    world.dashboard.until_ended(&mut link, running).await;
    world.dashboard.order(&mut link, late, "pull").await;
    world.dashboard.until_ended(&mut link, late).await;
    assert_eq!(world.dashboard.of(late).result().exit_code, Some(0));
}

#[tokio::test]
async fn a_rollback_goes_back_one_deployment_at_a_time() {
    let mut world = World::new().await;
    let switch = |n: u32| format!("#!/bin/sh\necho switch {n} of \"$NIXFLEET_COMMIT\"\n");
    let first = world.commit(&[("hosts/h1/switch", &switch(1))]);
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    world.dashboard.run(&mut link, "switch").await;
    let nothing = world.dashboard.run(&mut link, "rollback").await;
    assert!(world.dashboard.of(nothing).result().message.as_ref().unwrap().contains("no earlier deployment"));
    let second = world.commit(&[("hosts/h1/switch", &switch(2))]);
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    assert_eq!(world.dashboard.of(id).result().deployed.as_ref().unwrap().commit.as_str(), second);
    let id = world.dashboard.run(&mut link, "rollback").await;
    let kept = world.dashboard.of(id);
    assert_eq!(kept.lines().last().unwrap(), &format!("switch 1 of {first}"));
    assert_eq!(kept.result().deployed.as_ref().unwrap().commit.as_str(), first);
    assert_eq!(kept.result().generation.as_ref().unwrap().as_str(), first);
    // A failed switch changes nothing of what is deployed.
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\nexit 4\n")]);
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(4), Some("activation")));
    assert_eq!(result.deployed.as_ref().unwrap().commit.as_str(), first);
}

#[tokio::test]
async fn our_clone_is_reset_cleaned_and_made_anew_and_no_other_is_touched() {
    let mut world = World::new().await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let repo = world.checkout();
    fs::write(repo.join("flake.lock"), "changed").unwrap();
    fs::write(repo.join("stray"), "").unwrap();
    fs::write(repo.join(".git/index.lock"), "").unwrap();
    let id = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0), "{}", world.dashboard.of(id).text());
    assert_eq!(fs::read_to_string(repo.join("flake.lock")).unwrap(), "{}");
    assert!(!repo.join("stray").exists());
    // Objects are lost: the clone is made anew.
    fs::remove_dir_all(repo.join(".git/objects")).unwrap();
    fs::create_dir(repo.join(".git/objects")).unwrap();
    let id = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0), "{}", world.dashboard.of(id).text());
    assert!(repo.join("hosts/h1/switch").exists());
    fs::remove_file(repo.join(".git/HEAD")).unwrap();
    let id = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(id).result().exit_code, Some(0), "{}", world.dashboard.of(id).text());
    // Without the mark it is somebody else's.
    fs::remove_file(repo.join(".git/nixfleet-clone")).unwrap();
    fs::write(repo.join("stray"), "").unwrap();
    let id = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(id).result().stage.as_deref(), Some("checkout"));
    assert!(repo.join("stray").exists());
}

#[tokio::test]
async fn the_operators_checkout_is_pulled_and_its_changes_are_kept() {
    let world = World::new().await;
    let own = world.path("own");
    git(world.dir.path(), &["clone", "--quiet", "--branch", "main", "remote.git", "own"]);
    let commit = world.commit(&[("new", "x")]);
    let mut world = world.with("NIXFLEET_REPO_URL", "").with("NIXFLEET_REPO_DIR", own.display().to_string());
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    fs::write(own.join("flake.lock"), "mine").unwrap();
    let id = world.dashboard.run(&mut link, "pull").await;
    let result = world.dashboard.of(id).result();
    assert!(result.message.as_ref().unwrap().contains("commit, stash or drop"), "{result:?}");
    assert_eq!(fs::read_to_string(own.join("flake.lock")).unwrap(), "mine");
    git(&own, &["checkout", "--quiet", "."]);
    let id = world.dashboard.run(&mut link, "pull").await;
    assert_eq!(world.dashboard.of(id).result().generation.as_ref().unwrap().as_str(), commit);
}

/// A root with a running system, and tools that act as the real ones do.
pub(crate) async fn nixos(activation: &str) -> World {
    let world = World::new().await;
    let root = world.path("root");
    for dir in ["run", "nix/var/nix/profiles", "store/old", "store/new"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    symlink(root.join("store/old"), root.join("run/current-system")).unwrap();
    symlink(root.join("store/old"), root.join("nix/var/nix/profiles/system-9-link")).unwrap();
    symlink("system-9-link", root.join("nix/var/nix/profiles/system")).unwrap();
    let new = root.join("store/new").display().to_string();
    executable(
        &world.path("bin/nix"),
        &format!(
            "#!/bin/sh
echo '@nix {{\"action\":\"start\",\"id\":1,\"level\":3,\"text\":\"\",\"type\":104}}' >&2
echo '@nix {{\"action\":\"start\",\"id\":2,\"level\":3,\"text\":\"building system\",\"type\":105,\"fields\":[\"/nix/store/abc-system.drv\",\"\",1,1]}}' >&2
echo '@nix {{\"action\":\"result\",\"id\":2,\"type\":101,\"fields\":[\"a line of the build\"]}}' >&2
case \"$*\" in *nixosConfigurations.\\\"h1\\\".config.system.build.toplevel) ;; *) echo \"error: wrong attribute $*\" >&2; exit 1;; esac
echo '[{{\"drvPath\":\"/nix/store/abc.drv\",\"outputs\":{{\"out\":\"{new}\"}}}}]'
"
        ),
    );
    executable(&world.path("bin/nixos-rebuild"), &activation.replace("ROOT", &root.display().to_string()));
    world.with("NIXFLEET_PLATFORM", "nixos").with("NIXFLEET_ROOT", root.display().to_string())
}

pub(crate) const ACTIVATES: &str = "#!/bin/sh
echo \"activating $*\"
case \"$2\" in --rollback) target=old; n=9;; *) target=new; n=10;; esac
ln -sfn ROOT/store/$target ROOT/nix/var/nix/profiles/system-$n-link
ln -sfn system-$n-link ROOT/nix/var/nix/profiles/system
ln -sfn ROOT/store/$target ROOT/run/current-system
";

#[tokio::test]
async fn a_nixos_switch_builds_activates_and_looks_and_a_rollback_goes_back() {
    let mut world = nixos(ACTIVATES).await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    assert!(link.register.system_path.as_ref().unwrap().ends_with("/store/old"));
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let kept = world.dashboard.of(id);
    assert_eq!(kept.result().exit_code, Some(0), "{}", kept.text());
    assert_eq!(kept.lines()[..2], ["building system", "system> a line of the build"]);
    let deployed = kept.result().deployed.as_ref().unwrap();
    assert!(deployed.system_path.as_ref().unwrap().ends_with("/store/new"));
    assert_eq!(deployed.number, Some(10));
    assert!(
        kept.output
            .iter()
            .any(|output| output.stream == Stream::Note && output.line.contains("nixos-rebuild switch --flake"))
    );
    let id = world.dashboard.run(&mut link, "rollback").await;
    let result = world.dashboard.of(id).result();
    assert_eq!(result.exit_code, Some(0), "{result:?}");
    assert!(result.system_path.as_ref().unwrap().ends_with("/store/old"));
}

#[tokio::test]
async fn a_switch_whose_system_does_not_run_is_no_success() {
    let mut world = nixos("#!/bin/sh\nexit 0\n").await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let id = world.dashboard.run(&mut link, "switch").await;
    let result = world.dashboard.of(id).result();
    assert_eq!((result.exit_code, result.stage.as_deref()), (Some(1), Some("activation")));
    assert!(result.message.as_ref().unwrap().contains("/store/old"), "{result:?}");
    assert!(result.deployed.is_none());
}

#[tokio::test]
async fn what_fails_in_a_switch_is_told_apart_by_its_stage() {
    let mut world = nixos("#!/bin/sh\nexit 4\n").await;
    let _agent = world.start();
    let mut link = world.dashboard.registered().await;
    world.dashboard.run(&mut link, "pull").await;
    let builds = "#!/bin/sh\necho '@nix {\"action\":\"start\",\"id\":2,\"level\":3,\"text\":\"\",\"type\":105,\"fields\":[\"/nix/store/abc-x.drv\"]}' >&2\n";
    let fails = "echo '@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"\\u001b[31;1merror:\\u001b[0m it is broken\"}' >&2\nexit 1\n";
    let good = fs::read_to_string(world.path("bin/nix")).unwrap();
    for (nix, stage, code, words) in [
        (format!("#!/bin/sh\n{fails}"), "evaluation", 1, "error: it is broken"),
        (format!("{builds}{fails}"), "build", 1, "error: it is broken"),
        (good, "activation", 4, "nixos-rebuild ended with code 4"),
    ] {
        executable(&world.path("bin/nix"), &nix);
        let id = world.dashboard.run(&mut link, "switch").await;
        let result = world.dashboard.of(id).result();
        assert_eq!((result.stage.as_deref(), result.exit_code), (Some(stage), Some(code)), "{result:?}");
        assert!(result.message.as_ref().unwrap().contains(words), "{result:?}");
    }
}
