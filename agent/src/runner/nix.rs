//! What the runner does with nix: build, activate, and look what runs then. What it reports of it beside that is in
//! [`super::nix_reports`].
//!
//! The kinds of failures are told apart by what happened, since exit codes tell nothing: did nix come so far that it
//! built, did the tool end by itself, what does the profile name now, and what runs.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::Platform;
use nixfleet_protocol::agent::details::{ActivationReport, Details, RollbackReport};
use serde_json::Value;

use super::execution::{Execution, Verdict, judged};
use super::handed_over::Units;
use super::masked::masked;
use super::nix_log::NixLog;
use super::process::{self, End};
use crate::facts::system;
use crate::journal::entry::PROGRESS;
use crate::ops::nix::NIX;
use crate::ops::situation::{NixVersion, Situation};
use crate::ops::step::{Action, Expectation, Invocation};
use crate::record::Stage;

/// How often it is looked whether another activation is over.
const OTHERS: Duration = Duration::from_secs(1);

/// What was built by this command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Its store path.
    pub path: Option<String>,
    /// Bytes that were downloaded for it.
    pub downloaded: u64,
}

impl Execution<'_> {
    /// Asks nix what a plan must know.
    pub(super) async fn ask_nix(&mut self, op: Op, now: &mut Situation) -> Result<(), Verdict> {
        let host = self.host();
        let builds = matches!(op, Op::Switch | Op::ForceRebuild | Op::Plan | Op::RefreshSystem);
        if builds && host.platform == Platform::HomeManager {
            let names = format!("{}#homeConfigurations", host.checkout.display());
            let argv = [&NIX[..], &["eval", "--json", &names, "--apply", "builtins.attrNames"]].concat();
            let names = self.quietly(&Action::Run(Invocation::new(argv))).await?;
            let names: Vec<String> = serde_json::from_slice(&names.captured).unwrap_or_default();
            now.home_name = now.home_names.iter().find(|name| names.contains(name)).cloned();
        }
        if op == Op::BumpFlake && host.platform != Platform::Script {
            let version = self.quietly(&Action::Run(Invocation::new(["nix", "--version"]))).await?;
            now.nix_version = NixVersion::read(&String::from_utf8_lossy(&version.captured));
        }
        Ok(())
    }

    /// Runs nix with its log as JSON; gives what it printed. A failure is told apart: of the evaluation, of a build,
    /// or none of its own.
    pub(super) async fn nix(&mut self, invocation: &Invocation) -> Result<(Vec<u8>, NixLog), Verdict> {
        self.tell(invocation);
        let mut log = NixLog::new(self.entry.file(PROGRESS));
        let ended = self.program(invocation, Stage::Build, Some(&mut log)).await;
        log.finish();
        let ended = ended?;
        match ended.end {
            End::Exited(0) => Ok((ended.captured, log)),
            End::Exited(code) => {
                if let Some(signal) = process::ending_signal(code) {
                    let message = format!("nix was interrupted by {signal}");
                    return Err(Verdict::failed(code, Stage::Interrupted, message));
                }
                let why = log.error().or(ended.reason).unwrap_or_else(|| format!("nix ended with code {code}"));
                Err(Verdict::failed(code, log.stage(), masked(&why)))
            }
            End::TimedOut | End::Stopped => Err(Verdict::stopped()),
        }
    }

    pub(super) async fn build(&mut self, invocation: &Invocation) -> Result<(), Verdict> {
        let (printed, log) = self.nix(invocation).await?;
        let path = built_path(&printed);
        if let Some(path) = &path {
            self.log.note(&format!("built {path}"));
        }
        self.built = Built { path, downloaded: log.downloaded() };
        match &self.built.path {
            Some(_) => Ok(()),
            None => Err(Verdict::failed(1, Stage::Build, "nix did not say what it built")),
        }
    }

    /// Runs what activates. When it fails, the verdict says what runs and what the profile names.
    pub(super) async fn activate(&mut self, invocation: &Invocation) -> Result<(), Verdict> {
        self.wait_for_others().await?;
        self.tell(invocation);
        let mut log = NixLog::of_activation(self.entry.file(PROGRESS));
        let ended = self.program(invocation, Stage::Activation, Some(&mut log)).await;
        log.finish();
        // A stop, too, leaves the host somewhere.
        let mut ended = ended.map_err(|verdict| self.half_way(verdict))?;
        // What nix calls an error says more than the tool's last line.
        ended.reason = log.error().or(ended.reason);
        judged(invocation, &ended, Stage::Activation).map_err(|verdict| self.half_way(verdict))
    }

    /// An activation that somebody else began, or whose runner died, may still be under way in the service manager's
    /// hands, and two at once must not be.
    async fn wait_for_others(&mut self) -> Result<(), Verdict> {
        let Some(units) = Units::of_activation(self.host(), &self.help()) else { return Ok(()) };
        let mut said = false;
        loop {
            match units.living().await {
                Ok(living) if living.is_empty() => return Ok(()),
                Ok(living) if !said => self.log.note(&format!("waiting for {} to end", living.join(", "))),
                Ok(_) => {}
                Err(why) => {
                    self.log.note(&format!("whether another activation is under way is not known: {why}"));
                    return Ok(());
                }
            }
            said = true;
            self.heed_stop()?;
            tokio::time::sleep(OTHERS).await;
        }
    }

    /// Adds to an activation that failed or was stopped how it left the host.
    fn half_way(&mut self, mut verdict: Verdict) -> Verdict {
        let host = self.host();
        let report = ActivationReport {
            wanted: self.built.path.clone(),
            running: system::running_system(host),
            profile: system::profile_system(host),
            generation: system::current_number(host),
        };
        if let Some(so) = aftermath(&report) {
            verdict.message = format!("{}; {so}", verdict.message);
        }
        let details = Details { activation: Some(report), ..Details::default() };
        self.details = Some(details.into_value());
        verdict
    }

    pub(super) fn expect(&mut self, expectation: &Expectation) -> Result<(), Verdict> {
        let running = system::running_system(self.host());
        let profile = system::profile_system(self.host());
        match missing(expectation, self.built.path.as_deref(), running.as_deref(), profile.as_deref()) {
            None => {
                if let Expectation::WentBack { number, .. } = expectation {
                    let report = RollbackReport { from: *number, to: system::current_number(self.host()) };
                    self.details = Some(Details { rollback: Some(report), ..Details::default() }.into_value());
                }
                Ok(())
            }
            Some(message) => {
                let verdict = Verdict::failed(1, Stage::Activation, message);
                Err(self.half_way(verdict))
            }
        }
    }
}

/// What is wrong with the running system after a step, if anything. Pure.
fn missing(
    expectation: &Expectation,
    built: Option<&str>,
    running: Option<&str>,
    profile: Option<&str>,
) -> Option<String> {
    let shown = running.unwrap_or("unknown");
    match expectation {
        Expectation::Built if running.is_some() && running == built => None,
        Expectation::Built => {
            let built = built.unwrap_or("nothing");
            Some(format!("the running system is {shown}, and not {built} that was built"))
        }
        Expectation::WentBack { running: before, profile: profile_before, .. } => {
            let other_runs = running.is_some() && running != before.as_deref();
            // After an activation that failed early, what ran before is what the profile goes back to.
            let profile_came_back = profile.is_some() && profile == running && profile != profile_before.as_deref();
            (!other_runs && !profile_came_back).then(|| format!("the running system is {shown} as before"))
        }
    }
}

/// What a failed activation leaves, and what to do about it. Pure.
fn aftermath(left: &ActivationReport) -> Option<String> {
    let (Some(profile), Some(running)) = (&left.profile, &left.running) else { return None };
    let number = left.generation.map_or_else(String::new, |number| format!(" {number}"));
    let wanted = left.wanted.as_ref();
    if profile != running {
        return Some(format!(
            "generation{number} is in the profile and boots next, while the system before still runs: roll back, or \
             switch again"
        ));
    }
    if wanted == Some(running) {
        return Some(format!(
            "generation{number} runs, but its activation is not complete: roll back, or switch again"
        ));
    }
    wanted.map(|_| "the system before runs, and nothing was changed".to_owned())
}

/// The first path in the output of `nix build --json`.
fn built_path(json: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let outputs = value.get(0)?.get("outputs")?;
    outputs.get("out").or_else(|| outputs.as_object()?.values().next())?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_path_is_read_from_what_nix_prints() {
        let json = br#"[{"drvPath":"/nix/store/a.drv","outputs":{"out":"/nix/store/b"}}]"#;
        assert_eq!(built_path(json).as_deref(), Some("/nix/store/b"));
        assert_eq!(built_path(b"[]"), None);
        assert_eq!(built_path(b""), None);
    }

    #[test]
    fn a_rollback_is_judged_by_what_runs_and_by_what_the_profile_names() {
        // Before: running, profile. After: running, profile. → is it well?
        for (running, profile, runs, names, well) in [
            ("b", "b", "a", "a", true),
            // The activation of b had failed before b ran: a runs all the time, and the profile comes back to it.
            ("a", "b", "a", "a", true),
            ("b", "b", "b", "b", false),
            ("b", "b", "b", "a", false),
            ("a", "b", "a", "b", false),
        ] {
            let expectation =
                Expectation::WentBack { running: Some(running.into()), profile: Some(profile.into()), number: None };
            let missing = missing(&expectation, None, Some(runs), Some(names));
            assert_eq!(missing.is_none(), well, "{running} {profile} → {runs} {names}");
        }
        let before = Expectation::WentBack { running: None, profile: None, number: None };
        assert!(missing(&before, None, None, None).is_some(), "nobody knows what runs");
    }

    #[test]
    fn a_failed_activation_says_what_it_left() {
        let left = |wanted: &str, running: &str, profile: &str| {
            let some = |text: &str| Some(text.to_owned());
            aftermath(&ActivationReport {
                wanted: some(wanted),
                running: some(running),
                profile: some(profile),
                generation: Some(7),
            })
            .unwrap()
        };
        assert!(left("b", "a", "b").starts_with("generation 7 is in the profile"));
        assert!(left("b", "b", "b").starts_with("generation 7 runs, but"));
        assert_eq!(left("b", "a", "a"), "the system before runs, and nothing was changed");
        assert_eq!(aftermath(&ActivationReport::default()), None);
    }
}
