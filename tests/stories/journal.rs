//! A unit's journal at the dashboard: beside whatever runs, as long as somebody reads it, and not a moment more.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::fleet::{ADMIN, Fleet};
use crate::old_agent::{OldAgent, OldHost};
use crate::tab::Tab;

/// A played agent that knows ids.
fn agent(fleet: &Fleet) -> OldAgent {
    let journal = Some("0190b6a8-0000-4000-8000-000000000001".to_owned());
    OldHost { journal, ..OldHost::new(fleet, "hsb0", "") }.reconnect(fleet)
}

/// Asks for an op, which the agent accepts; the id.
fn begin(fleet: &Fleet, agent: &mut OldAgent, op: &str) -> String {
    let args = json!({ "args": { "unit": "nginx.service", "follow": true } });
    let (status, body) = fleet.post(&format!("/api/v1/hosts/hsb0/ops/{op}"), &args);
    assert_eq!(status, 202, "{body}");
    let id = body["id"].as_str().unwrap().to_owned();
    let order = agent.next_of("command");
    assert_eq!((&order["command_id"], &order["args"]["unit"]), (&json!(id), &json!("nginx.service")));
    agent.say("accepted", &json!({ "command_id": id }));
    id
}

fn stopped(agent: &mut OldAgent, id: &str) {
    let kill = agent.next_of("kill_command");
    assert_eq!(kill["command_id"], id);
    agent.say(
        "status",
        &json!({ "status": "stopped", "command": "journal", "exit_code": 130, "command_id": id, "output_end": 0 }),
    );
}

fn ended(fleet: &Fleet, id: &str) -> Value {
    let command = fleet.ended(id);
    assert_eq!(command["state"], "KILLED", "{command:#}");
    assert_eq!(command["host"], "hsb0");
    command["message"].clone()
}

#[test]
fn a_journal_takes_no_slot_and_ends_with_its_last_reader() {
    let mut fleet = Fleet::new();
    let mut agent = agent(&fleet);
    let test = begin(&fleet, &mut agent, "test");
    let (by_http, by_tab) = (begin(&fleet, &mut agent, "journal"), begin(&fleet, &mut agent, "journal"));
    agent.say("heartbeat", &json!({ "running": [test, by_http, by_tab] }));

    let client = ureq::Agent::new_with_defaults();
    let url = format!("http://127.0.0.1:{}/api/v1/commands/{by_http}/log?follow=1&raw=1", fleet.port);
    let mut lines = client.get(&url).header("Authorization", &format!("Bearer {ADMIN}")).call().unwrap();
    let mut tab = Tab::open(&fleet);
    tab.follow(&by_tab, 0);
    for id in [&by_http, &by_tab] {
        agent.say("output", &json!({ "line": "started", "stream": "stdout", "command_id": id, "offset": 0 }));
    }
    let mut first = [0; 8];
    lines.body_mut().as_reader().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"started\n");
    tab.until("the line is there", |tab| tab.text(&by_tab) == ["started"]);

    drop((lines, client));
    stopped(&mut agent, &by_http);
    assert!(ended(&fleet, &by_http).as_str().unwrap().contains("reader left"));
    assert_eq!(fleet.command(&by_tab)["state"], "EXECUTING", "the other is read");
    drop(tab);
    stopped(&mut agent, &by_tab);
    ended(&fleet, &by_tab);
    assert_eq!(fleet.command(&test)["state"], "EXECUTING", "and what has the slot goes on");

    // One that is read while the daemon dies is stopped when it is found, and keeps nobody busy.
    let lost = begin(&fleet, &mut agent, "journal");
    fleet.kill_daemon();
    fleet.start_daemon();
    let mut agent = agent.host.reconnect(&fleet);
    agent.say("heartbeat", &json!({ "running": [test, lost] }));
    let kill = agent.next_of("kill_command");
    assert_eq!(kill["command_id"], json!(lost));
    ended(&fleet, &lost);
}
