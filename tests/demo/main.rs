//! `nixfleet demo` as a person runs it: a fleet comes up, what is killed comes back, and nothing is left behind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The demo. It takes the agent that was built before; only where there is none does it build one, by cargo.
fn nixfleet() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_nixfleet"));
    let mut command = Command::new(program);
    if program.with_file_name("nixfleet-agent").exists() {
        command.env_remove("CARGO");
    }
    command
}

struct Demo {
    process: Child,
    ready: Value,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut process = nixfleet().args(["demo", "--json"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { process, ready }
    }

    fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap()
    }

    fn fleet(&self) -> Option<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_fleet"))
            .args(["status", "--json"])
            .env("FLEET_URL", self.text("url"))
            .env("FLEET_TOKEN", self.text("admin_token"))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn end(&mut self, signal: Signal) -> bool {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap().success()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.end(Signal::TERM);
        }
    }
}

fn lights(host: &Value) -> Vec<&str> {
    ["agent", "git", "lock", "system", "tests"]
        .iter()
        .map(|light| host["lights"][light]["status"].as_str().unwrap())
        .collect()
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(1), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Processes that have the folder in their arguments, environment or working directory.
fn inhabitants(dir: &Path) -> Vec<PathBuf> {
    let name = dir.as_os_str().as_encoded_bytes();
    let names = |file: &Path| std::fs::read(file).is_ok_and(|text| text.windows(name.len()).any(|part| part == name));
    let inside = |process: &PathBuf| {
        names(&process.join("cmdline"))
            || names(&process.join("environ"))
            || std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
    };
    std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(inside).collect()
}

#[test]
fn a_fleet_comes_up_with_a_story_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&["--hosts", "4"]);
    let dir = PathBuf::from(demo.text("dir"));
    let fleet = demo.fleet().unwrap();
    let host = |name: &str| fleet["hosts"].as_array().unwrap().iter().find(|host| host["id"] == name).unwrap().clone();
    assert_eq!(lights(&host("atlas")), ["ok"; 5]);
    assert_eq!(lights(&host("nova")), ["ok", "ok", "ok", "error", "ok"]);
    assert_eq!(lights(&host("luna")), ["ok", "ok", "ok", "ok", "error"]);
    assert_eq!(lights(&host("orion")), ["ok", "outdated", "outdated", "outdated", "ok"]);

    let daemon = i32::try_from(demo.ready["daemon_pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(daemon).unwrap(), Signal::KILL).unwrap();
    wait("the daemon is away", || demo.fleet().is_none());
    wait("the daemon is back", || demo.fleet().is_some());

    assert!(demo.end(Signal::TERM));
    assert!(!dir.exists());
    assert_eq!(inhabitants(&dir), Vec::<PathBuf>::new());
}

#[test]
fn a_demo_in_a_folder_of_its_own_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let arguments = ["--hosts", "1", "--dir", dir.to_str().unwrap()];
    let mut demo = Demo::start(&arguments);
    let (password, fleet) = (demo.text("password").to_owned(), demo.fleet().unwrap());
    // Not asked to end: its daemon and agents go on without it.
    demo.end(Signal::KILL);
    let mut again = Demo::start(&arguments);
    assert_eq!(again.text("password"), password);
    wait("the host is as it was", || {
        again.fleet().is_some_and(|now| now["hosts"][0]["lights"] == fleet["hosts"][0]["lights"])
    });
    assert!(again.end(Signal::INT));
    assert!(dir.join("config.git").exists());
    assert_eq!(inhabitants(&dir), Vec::<PathBuf>::new());
}

#[test]
fn it_ends_at_once_while_it_still_begins() {
    let mut process = nixfleet().args(["demo", "--json"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let began = Instant::now();
    process.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn it_does_not_listen_on_a_network() {
    let output = nixfleet().args(["demo", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback only"));
}
