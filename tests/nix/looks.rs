//! The ops that look at the host or tidy it up: `refresh-system`, `bump-flake`, `gc`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::configuration::Configuration;
use crate::machine::{HOST, Machine};

#[test]
fn what_a_switch_would_activate_is_known_without_building_it() {
    let name = "looks::what_a_switch_would_activate_is_known_without_building_it";
    let Some(machine) = Machine::new(name, &Configuration::default()) else { return };
    machine.run("switch", "SUCCESS");
    let same = machine.run("refresh-system", "SUCCESS");
    let running = machine.running().unwrap().display().to_string();
    assert_eq!(same["details"]["system"], json!({ "expected": running, "running": running, "same": true }));

    machine.bring(&Configuration { kernel: "6.9", ..Configuration::default() }, "another kernel");
    let other = machine.run("refresh-system", "SUCCESS");
    let system = &other["details"]["system"];
    assert_eq!((&system["same"], &system["running"]), (&json!(false), &json!(running)), "{system}");
    let expected = system["expected"].as_str().unwrap();
    assert!(other["message"].as_str().unwrap().contains(expected), "{other:#}");
    assert!(!Path::new(expected).exists(), "it was not built");
    machine.run("switch", "SUCCESS");
    assert_eq!(machine.running().unwrap().display().to_string(), expected);
}

#[test]
fn what_is_being_built_is_told_by_name_and_a_stop_leaves_no_builder() {
    let name = "looks::what_is_being_built_is_told_by_name_and_a_stop_leaves_no_builder";
    let Some(machine) = Machine::new(name, &Configuration::default()) else { return };
    let root = machine.path("");
    let slow = |version: &str| {
        let waits = format!(
            "touch {0}/building-{version}; until [ -e {0}/go-{version} ]; do sleep 0.05; done; echo ready > $out",
            root.display()
        );
        let instead =
            format!(r#"make "system" {{ needs = make "slow-{version}" {{ }} "{waits}"; }} "cp -r $needs $out""#);
        Configuration { instead: Some(instead), ..Configuration::default() }
    };
    machine.bring(&slow("1.0"), "something slow");
    let id = machine.fleet.submit(HOST, "plan");
    machine.fleet.wait("the build is told by its name", |fleet| {
        let progress = &fleet.command(&id)["progress"];
        progress["phase"] == "build"
            && progress["text"].as_str().is_some_and(|text| text.ends_with("builds: slow-1.0"))
            && progress["done"].is_u64()
            && progress["expected"].as_u64().is_some_and(|expected| expected >= 1)
    });
    fs::write(machine.path("go-1.0"), "").unwrap();
    let planned = machine.fleet.ended(&id);
    assert_eq!(planned["state"], "SUCCESS", "{planned:#}");

    machine.bring(&slow("2.0"), "something else that is slow");
    let id = machine.fleet.submit(HOST, "switch");
    let building = machine.path("building-2.0");
    machine.fleet.wait("it is being built", |_| building.exists());
    let stopped = machine.fleet.post(&format!("/api/v1/commands/{id}/stop"), &json!({}));
    assert_eq!(stopped.0 / 100, 2, "{}", stopped.1);
    let ended = machine.fleet.ended(&id);
    assert_eq!((&ended["state"], &ended["stage"]), (&json!("KILLED"), &json!("stopped")), "{ended:#}");
    let waits = format!("{}/go-2.0", root.display());
    machine.fleet.wait("no builder is left", |_| crate::fleet::processes_in(Path::new(&waits)).is_empty());
    assert_eq!(machine.generations(), Vec::<u32>::new());
}

/// A repository that is an input of the configuration.
fn publish(dir: &Path, version: &str) -> String {
    let git = |arguments: &[&str]| {
        let run = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    };
    if !dir.join(".git").exists() {
        fs::create_dir_all(dir).unwrap();
        git(&["init", "-q", "-b", "main"]);
    }
    fs::write(dir.join("version"), version).unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", version]);
    git(&["rev-parse", "HEAD"])
}

#[test]
fn an_input_moves_on_the_host_and_the_lock_says_so() {
    let name = "looks::an_input_moves_on_the_host_and_the_lock_says_so";
    let published = tempfile::tempdir().unwrap();
    let input = fs::canonicalize(published.path()).unwrap().join("nixfleet");
    let before = publish(&input, "one");
    let url = format!("git+file://{}?ref=main", input.display());
    let configuration = Configuration { input: Some(url), ..Configuration::default() };
    let Some(machine) = Machine::new(name, &configuration) else { return };
    machine.run("switch", "SUCCESS");
    machine.expect_lights("🟢🟢🟢🟢⚪");
    let content = || fs::read_to_string(machine.path("run/current-system/sw/input")).unwrap();
    assert_eq!(content(), "one\n");

    // Nothing newer: the goal is not reached, and nothing is wrong.
    let still = machine.run("bump-flake", "PARTIAL");
    assert!(still["message"].as_str().unwrap().contains("did not change"), "{still:#}");
    machine.expect_lights("🟢🟢🟢🟢⚪");

    let after = publish(&input, "two");
    let bumped = machine.run("bump-flake", "SUCCESS");
    assert_eq!(
        bumped["details"]["inputs"],
        json!({
            "asked": ["nixfleet"],
            "moved": { "items": [{ "name": "nixfleet", "before": before, "after": after }] },
        })
    );
    assert_eq!(bumped["message"], "nixfleet moved");
    machine.expect_lights("🟢🟢🟡🟡⚪");
    let lock = machine.host()["lights"]["lock"].clone();
    assert!(lock["message"].as_str().unwrap().to_lowercase().contains("changed on the host"), "{lock}");
    machine.run("switch", "SUCCESS");
    assert_eq!(content(), "two\n");

    // The agent says it at its next start too.
    let mut machine = machine;
    machine.fleet.kill_agent(HOST);
    machine.fleet.wait("the host is away", |_| machine.host()["state"] != "online");
    machine.fleet.start_agent(HOST);
    machine.fleet.wait("the host is online again", |_| machine.host()["state"] == "online");
    machine.expect_lights("🟢🟢🟡🟡⚪");

    // All inputs at once; and what is no input is named.
    publish(&input, "three");
    let all = machine.run_with("bump-flake", &json!({ "inputs": "all" }), "SUCCESS");
    assert_eq!(all["details"]["inputs"]["asked"], json!([]));
    for (args, words) in [
        (json!({ "inputs": ["nixpgks"] }), "flake.lock has no input nixpgks; its inputs are: nixfleet"),
        (json!({ "inputs": ["--override-input"] }), "\"--override-input\" is no name of an input"),
        (json!({ "imputs": "all" }), "does not know \"imputs\""),
    ] {
        let refused = machine.run_with("bump-flake", &args, "ERROR");
        assert!(refused["message"].as_str().unwrap().contains(words), "{refused:#}");
    }

    // A pull takes the host back to what everybody has.
    machine.push(&configuration, "nothing new");
    machine.run("pull", "SUCCESS");
    machine.run("switch", "SUCCESS");
    machine.expect_lights("🟢🟢🟢🟢⚪");
}

#[test]
fn a_collection_frees_real_bytes_and_keeps_what_runs() {
    let name = "looks::a_collection_frees_real_bytes_and_keeps_what_runs";
    let big = |kernel, kib| Configuration { kernel, packages: vec![("data", kernel, kib)], ..Configuration::default() };
    let Some(machine) = Machine::new(name, &big("1", 3072)) else { return };
    machine.run("switch", "SUCCESS");
    let one = machine.running().unwrap();
    machine.bring(&big("2", 1024), "smaller");
    machine.run("switch", "SUCCESS");
    let two = machine.running().unwrap();
    // A plan of something that is never switched to is garbage.
    machine.bring(&big("3", 2048), "only planned");
    let planned = machine.run("plan", "SUCCESS")["details"]["plan"]["to"].as_str().unwrap().to_owned();
    assert!(Path::new(&planned).exists(), "it can be switched to without building again");

    let safe = machine.run("gc", "SUCCESS");
    let gc = &safe["details"]["gc"];
    assert_eq!(gc["mode"], "safe");
    assert!(gc["freed_bytes"].as_u64().unwrap() >= 2048 * 1024 && gc["paths"].as_u64().unwrap() > 1, "{gc}");
    assert!(gc["disk_free_before"].is_u64() && gc["disk_free_after"].is_u64(), "{gc}");
    assert!(safe["message"].as_str().unwrap().contains("MiB freed"), "{safe:#}");
    assert!(!Path::new(&planned).exists() && one.exists() && two.exists(), "the way back is there");
    assert_eq!(machine.generations(), [1, 2]);

    let all = machine.run_with("gc", &json!({ "mode": "aggressive" }), "SUCCESS");
    assert!(all["details"]["gc"]["freed_bytes"].as_u64().unwrap() >= 3072 * 1024, "{all:#}");
    assert!(!one.exists() && two.exists(), "the running system stays, the way back is gone");
    assert_eq!(machine.generations(), [2]);

    let refused = machine.run_with("gc", &json!({ "mode": "everything" }), "ERROR");
    assert!(refused["message"].as_str().unwrap().contains("mode is \"safe\" or \"aggressive\""), "{refused:#}");
    let nothing = machine.run("gc", "SUCCESS");
    assert_eq!(nothing["details"]["gc"]["freed_bytes"].as_u64().unwrap() / (1024 * 1024), 0, "{nothing:#}");
}
