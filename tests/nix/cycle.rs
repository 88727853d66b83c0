//! The whole cycle: pull, plan, switch, roll back, with real profiles and generations.

use std::fs;

use serde_json::json;

use crate::configuration::Configuration;
use crate::machine::{HOST, Machine};

#[test]
fn the_whole_cycle_with_real_builds_profiles_and_a_rollback() {
    let first = Configuration::default();
    let Some(machine) = Machine::new("cycle::the_whole_cycle_with_real_builds_profiles_and_a_rollback", &first) else {
        return;
    };
    machine.expect_lights("🟢🟢🟢⚪⚪");
    assert_eq!(machine.host()["platform"], "nixos");

    let switched = machine.run("switch", "SUCCESS");
    let log = machine.lines(&switched);
    for said in ["built ", "curl-8.1.0> building curl-8.1.0", "$ nixos-rebuild switch", "the activation is complete"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let one = machine.running().unwrap();
    assert_eq!(machine.named().as_ref(), Some(&one));
    assert_eq!(machine.generations(), [1]);
    machine.expect_lights("🟢🟢🟢🟢⚪");
    let deployed = &machine.host()["deployed"];
    assert_eq!(deployed["system_path"], one.display().to_string(), "{deployed}");
    machine.boot();

    let second = Configuration {
        packages: vec![("curl", "8.2.0", 640), ("htop", "3.2", 4)],
        kernel: "6.6.9",
        units: vec![("web.service", "[Service]\nExecStart=/bin/web --port 8080\n"), ("new.timer", "[Timer]\n")],
        ..Configuration::default()
    };
    machine.push(&second, "a newer curl, another kernel");
    machine.expect_lights("🟢🟡🟢🟡⚪");
    machine.run("pull", "SUCCESS");
    machine.expect_lights("🟢🟢🟢🟡⚪");

    // The plan builds, and changes nothing.
    let planned = machine.run("plan", "SUCCESS");
    assert_eq!((machine.running().as_ref(), machine.generations()), (Some(&one), vec![1]));
    let plan = &planned["details"]["plan"];
    let package = |name: &str| {
        let all = plan["packages"]["items"].as_array().unwrap();
        all.iter().find(|package| package["name"] == name).unwrap_or_else(|| panic!("{name}: {plan:#}")).clone()
    };
    assert_eq!((&package("curl")["before"], &package("curl")["after"]), (&json!("8.1.0"), &json!("8.2.0")));
    assert!(package("curl")["bytes"].as_i64().unwrap() > 500_000, "{plan:#}");
    assert_eq!((&package("htop")["before"], &package("htop")["after"]), (&json!(null), &json!("3.2")));
    assert_eq!((&package("zlib")["before"], &package("zlib")["after"]), (&json!("1.3"), &json!(null)));
    assert_eq!(
        plan["units"]["items"],
        json!([{ "name": "new.timer", "action": "start" }, { "name": "web.service", "action": "restart" }])
    );
    assert_eq!(plan["reboot"], json!(["kernel", "initrd", "kernel-modules"]));
    assert_eq!(plan["from"], one.display().to_string());
    let (bytes, delta) = (plan["closure_bytes"].as_u64().unwrap(), plan["closure_delta"].as_i64().unwrap());
    assert!(bytes > 650 * 1024 && delta > 500 * 1024, "{plan:#}");
    assert!(planned["message"].as_str().unwrap().contains("a reboot is needed for kernel"), "{planned:#}");
    assert!(machine.lines(&planned).contains("curl: 8.1.0 → 8.2.0"), "people read it in the log too");

    // What was planned is what is switched to.
    machine.run("switch", "SUCCESS");
    let two = machine.running().unwrap();
    assert_eq!(plan["to"], two.display().to_string());
    assert_eq!((machine.named().as_ref(), machine.generations()), (Some(&two), vec![1, 2]));
    machine.expect_lights("🟢🟢🟢🟢⚪");
    machine.fleet.wait("a reboot is asked for", |_| machine.host()["reboot_required"] == true);
    let nothing = machine.run("plan", "SUCCESS");
    assert_eq!(nothing["message"], "a switch would change nothing: the built system runs");

    // Back, by the real profile.
    machine.run("rollback", "SUCCESS");
    assert_eq!((machine.running().as_ref(), machine.named().as_ref()), (Some(&one), Some(&one)));
    assert_eq!(machine.generations(), [1, 2]);
    machine.expect_lights("🟢🟢🟢🟡⚪");

    // There is nothing before it.
    let refused = machine.fleet.post(&format!("/api/v1/hosts/{HOST}/ops/rollback"), &json!({}));
    assert_eq!((refused.0, &refused.1["code"]), (409, &json!("no_previous_generation")), "{}", refused.1);

    // Forward again, past the caches: the evaluation too.
    let forced = machine.run("force-rebuild", "SUCCESS");
    assert!(machine.lines(&forced).contains("--option eval-cache false"));
    assert_eq!(machine.running(), Some(two));
    machine.expect_lights("🟢🟢🟢🟢⚪");
}

#[test]
fn a_switch_that_kills_its_agent_half_way_ends_as_it_ended() {
    let quiet = Configuration::default();
    let Some(mut machine) = Machine::new("cycle::a_switch_that_kills_its_agent_half_way_ends_as_it_ended", &quiet)
    else {
        return;
    };
    machine.run("switch", "SUCCESS");
    // As a service manager does that restarts the agent's unit: the old process goes, and the activation goes on when a
    // new one is there.
    let restarts = Configuration {
        before: "echo 'stopping the following units: nixfleet-agent.service' >&2
      touch $root/stops; until [ -e $root/stopped ]; do sleep 0.05; done"
            .to_owned(),
        after: "echo 'starting the following units: nixfleet-agent.service' >&2
      touch $root/starts; until [ -e $root/started ]; do sleep 0.05; done"
            .to_owned(),
        ..quiet
    };
    let commit = machine.bring(&restarts, "another agent");
    let id = machine.fleet.submit(HOST, "switch");
    let (stops, starts) = (machine.path("stops"), machine.path("starts"));
    machine.fleet.wait("the activation stops the agent", |_| stops.exists());
    machine.fleet.kill_agent(HOST);
    fs::write(machine.path("stopped"), "").unwrap();
    machine.fleet.wait("the activation goes on without an agent", |_| starts.exists());
    machine.fleet.start_agent(HOST);
    fs::write(machine.path("started"), "").unwrap();

    let ended = machine.fleet.ended(&id);
    assert_eq!(ended["state"], "SUCCESS", "{ended:#}\n{}", machine.lines(&ended));
    machine.is_whole(&ended);
    let log = machine.lines(&ended);
    for said in ["stopping the following units", "starting the following units", "the activation is complete"] {
        assert_eq!(log.matches(said).count(), 1, "{said}: {log}");
    }
    assert_eq!(machine.running(), machine.named());
    assert_eq!(machine.host()["deployed"]["commit"], commit);
    machine.expect_lights("🟢🟢🟢🟢⚪");
}
