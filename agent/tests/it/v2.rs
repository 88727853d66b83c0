//! A dashboard of the old generation, played to the letter: no `protocol` in `registered`, no ids, no
//! acknowledgements, words instead of ops. Our agent works with it as far as it can.

use std::fs;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{LONG, World, executable, processes_with, until};

/// The old dashboard's end of one link, with everything that it was told.
struct Old {
    socket: WebSocketStream<TcpStream>,
    register: Value,
    told: Vec<(String, Value)>,
}

impl Old {
    /// Answers the next agent that dials.
    async fn meet(world: &World) -> Self {
        let tcp = world.dashboard.raw().await;
        let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
        let first = timeout(LONG, socket.next()).await.expect("no register").unwrap().unwrap();
        let first: Value = serde_json::from_str(first.to_text().unwrap()).unwrap();
        assert_eq!(first["type"], "register");
        let mut old = Self { socket, register: first["payload"].clone(), told: Vec::new() };
        old.say("registered", json!({ "host_id": "h1" })).await;
        old
    }

    async fn say(&mut self, kind: &str, payload: Value) {
        let text = json!({ "type": kind, "payload": payload }).to_string();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    async fn order(&mut self, word: &str) {
        self.say("command", json!({ "command": word })).await;
    }

    /// The next message; `None` when the agent closed the link.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            match timeout(LONG, self.socket.next()).await.expect("the agent says nothing") {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                    let told = (frame["type"].as_str().unwrap().to_owned(), frame["payload"].clone());
                    self.told.push(told.clone());
                    return Some(told);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message of a type.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let (told, payload) = self.next().await.unwrap_or_else(|| panic!("the link ended before a {kind}"));
            if told == kind {
                return payload;
            }
        }
    }

    async fn until_line(&mut self, text: &str) {
        while self.until("output").await["line"] != text {}
    }

    /// Orders a word, and gives the one result that follows, with the heartbeat behind it.
    async fn run(&mut self, word: &str) -> Value {
        self.told.clear();
        self.order(word).await;
        let status = self.until("status").await;
        let beat = self.until("heartbeat").await;
        assert!(beat["pending_command"].is_null(), "{word} is over");
        assert_eq!(status["command"], word);
        status
    }

    fn count(&self, kind: &str) -> usize {
        self.told.iter().filter(|(told, _)| told == kind).count()
    }

    /// Reads until the agent is gone.
    async fn until_gone(&mut self) {
        while self.next().await.is_some() {}
    }
}

const SLOW: &str = "#!/bin/sh\necho ready\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\necho done\n";

#[tokio::test]
async fn every_word_of_an_old_dashboard_ends_in_exactly_one_status() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/tests/1.sh", "#!/bin/sh\nexit 0\n"), ("hosts/h1/tests/2.sh", "#!/bin/sh\nexit 3\n")]);
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    for (word, code) in [
        ("pull", 0),
        ("switch", 0),
        ("pull-switch", 0),
        ("test", 1),
        ("check-version", 0),
        ("refresh-git", 0),
        ("refresh-lock", 0),
    ] {
        let status = old.run(word).await;
        assert_eq!(status["exit_code"], code, "{word}: {status}");
        assert_eq!(status["status"], if code == 0 { "ok" } else { "error" }, "{word}");
        assert!(status.get("command_id").is_none(), "{word}: an id that nobody gave");
        assert_eq!(old.count("status"), 1, "{word}");
        assert_eq!(old.count("accepted") + old.count("progress"), 0, "{word}: messages that old dashboards don't know");
        for (_, output) in old.told.iter().filter(|(kind, _)| kind == "output") {
            assert!(output.get("offset").is_none() && output.get("command_id").is_none(), "{output}");
            assert!(["stdout", "stderr"].contains(&output["stream"].as_str().unwrap()), "{output}");
        }
        if word == "pull-switch" {
            let lines: Vec<&str> = old.told.iter().filter_map(|(_, payload)| payload["line"].as_str()).collect();
            assert!(lines.contains(&"hello from the switch"), "{lines:?}");
        }
    }
    // Two more heartbeats, and no second result.
    old.told.clear();
    old.until("heartbeat").await;
    old.until("heartbeat").await;
    assert_eq!(old.count("status"), 0);
    // What it does not know is refused, and runs nothing.
    old.order("dance").await;
    assert_eq!(old.until("command_rejected").await["reason"], "unsupported");
    old.order("journal").await;
    assert_eq!(old.until("command_rejected").await["reason"], "unsupported");
}

#[tokio::test]
async fn an_old_dashboard_gets_the_compartments_from_the_agent_and_never_as_working() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW), ("hosts/h1/tests/1.sh", "#!/bin/sh\nexit 3\n")]);
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    old.order("switch").await;
    old.until_line("ready").await;
    let words = |beat: &Value| {
        ["git", "lock", "system", "tests"].map(|name| {
            let light = &beat["update_status"][name];
            assert!(light["message"].is_string(), "{beat}");
            assert!(light["checked_at"].as_str().unwrap().ends_with('Z'), "{beat}");
            light["status"].as_str().unwrap().to_owned()
        })
    };
    let running = old.until("heartbeat").await;
    assert_eq!((&running["pending_command"], running["command_pid"].is_i64()), (&json!("switch"), true));
    assert_eq!(words(&running), ["ok", "ok", "unknown", "unknown"], "{running}");
    fs::write(world.path("go"), "").unwrap();
    old.until("status").await;
    assert_eq!(words(&old.until("heartbeat").await), ["ok", "ok", "ok", "unknown"]);
    old.run("test").await;
    // A commit, asked for with refresh-git, and then pulled and not switched.
    world.commit(&[("more", "x")]);
    old.run("refresh-git").await;
    assert_eq!(words(&old.until("heartbeat").await), ["outdated", "ok", "ok", "error"]);
    old.run("pull").await;
    assert_eq!(words(&old.until("heartbeat").await), ["ok", "ok", "outdated", "error"]);
    assert!(old.told.iter().all(|(_, payload)| payload["update_status"]["system"]["status"] != "working"));
    // And so it is after a restart of the agent, which remembers nothing but its files.
    old.order("restart").await;
    old.until_gone().await;
    let mut old = Old::meet(&world).await;
    assert_eq!(words(&old.until("heartbeat").await), ["ok", "ok", "outdated", "error"]);
}

#[tokio::test]
async fn an_old_dashboard_sees_how_far_a_command_is() {
    let world = World::new().await;
    world.commit(&[
        ("hosts/h1/tests/1.sh", "#!/bin/sh\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\n"),
        ("hosts/h1/tests/2.sh", "#!/bin/sh\nexit 0\n"),
    ]);
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull-switch").await;
    let last = old.told.iter().rfind(|(kind, _)| kind == "operation_progress").unwrap().1["progress"].clone();
    assert_eq!(
        (&last["pull"]["status"], &last["system"]["status"]),
        (&json!("complete"), &json!("complete")),
        "{last}"
    );
    old.told.clear();
    old.order("test").await;
    let progress = old.until("test_progress").await;
    assert_eq!((&progress["current"], &progress["total"], &progress["running"]), (&json!(1), &json!(2), &json!(true)));
    let stage = old.until("operation_progress").await["progress"]["tests"].clone();
    assert_eq!(stage, json!({ "current": 0, "total": 2, "status": "in_progress" }));
    fs::write(world.path("go"), "").unwrap();
    old.until("status").await;
    let progress = old.told.iter().rfind(|(kind, _)| kind == "test_progress").unwrap().1.clone();
    assert_eq!((&progress["passed"], &progress["running"]), (&json!(2), &json!(false)), "{progress}");
}

#[tokio::test]
async fn an_old_dashboard_stops_what_runs_with_a_word_or_a_signal_and_the_agent_lives() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", "#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 0.1; done\n")]);
    let agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    for (kind, payload) in [
        ("command", json!({ "command": "stop" })),
        ("command", json!({ "command": "kill" })),
        ("kill_command", json!({ "signal": "SIGTERM", "pid": 0 })),
        ("kill_command", json!({ "signal": "SIGKILL", "pid": 0 })),
    ] {
        old.order("switch").await;
        old.until_line("ready").await;
        old.order("pull").await;
        let rejected = old.until("command_rejected").await;
        assert_eq!(rejected["current_command"], "switch", "{rejected}");
        assert!(rejected["current_pid"].is_i64(), "{rejected}");
        old.told.clear();
        old.say(kind, payload.clone()).await;
        let status = old.until("status").await;
        assert_eq!((&status["status"], &status["exit_code"]), (&json!("stopped"), &json!(130)), "{payload}");
        assert!(fs::exists(format!("/proc/{}", agent.pid())).unwrap(), "the agent stopped itself");
        let switch = world.checkout().join("hosts/h1/switch").display().to_string();
        assert_eq!(processes_with(&switch), Vec::<i32>::new(), "{payload}");
    }
    // A stop of nothing is nothing.
    old.order("stop").await;
    assert_eq!(old.run("pull").await["exit_code"], 0);
}

#[tokio::test]
async fn a_restart_by_an_old_dashboard_is_told_once_by_the_new_process() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW)]);
    let agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    // At any time: the command that runs goes on.
    old.order("switch").await;
    old.until_line("ready").await;
    old.order("restart").await;
    old.until_gone().await;
    let mut again = Old::meet(&world).await;
    assert!(fs::exists(format!("/proc/{}", agent.pid())).unwrap(), "without a service manager it executes itself");
    assert_ne!(again.register["instance"], old.register["instance"]);
    let restart = again.until("status").await;
    assert_eq!((&restart["command"], &restart["exit_code"]), (&json!("restart"), &json!(0)));
    fs::write(world.path("go"), "").unwrap();
    let switch = again.until("status").await;
    assert_eq!((&switch["command"], &switch["exit_code"]), (&json!("switch"), &json!(0)));
    again.until("heartbeat").await;
    again.until("heartbeat").await;
    assert_eq!(again.count("status"), 2);
}

#[tokio::test]
async fn a_reboot_by_an_old_dashboard_waits_for_nothing_and_ends_with_the_next_boot() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW)]);
    let boot_id = world.path("root/proc/sys/kernel/random/boot_id");
    fs::create_dir_all(boot_id.parent().unwrap()).unwrap();
    fs::write(&boot_id, "boot-one\n").unwrap();
    executable(&world.path("bin/reboot-for-tests"), "#!/bin/sh\necho > \"$HOME/rebooted\"\n");
    let root = world.path("root").display().to_string();
    let world = world.with("NIXFLEET_ROOT", root).with("NIXFLEET_REBOOT_COMMAND", "reboot-for-tests");
    let agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    old.order("switch").await;
    old.until_line("ready").await;
    old.order("reboot").await;
    until("the reboot is asked for beside the switch", || world.path("rebooted").exists()).await;
    agent.kill();
    for pid in processes_with("run-command") {
        if processes_with(world.dir.path().to_str().unwrap()).contains(&pid) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    fs::write(&boot_id, "boot-two\n").unwrap();
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    let mut ended = [old.until("status").await, old.until("status").await];
    ended.sort_by_key(|status| status["command"].to_string());
    assert_eq!((&ended[0]["command"], &ended[0]["exit_code"]), (&json!("reboot"), &json!(0)), "{ended:?}");
    assert_eq!((&ended[1]["command"], &ended[1]["stage"]), (&json!("switch"), &json!("interrupted")), "{ended:?}");
}

#[tokio::test]
async fn a_force_update_rebuilds_and_then_the_agent_makes_room_for_a_new_process() {
    let world = crate::deploys::nixos(crate::deploys::ACTIVATES).await;
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    let status = old.run("force-update").await;
    assert_eq!((&status["status"], &status["exit_code"]), (&json!("ok"), &json!(0)), "{status}");
    let lines: Vec<&str> = old.told.iter().filter_map(|(_, payload)| payload["line"].as_str()).collect();
    assert!(lines.iter().any(|line| line.starts_with("activating switch")), "{lines:?}");
    old.until_gone().await;
    let mut again = Old::meet(&world).await;
    assert_ne!(again.register["instance"], old.register["instance"]);
    again.until("heartbeat").await;
    again.until("heartbeat").await;
    assert_eq!(again.count("status"), 0, "it was told once");
}

#[tokio::test]
async fn a_result_for_an_old_dashboard_outlives_a_dropped_link() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW)]);
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    old.order("switch").await;
    old.until_line("ready").await;
    drop(old);
    // It ends while nobody is there.
    fs::write(world.path("go"), "").unwrap();
    until("the result", || {
        let commands = fs::read_dir(world.path("state/commands")).unwrap().flatten();
        commands.filter(|command| command.path().join("result.json").exists()).count() == 2
    })
    .await;
    let mut old = Old::meet(&world).await;
    let status = old.until("status").await;
    assert_eq!((&status["command"], &status["exit_code"]), (&json!("switch"), &json!(0)));
    assert!(old.told.iter().any(|(_, payload)| payload["line"] == "done"), "the rest of its output came first");
    // It was read, which the pong tells: nothing comes again, in this link or the next.
    old.until("heartbeat").await;
    old.until("heartbeat").await;
    assert_eq!(old.count("status"), 1);
    drop(old);
    let mut old = Old::meet(&world).await;
    assert_eq!(old.register["results"], json!([]));
    old.until("heartbeat").await;
    old.until("heartbeat").await;
    assert_eq!(old.count("status"), 0);
}

#[tokio::test]
async fn a_result_that_was_on_the_wire_when_the_link_broke_comes_again() {
    let world = World::new().await;
    world.commit(&[("hosts/h1/switch", SLOW)]);
    let _agent = world.start();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    old.order("switch").await;
    old.until_line("ready").await;
    // From here on the dashboard reads nothing: the result gets as far as its socket, and no further.
    fs::write(world.path("go"), "").unwrap();
    let log = world.path("agent.log");
    until("the result was sent", || {
        fs::read_to_string(&log).unwrap_or_default().matches("the result was sent").count() == 2
    })
    .await;
    drop(old);
    let mut old = Old::meet(&world).await;
    assert_eq!(old.until("status").await["command"], "switch");
}

#[tokio::test]
async fn after_a_switch_that_brought_another_agent_an_old_dashboard_sees_it_soon() {
    let world = World::new().await;
    let place = world.path("bin/nixfleet-agent");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_nixfleet-agent"), &place).unwrap();
    world.commit(&[(
        "hosts/h1/switch",
        "#!/bin/sh\ncp \"$HOME/bin/nixfleet-agent\" \"$HOME/new\"\necho >> \"$HOME/new\"\nmv \"$HOME/new\" \"$HOME/bin/nixfleet-agent\"\n",
    )]);
    let described = world.agent_command();
    let mut command = std::process::Command::new(&place);
    command.env_clear().envs(described.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut old = Old::meet(&world).await;
    old.run("pull").await;
    old.order("switch").await;
    assert_eq!(old.until("status").await["exit_code"], 0);
    let begun = Instant::now();
    old.until_gone().await;
    let deadline = begun + std::time::Duration::from_secs(90);
    let mut again = timeout_at(deadline, Old::meet(&world)).await.expect("not back within 90 s");
    assert_ne!(again.register["instance"], old.register["instance"]);
    assert_ne!(again.register["binary_hash"], old.register["binary_hash"]);
    again.until("heartbeat").await;
    again.until("heartbeat").await;
    assert_eq!(again.count("status"), 0, "it was told once");
    child.kill().unwrap();
    child.wait().unwrap();
}
