//! `kill -9` of the daemon, of an agent, of both: in the middle of a switch, away until it is over, and at
//! random moments. Each line of output exactly once, the true result, run exactly once.

use std::fs;
use std::time::{Duration, Instant};

use crate::fleet::Fleet;
use crate::tab::Tab;

/// How many lines the long switch prints.
const LINES: usize = 60;

/// A fleet whose switch prints a line each 50 ms and counts in a file how often it ran.
pub(crate) fn slow_fleet() -> Fleet {
    let fleet = Fleet::new();
    let ran = fleet.dir().join("ran");
    fleet.repository.script(
        "switch",
        &format!(
            "echo ran >> {}\nn=0\nwhile [ $n -lt {LINES} ]; do n=$((n+1)); echo line $n; sleep 0.05; done\necho the end >&2",
            ran.display()
        ),
    );
    fleet.repository.push("a switch that takes a while");
    fleet.host("hsb0")
}

pub(crate) fn expected() -> Vec<String> {
    (1..=LINES).map(|n| format!("line {n}")).chain(["the end".to_owned()]).collect()
}

/// What must be true at the end of each of these stories.
pub(crate) fn nothing_lost(fleet: &Fleet, id: &str) {
    let command = fleet.ended(id);
    assert_eq!(command["state"], "SUCCESS", "{command:#}\n{}", fleet.logs());
    assert_eq!(command["exit_code"], 0);
    assert_eq!(fleet.output(id), expected(), "each line exactly once");
    let ran = fs::read_to_string(fleet.dir().join("ran")).unwrap();
    assert_eq!(ran.lines().count(), 1, "run exactly once");
    let host = fleet.get("/api/v1/hosts/hsb0").1;
    assert_eq!(host["deployed"]["commit"], host["generation"], "{host:#}");
    assert!(host["command"].is_null(), "the slot is free: {host:#}");
}

/// Waits until at least this many lines are at the dashboard.
pub(crate) fn printed(fleet: &Fleet, id: &str, lines: usize) {
    fleet.wait(&format!("{lines} lines are there"), |fleet| fleet.output(id).len() >= lines);
}

#[test]
fn the_daemon_is_killed_in_the_middle_of_a_switch() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 10);
    fleet.kill_daemon();
    fleet.start_daemon();
    nothing_lost(&fleet, &id);
}

#[test]
fn the_agent_is_killed_in_the_middle_of_a_switch() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 10);
    fleet.kill_agent("hsb0");
    fleet.wait("the dashboard sees it", |fleet| fleet.command(&id)["state"] == "AWAITING_RECONNECT");
    fleet.start_agent("hsb0");
    nothing_lost(&fleet, &id);
}

#[test]
fn both_are_killed_in_the_middle_of_a_switch() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 10);
    fleet.kill_daemon();
    fleet.kill_agent("hsb0");
    fleet.start_daemon();
    assert_eq!(fleet.command(&id)["state"], "AWAITING_RECONNECT", "nothing is guessed from silence");
    fleet.start_agent("hsb0");
    nothing_lost(&fleet, &id);
}

#[test]
fn the_daemon_is_away_until_the_switch_is_over() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 3);
    fleet.kill_daemon();
    over_on_the_host(&fleet, &id);
    fleet.start_daemon();
    nothing_lost(&fleet, &id);
}

#[test]
fn the_agent_is_away_until_the_switch_is_over() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 3);
    fleet.kill_agent("hsb0");
    over_on_the_host(&fleet, &id);
    assert!(fleet.command(&id)["finished_at"].is_null(), "only the agent's word ends it");
    fleet.start_agent("hsb0");
    nothing_lost(&fleet, &id);
}

#[test]
fn both_are_away_until_the_switch_is_over() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 3);
    fleet.kill_agent("hsb0");
    fleet.kill_daemon();
    over_on_the_host(&fleet, &id);
    fleet.start_agent("hsb0");
    fleet.start_daemon();
    nothing_lost(&fleet, &id);
}

#[test]
fn a_command_goes_on_and_a_tab_sees_the_same_log_after_a_reload() {
    let mut fleet = slow_fleet();
    let mut tab = Tab::open(&fleet);
    let id = fleet.submit("hsb0", "switch");
    tab.follow(&id, 0);
    tab.until("some lines are there", |tab| tab.text(&id).len() >= 5);
    let (seen, from) = {
        let lines = &tab.lines[&id];
        let seen: Vec<String> = lines.iter().map(|(_, line)| line.clone()).collect();
        (seen, lines.last().unwrap().0)
    };
    drop(tab);
    fleet.kill_daemon();
    fleet.start_daemon();
    let mut tab = Tab::open(&fleet);
    tab.follow(&id, from);
    tab.until("the log is over", |tab| tab.over.contains(&id));
    let mut whole = seen;
    whole.pop();
    whole.extend(tab.text(&id).iter().map(|line| (*line).to_owned()));
    assert_eq!(whole, expected());
    nothing_lost(&fleet, &id);
}

#[test]
fn an_agent_that_is_stopped_and_started_leaves_its_command_alone() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 3);
    fleet.stop_daemon();
    fleet.start_daemon();
    nothing_lost(&fleet, &id);
}

#[test]
fn stop_ends_the_command_and_leaves_the_agent_alive() {
    let fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    printed(&fleet, &id, 3);
    let stopped = fleet.post(&format!("/api/v1/commands/{id}/stop"), &serde_json::json!({}));
    assert!((200..300).contains(&stopped.0), "{}", stopped.1);
    let command = fleet.ended(&id);
    assert_eq!((command["state"].as_str(), command["exit_code"].as_i64()), (Some("KILLED"), Some(130)), "{command:#}");
    fleet.wait("the host is idle and online", |fleet| {
        let host = fleet.get("/api/v1/hosts/hsb0").1;
        host["state"] == "online" && host["command"].is_null()
    });
    fleet.expect_lights("hsb0", "🟢🟢🟢🔴⚪");
}

/// A number that is different in each run, and printed, so that a failure can be run again with
/// `NIXFLEET_SEED`.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("NIXFLEET_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
    println!("NIXFLEET_SEED={seed}");
    seed
}

/// xorshift: a story needs no better dice.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn kills_at_random_moments_lose_nothing() {
    let mut dice = Dice::of(seed());
    for round in 0..4 {
        let mut fleet = slow_fleet();
        let id = fleet.submit("hsb0", "switch");
        let until = Instant::now() + Duration::from_secs(4);
        let mut plan = Vec::new();
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(dice.below(700)));
            match dice.below(3) {
                0 => {
                    plan.push("daemon");
                    fleet.kill_daemon();
                    fleet.start_daemon();
                }
                1 => {
                    plan.push("agent");
                    fleet.kill_agent("hsb0");
                    fleet.start_agent("hsb0");
                }
                _ => {
                    plan.push("both");
                    fleet.kill_agent("hsb0");
                    fleet.kill_daemon();
                    fleet.start_agent("hsb0");
                    fleet.start_daemon();
                }
            }
        }
        println!("round {round}: {plan:?}");
        nothing_lost(&fleet, &id);
    }
}

#[test]
fn a_command_that_was_never_sent_is_sent_when_the_daemon_is_back() {
    let mut fleet = slow_fleet();
    let id = fleet.submit("hsb0", "switch");
    // At once: the intent is on disk, whether the agent has heard of it or not.
    fleet.kill_daemon();
    fleet.start_daemon();
    nothing_lost(&fleet, &id);
}

#[test]
fn twenty_thousand_lines_arrive_whole() {
    let fleet = Fleet::new();
    fleet.repository.script("switch", "seq 1 20000");
    fleet.repository.push("a switch that prints a lot");
    let fleet = fleet.host("hsb0");
    let mut tab = Tab::open(&fleet);
    let id = fleet.submit("hsb0", "switch");
    tab.follow(&id, 0);
    tab.until("the log is over", |tab| tab.over.contains(&id));
    let whole: Vec<String> = (1..=20_000).map(|n| n.to_string()).collect();
    assert_eq!(tab.text(&id), whole);
    fleet.ended(&id);
    assert_eq!(fleet.output(&id), whole);
}

/// Waits until the host's own journal has the result.
fn over_on_the_host(fleet: &Fleet, id: &str) {
    let result = fleet.state_dir("hsb0").join("commands").join(id).join("result.json");
    let started = Instant::now();
    while !result.exists() {
        assert!(started.elapsed() < crate::fleet::PATIENCE, "no {}", result.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
