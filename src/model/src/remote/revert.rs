//! Whether the page offers to revert the last merge: when it went badly on two hosts or more (`spec`: the remote).
//! One host may have a trouble of its own, and has its own rollback.

use nixfleet_protocol::api::{Host, LightStatus, Merged};
use nixfleet_protocol::{Commit, HostId};

use crate::compartments::sentence::count;

/// So many hosts with the same trouble are the merge's trouble.
pub const ENOUGH: usize = 2;
/// So many hosts are named in the sentence; more are counted.
const NAMED: usize = 4;

/// Revert this, because of these hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// What was merged.
    pub merged: &'a Merged,
    /// Where it is deployed and its tests failed, by name.
    pub tests_failed: Vec<&'a HostId>,
    /// Where the switch to it failed, by name.
    pub switch_failed: Vec<&'a HostId>,
}

impl Offer<'_> {
    /// One sentence: what went wrong, and on which hosts.
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if !self.tests_failed.is_empty() {
            parts.push(format!("tests failed on {}", names(&self.tests_failed)));
        }
        if !self.switch_failed.is_empty() {
            parts.push(format!("the switch failed on {}", names(&self.switch_failed)));
        }
        format!("After #{} was merged, {}.", self.merged.number, parts.join(", and "))
    }
}

/// The offer, where there is a reason for one. What is told of hosts that went on to another commit does not count: it
/// says nothing of this merge.
pub fn offer<'a>(hosts: impl IntoIterator<Item = &'a Host>, merged: Option<&'a Merged>) -> Option<Offer<'a>> {
    let merged = merged?;
    let is_it = |commit: Option<&Commit>| commit.is_some_and(|commit| commit.is(&merged.commit));
    let mut offer = Offer { merged, tests_failed: Vec::new(), switch_failed: Vec::new() };
    for host in hosts {
        let deployed = is_it(host.deployed.as_ref().map(|deployed| &deployed.commit));
        if deployed && host.lights.tests.status == LightStatus::Error {
            offer.tests_failed.push(&host.id);
        } else if is_it(host.generation.as_ref()) && host.lights.system.status == LightStatus::Error {
            offer.switch_failed.push(&host.id);
        }
    }
    offer.tests_failed.sort_unstable();
    offer.switch_failed.sort_unstable();
    (offer.tests_failed.len() + offer.switch_failed.len() >= ENOUGH).then_some(offer)
}

fn names(hosts: &[&HostId]) -> String {
    let named: Vec<&str> = hosts.iter().take(NAMED).map(|host| host.as_str()).collect();
    match (hosts.len().saturating_sub(NAMED), named.as_slice()) {
        (0, [all @ .., last]) if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        (0, named) => named.concat(),
        (more, named) => format!("{} and {}", named.join(", "), count(more as u64, "other host")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nixfleet_protocol::Time;
    use nixfleet_protocol::api::Deployed;

    use super::*;
    use crate::compartments::tests::fixture::Scene;
    use crate::view::host_view;

    const MERGE: &str = "aaaaaaa0000000000000000000000000000000aa";
    const OTHER: &str = "bbbbbbb0000000000000000000000000000000bb";

    fn merged() -> Merged {
        Merged {
            number: 12,
            title: "flake.lock: Update".to_owned(),
            url: "https://example.org/12".to_owned(),
            commit: MERGE.parse().unwrap(),
            at: Time::from_millis(1),
            by: "user".to_owned(),
        }
    }

    /// A host: its name, what is checked out, what is deployed, System, Tests.
    fn host(name: &str, generation: &str, deployed: Option<&str>, system: LightStatus, tests: LightStatus) -> Host {
        let scene = Scene::current();
        let mut host = (*host_view(&scene.standing(), None).host).clone();
        host.id = name.parse().unwrap();
        host.generation = Some(generation.parse().unwrap());
        host.deployed = deployed.map(|commit| Deployed {
            commit: commit.parse().unwrap(),
            lock_hash: None,
            system_path: None,
            at: Time::from_millis(1),
        });
        let mut lights = (*host.lights).clone();
        (lights.system.status, lights.tests.status) = (system, tests);
        host.lights = Arc::new(lights);
        host
    }

    #[test]
    fn two_hosts_with_a_bad_merge_are_an_offer() {
        use LightStatus::{Error, Ok, Outdated};
        let bad_tests = |name| host(name, MERGE, Some(MERGE), Ok, Error);
        let bad_switch = |name| host(name, MERGE, Some(OTHER), Error, Ok);
        let good = |name| host(name, MERGE, Some(MERGE), Ok, Ok);
        for (what, hosts, sentence) in [
            ("nobody", vec![], None),
            ("all good", vec![good("a"), good("b"), good("c")], None),
            ("one is its own trouble", vec![bad_tests("a"), good("b")], None),
            (
                "tests on two",
                vec![good("c"), bad_tests("b"), bad_tests("a")],
                Some("After #12 was merged, tests failed on a and b."),
            ),
            (
                "the switch of two",
                vec![bad_switch("a"), bad_switch("b")],
                Some("After #12 was merged, the switch failed on a and b."),
            ),
            (
                "one of each",
                vec![bad_switch("a"), bad_tests("b")],
                Some("After #12 was merged, tests failed on b, and the switch failed on a."),
            ),
            (
                "many",
                ["a", "b", "c", "d", "e", "f"].map(bad_tests).to_vec(),
                Some("After #12 was merged, tests failed on a, b, c, d and 2 other hosts."),
            ),
            ("tests of another state", vec![bad_tests("a"), host("b", MERGE, Some(OTHER), Outdated, Error)], None),
            ("went on", vec![bad_switch("a"), host("b", OTHER, Some(MERGE), Error, Ok)], None),
            ("rolled back", vec![bad_tests("a"), host("b", OTHER, Some(OTHER), Ok, Error)], None),
            (
                "abbreviated",
                vec![bad_tests("a"), host("b", "aaaaaaa", Some("aaaaaaa"), Ok, Error)],
                Some("After #12 was merged, tests failed on a and b."),
            ),
        ] {
            let merged = merged();
            let offered = offer(&hosts, Some(&merged)).map(|offer| offer.sentence());
            assert_eq!(offered.as_deref(), sentence, "{what}");
            assert_eq!(offer(&hosts, None), None, "{what}: nothing was merged from here");
        }
    }
}
