//! Whether the right agent came back after a switch: three layers before, three after, and what the new system
//! contains. A missing layer gives no verdict.

use super::*;

/// Commit, store path and binary, one letter each; a dot is a layer that is not said.
fn layers(text: &str) -> Freshness {
    let said = |at: usize| text.get(at..=at).filter(|letter| *letter != ".");
    Freshness {
        source_commit: said(0).and_then(|letter| letter.repeat(7).parse().ok()),
        store_path: said(1).map(|letter| format!("/nix/store/{letter}")),
        binary_hash: said(2).and_then(|letter| letter.repeat(64).parse().ok()),
    }
}

#[test]
fn the_agent_that_comes_back_is_compared_with_what_the_new_system_contains() {
    // Before, what the new system contains, whether the agent said that it will be replaced, after; the verdict.
    for (before, package, restarting, after, verdict) in [
        ("aaa", "...", true, "bbb", S::Success),
        ("aaa", ".b.", true, "bbb", S::Success),
        // The package did not change: the same binary is right, however the agent came back.
        ("aaa", ".a.", false, "aaa", S::Success),
        ("aaa", "...", false, "aaa", S::Success),
        ("aaa", "..a", false, "aaa", S::Success),
        // It should have changed, and nothing did.
        ("aaa", ".b.", false, "aaa", S::StaleBinary),
        ("aaa", "..b", false, "aaa", S::StaleBinary),
        ("aaa", "...", true, "aaa", S::StaleBinary),
        // Another source, the same binary.
        ("aaa", ".b.", true, "bba", S::Suspicious),
        ("aaa", "...", false, "baa", S::Suspicious),
        // A layer is missing, before or after.
        (".aa", ".b.", true, "aaa", S::Success),
        ("aaa", ".b.", true, "a.a", S::Success),
        ("aa.", ".b.", true, "baa", S::Success),
        ("...", ".b.", true, "...", S::Success),
        // Another path of the same commit and binary: it was built again.
        ("aaa", ".b.", true, "aba", S::Success),
    ] {
        let mut before_it = agent(3, 1, 1, 1);
        before_it.freshness = layers(before);
        let good = Outcome { restarting, package: layers(package), ..exit(0) };
        let mut after_it = agent(3, 1, 2, 1);
        after_it.freshness = layers(after);
        let name = format!("{before} {package} {restarting} {after}");

        // The old process tells the result, and the new one registers.
        if restarting {
            let mut command = new(Op::Switch);
            step(&mut command, Input::Passed(Box::new(before_it.clone())), at(0));
            step(&mut command, ended(good.clone()), at(1));
            assert_eq!(command.state, S::Executing, "{name}: the new agent is waited for");
            step(&mut command, said(after_it.clone(), false, false), at(2));
            assert_eq!(command.state, verdict, "{name}");
        }
        // The switch replaced the agent, and the new process tells the result.
        let mut command = new(Op::Switch);
        step(&mut command, Input::Passed(Box::new(before_it)), at(0));
        step(&mut command, said(after_it.clone(), false, true), at(2));
        let told = Outcome { told_by: after_it.instance, freshness: after_it.freshness, ..good };
        step(&mut command, ended(told), at(3));
        assert_eq!(command.state, verdict, "{name}, told by the new agent: {:?}", command.message);
    }
}

#[test]
fn the_new_systems_agent_is_read_from_the_details() {
    let package = serde_json::json!({
        "source_commit": "bbbbbbb", "store_path": "/nix/store/b", "binary_hash": "b".repeat(64),
    });
    let status = Status { details: Some(serde_json::json!({ "agent": package })), ..Status::default() };
    assert_eq!(Outcome::from(&status).package, layers("bbb"));
    let junk = serde_json::json!({ "agent": { "store_path": 7, "binary_hash": "x" } });
    assert_eq!(Outcome::from(&Status { details: Some(junk), ..Status::default() }).package, Freshness::default());
}

#[test]
fn a_switch_that_missed_its_goal_is_partial_also_when_the_new_agent_tells_it() {
    let mut command = sent(Op::Switch, 3);
    let after = agent(3, 1, 2, 1);
    step(&mut command, said(after.clone(), false, true), at(2));
    let commit: nixfleet_protocol::Commit = "ccccccc".parse().unwrap();
    let deployed = crate::host::DeployedRecord { commit, lock_hash: None, system_path: None, number: None, at: at(0) };
    let generation = super::commit("bbbbbbb");
    let told = Outcome { told_by: after.instance, generation, deployed: Some(deployed), ..exit(0) };
    step(&mut command, ended(told), at(3));
    assert_eq!(command.state, S::Partial, "{:?}", command.message);
}
