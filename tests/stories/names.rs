//! One name, one host: two machines with one hostname, the same machine twice, and tokens that are for one name.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::old_agent::OldHost;

fn clashes(fleet: &Fleet) -> usize {
    fleet.get("/api/v1/events").1.to_string().matches("\"name_clash\"").count()
}

/// Whether an agent has a command in its journal.
fn has(state_dir: &Path, id: &str) -> bool {
    let folders = fs::read_dir(state_dir).into_iter().flatten().flatten();
    folders.into_iter().any(|folder| folder.path().join(id).exists())
}

#[test]
fn a_second_machine_with_the_name_is_refused_once_and_the_first_goes_on() {
    let mut fleet = Fleet::new().host("hsb0");
    fleet.add_rival("rival", "hsb0");
    fleet.wait("an event tells of the clash", |fleet| clashes(fleet) > 0);
    for op in ["switch", "test"] {
        let id = fleet.submit("hsb0", op);
        fleet.ended(&id);
        assert!(has(&fleet.state_dir("hsb0"), &id), "{op} ran at the first\n{}", fleet.logs());
        assert!(!has(&fleet.state_dir("rival"), &id));
    }
    assert_eq!(clashes(&fleet), 1, "the refused one waits before it comes again");
    // The first goes: the second may come. It waits for its time, so a new process of it is quicker.
    fleet.kill_agent("hsb0");
    fleet.kill_agent("rival");
    fleet.start_agent("rival");
    let mut id = String::new();
    fleet.wait("the name is free, and the second one has it", |fleet| {
        let (status, body) = fleet.post("/api/v1/hosts/hsb0/ops/test", &json!({}));
        body["id"].as_str().unwrap_or_default().clone_into(&mut id);
        status == 202
    });
    fleet.ended(&id);
    assert!(has(&fleet.state_dir("rival"), &id));
}

#[test]
fn a_machine_that_does_not_answer_gives_up_its_name() {
    let mut fleet = Fleet::new().host("hsb0");
    fleet.signal_agent("hsb0", rustix::process::Signal::STOP);
    fleet.add_rival("rival", "hsb0");
    fleet.wait("the second one speaks for the host", |fleet| {
        let (status, body) = fleet.post("/api/v1/hosts/hsb0/ops/test", &json!({}));
        let id = body["id"].as_str().unwrap_or_default().to_owned();
        if status != 202 {
            return false;
        }
        fleet.wait("the command is somewhere", |fleet| {
            has(&fleet.state_dir("rival"), &id) || fleet.command(&id)["state"] == "ORPHANED"
        });
        has(&fleet.state_dir("rival"), &id)
    });
    assert_eq!(clashes(&fleet), 0);
}

#[test]
fn the_same_machine_takes_its_name_over_at_once() {
    let fleet = Fleet::new();
    let journal = |number: u8| Some(format!("0190b6a8-0000-4000-8000-0000000000{number:02x}"));
    let host = OldHost { journal: journal(1), ..OldHost::new(&fleet, "hsb0", "") };
    let first = host.reconnect(&fleet);
    // The first does not read, so a ping would go unanswered for three seconds: none is sent.
    let second = host.reconnect(&fleet).stays();
    assert_eq!(first.closed(), Some(4000), "a newer link of the same machine took its place");
    let other = OldHost { journal: journal(2), ..host };
    assert_eq!(other.connect(&fleet).err(), Some(4009), "the second answers, and keeps the name");
    drop(fleet);
    assert_ne!(second.join().unwrap(), Some(4000));
}

#[test]
fn old_agents_that_can_not_be_told_apart_are_asked_by_a_ping() {
    let fleet = Fleet::new();
    let host = OldHost::new(&fleet, "hsb0", "");
    let silent = host.reconnect(&fleet);
    // Nobody reads for the first one: it counts as dead.
    let alive = host.reconnect(&fleet).stays();
    // It is over for the first: an answer now comes too late.
    drop(silent);
    assert_eq!(host.connect(&fleet).err(), Some(4009));
    let ours = OldHost { journal: Some("0190b6a8-0000-4000-8000-000000000001".into()), ..host };
    assert_eq!(ours.connect(&fleet).err(), Some(4009), "one of ours is another machine, too");
    fleet.wait("both were told of", |fleet| clashes(fleet) == 2);
    drop(fleet);
    assert_ne!(alive.join().unwrap(), Some(4000));
}

#[test]
fn a_token_is_good_for_its_own_name_alone_and_the_shared_one_for_no_name_that_has_one() {
    const SHARED: &str = "a-shared-token-of-this-story-0123456789abcdef";
    let fleet = Fleet::with(&[("NIXFLEET_AGENT_TOKEN", SHARED)]);
    let host = OldHost::new(&fleet, "hsb0", "");
    let with = |name: &str, token: &str| OldHost { name: name.into(), token: token.into(), ..host.clone() };
    assert_eq!(with("hsb1", &host.token).connect(&fleet).err(), Some(4001), "another name");
    assert_eq!(with("hsb0", SHARED).connect(&fleet).err(), Some(4001), "a name that has a token of its own");
    assert_eq!(with("../etc", &host.token).connect(&fleet).err(), Some(4008), "no name");
    let newcomer = with("hsb2", SHARED).reconnect(&fleet).stays();
    let own = host.reconnect(&fleet).stays();
    let names = |fleet: &Fleet| -> Vec<Value> {
        let hosts = fleet.get("/api/v1/hosts").1;
        hosts["hosts"].as_array().unwrap().iter().map(|host| host["id"].clone()).collect()
    };
    assert_eq!(names(&fleet), ["hsb0", "hsb2"]);
    let told = fleet.get("/api/v1/events").1.to_string();
    assert!(told.contains("agent_refused") && told.contains("bound to hsb0"), "{told}");
    drop(fleet);
    newcomer.join().unwrap();
    own.join().unwrap();
}
