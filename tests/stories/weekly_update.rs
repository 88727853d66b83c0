//! The weekly update of a whole fleet: a pull request waits, one call merges it, a canary takes it, its tests pass, it
//! soaks, the rest follow; and where it was bad, it is taken back. Eight real agents, a GitHub over a real repository,
//! and a daemon that is killed at each stage.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::fake_github::server::Fake;
use crate::fleet::Fleet;
use crate::pull_requests;

const HOSTS: [&str; 8] = ["hsb0", "hsb1", "hsb2", "hsb3", "hsb4", "hsb5", "hsb6", "hsb7"];
const CANARY: &str = HOSTS[0];

/// What becomes of the daemon on the way.
#[derive(Clone, Copy, PartialEq)]
enum Daemon {
    /// It lives.
    Lives,
    /// It is killed, and started again, at each stage.
    IsKilled,
}

struct Week {
    fleet: Fleet,
    fake: Fake,
    daemon: Daemon,
    killed: usize,
}

impl Week {
    /// Eight hosts that are current and tested. Their tests fail with a lock that says that it is broken.
    fn begin(daemon: Daemon) -> Self {
        let (mut fleet, fake) = pull_requests::fleet(false, &[]);
        let dir = fleet.dir().display().to_string();
        let told = format!("echo switch $NIXFLEET_HOST $NIXFLEET_COMMIT >> {dir}/ran\nsleep 0.5");
        fleet.repository.script("switch", &told);
        for host in HOSTS {
            let test = "sleep 0.5\nif grep -q broken flake.lock; then echo the service does not answer >&2; exit 1; fi";
            fleet.repository.script(&format!("hosts/{host}/tests/10-answers.sh"), test);
        }
        fleet.repository.push("scripts that tell");
        fleet.does("refresh-git");
        for host in HOSTS {
            fleet.add_host_under(host, &[], &[]);
        }
        fleet.wait("all hosts are there", |fleet| {
            HOSTS.iter().all(|host| {
                let host = fleet.get(&format!("/api/v1/hosts/{host}")).1;
                host["state"] == "online" && !host["generation"].is_null()
            })
        });
        let mut week = Self { fleet, fake, daemon: Daemon::Lives, killed: 0 };
        let run = week.start("do-all", &json!({}));
        assert_eq!(week.over(&run)["state"], "COMPLETE");
        week.all("🟢🟢🟢🟢🟢");
        week.daemon = daemon;
        week
    }

    /// An update of the lock is proposed, and the page's data show it.
    fn update(&self, lock: &str) -> u64 {
        let number = self.fake.open("update-flake-lock", "flake.lock: Update", "flake.lock", lock);
        self.fleet.wait("the update is shown", |fleet| {
            let shown = &fleet.get("/api/v1/remote").1["pull_request"];
            shown["number"] == number && shown["mergeable"] == true
        });
        self.all("🟢🟢🟡🟢🟢");
        number
    }

    fn all(&self, lights: &str) {
        for host in HOSTS {
            self.fleet.expect_lights(host, lights);
        }
    }

    fn start(&self, pipeline: &str, options: &Value) -> String {
        let body = json!({ "hosts": HOSTS, "options": options });
        let (status, run) = self.fleet.post(&format!("/api/v1/pipelines/{pipeline}/runs"), &body);
        assert_eq!(status, 202, "{run:#}");
        run["id"].as_str().unwrap().to_owned()
    }

    /// The daemon's end, if this is a story of that.
    fn kill(&mut self) {
        if self.daemon == Daemon::IsKilled {
            self.fleet.kill_daemon();
            self.fleet.start_daemon();
            self.killed += 1;
        }
    }

    /// Waits until a run has come so far; then the daemon is killed.
    fn reached(&mut self, run: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/runs/{run}");
        let mut now = Value::Null;
        self.fleet.wait(&format!("{what}, of run {run}"), |fleet| {
            now = fleet.get(&path).1;
            holds(&now)
        });
        self.kill();
        now
    }

    fn over(&self, run: &str) -> Value {
        let path = format!("/api/v1/runs/{run}");
        self.fleet.wait(&format!("run {run} is over"), |fleet| !fleet.get(&path).1["finished_at"].is_null());
        self.fleet.get(&path).1
    }

    /// The canary at a stage of `merge-deploy`.
    fn canary_at(&mut self, run: &str, stage: usize, what: &str) {
        self.reached(run, what, |run| {
            // A stage may be shorter than a look: what is over was reached too.
            run["hosts"][CANARY][stage].as_str().is_some_and(|state| state != "PENDING")
        });
    }

    /// An op that concerns no host, with the daemon killed in it.
    fn op(&mut self, op: &str) -> Value {
        let (status, answer) = self.fleet.post(&format!("/api/v1/ops/{op}"), &json!({}));
        assert_eq!(status, 200, "{answer}");
        let id = answer["outcomes"][0]["command"]["id"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned();
        self.kill();
        self.fleet.ended(&id)
    }

    /// What is deployed on each host.
    fn deployed(&self, what: &str) -> BTreeMap<&'static str, Value> {
        let deployed = |host: &str| self.fleet.get(&format!("/api/v1/hosts/{host}")).1["deployed"][what].clone();
        HOSTS.iter().map(|host| (*host, deployed(host))).collect()
    }

    /// No host switched twice to the same commit, whoever was killed meanwhile.
    fn nothing_ran_twice(&self) {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for line in fs::read_to_string(self.fleet.dir().join("ran")).unwrap().lines() {
            *count.entry(line.to_owned()).or_default() += 1;
        }
        let twice: Vec<_> = count.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

const OPTIONS: fn() -> Value = || json!({ "canary": { "hosts": [CANARY] }, "soak_s": 2, "max_failures": 0 });

fn a_good_week(daemon: Daemon) {
    let mut week = Week::begin(daemon);
    let number = week.update("{\"version\": 7, \"nodes\": {\"good\": {}}}\n");
    let run = week.start("merge-deploy", &OPTIONS());
    week.kill();
    week.canary_at(&run, 0, "the merge has begun");
    week.canary_at(&run, 1, "the canary pulls");
    week.canary_at(&run, 2, "the canary switches");
    week.canary_at(&run, 3, "the canary tests");
    week.reached(&run, "it soaks", |run| run["groups"][0]["state"] == "SOAKING" || run["group"] == 1);
    week.reached(&run, "the rest follow", |run| run["group"] == 1);
    week.reached(&run, "the rest switch", |run| run["hosts"]["hsb7"][2] != "PENDING");
    let run = week.over(&run);
    assert_eq!(run["state"], "COMPLETE", "{run:#}\n{}", week.fleet.logs());
    for host in HOSTS {
        assert_eq!(run["hosts"][host], json!(["SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS"]), "{host}");
    }
    week.all("🟢🟢🟢🟢🟢");
    let remote = week.fleet.get("/api/v1/remote").1;
    assert_eq!((&remote["merged"]["number"], &remote["pull_request"]), (&json!(number), &Value::Null));
    assert!(week.deployed("commit").values().all(|commit| *commit == remote["commit"]));
    week.nothing_ran_twice();
    assert_eq!(week.killed, if daemon == Daemon::IsKilled { 8 } else { 0 });
    assert_eq!(week.fake.changes().len(), 1, "it was merged once: {:?}", week.fake.changes());
}

fn a_bad_week(daemon: Daemon) {
    let mut week = Week::begin(daemon);
    let before = week.deployed("lock_hash");
    week.update("{\"version\": 7, \"nodes\": {\"broken\": {}}}\n");
    let run = week.start("merge-deploy", &OPTIONS());
    week.kill();
    week.canary_at(&run, 1, "the canary pulls");
    week.canary_at(&run, 2, "the canary switches");
    week.canary_at(&run, 3, "the canary tests");
    let halted = week.reached(&run, "it halts", |run| run["state"] == "HALTED");
    assert_eq!(halted["halted"]["failed"], json!([CANARY]), "{halted:#}\n{}", week.fleet.logs());
    week.fleet.expect_lights(CANARY, "🟢🟢🟢🟢🔴");
    for host in &HOSTS[1..] {
        week.fleet.expect_lights(host, "🟢🟡🟡🟡🟢");
    }

    let (status, answer) = week.fleet.post(&format!("/api/v1/runs/{run}/decide"), &json!({ "decision": "cancel" }));
    assert_eq!(status, 202, "{answer:#}");
    week.kill();
    assert_eq!(week.over(&run)["state"], "CANCELLED");
    let reverted = week.op("revert-pr");
    assert_eq!(reverted["state"], "SUCCESS", "{reverted:#}\n{}", week.fleet.logs());
    // The lock is again what seven of them have; the commit is a new one.
    week.fleet.expect_lights(CANARY, "🟢🟡🟡🟡🔴");
    for host in &HOSTS[1..] {
        week.fleet.expect_lights(host, "🟢🟡🟢🟡🟢");
    }
    let run = week.start("do-all", &json!({}));
    week.reached(&run, "the hosts switch", |run| run["hosts"]["hsb7"][1] != "PENDING");
    let run = week.over(&run);
    assert_eq!(run["state"], "COMPLETE", "{run:#}\n{}", week.fleet.logs());
    week.all("🟢🟢🟢🟢🟢");
    assert_eq!(week.deployed("lock_hash"), before, "all hosts are as they were");
    week.nothing_ran_twice();
    assert_eq!(week.killed, if daemon == Daemon::IsKilled { 8 } else { 0 });
}

#[test]
fn a_good_update_reaches_the_whole_fleet_behind_its_canary() {
    a_good_week(Daemon::Lives);
}

#[test]
fn a_good_update_reaches_the_whole_fleet_with_the_daemon_killed_at_each_stage() {
    a_good_week(Daemon::IsKilled);
}

#[test]
fn a_bad_update_stops_at_its_canary_and_is_taken_back() {
    a_bad_week(Daemon::Lives);
}

#[test]
fn a_bad_update_stops_at_its_canary_and_is_taken_back_with_the_daemon_killed_at_each_stage() {
    a_bad_week(Daemon::IsKilled);
}
