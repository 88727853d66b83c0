//! The compartments as agents of the old generation report them, for dashboards that ask the agent. Pure.
//!
//! Never `working`: such a dashboard keeps that word until another comes, and a switch may end with this process.

use nixfleet_protocol::agent::{Deployed, LegacyCompartment, UpdateStatus};
use nixfleet_protocol::{Commit, Time};

/// A lock whose newest input is older than this is called outdated. Days.
const OLD_LOCK: i64 = 30;
const DAY: i64 = 24 * 3600 * 1000;

/// How the last command of a kind ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// 0 is success.
    pub exit_code: i32,
    /// The sentence about it.
    pub message: String,
    /// When.
    pub at: Time,
}

/// What the compartments are told from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The commit that is checked out.
    pub head: Option<Commit>,
    /// The remote's head, as it was fetched last.
    pub remote: Option<Commit>,
    /// What is wrong with the checkout; empty when all is well.
    pub repo_error: String,
    /// The newest input of the lock; `None` without a lock that says so.
    pub lock_at: Option<Time>,
    /// Whether there is a lock at all.
    pub has_lock: bool,
    /// The last good switch.
    pub deployed: Option<Deployed>,
    /// The system that runs.
    pub system_path: Option<String>,
    /// How the last switch ended.
    pub switch: Option<Last>,
    /// How the last tests ended.
    pub tests: Option<Last>,
}

/// All four.
pub fn update_status(seen: &Seen, now: Time) -> UpdateStatus {
    let light = |(status, message): (&str, String), at: Time| {
        Some(LegacyCompartment { status: status.into(), message, checked_at: at.to_string() })
    };
    let tests_at = seen.tests.as_ref().map_or(now, |last| last.at);
    UpdateStatus {
        git: light(git(seen), now),
        lock: light(lock(seen, now), now),
        system: light(system(seen), now),
        tests: light(tests(seen), tests_at),
    }
}

fn git(seen: &Seen) -> (&'static str, String) {
    if !seen.repo_error.is_empty() {
        return ("error", seen.repo_error.clone());
    }
    match (&seen.head, &seen.remote) {
        (None, _) => ("unknown", "nothing is checked out yet".into()),
        (Some(head), None) => ("unknown", format!("{} is checked out; the remote was not asked", head.short())),
        (Some(head), Some(remote)) if head.is(remote) => ("ok", format!("{} is the newest commit", head.short())),
        (Some(head), Some(remote)) => {
            ("outdated", format!("{} is checked out, the remote has {}", head.short(), remote.short()))
        }
    }
}

fn lock(seen: &Seen, now: Time) -> (&'static str, String) {
    match seen.lock_at {
        _ if !seen.has_lock => ("unknown", "there is no flake.lock".into()),
        None => ("ok", "flake.lock names no dates".into()),
        Some(at) => {
            let days = (now.millis() - at.millis()).max(0) / DAY;
            (if days > OLD_LOCK { "outdated" } else { "ok" }, format!("the newest input is {days} days old"))
        }
    }
}

fn system(seen: &Seen) -> (&'static str, String) {
    if let Some(last) = seen.switch.as_ref().filter(|last| last.exit_code != 0) {
        return ("error", last.message.clone());
    }
    let Some(deployed) = &seen.deployed else { return ("unknown", "no switch is known".into()) };
    if deployed.system_path.is_some() && seen.system_path.is_some() && deployed.system_path != seen.system_path {
        return ("outdated", "the running system is not the one that was deployed".into());
    }
    match &seen.head {
        Some(head) if !head.is(&deployed.commit) => {
            ("outdated", format!("{} is checked out, {} is deployed", head.short(), deployed.commit.short()))
        }
        Some(_) | None => ("ok", format!("{} is deployed", deployed.commit.short())),
    }
}

fn tests(seen: &Seen) -> (&'static str, String) {
    seen.tests.as_ref().map_or_else(
        || ("unknown", "no tests ran yet".into()),
        |last| (if last.exit_code == 0 { "ok" } else { "error" }, last.message.clone()),
    )
}

/// The newest `lastModified` of a `flake.lock`.
pub fn newest_input(lock: &[u8]) -> Option<Time> {
    let value: serde_json::Value = serde_json::from_slice(lock).ok()?;
    let nodes = value.get("nodes")?.as_object()?;
    let seconds = nodes.values().filter_map(|node| node.get("locked")?.get("lastModified")?.as_i64()).max()?;
    Some(Time::from_millis(seconds.checked_mul(1000)?))
}

#[cfg(test)]
mod tests_of_lights {
    use super::*;

    fn commit(digit: &str) -> Commit {
        digit.repeat(40).parse().unwrap()
    }

    fn words(seen: &Seen) -> String {
        let told = update_status(seen, Time::from_millis(100 * DAY));
        [told.git, told.lock, told.system, told.tests].map(|light| light.unwrap().status).join(" ")
    }

    #[test]
    fn the_four_compartments_are_told_from_facts_and_never_as_working() {
        let deployed = |digit: &str, path: Option<&str>| {
            Some(Deployed {
                commit: commit(digit),
                lock_hash: None,
                system_path: path.map(str::to_owned),
                number: None,
                at: Time::from_millis(0),
            })
        };
        let last = |exit_code| Some(Last { exit_code, message: "so".into(), at: Time::from_millis(1) });
        let good = Seen {
            head: Some(commit("a")),
            remote: Some(commit("a")),
            lock_at: Some(Time::from_millis(90 * DAY)),
            has_lock: true,
            deployed: deployed("a", Some("/s")),
            system_path: Some("/s".into()),
            tests: last(0),
            switch: last(0),
            ..Seen::default()
        };
        for (seen, told) in [
            (Seen::default(), "unknown unknown unknown unknown"),
            (good.clone(), "ok ok ok ok"),
            (Seen { remote: Some(commit("b")), ..good.clone() }, "outdated ok ok ok"),
            (Seen { head: Some(commit("b")), ..good.clone() }, "outdated ok outdated ok"),
            (Seen { repo_error: "fatal: no".into(), ..good.clone() }, "error ok ok ok"),
            (Seen { lock_at: Some(Time::from_millis(0)), ..good.clone() }, "ok outdated ok ok"),
            (Seen { system_path: Some("/t".into()), ..good.clone() }, "ok ok outdated ok"),
            (Seen { switch: last(4), tests: last(1), ..good }, "ok ok error error"),
        ] {
            assert_eq!(words(&seen), told, "{seen:?}");
        }
    }

    #[test]
    fn the_age_of_a_lock_is_that_of_its_newest_input() {
        let lock = br#"{"nodes":{"a":{"locked":{"lastModified":5}},"b":{"locked":{"lastModified":9}},"root":{}}}"#;
        assert_eq!(newest_input(lock), Some(Time::from_millis(9000)));
        assert_eq!(newest_input(b"{}"), None);
    }
}
