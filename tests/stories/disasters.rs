//! What is worse than a `kill -9`: a runner that is killed, an agent that hangs, a disk that is lost, half a record
//! at the end of a log, a daemon that dies again and again while output flows at full speed.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, signal};
use crate::kills::{Dice, expected, nothing_lost, printed, seed, slow_fleet};

#[test]
fn a_runner_that_is_killed_is_an_interrupted_command_and_never_a_success() {
    let fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 5);
    let claim = fs::read(fleet.state_dir("hsb0").join("commands").join(&id).join("started")).unwrap();
    let claim: Value = serde_json::from_slice(&claim).unwrap();
    signal(u32::try_from(claim["pid"].as_u64().unwrap()).unwrap(), Signal::KILL);
    let command = fleet.ended(&id);
    assert_eq!(command["state"], "ERROR", "{command:#}\n{}", fleet.logs());
    let output = fleet.output(&id);
    assert_eq!(output, expected()[..output.len()], "what it printed, each line once");
    assert!(output.len() < expected().len(), "what was left of it was killed too");
    fleet.expect_lights("hsb0", "🟢🟢🟢🔴⚪");
    fleet.wait("the host is free", |fleet| fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
}

#[test]
fn an_agent_that_hangs_for_a_while_loses_nothing() {
    let fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 5);
    fleet.signal_agent("hsb0", Signal::STOP);
    std::thread::sleep(Duration::from_secs(4));
    assert!(fleet.command(&id)["finished_at"].is_null(), "nothing is guessed from silence");
    fleet.signal_agent("hsb0", Signal::CONT);
    nothing_lost(&fleet, &id);
}

#[test]
fn an_agent_whose_disk_was_lost_leaves_an_orphan() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 5);
    fleet.kill_agent("hsb0");
    fs::remove_dir_all(fleet.state_dir("hsb0")).unwrap();
    fleet.start_agent("hsb0");
    let command = fleet.ended(&id);
    assert_eq!(command["state"], "ORPHANED", "{command:#}\n{}", fleet.logs());
    fleet.wait("the host is free", |fleet| fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
}

#[test]
fn half_a_record_at_the_end_of_a_log_is_cut_off() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 5);
    fleet.kill_daemon();
    let log = fleet.data_dir().join("logs/hsb0").join(format!("{id}.log"));
    fs::File::options().append(true).open(log).unwrap().write_all(b"1800000000000 o half a re").unwrap();
    fleet.start_daemon();
    nothing_lost(&fleet, &id);
}

#[test]
fn a_daemon_that_dies_again_and_again_while_output_flows_at_full_speed() {
    let mut dice = Dice::of(seed());
    let fleet = Fleet::new();
    let ran = fleet.dir().join("ran");
    fleet.repository.script(
        "switch",
        &format!(
            "echo ran >> {}\nn=0\nwhile [ $n -lt 40 ]; do seq $((n*500+1)) $((n*500+500)); n=$((n+1)); sleep 0.05; done",
            ran.display()
        ),
    );
    fleet.repository.push("a switch that prints a lot");
    let mut fleet = fleet.host("hsb0");
    let id = fleet.submit("hsb0", "switch");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        fleet.kill_daemon();
        fleet.start_daemon();
    }
    let command = fleet.ended(&id);
    assert_eq!(command["state"], "SUCCESS", "{command:#}\n{}", fleet.logs());
    assert_eq!(fleet.output(&id), (1..=20_000).map(|n| n.to_string()).collect::<Vec<_>>(), "each line exactly once");
    assert_eq!(fs::read_to_string(ran).unwrap(), "ran\n", "run exactly once");
    let told = fleet.get("/api/v1/events?limit=500").1;
    let about = |action: &str| {
        let events = told["events"].as_array().unwrap().iter();
        events.filter(|event| event["action"] == action && event["details"]["command_id"] == id.as_str()).count()
    };
    assert_eq!((about("command_started"), about("command_finished")), (1, 1), "each event once: {told:#}");
}

#[test]
fn more_results_than_a_register_names_arrive_with_all_their_output() {
    let fleet = Fleet::new();
    fleet.repository.script("switch", "i=0; while [ $i -lt 250 ]; do echo \"$i $(printf %080d $i)\"; i=$((i+1)); done");
    fleet.repository.push("a switch that prints 20 KiB");
    let mut fleet = fleet.host("hsb0");
    let first = fleet.run("hsb0", "switch", "SUCCESS")["id"].as_str().unwrap().to_owned();
    let commands = fleet.state_dir("hsb0").join("commands");
    let of_first = commands.join(&first);
    fleet.wait("the agent knows that it may forget", |_| of_first.join("acknowledged").exists());
    fleet.kill_agent("hsb0");
    // As if the dashboard had been away for many commands, and had come back from an old backup.
    let order = fs::read_to_string(of_first.join("command.json")).unwrap();
    let ids: Vec<String> = (0..250).map(|number| format!("{}{number:04x}", &first[..first.len() - 4])).collect();
    for id in ids.iter().filter(|id| **id != first) {
        fs::create_dir(commands.join(id)).unwrap();
        for file in ["started", "output.log", "result.json"] {
            fs::copy(of_first.join(file), commands.join(id).join(file)).unwrap();
        }
        fs::write(commands.join(id).join("command.json"), order.replace(&first, id)).unwrap();
    }
    fleet.start_agent("hsb0");
    fleet
        .wait("all of them are acknowledged", |_| ids.iter().all(|id| commands.join(id).join("acknowledged").exists()));
    let printed = fleet.output(&first);
    assert_eq!(printed.len(), 250);
    for id in &ids {
        assert_eq!(fleet.command(id)["state"], "SUCCESS");
        assert_eq!(fleet.output(id), printed);
    }
}
