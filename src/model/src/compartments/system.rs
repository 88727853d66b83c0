//! The light System: what is deployed against the checkout and the remote.

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Platform;
use nixfleet_protocol::api::{Action, Light, LightStatus};

use super::seen::{Blind, DeployedNow, Git, Lock, Seen, System, Witness};
use super::sentence::{capital, head, moment, quoted, unreadable};
use super::{actions, also, light};
use crate::host::SwitchRun;
use crate::ops::PULL_SWITCH;

pub(super) fn light_of(seen: &Seen<'_>) -> Light {
    match seen.system {
        System::Unknown => also(
            light(
                LightStatus::Unknown,
                "Nothing was ever switched from here, and the running system names no commit.",
                actions::details(),
            ),
            [next_switch(seen)],
        ),
        System::Failed(switch) => failed(seen, switch),
        system @ (System::Unnamed(_)
        | System::NoCheckout(_)
        | System::NotSwitched(_)
        | System::LockNotSwitched(_)
        | System::ChangedOutside(_)
        | System::Current(_)) => unverified(seen).or_else(|| behind(seen)).unwrap_or_else(|| own(seen, system)),
    }
}

/// The switch that would not be refused: behind the remote's lock it takes a pull first.
fn next_switch(seen: &Seen<'_>) -> Action {
    if matches!(seen.lock, Lock::Behind) { PULL_SWITCH.action() } else { actions::start(Op::Switch) }
}

fn failed(seen: &Seen<'_>, switch: &SwitchRun) -> Light {
    let of = switch.commit.as_ref().map(|commit| format!(" of {}", commit.short())).unwrap_or_default();
    let stage = switch.stage.as_deref().map(quoted).filter(|stage| !stage.is_empty());
    let within = stage.as_deref().map(|stage| format!(" ({stage})")).unwrap_or_default();
    let so = if let Some(at) = switch.rolled_back {
        &format!(" It was rolled back on {}: what runs is what ran before.", moment(at))
    // Where the platform has a profile at all.
    } else if stage.as_deref() == Some("activation") && seen.host.facts.platform != Some(Platform::Script) {
        " The profile names the new generation already: try again, or roll back."
    } else {
        ""
    };
    let (what, at) = (capital(switch.op), moment(switch.at));
    let message = if stage.as_deref() == Some("stopped") {
        format!("{what}{of} was stopped on {at}.")
    } else {
        format!("{what}{of} failed{within} on {at}.{so}")
    };
    // The fix may wait at the remote; and with a lock that is behind a mere switch would be refused.
    let fix =
        (matches!(seen.git, Git::Differs { .. }) || matches!(seen.lock, Lock::Behind)).then(|| PULL_SWITCH.action());
    let retry = (!matches!(seen.lock, Lock::Behind)).then(|| actions::start_as(switch.op, "Try again"));
    also(
        light(LightStatus::Error, message, actions::failed_log(switch.command)),
        fix.into_iter().chain(retry).chain(switch.rolled_back.is_none().then(|| actions::start(Op::Rollback))),
    )
}

/// Yellow: Git or Lock is red or grey, so nobody can say what should run.
fn unverified(seen: &Seen<'_>) -> Option<Light> {
    let (why, action) = match (seen.git, seen.lock) {
        (Git::Blind(blind), _) | (_, Lock::Blind(blind)) => (blind_words(blind), blind_action(blind)),
        (Git::NoCommit(_), _) => ("the host has reported no commit".to_owned(), PULL_SWITCH.action()),
        (_, Lock::NotReported) => {
            ("the host has not said which flake.lock it has".to_owned(), actions::start(Op::RefreshLock))
        }
        (
            Git::Differs { .. } | Git::Equal(_),
            Lock::Nothing | Lock::ChangedHere | Lock::Behind | Lock::UpdateWaits(_) | Lock::Equal,
        ) => return None,
    };
    let (own, action) = match seen.system {
        System::NotSwitched(_) | System::LockNotSwitched(_) => {
            (" What is checked out is not deployed either.", actions::start(Op::Switch))
        }
        System::ChangedOutside(_) => {
            (" And the running system is not the one deployed from here.", actions::start(Op::Switch))
        }
        System::Unknown | System::Failed(_) | System::Unnamed(_) | System::NoCheckout(_) | System::Current(_) => {
            ("", action)
        }
    };
    Some(light(LightStatus::Outdated, format!("Can't be verified: {why}.{own}"), action))
}

fn blind_words(blind: Blind<'_>) -> String {
    match blind {
        Blind::NotConfigured => "no remote is configured".to_owned(),
        Blind::NotYet => "the remote has not been read yet".to_owned(),
        Blind::Unreadable(failing) => unreadable(failing).replacen("The", "the", 1),
    }
}

fn blind_action(blind: Blind<'_>) -> Action {
    match blind {
        Blind::NotConfigured => actions::help("How to configure a remote"),
        Blind::NotYet | Blind::Unreadable(_) => actions::start(Op::RefreshGit),
    }
}

/// Yellow: the checkout is not what the remote wants.
fn behind(seen: &Seen<'_>) -> Option<Light> {
    let message = match (seen.git, seen.lock) {
        (Git::Differs { head: desired, .. }, _) => {
            format!("{}The remote wants {}: pull, then switch.", runs(seen.system), head(desired))
        }
        (_, Lock::Behind) => {
            format!("{}The remote wants another flake.lock: pull, then switch.", runs(seen.system))
        }
        (
            Git::NoCommit(_) | Git::Blind(_) | Git::Equal(_),
            Lock::Nothing | Lock::NotReported | Lock::Blind(_) | Lock::ChangedHere | Lock::UpdateWaits(_) | Lock::Equal,
        ) => return None,
    };
    let light = light(LightStatus::Outdated, message, PULL_SWITCH.action());
    let switch_alone = !seen.is_switched() && !matches!(seen.lock, Lock::Behind);
    Some(also(light, switch_alone.then(|| actions::start(Op::Switch))))
}

fn runs(system: System<'_>) -> String {
    match system {
        System::NoCheckout(now)
        | System::NotSwitched(now)
        | System::LockNotSwitched(now)
        | System::ChangedOutside(now)
        | System::Current(now) => format!("{} is deployed. ", now.commit.short()),
        System::Unknown | System::Failed(_) | System::Unnamed(_) => String::new(),
    }
}

/// Git and Lock have nothing against it: yellow or green by itself.
fn own(seen: &Seen<'_>, system: System<'_>) -> Light {
    let switch = || actions::start(Op::Switch);
    let yellow = |message: String, action| light(LightStatus::Outdated, message, action);
    match system {
        System::NotSwitched(now) => {
            let ours = seen.host.facts.generation.as_ref().map_or("another commit", |commit| commit.short());
            yellow(
                format!("Pulled, not switched: {ours} is checked out, {} is deployed.", now.commit.short()),
                switch(),
            )
        }
        System::LockNotSwitched(now) => yellow(
            format!("{} is deployed with another flake.lock than the checkout has: switch.", now.commit.short()),
            switch(),
        ),
        System::ChangedOutside(now) => yellow(
            format!(
                "Changed outside NixFleet: the running system is not the one deployed with {}.",
                now.commit.short()
            ),
            switch(),
        ),
        System::Unnamed(run) => yellow(
            format!("The switch of {} succeeded, but nobody can say of which commit: switch again.", moment(run.at)),
            switch(),
        ),
        System::Current(now) | System::NoCheckout(now) if matches!(seen.lock, Lock::ChangedHere) => yellow(
            format!("{} is deployed with a flake.lock that was changed on the host.", now.commit.short()),
            PULL_SWITCH.action(),
        ),
        System::Current(now) => light(LightStatus::Ok, current(now), actions::details()),
        System::NoCheckout(_) | System::Unknown | System::Failed(_) => {
            yellow("Can't be verified: the host has reported no commit.".to_owned(), PULL_SWITCH.action())
        }
    }
}

fn current(now: DeployedNow<'_>) -> String {
    let short = now.commit.short();
    match now.witness {
        Witness::Agent => format!("{short} is deployed and runs; it is what the remote wants."),
        Witness::History => format!("{short} is deployed, by the history of switches; it is what the remote wants."),
        Witness::Revision => format!("{short} runs, as the system itself says; it is what the remote wants."),
    }
}
