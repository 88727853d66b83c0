//! The lights Git and Lock: the host's checkout and its `flake.lock` against the remote's.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Light, LightStatus, PullRequest};

use super::seen::{Blind, Git, Lock, Seen};
use super::sentence::{count, head, quoted, unreadable};
use super::{actions, also, light};
use crate::ops::PULL_SWITCH;
use crate::remote::Relation;

pub(super) fn git_light(git: &Git<'_>) -> Light {
    match *git {
        Git::NoCommit(None) => light(LightStatus::Unknown, "The host has reported no commit yet.", actions::details()),
        Git::NoCommit(Some(why)) => {
            light(LightStatus::Unknown, format!("The host has no checkout: {}.", quoted(why)), actions::details())
        }
        Git::Blind(blind) => blind_light(blind),
        Git::Differs { relation, head: desired, ours } => {
            let message = format!("{}; the head is {}.", standing(relation, ours.short()), head(desired));
            also(light(LightStatus::Outdated, message, actions::start(Op::Pull)), [PULL_SWITCH.action()])
        }
        Git::Equal(desired) => {
            light(LightStatus::Ok, format!("At the remote's head, {}.", head(desired)), actions::details())
        }
    }
}

/// How a commit stands to the head, at the beginning of a sentence.
fn standing(relation: Relation, ours: &str) -> String {
    match relation {
        Relation::Behind(by) => format!("Behind by {}", count(by.into(), "commit")),
        Relation::Ahead(by) => format!("{ours} has {} that the remote lacks", count(by.into(), "commit")),
        Relation::Diverged { ahead, behind } => format!(
            "{ours} and the remote have diverged: {} of its own, behind by {}",
            count(ahead.into(), "commit"),
            count(behind.into(), "commit")
        ),
        Relation::Foreign => format!("{ours} is a commit that the remote does not know"),
        Relation::Equal | Relation::Differs => format!("{ours} is not the remote's head"),
    }
}

pub(super) fn lock_light(seen: &Seen<'_>) -> Light {
    match seen.lock {
        Lock::Nothing => {
            light(LightStatus::Unknown, "No flake.lock on either side: nothing to compare.", actions::details())
        }
        Lock::NotReported => {
            light(LightStatus::Unknown, "The host has not said which flake.lock it has.", actions::details())
        }
        Lock::Blind(blind) => blind_light(blind),
        Lock::ChangedHere => also(
            light(
                LightStatus::Outdated,
                "flake.lock was changed on the host; a pull brings the remote's back.",
                actions::start(Op::Pull),
            ),
            (!seen.is_switched()).then(|| actions::start(Op::Switch)),
        ),
        Lock::Behind => also(
            light(LightStatus::Outdated, "flake.lock is not the remote's.", actions::start(Op::Pull)),
            [PULL_SWITCH.action()],
        ),
        Lock::UpdateWaits(waiting) => update_waits(waiting),
        Lock::Equal => light(LightStatus::Ok, "flake.lock is the remote's, and no update waits.", actions::details()),
    }
}

fn update_waits(waiting: &PullRequest) -> Light {
    let named = format!("flake.lock is the remote's; an update waits: #{} {}", waiting.number, quoted(&waiting.title));
    if waiting.mergeable == Some(false) {
        let why = waiting.why_not.as_deref().unwrap_or("look at the pull request.");
        let message = format!("{named}. It can't be merged as it is: {why}");
        return light(LightStatus::Outdated, message, actions::help("Look at the pull request"));
    }
    let light = light(LightStatus::Outdated, format!("{named}."), actions::merge(waiting));
    also(light, [actions::merge_deploy(waiting)])
}

/// The light of what can't be compared because the remote can't be read.
fn blind_light(blind: Blind<'_>) -> Light {
    let again = actions::start(Op::RefreshGit);
    match blind {
        Blind::NotConfigured => light(LightStatus::Error, not_configured(), actions::help("How to configure a remote")),
        Blind::NotYet => {
            also(light(LightStatus::Unknown, "The remote has not been read yet.", actions::details()), [again])
        }
        Blind::Unreadable(failing) => also(
            light(LightStatus::Error, format!("{}.", unreadable(failing)), actions::help("How to fix the remote")),
            [again],
        ),
    }
}

/// What to do where no remote is configured.
pub(super) fn not_configured() -> &'static str {
    "No remote is configured: set NIXFLEET_REPO_URL, NIXFLEET_GITHUB_REPO or NIXFLEET_VERSION_URL for the dashboard."
}
