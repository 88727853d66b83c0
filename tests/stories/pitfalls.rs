//! Defects that other fleet managers had, told to ours from outside. `docs/pitfalls.md` has all of them, with the
//! tests that fail if ours gets one; here are those that no smaller test shows as well.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::fleet::{Fleet, lights_of};
use crate::played::{Memory, Neighbour, Played, wild_tab};
use crate::tab::Tab;

/// Half a commit hash more than a page shows.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn a_link_that_breaks_in_a_switch_is_no_success() {
    let fleet = Fleet::new();
    let mut agent = Played::new(&fleet, "hsb0");
    let id = fleet.submit("hsb0", "switch");
    assert_eq!(agent.accept(), id);
    // The network goes, in the way that a switch takes it down; and comes again while it still runs.
    for _ in 0..3 {
        agent.socket = crate::played::dial(&fleet, crate::fleet::ADMIN, "");
        fleet.wait("it is seen", |fleet| fleet.command(&id)["state"] == "AWAITING_RECONNECT");
        agent.again(&fleet, &json!({ "running": [id] }));
        fleet.wait("it goes on", |fleet| fleet.command(&id)["state"] == "EXECUTING");
    }
    // It comes with another process and another system, as after a good switch; nothing is guessed from that either.
    let other = json!({
        "results": [id], "instance": "0190b6a8-0000-7000-8000-000000000003", "system_path": "/nix/store/new",
        "deployed": { "commit": COMMIT, "at": "2026-11-21T06:00:00Z" },
    });
    agent.again(&fleet, &other);
    agent.say("heartbeat", &json!({ "metrics": { "load": 7 } }));
    fleet.wait("it was heard", |fleet| fleet.get("/api/v1/hosts/hsb0").1["metrics"]["load"] == 7.0);
    assert!(fleet.command(&id)["finished_at"].is_null(), "{:#}", fleet.command(&id));
    agent.say("status", &json!({ "command_id": id, "command": "switch", "exit_code": 4, "output_end": 0 }));
    agent.hear("status_ack");
    let command = fleet.ended(&id);
    assert_eq!((command["state"].as_str(), command["exit_code"].as_i64()), (Some("ERROR"), Some(4)), "{command:#}");
}

#[test]
fn the_last_lines_of_fast_commands_are_there() {
    let fleet = Fleet::new();
    fleet.repository.script("switch", "seq 1 500; printf 'no line end'");
    fleet.repository.push("a switch that is over at once");
    let fleet = fleet.host("hsb0");
    let expected: Vec<String> = (1..=500).map(|n| n.to_string()).chain(["no line end".to_owned()]).collect();
    for _ in 0..10 {
        let (status, command) = fleet.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true }));
        assert_eq!(status, 202, "{command}");
        let id = command["id"].as_str().unwrap();
        fleet.ended(id);
        assert_eq!(fleet.output(id), expected, "as soon as it is over");
        fleet.wait("the host is idle", |fleet| fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
    }
}

#[test]
fn lights_do_not_depend_on_the_kind_of_message_that_came_last() {
    let fleet = Fleet::new();
    let facts = json!({
        "lock_hash": "0".repeat(64),
        "deployed": { "commit": COMMIT, "lock_hash": "0".repeat(64), "at": "2026-11-21T06:00:00Z" },
        "system_path": "/nix/store/a",
    });
    fleet.wait("the remote is read", |fleet| !fleet.get("/api/v1/remote").1["commit"].is_null());
    let mut agent = Played::saying(&fleet, "hsb0", &facts);
    let mut tab = Tab::open(&fleet);
    let mut load = 0;
    agent.say("heartbeat", &facts);
    fleet.wait("the lights are known", |fleet| !fleet.lights("hsb0").contains('?'));
    let mut settled = |agent: &mut Played, tab: &mut Tab| {
        load += 1;
        agent.say("heartbeat", &json!({ "metrics": { "load": load } }));
        tab.until("it was heard", |tab| tab.hosts["hsb0"]["metrics"]["load"] == f64::from(load));
    };
    settled(&mut agent, &mut tab);
    let lights = lights_of(&tab.hosts["hsb0"]);
    // Whatever comes, with facts or without: the lights that any delta shows are the same.
    tab.watch_lights("hsb0");
    let nothing = json!({});
    let old = json!({ "update_status": { "git": { "status": "outdated" }, "system": { "status": "error" } } });
    for (kind, payload) in [
        ("heartbeat", &nothing),
        ("heartbeat", &facts),
        ("heartbeat", &old),
        ("register", &facts),
        ("status", &nothing),
        ("operation_progress", &nothing),
        ("test_progress", &nothing),
        ("command_rejected", &nothing),
        ("output", &nothing),
    ] {
        for _ in 0..3 {
            agent.say(kind, payload);
            settled(&mut agent, &mut tab);
        }
    }
    for more in [json!({}), facts.clone()] {
        agent.again(&fleet, &more);
        settled(&mut agent, &mut tab);
    }
    assert_eq!(tab.lights_seen, [lights.as_str()], "one set of lights, whatever came last");
    assert_eq!(fleet.lights("hsb0"), lights);
}

#[test]
fn a_new_host_appears_in_an_open_tab_and_goes_again() {
    let fleet = Fleet::new();
    let mut tab = Tab::open(&fleet);
    let mut page = wild_tab(&fleet, "?view=html&page=fleet");
    assert!(tab.hosts.is_empty());
    let agent = Played::new(&fleet, "hsb0");
    tab.until("it appears", |tab| tab.hosts.get("hsb0").is_some_and(|host| host["state"] == "online"));
    let mut fragment = |id: &str, holds: &dyn Fn(&str) -> bool| loop {
        let Message::Text(text) = page.read().unwrap() else { continue };
        let frame: Value = serde_json::from_str(text.as_str()).unwrap();
        let mut fragments = frame["payload"]["fragments"].as_array().into_iter().flatten();
        if fragments.any(|made| made["id"] == id && holds(made["html"].as_str().unwrap_or_default())) {
            break;
        }
    };
    fragment("host:hsb0", &|html| html.contains("hsb0"));
    drop(agent);
    fleet.wait("it may be removed", |fleet| fleet.delete("/api/v1/hosts/hsb0") < 300);
    tab.until("it is gone", |tab| tab.hosts.is_empty());
    fragment("host:hsb0", &str::is_empty);
}

#[test]
fn sockets_that_do_nothing_cost_little() {
    const SOCKETS: u64 = 300;
    let fleet = Fleet::new();
    let mut neighbour = Neighbour::new(&fleet);
    // What is paid once is paid.
    let first: Vec<_> = (0..20).map(|_| wild_tab(&fleet, "")).collect();
    let memory = Memory::of(&fleet);
    let rest: Vec<_> = (0..SOCKETS).map(|_| wild_tab(&fleet, "")).collect();
    neighbour.lives(&fleet);
    // The usual buffers alone would cost 139 KiB each.
    memory.grew_less_than(SOCKETS * 70 / 1024);
    drop((first, rest));
}
