//! Runs of pipelines over eight real agents: what each host ran is written down by its own scripts, and what each agent
//! was asked for stands in its journal. Neither knows anything of runs.

mod soaks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::{Fleet, PATIENCE};

const HOSTS: [&str; 8] = ["hsb0", "hsb1", "hsb2", "hsb3", "hsb4", "hsb5", "hsb6", "hsb7"];

/// A host's switch and test say that they ran, take a moment, and fail where a file says so.
fn eight() -> Fleet {
    eight_with(&[])
}

fn eight_with(env: &[(&str, &str)]) -> Fleet {
    let mut fleet = Fleet::with(env);
    let dir = fleet.dir().display().to_string();
    let script = |what: &str| {
        format!(
            "echo {what} $NIXFLEET_HOST >> {dir}/ran\nsleep 0.7\nif [ -e {dir}/break-{what}-$NIXFLEET_HOST ]; then echo broken >&2; exit 4; fi"
        )
    };
    fleet.repository.script("switch", &script("switch"));
    for host in HOSTS {
        let test = script("test").replace("$NIXFLEET_HOST", host);
        fleet.repository.script(&format!("hosts/{host}/tests/10-works.sh"), &test);
    }
    fleet.repository.push("scripts that tell");
    for host in HOSTS {
        fleet.add_host_under(host, &[], &[]);
    }
    fleet.wait("all hosts are there", |fleet| {
        let hosts = fleet.get("/api/v1/hosts").1;
        let hosts = hosts["hosts"].as_array().unwrap();
        hosts.len() == 8 && hosts.iter().all(|host| host["state"] == "online" && !host["generation"].is_null())
    });
    fleet
}

/// Something to pull, known to the dashboard.
fn pushed(fleet: &Fleet) {
    let head = fleet.repository.push("something new");
    fleet.wait("the dashboard has read it", |fleet| fleet.get("/api/v1/remote").1["commit"] == head.as_str());
}

fn start(fleet: &Fleet, pipeline: &str, hosts: &[&str], options: &Value) -> String {
    let (status, run) =
        fleet.post(&format!("/api/v1/pipelines/{pipeline}/runs"), &json!({ "hosts": hosts, "options": options }));
    assert_eq!(status, 202, "{run:#}");
    run["id"].as_str().unwrap().to_owned()
}

fn run(fleet: &Fleet, id: &str) -> Value {
    fleet
        .try_get(&format!("/api/v1/runs/{id}"))
        .filter(|(status, _)| *status == 200)
        .map_or(Value::Null, |(_, run)| run)
}

/// Waits until a run is as it should be, longer than for anything else: it waits itself.
fn until(fleet: &Fleet, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let run = run(fleet, id);
        if holds(&run) {
            return run;
        }
        assert!(started.elapsed() < PATIENCE * 3, "waited too long until {what}\n{run:#}\n{}", fleet.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn over(fleet: &Fleet, id: &str) -> Value {
    until(fleet, id, "the run is over", |run| !run["finished_at"].is_null() && run.is_object())
}

fn decide(fleet: &Fleet, id: &str, decision: &str) -> (u16, Value) {
    fleet.post(&format!("/api/v1/runs/{id}/decide"), &json!({ "decision": decision }))
}

/// How often each host ran what.
fn ran(fleet: &Fleet) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for line in fs::read_to_string(fleet.dir().join("ran")).unwrap_or_default().lines() {
        *count.entry(line.to_owned()).or_default() += 1;
    }
    count
}

/// The commands that a host's agent was ever asked for, by its journal.
fn journal(fleet: &Fleet, host: &str) -> BTreeSet<String> {
    let folders = fs::read_dir(fleet.state_dir(host).join("commands")).unwrap();
    folders.flatten().filter_map(|entry| entry.file_name().to_str().map(str::to_owned)).collect()
}

/// What the agents were asked for is what the run says, each once, and nothing else.
fn asked_once(fleet: &Fleet, run: &Value) {
    for host in HOSTS {
        let journal: Vec<String> = journal(fleet, host).into_iter().filter(|name| name.len() == 36).collect();
        let commands: BTreeSet<&str> =
            run["commands"][host].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for id in &journal {
            assert!(
                commands.contains(id.as_str()),
                "{host} was asked for {id}, of which the run knows nothing: {run:#}"
            );
        }
    }
    assert!(ran(fleet).values().all(|times| *times == 1), "something ran twice: {:?}", ran(fleet));
}

fn break_it(fleet: &Fleet, what: &str, host: &str) -> std::path::PathBuf {
    let file = fleet.dir().join(format!("break-{what}-{host}"));
    fs::write(&file, "").unwrap();
    file
}

#[test]
fn do_all_over_eight_hosts_goes_on_without_the_one_that_fails() {
    let fleet = eight();
    pushed(&fleet);
    break_it(&fleet, "switch", "hsb3");
    let id = start(&fleet, "do-all", &HOSTS, &json!({ "parallel": 4 }));
    let run = over(&fleet, &id);
    assert_eq!(run["state"], "PARTIAL", "{run:#}");
    assert_eq!(run["hosts"]["hsb3"], json!(["SUCCESS", "ERROR", "SKIPPED"]));
    for host in HOSTS.iter().filter(|host| **host != "hsb3") {
        assert_eq!(run["hosts"][host], json!(["SUCCESS", "SUCCESS", "SUCCESS"]), "{host}: {run:#}");
    }
    assert_eq!(ran(&fleet).len(), 8 + 7);
    asked_once(&fleet, &run);
    let events = fleet.get("/api/v1/events?limit=500").1;
    for action in ["run_started", "run_finished"] {
        assert!(events["events"].as_array().unwrap().iter().any(|event| event["action"] == action), "{action}");
    }
    assert_eq!(fleet.get("/api/v1/runs?limit=5").1["runs"][0]["id"], id.as_str());
    // What is current already counts as passed.
    let again = start(&fleet, "pull-switch", &["hsb0", "hsb1"], &json!({}));
    assert_eq!(over(&fleet, &again)["state"], "COMPLETE");
    assert_eq!(ran(&fleet)["switch hsb0"], 1);
}

#[test]
fn a_run_owns_its_hosts_and_cancel_begins_nothing_more() {
    let fleet = eight();
    pushed(&fleet);
    let id = start(&fleet, "do-all", &["hsb0", "hsb1"], &json!({ "parallel": 1 }));
    let (status, refused) = fleet.post("/api/v1/pipelines/do-all/runs", &json!({ "hosts": ["hsb2", "hsb1", "hsb0"] }));
    assert_eq!((status, &refused["code"]), (409, &json!("host_busy")), "{refused:#}");
    assert_eq!(refused["hosts"], json!(["hsb0", "hsb1"]), "all that are in the way are named: {refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains(&id), "and the run: {refused:#}");
    let (status, refused) = fleet.post("/api/v1/hosts/hsb1/ops/test", &json!({}));
    assert_eq!((status, &refused["code"]), (409, &json!("host_busy")), "{refused:#}");
    // The one that was not taken is everyone's.
    fleet.run("hsb2", "test", "SUCCESS");

    until(&fleet, &id, "the switch runs", |run| run["hosts"]["hsb0"][1] == "EXECUTING");
    let (status, run) = fleet.post(&format!("/api/v1/runs/{id}/cancel"), &json!({}));
    assert_eq!(status, 202, "{run:#}");
    let run = over(&fleet, &id);
    assert_eq!(
        (&run["state"], &run["hosts"]["hsb0"]),
        (&json!("CANCELLED"), &json!(["SUCCESS", "SUCCESS", "CANCELLED"]))
    );
    assert_eq!(run["hosts"]["hsb1"], json!(["SUCCESS", "CANCELLED", "CANCELLED"]));
    assert_eq!(fleet.post(&format!("/api/v1/runs/{id}/cancel"), &json!({})).0, 409);
    fleet.run("hsb1", "test", "SUCCESS");
}

#[test]
fn an_offline_host_is_waited_for_and_then_skipped() {
    let mut fleet = eight();
    pushed(&fleet);
    fleet.kill_agent("hsb1");
    fleet.kill_agent("hsb2");
    let id = start(&fleet, "pull-switch", &["hsb0", "hsb1", "hsb2"], &json!({ "wait_s": 1 }));
    let waiting = until(&fleet, &id, "it waits for both", |run| {
        run["waits"].as_array().is_some_and(|all| {
            all.iter().filter(|wait| wait["kind"] == "online").count() == 2 && run["hosts"]["hsb0"][0] == "SUCCESS"
        })
    });
    assert_eq!(waiting["hosts"]["hsb0"], json!(["SUCCESS", "PENDING"]), "the stage is not over");
    fleet.start_agent("hsb1");
    let run = over(&fleet, &id);
    assert_eq!(run["state"], "PARTIAL", "{run:#}");
    assert_eq!(run["hosts"]["hsb1"], json!(["SUCCESS", "SUCCESS"]), "it came in time");
    assert_eq!(run["hosts"]["hsb2"], json!(["SKIPPED", "SKIPPED"]));
    assert!(run["notes"]["hsb2"].as_str().unwrap().contains("not online"), "{run:#}");
}

/// A canary whose tests fail, with the others behind it.
fn halted(fleet: &Fleet) -> (String, std::path::PathBuf) {
    pushed(fleet);
    let broken = break_it(fleet, "test", "hsb0");
    let options = json!({ "canary": { "hosts": ["hsb0"] }, "waves": [3, 4], "soak_s": 1 });
    let id = start(fleet, "do-all", &HOSTS, &options);
    let run = until(fleet, &id, "it halts", |run| run["state"] == "HALTED");
    assert_eq!((&run["halted"]["failed"], &run["halted"]["switched"]), (&json!(["hsb0"]), &json!(["hsb0"])), "{run:#}");
    assert_eq!(run["hosts"]["hsb1"], json!(["PENDING", "PENDING", "PENDING"]), "the others wait");
    (id, broken)
}

#[test]
fn a_canary_that_fails_halts_the_run_until_a_person_retries() {
    let fleet = eight();
    let (id, broken) = halted(&fleet);
    fs::remove_file(broken).unwrap();
    assert_eq!(decide(&fleet, &id, "retry-failed").0, 202);
    let run = over(&fleet, &id);
    assert_eq!(run["state"], "COMPLETE", "{run:#}");
    let ran = ran(&fleet);
    let times = (ran["switch hsb0"], ran["test hsb0"], ran["test hsb1"], ran["test hsb7"]);
    assert_eq!(times, (1, 3, 2, 1), "from the stage that failed, and once more after each soak");
}

#[test]
fn a_canary_that_fails_halts_the_run_until_a_person_goes_on_or_cancels() {
    let fleet = eight();
    let (id, _) = halted(&fleet);
    assert_eq!(decide(&fleet, &id, "dance").0, 400);
    assert_eq!(decide(&fleet, &id, "continue").0, 202);
    let run = over(&fleet, &id);
    assert_eq!(run["state"], "PARTIAL", "{run:#}");
    assert_eq!(run["hosts"]["hsb7"], json!(["SUCCESS", "SUCCESS", "SUCCESS"]));

    let (id, _) = halted(&fleet);
    assert_eq!(decide(&fleet, &id, "cancel").0, 202);
    let run = over(&fleet, &id);
    assert_eq!(
        (&run["state"], &run["hosts"]["hsb7"]),
        (&json!("CANCELLED"), &json!(["CANCELLED", "CANCELLED", "CANCELLED"]))
    );
}

#[test]
fn a_canary_that_fails_is_rolled_back_also_after_the_daemon_was_killed() {
    let mut fleet = eight();
    let deployed = |fleet: &Fleet| fleet.get("/api/v1/hosts/hsb0").1["deployed"]["commit"].clone();
    fleet.run("hsb0", "switch", "SUCCESS");
    fs::remove_file(fleet.dir().join("ran")).unwrap();
    let before = deployed(&fleet);
    let (id, _) = halted(&fleet);
    assert_ne!(deployed(&fleet), before);
    fleet.kill_daemon();
    fleet.start_daemon();
    until(&fleet, &id, "it still waits for a person", |run| run["state"] == "HALTED");
    assert_eq!(decide(&fleet, &id, "rollback").0, 202);
    let run = over(&fleet, &id);
    assert_eq!(run["state"], "FAILED", "{run:#}");
    assert_eq!(run["hosts"]["hsb0"], json!(["SUCCESS", "SUCCESS", "ERROR", "SUCCESS"]));
    assert_eq!(run["hosts"]["hsb1"], json!(["CANCELLED", "CANCELLED", "CANCELLED", "SKIPPED"]));
    fleet.wait("the host is where it was", |fleet| deployed(fleet) == before);
}

/// Kills the daemon when the run has come so far; then everything is done, and nothing twice.
fn killed_when(what: &str, reached: impl Fn(&Value) -> bool) {
    let mut fleet = eight();
    pushed(&fleet);
    let id = start(&fleet, "do-all", &HOSTS, &json!({}));
    until(&fleet, &id, what, reached);
    fleet.kill_daemon();
    fleet.start_daemon();
    let run = over(&fleet, &id);
    assert_eq!(run["state"], "COMPLETE", "{run:#}\n{}", fleet.logs());
    asked_once(&fleet, &run);
    assert_eq!(ran(&fleet).len(), 16, "{:?}", ran(&fleet));
}

#[test]
fn the_daemon_is_killed_when_the_run_has_just_begun() {
    killed_when("it has begun", |run| run["state"] == "RUNNING");
}

#[test]
fn the_daemon_is_killed_while_hosts_pull() {
    killed_when("some pull", |run| HOSTS.iter().any(|host| run["hosts"][host][0] == "EXECUTING"));
}

#[test]
fn the_daemon_is_killed_while_hosts_switch() {
    killed_when("some switch", |run| HOSTS.iter().any(|host| run["hosts"][host][1] == "EXECUTING"));
}

#[test]
fn the_daemon_is_killed_while_some_have_switched() {
    killed_when("one has switched", |run| HOSTS.iter().any(|host| run["hosts"][host][1] == "SUCCESS"));
}

#[test]
fn the_daemon_is_killed_while_hosts_test() {
    killed_when("some test", |run| HOSTS.iter().any(|host| run["hosts"][host][2] == "EXECUTING"));
}
