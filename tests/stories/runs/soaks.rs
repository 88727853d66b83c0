//! What happens while a canary soaks: somebody pushes, somebody changes the host by hand.

use std::process::Command;

use serde_json::json;

use super::*;

const TWO: [&str; 2] = ["hsb0", "hsb1"];

/// `hsb0` went through all stages, and soaks.
fn soaking(fleet: &Fleet, soak_s: u64) -> String {
    pushed(fleet);
    let id = start(fleet, "do-all", &TWO, &json!({ "canary": { "hosts": ["hsb0"] }, "soak_s": soak_s }));
    until(fleet, &id, "the canary soaks", |run| run["groups"][0]["state"] == "SOAKING");
    id
}

#[test]
fn what_is_pushed_in_the_soak_goes_to_nobody_before_a_person_says_so() {
    let fleet = eight();
    let id = soaking(&fleet, 3);
    let untried = fleet.repository.push("nobody has tried this");
    let run = until(&fleet, &id, "it halts", |run| run["state"] == "HALTED");
    let reason = run["halted"]["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("no host of this run has tried {}", &untried[..7])), "{run:#}");
    assert_ne!(run["hosts"]["hsb1"][1], "SUCCESS", "{run:#}");
    assert_eq!(ran(&fleet).get("switch hsb1"), None, "it was switched nowhere");
    assert_eq!(decide(&fleet, &id, "continue").0, 202);
    assert_eq!(over(&fleet, &id)["state"], "COMPLETE");
    assert_eq!(fleet.get("/api/v1/hosts/hsb1").1["deployed"]["commit"], untried.as_str());
}

#[test]
fn a_canary_that_is_changed_by_hand_in_its_soak_halts_the_run() {
    let fleet = eight();
    let id = soaking(&fleet, 600);
    let checkout = fleet.state_dir("hsb0").join("repo");
    let who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"];
    let mut commit = Command::new("git");
    commit.arg("-C").arg(checkout).args(who).args(["commit", "--allow-empty", "-m", "by hand"]);
    assert!(commit.output().unwrap().status.success());
    let run = until(&fleet, &id, "it halts", |run| run["state"] == "HALTED");
    assert_eq!((&run["halted"]["failed"], &run["halted"]["switched"]), (&json!(["hsb0"]), &json!(["hsb0"])), "{run:#}");
    assert_eq!(run["notes"]["hsb0"], "hsb0: its checkout was changed in the soak.");
    assert_eq!(run["hosts"]["hsb1"], json!(["PENDING", "PENDING", "PENDING"]));
}
