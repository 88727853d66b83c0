//! Agents of the old generation, with all their habits: what they leave out is inferred and said so, nothing is sent
//! to them twice, and their hosts have the same lights as far as the facts go.

use serde_json::json;

use crate::fleet::Fleet;
use crate::old_agent::{OldAgent, OldHost};

/// A fleet with one host of the old kind, at the remote's head, and what its operator pushed.
fn fleet_with_an_old_agent() -> (Fleet, OldAgent) {
    let fleet = Fleet::new();
    let head = fleet.repository.push("the head");
    fleet.wait("the remote is read", |fleet| fleet.get("/api/v1/remote").1["commit"] == head);
    let agent = OldHost::new(&fleet, "hsb0", &head).reconnect(&fleet);
    // An old agent is always older than the dashboard; nothing was ever switched from here.
    fleet.expect_lights("hsb0", "🔴🟢🟢⚪⚪");
    (fleet, agent)
}

fn ended_as(fleet: &Fleet, id: &str, state: &str) -> String {
    let command = fleet.ended(id);
    assert_eq!(command["state"], state, "{command:#}\n{}", fleet.logs());
    command["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_old_agent_goes_through_its_days() {
    let (mut fleet, mut agent) = fleet_with_an_old_agent();

    // A pull, with output that names no command, and a second status.
    let head = fleet.repository.push("a change");
    fleet.expect_lights("hsb0", "🔴🟡🟢⚪⚪");
    let pull = fleet.submit("hsb0", "pull");
    agent.is_told_to("pull");
    fleet.expect_lights("hsb0", "🔴🔵🟢⚪⚪");
    agent.prints("Fast-forward");
    agent.host.generation.clone_from(&head);
    agent.ends(0);
    agent.say("status", &json!({ "status": "error", "command": "pull", "exit_code": 1 }));
    ended_as(&fleet, &pull, "SUCCESS");
    assert_eq!(fleet.output(&pull), ["Fast-forward"]);

    // A switch over a dropped link: no status, the register is the result.
    let switch = fleet.submit("hsb0", "switch");
    agent.is_told_to("switch");
    fleet.expect_lights("hsb0", "🔴🟢🟢🔵⚪");
    let host = agent.dies();
    fleet.wait("it waits", |fleet| fleet.command(&switch)["state"] == "AWAITING_RECONNECT");
    assert!(!fleet.command(&switch)["waiting_since"].is_null());
    let mut agent = host.reconnect(&fleet);
    assert!(ended_as(&fleet, &switch, "SUCCESS").contains("inferred"), "what was inferred says so");
    fleet.expect_lights("hsb0", "🔴🟢🟢🟢⚪");

    // A switch with a status: the register that follows is its end, and the second status is for nobody.
    let again = json!({ "force": true });
    let switch = fleet.post("/api/v1/hosts/hsb0/ops/switch", &again).1["id"].as_str().unwrap().to_owned();
    agent.is_told_to("switch");
    agent.ends(0);
    agent.say("status", &json!({ "status": "ok", "command": "switch", "exit_code": 0 }));
    fleet.wait("its result is noted", |fleet| !fleet.command(&switch)["exit_code"].is_null());
    assert!(fleet.command(&switch)["finished_at"].is_null(), "the new process is waited for");
    let mut agent = agent.dies().reconnect(&fleet);
    ended_as(&fleet, &switch, "SUCCESS");

    // Tests; then a restart without a status, after which System and Tests are empty strings.
    let test = fleet.submit("hsb0", "test");
    agent.is_told_to("test");
    agent.say("test_progress", &json!({ "current": 1, "total": 2, "passed": 1, "running": true, "result": "" }));
    agent.ends(0);
    ended_as(&fleet, &test, "SUCCESS");
    fleet.expect_lights("hsb0", "🔴🟢🟢🟢🟢");
    let restart = fleet.submit("hsb0", "restart");
    agent.is_told_to("restart");
    let mut host = agent.dies();
    // And one that has not looked at its checkout yet.
    let generation = std::mem::take(&mut host.generation);
    let mut agent = host.reconnect(&fleet);
    ended_as(&fleet, &restart, "SUCCESS");
    fleet.expect_lights("hsb0", "🔴🟢🟢🟢🟢");

    // The lights survive the daemon.
    fleet.kill_daemon();
    agent.host.generation = generation;
    let host = agent.dies();
    fleet.start_daemon();
    fleet.expect_lights("hsb0", "🔴🟢🟢🟢🟢");
    let mut agent = host.reconnect(&fleet);
    fleet.wait("it is online", |fleet| fleet.get("/api/v1/hosts/hsb0").1["state"] == "online");
    fleet.expect_lights("hsb0", "🔴🟢🟢🟢🟢");

    // A failing switch says so, and stays red until one succeeds.
    let failed = fleet.post("/api/v1/hosts/hsb0/ops/switch", &again).1["id"].as_str().unwrap().to_owned();
    agent.is_told_to("switch");
    agent.ends(1);
    ended_as(&fleet, &failed, "ERROR");
    fleet.expect_lights("hsb0", "🔴🟢🟢🔴🟢");
}

#[test]
fn a_command_at_an_old_agent_survives_the_daemon_and_is_never_sent_again() {
    let (mut fleet, mut agent) = fleet_with_an_old_agent();
    let test = fleet.submit("hsb0", "test");
    agent.is_told_to("test");
    fleet.kill_daemon();
    let host = agent.host.clone();
    fleet.start_daemon();
    let mut agent = host.reconnect(&fleet);
    fleet.wait("it still runs", |fleet| fleet.command(&test)["state"] == "EXECUTING");
    agent.prints("after the crash");
    agent.ends(0);
    ended_as(&fleet, &test, "SUCCESS");
    // One that ended while nobody heard it: orphaned, and not sent again.
    let lost = fleet.submit("hsb0", "test");
    agent.is_told_to("test");
    fleet.kill_daemon();
    let host = agent.dies();
    fleet.start_daemon();
    let mut agent = host.reconnect(&fleet);
    ended_as(&fleet, &lost, "ORPHANED");
    let next = fleet.submit("hsb0", "check-version");
    agent.is_told_to("check-version");
    agent.ends(0);
    ended_as(&fleet, &next, "SUCCESS");
}

#[test]
fn a_stop_ends_the_old_agent_with_its_command() {
    let (fleet, mut agent) = fleet_with_an_old_agent();
    let switch = fleet.submit("hsb0", "switch");
    agent.is_told_to("switch");
    assert_eq!(fleet.post(&format!("/api/v1/commands/{switch}/stop"), &json!({})).0, 202);
    agent.is_told_to_stop();
    let mut agent = agent.dies().reconnect(&fleet);
    ended_as(&fleet, &switch, "KILLED");
    let next = fleet.submit("hsb0", "test");
    agent.is_told_to("test");
    agent.ends(0);
    ended_as(&fleet, &next, "SUCCESS");
}

#[test]
fn refusals_and_junk_of_an_old_agent_are_taken_for_what_they_are() {
    let (fleet, mut agent) = fleet_with_an_old_agent();
    let switch = fleet.submit("hsb0", "switch");
    agent.is_told_to("switch");
    agent.host.pending.clear();
    agent.say("command_rejected", &json!({ "reason": "busy", "current_command": "update", "current_pid": 12 }));
    assert!(ended_as(&fleet, &switch, "ERROR").contains("busy"));
    for junk in ["", "{", "null", "[]", "{\"type\":\"dance\"}", "{\"type\":\"status\",\"payload\":7}", "\u{1}"] {
        agent.raw(junk.to_owned());
    }
    agent.say("heartbeat", &json!({ "generation": 5, "metrics": "hot", "update_status": [], "lock_hash": "zz" }));
    // What the agent can't do is refused before it is asked, and a person who began something there is heard.
    for op in ["plan", "gc", "bump-flake", "force-rebuild", "exec", "journal"] {
        let (status, problem) = fleet.post(&format!("/api/v1/hosts/hsb0/ops/{op}"), &json!({}));
        assert_eq!((status, problem["code"].as_str()), (409, Some("unsupported_by_agent")), "{op}: {problem}");
    }
    "update".clone_into(&mut agent.host.pending);
    agent.beat();
    fleet.wait("what was begun on the host keeps it busy", |fleet| {
        fleet.post("/api/v1/hosts/hsb0/ops/test", &json!({})).1["code"] == "host_busy"
    });
    agent.ends(0);
    fleet.wait("and it is free again", |fleet| {
        fleet.get("/api/v1/hosts/hsb0").1["offers"].to_string().contains("\"test\"")
    });
    let test = fleet.submit("hsb0", "test");
    agent.is_told_to("test");
    agent.ends(0);
    ended_as(&fleet, &test, "SUCCESS");
    fleet.expect_lights("hsb0", "🔴🟢🟢⚪🟢");
}
