//! The store for years: backup while everything runs, restore, check, retention, compressed logs, over real binaries.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::kills::{expected, nothing_lost, printed, slow_fleet};

/// `nixfleet …` over a fleet's data directory.
fn nixfleet(fleet: &Fleet, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nixfleet"))
        .args(args)
        .args(["--data-dir", fleet.data_dir().to_str().unwrap()])
        .output()
        .unwrap()
}

fn done(fleet: &Fleet, args: &[&str]) -> String {
    let output = nixfleet(fleet, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}\n{}", fleet.logs());
    said
}

fn check(fleet: &Fleet) -> (i32, Value) {
    let output = nixfleet(fleet, &["check", "--json"]);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ran(fleet: &Fleet) -> usize {
    fs::read_to_string(fleet.dir().join("ran")).unwrap().lines().count()
}

#[test]
fn a_fleet_comes_back_from_a_backup_and_nothing_runs_twice() {
    let mut fleet = slow_fleet();
    fleet.run("hsb0", "switch", "SUCCESS");
    let file = fleet.dir().join("backup");
    // While a command runs.
    let running = fleet.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true })).1;
    let running = running["id"].as_str().unwrap().to_owned();
    printed(&fleet, &running, 5);
    done(&fleet, &["backup", text(&file)]);
    let again = nixfleet(&fleet, &["backup", text(&file)]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("--force"), "{again:?}");
    done(&fleet, &["backup", text(&file), "--force"]);
    assert_eq!(check(&fleet).0, 0);

    // What happens after the backup: the command ends and is acknowledged, and another runs that it knows nothing of.
    fleet.ended(&running);
    fleet.wait("the host is free", |fleet| fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
    let later = fleet.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true })).1;
    let later = later["id"].as_str().unwrap().to_owned();
    printed(&fleet, &later, 5);
    fleet.kill_daemon();

    let refused = nixfleet(&fleet, &["restore", text(&file)]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    let said = done(&fleet, &["restore", text(&file), "--force"]);
    assert!(said.contains("before-restore-"), "{said}");
    assert_eq!(check(&fleet).0, 0);
    fleet.start_daemon();

    // The backup has it running; the agent ran it to its end, and says so again.
    let command = fleet.ended(&running);
    assert_eq!(command["state"], "SUCCESS", "{command:#}\n{}", fleet.logs());
    // The backup knows nothing of this one: it is adopted.
    fleet.wait("the later one is adopted", |fleet| fleet.get(&format!("/api/v1/commands/{later}")).0 == 200);
    let command = fleet.ended(&later);
    assert_eq!(command["state"], "SUCCESS", "{command:#}\n{}", fleet.logs());
    assert_eq!(fleet.output(&later), expected(), "each line of it, exactly once");
    assert_eq!(ran(&fleet), 3, "nothing ran twice");
    fleet.wait("the host is free", |fleet| fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
    assert_eq!(check(&fleet).0, 0);
    fleet.stop_daemon();
    assert_eq!(check(&fleet).0, 0, "and when none runs");
    // And a backup without a daemon, without logs.
    let small = fleet.dir().join("small");
    done(&fleet, &["backup", text(&small), "--no-logs"]);
    assert!(fs::metadata(&small).unwrap().len() < fs::metadata(&file).unwrap().len() * 10);
}

#[test]
fn check_says_what_is_damaged_and_its_exit_codes_tell_it_apart() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    nothing_lost(&fleet, &id);
    let (code, report) = check(&fleet);
    assert_eq!((code, &report["whole"]), (0, &json!(true)), "{report:#}");
    assert_eq!(report["records"]["hosts"], 1);
    fleet.stop_daemon();

    let log = fleet.data_dir().join("logs/hsb0").join(format!("{id}.log"));
    let path = if log.exists() { log } else { log.with_extension("log.zst") };
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (code, report) = check(&fleet);
    assert_eq!(code, 1, "{report:#}");
    assert!(report["problems"].to_string().contains(&id), "{report:#}");
    let plain = nixfleet(&fleet, &["check"]);
    assert!(String::from_utf8_lossy(&plain.stdout).contains("nixfleet restore"), "{plain:?}");

    let nothing = Command::new(env!("CARGO_BIN_EXE_nixfleet"))
        .args(["check", "--data-dir", text(&fleet.dir().join("none"))])
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    assert!(!fleet.dir().join("none").exists(), "looking makes nothing");
}

#[test]
fn the_log_of_a_command_that_is_over_is_compressed_and_reads_the_same() {
    let fleet = Fleet::new();
    fleet.repository.script("switch", "seq 1 20000");
    fleet.repository.push("a switch that prints");
    let mut fleet = fleet.host("hsb0");
    let id = fleet.submit("hsb0", "switch");
    fleet.ended(&id);
    let plain = fleet.data_dir().join("logs/hsb0").join(format!("{id}.log"));
    let sealed = plain.with_extension("log.zst");
    fleet.wait("it is compressed", |_| sealed.exists() && !plain.exists());
    let lines: Vec<_> = (1..=20_000).map(|n| n.to_string()).collect();
    assert_eq!(fleet.output(&id), lines);
    assert_eq!(fleet.text(&format!("/api/v1/commands/{id}/log?follow=1")).1.lines().count(), fleet.log(&id).len());
    let raw = fleet.text(&format!("/api/v1/commands/{id}/log?raw=1")).1;
    assert!(raw.contains("\n19999\n20000\n"));
    // From any offset that a line ends at.
    let all: Vec<Value> = fleet
        .text(&format!("/api/v1/commands/{id}/log"))
        .1
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for at in [1, all.len() / 3, all.len() - 1] {
        let from = all[at]["offset"].as_u64().unwrap();
        let rest = fleet.text(&format!("/api/v1/commands/{id}/log?from={from}")).1;
        assert_eq!(rest.lines().count(), all.len() - at);
    }
    // A restart changes nothing.
    fleet.kill_daemon();
    fleet.start_daemon();
    assert_eq!(fleet.output(&id), lines);
    let disk = fleet.get("/readyz").1;
    assert_eq!(disk["ready"], true, "{disk:#}");
}

#[test]
fn a_restart_in_order_shows_what_was_known_last() {
    let mut fleet = Fleet::new().host("hsb0");
    fleet.wait("its heartbeats come", |fleet| !fleet.get("/api/v1/hosts/hsb0").1["metrics"].is_null());
    fleet.kill_agent("hsb0");
    fleet.wait("it is lost", |fleet| fleet.get("/api/v1/hosts/hsb0").1["state"] != "online");
    let before = fleet.get("/api/v1/hosts/hsb0").1;
    fleet.stop_daemon();
    fleet.start_daemon();
    let after = fleet.get("/api/v1/hosts/hsb0").1;
    for fact in ["last_seen", "metrics", "generation", "agent_version"] {
        assert_eq!(after[fact], before[fact], "{fact}: {after:#}");
    }
}
