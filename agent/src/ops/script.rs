//! Plans for the platform `script`, where the repository brings the commands.

use std::path::{Path, PathBuf};

use nixfleet_protocol::Commit;

use super::checkout;
use super::situation::Situation;
use super::step::{Action, Invocation, Refusal, Remember, Step};
use crate::record::{HostSettings, Stage};

fn invocation(host: &HostSettings, program: &Path, commit: Option<&Commit>) -> Invocation {
    let mut invocation = Invocation::new([program.display().to_string()]).within(&host.checkout);
    if let Some(commit) = commit {
        invocation = invocation.with("NIXFLEET_COMMIT", commit.as_str());
    }
    invocation
}

fn run(host: &HostSettings, program: &Path, commit: Option<&Commit>) -> Step {
    Step::new(Stage::Activation, "activate", Action::Run(invocation(host, program, commit)))
}

/// Where a host's `switch` may be, in order.
fn switches(host: &HostSettings) -> [PathBuf; 2] {
    [host.checkout.join("hosts").join(&host.name).join("switch"), host.checkout.join("switch")]
}

fn no_program(host: &HostSettings) -> Refusal {
    Refusal::new(
        Stage::Checkout,
        format!("the repository has neither an executable hosts/{}/switch nor an executable switch", host.name),
    )
}

fn remember(remember: Remember) -> Step {
    Step::new(Stage::Activation, "activate", Action::Remember(remember))
}

/// `hosts/<host>/switch`, else `./switch`.
pub fn switch(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let program = now.switch.as_ref().ok_or_else(|| no_program(host))?;
    Ok(vec![run(host, program, None), remember(Remember::Deployed)])
}

/// `hosts/<host>/plan`, which says what a switch would change.
pub fn plan(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let Some(program) = &now.plan else {
        let message =
            format!("the repository has no executable hosts/{}/plan that says what a switch would do", host.name);
        return Err(Refusal::new(Stage::Checkout, message));
    };
    Ok(vec![Step::new(Stage::Build, "compare", Action::RunPlan(invocation(host, program, None)))])
}

/// `hosts/<host>/rollback`; else the commit deployed before is checked out and switched to.
pub fn rollback(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let before = now.deployed.before().map(|deployed| deployed.commit.clone());
    if let Some(program) = &now.rollback {
        return Ok(vec![run(host, program, before.as_ref()), remember(Remember::WentBack { to: before })]);
    }
    let Some(before) = before else {
        return Err(Refusal::new(Stage::Checkout, "there is no earlier deployment to go back to"));
    };
    let programs = switches(host).iter().map(|program| invocation(host, program, Some(&before))).collect();
    Ok(vec![
        checkout::go_to(host, before.as_str()),
        Step::new(Stage::Activation, "activate", Action::RunFirst(programs)),
        remember(Remember::WentBack { to: Some(before) }),
    ])
}
