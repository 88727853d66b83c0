//! Tests that run by themselves after a switch, with a real agent.

use std::time::Duration;

use serde_json::Value;

use crate::fleet::Fleet;

/// A host with one test that passes, as long as `hosts/hsb0/broken` is not there.
fn fleet() -> Fleet {
    let fleet = Fleet::with(&[("NIXFLEET_AUTO_TEST", "1")]);
    fleet.repository.script("hosts/hsb0/tests/10-answers.sh", "echo it answers; test ! -e hosts/hsb0/broken");
    fleet.repository.push("add a test");
    fleet.host("hsb0")
}

/// The commands of a host that were started by themselves, newest first.
fn by_themselves(fleet: &Fleet) -> Vec<Value> {
    let (_, list) = fleet.get("/api/v1/commands?host=hsb0");
    let commands = list["commands"].as_array().unwrap().clone();
    commands.into_iter().filter(|command| command["actor"] == "auto-test").collect()
}

#[test]
fn the_light_goes_from_yellow_to_green_by_itself() {
    let fleet = fleet();
    fleet.wait("the agent has said what tests there are", |fleet| {
        fleet.get("/api/v1/hosts/hsb0").1["lights"]["tests"]["message"].as_str().unwrap().contains("1 test")
    });
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.expect_lights("hsb0", "🟢🟢🟢🟢🟢");
    let [test] = &by_themselves(&fleet)[..] else { panic!("{:#?}", by_themselves(&fleet)) };
    assert_eq!((&test["op"], &test["state"]), (&"test".into(), &"SUCCESS".into()));
    assert!(fleet.output(test["id"].as_str().unwrap()).contains(&"it answers".to_owned()), "with a log as any");

    // And to red, where what was switched to is bad.
    fleet.repository.write("hosts/hsb0/broken", "");
    fleet.repository.push("break it");
    fleet.expect_lights("hsb0", "🟢🟡🟢🟡🟢");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.expect_lights("hsb0", "🟢🟢🟢🟢🔴");
    assert_eq!(by_themselves(&fleet).len(), 2);
}

#[test]
fn a_daemon_that_is_killed_after_the_switch_begins_them_when_it_is_back() {
    let mut fleet = fleet();
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.kill_daemon();
    fleet.start_daemon();
    fleet.expect_lights("hsb0", "🟢🟢🟢🟢🟢");
    assert_eq!(by_themselves(&fleet).len(), 1);
}

#[test]
fn a_person_who_tests_first_is_not_refused_and_they_do_not_run_again() {
    let fleet = fleet();
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.run("hsb0", "test", "SUCCESS");
    // Longer than they wait for.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(by_themselves(&fleet), Vec::<Value>::new());
}
