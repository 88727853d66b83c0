//! From an op and the situation to steps. Pure: no disk, no clock, no surprise; tested as a table.

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Platform;
use serde_json::Value;

use super::situation::Situation;
use super::step::{Action, Invocation, Refusal, Step, TestCase};
use super::{args, checkout, nix, script};
use crate::record::{HostSettings, Stage};

/// The steps of an op with its arguments, on this host as it is now.
pub fn plan(op: Op, args: Option<&Value>, host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    match op {
        Op::Pull => checkout::pull(host, now),
        Op::Switch => {
            checkout::present(now)?;
            match host.platform {
                Platform::Script => script::switch(host, now),
                Platform::Nixos | Platform::NixDarwin | Platform::HomeManager => {
                    nix::switch(host, now, nix::Caches::Used)
                }
            }
        }
        Op::ForceRebuild => {
            on_nix(op, host)?;
            checkout::present(now)?;
            nix::switch(host, now, nix::Caches::Passed)
        }
        Op::Plan => {
            checkout::present(now)?;
            match host.platform {
                Platform::Script => script::plan(host, now),
                Platform::Nixos | Platform::NixDarwin | Platform::HomeManager => nix::plan(host, now),
            }
        }
        Op::RefreshSystem => {
            on_nix(op, host)?;
            checkout::present(now)?;
            nix::refresh(host, now)
        }
        Op::BumpFlake => {
            on_nix(op, host)?;
            checkout::present(now)?;
            nix::bump(host, now, &args::inputs(args)?)
        }
        Op::Gc => {
            on_nix(op, host)?;
            Ok(nix::gc(args::gc_mode(args)?))
        }
        Op::Rollback => match host.platform {
            Platform::Script => {
                checkout::present(now)?;
                script::rollback(host, now)
            }
            Platform::Nixos | Platform::NixDarwin | Platform::HomeManager => nix::rollback(host, now),
        },
        Op::Test => {
            checkout::present(now)?;
            Ok(vec![Step::new(Stage::Tests, "test", Action::Tests(tests(host, now)))])
        }
        Op::Reboot => Ok(vec![
            Step::new(Stage::Activation, "reboot", Action::Run(Invocation::new(host.reboot.clone()))),
            Step::new(Stage::Activation, "reboot", Action::AwaitReboot),
        ]),
        // The agent restarts itself; a runner is never asked to.
        Op::Restart
        | Op::CheckVersion
        | Op::RefreshGit
        | Op::RefreshLock
        | Op::Exec
        | Op::Journal
        | Op::MergePr
        | Op::RevertPr
        | Op::SetColor
        | Op::SetTags
        | Op::Wake
        | Op::Remove => Err(Refusal::new(Stage::Interrupted, format!("{op} is nothing that a runner does"))),
    }
}

/// Refuses what only nix can do.
fn on_nix(op: Op, host: &HostSettings) -> Result<(), Refusal> {
    match host.platform {
        Platform::Nixos | Platform::NixDarwin | Platform::HomeManager => Ok(()),
        Platform::Script => {
            let message = format!("{op} is for hosts with Nix; this one is of the platform script, which has no store");
            Err(Refusal::new(Stage::Evaluation, message))
        }
    }
}

fn tests(host: &HostSettings, now: &Situation) -> Vec<TestCase> {
    now.tests
        .iter()
        .map(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let mut invocation = Invocation::new([path.display().to_string()]).within(&host.checkout);
            invocation.limit = Some(std::time::Duration::from_secs(host.test_limit_s));
            TestCase { name, invocation }
        })
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod plan_tests;
