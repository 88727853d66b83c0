//! The light Tests: the last test run against what is deployed.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Light, LightStatus};

use super::seen::{Blind, Seen, Tests};
use super::sentence::{count, moment, names};
use super::{actions, also, light};
use crate::host::TestRun;

/// How to add tests, as a sentence.
const HOW_TO_ADD: &str = "Add executable files hosts/<host>/tests/*.sh to the configuration repository";

pub(super) fn light_of(seen: &Seen<'_>) -> Light {
    let how = || actions::help("How to add tests");
    match seen.tests {
        Tests::None => light(LightStatus::Unknown, format!("This host has no tests. {HOW_TO_ADD}."), how()),
        Tests::NeverRan => {
            also(light(LightStatus::Unknown, never_ran(seen.host.facts.tests), how()), [actions::start(Op::Test)])
        }
        Tests::Failed(run) => also(
            light(LightStatus::Error, failed(run), actions::results(run.command)),
            [actions::start_as(Op::Test, "Run again"), actions::start(Op::Rollback)],
        ),
        Tests::OtherState(run) => {
            also(light(LightStatus::Outdated, other(run), actions::start(Op::Test)), [actions::results(run.command)])
        }
        Tests::Passed(run) => match seen.remote_is_red() {
            Some(blind) => also(
                light(LightStatus::Outdated, unverified(run, blind), actions::start(Op::Test)),
                [actions::results(run.command)],
            ),
            None => light(LightStatus::Ok, passed(run), actions::results(run.command)),
        },
    }
}

fn never_ran(tests: Option<u32>) -> String {
    match tests {
        Some(tests) => format!("{} never ran here. {HOW_TO_ADD} for more.", count(tests.into(), "test")),
        None => format!("No test ran here yet. {HOW_TO_ADD} if there are none."),
    }
}

fn failed(run: &TestRun) -> String {
    let failed = run.total.saturating_sub(run.passed).max(run.failed.len() as u64);
    let at = moment(run.at);
    if run.total == 0 || failed == 0 {
        return format!("The test run of {at} failed.");
    }
    let which = names(&run.failed, failed);
    let of = count(run.total, "test");
    // The names first: where there is little room, the end is cut.
    if which.is_empty() {
        format!("{failed} of {of} failed on {at}.")
    } else {
        format!("{failed} of {of} failed: {which} ({at}).")
    }
}

fn passed(run: &TestRun) -> String {
    let of = run.commit.as_ref().map(|commit| format!(" on {}", commit.short())).unwrap_or_default();
    if run.total == 1 {
        return format!("The test passed{of}, {}.", moment(run.at));
    }
    format!("All {} tests passed{of}, {}.", run.total, moment(run.at))
}

fn other(run: &TestRun) -> String {
    let how = if run.ok { "passed" } else { "failed" };
    match &run.commit {
        Some(commit) => {
            format!("Last ran for another deployed state ({how} on {}): run them.", commit.short())
        }
        None => format!("Last ran for another deployed state ({how} on {}): run them.", moment(run.at)),
    }
}

fn unverified(run: &TestRun, blind: Blind<'_>) -> String {
    let why = match blind {
        Blind::NotConfigured => "no remote is configured",
        Blind::NotYet => "the remote has not been read yet",
        Blind::Unreadable(_) => "the remote can't be read",
    };
    format!("Can't be verified: {why}. The tests passed on {}.", moment(run.at))
}
