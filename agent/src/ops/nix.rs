//! Plans for the platforms with Nix: build first, then activate, then look whether the built system runs.
//!
//! Every call is one that nix understands since 2.8; where the versions differ the situation says which it is.

use nixfleet_protocol::agent::Platform;
use nixfleet_protocol::agent::details::GcMode;

use super::args::Inputs;
use super::situation::{NixVersion, Situation};
use super::step::{Action, Expectation, Invocation, Refusal, Remember, Step};
use crate::record::{HostSettings, Stage};

/// How `nix` is called: what it needs is still called experimental.
pub const NIX: [&str; 3] = ["nix", "--extra-experimental-features", "nix-command flakes"];

/// nix's log as JSON, for the progress.
const JSON_LOG: [&str; 2] = ["--log-format", "internal-json"];

/// Past the caches: substituters and remote inputs are asked again, and the configuration is evaluated anew.
/// `--rebuild` would be something else: it compares a build with the one that is there, keeps the old one, and
/// fails where nothing was built yet. All tools pass `--option` on, which is not so for `--refresh`.
const PAST_CACHES: [&str; 12] = [
    "--option",
    "narinfo-cache-positive-ttl",
    "0",
    "--option",
    "narinfo-cache-negative-ttl",
    "0",
    "--option",
    "tarball-ttl",
    "0",
    "--option",
    "eval-cache",
    "false",
];

/// Since this version `nix flake update` takes the names of inputs; before, they were flakes to it.
const NAMES_INPUTS: NixVersion = NixVersion(2, 19);

/// Whether a switch takes what is in the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// As nix does by itself.
    Used,
    /// `force-rebuild`.
    Passed,
}

impl Caches {
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Used => &[],
            Self::Passed => &PAST_CACHES,
        }
    }
}

/// The flake reference of a configuration, `<dir>#<name>`.
fn flake(host: &HostSettings, name: &str) -> String {
    format!("{}#{name}", host.checkout.display())
}

/// The attribute that is built. Names are quoted: host names may hold dots.
fn attribute(host: &HostSettings, now: &Situation) -> Result<String, Refusal> {
    match host.platform {
        Platform::Nixos => Ok(format!("nixosConfigurations.\"{}\".config.system.build.toplevel", host.name)),
        Platform::NixDarwin => Ok(format!("darwinConfigurations.\"{}\".system", host.name)),
        Platform::HomeManager => Ok(format!("homeConfigurations.\"{}\".activationPackage", home_name(now)?)),
        Platform::Script => Err(Refusal::new(Stage::Evaluation, "the platform script has nothing to evaluate")),
    }
}

fn home_name(now: &Situation) -> Result<&str, Refusal> {
    now.home_name.as_deref().ok_or_else(|| {
        let tried = now.home_names.join(", ");
        Refusal::new(Stage::Evaluation, format!("the flake has no homeConfigurations for any of: {tried}"))
    })
}

/// Builds, and keeps the result from the garbage collector until the command ends: the link is in its own directory.
fn build(host: &HostSettings, now: &Situation, caches: Caches) -> Result<Step, Refusal> {
    let reference = flake(host, &attribute(host, now)?);
    let mut argv = [&NIX[..], &["build", "--json", "--out-link", "built"], &JSON_LOG, caches.options()].concat();
    argv.push(&reference);
    Ok(Step::new(Stage::Build, "build", Action::Build(Invocation::new(argv))))
}

fn activate(argv: &[&str]) -> Step {
    Step::new(Stage::Activation, "activate", Action::Activate(Invocation::new(argv.iter().copied())))
}

fn expect(expectation: Expectation) -> Step {
    Step::new(Stage::Activation, "activate", Action::Expect(expectation))
}

fn remember(remember: Remember) -> Step {
    Step::new(Stage::Activation, "activate", Action::Remember(remember))
}

/// Builds the checkout and makes it the running system.
pub fn switch(host: &HostSettings, now: &Situation, caches: Caches) -> Result<Vec<Step>, Refusal> {
    let build = build(host, now, caches)?;
    let (tool, name, log): (_, _, &[&str]) = match host.platform {
        Platform::Nixos => ("nixos-rebuild", host.name.as_str(), &JSON_LOG),
        Platform::NixDarwin => ("darwin-rebuild", host.name.as_str(), &JSON_LOG),
        // It does not know the option in all its versions.
        Platform::HomeManager => ("home-manager", home_name(now)?, &[]),
        Platform::Script => return Err(Refusal::new(Stage::Build, "the platform script has nothing to build")),
    };
    let reference = flake(host, name);
    let argv = [&[tool, "switch", "--flake", &reference], log, caches.options()].concat();
    Ok(vec![build, activate(&argv), expect(Expectation::Built), remember(Remember::Deployed)])
}

/// Makes the generation before the running one.
pub fn rollback(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let activation = match host.platform {
        Platform::Nixos => activate(&["nixos-rebuild", "switch", "--rollback"]),
        Platform::NixDarwin => activate(&["darwin-rebuild", "--rollback"]),
        Platform::HomeManager => {
            let Some(program) = &now.previous_home else {
                return Err(Refusal::new(Stage::Activation, "there is no earlier generation to go back to"));
            };
            activate(&[&program.display().to_string()])
        }
        Platform::Script => return Err(Refusal::new(Stage::Activation, "the platform script has no generations")),
    };
    let before = Expectation::WentBack {
        running: now.system_path.clone(),
        profile: now.profile_path.clone(),
        number: now.profile_number,
    };
    Ok(vec![activation, expect(before), remember(Remember::WentBack { to: None })])
}

/// Builds, and reports what a switch would change. Nothing of the new system is executed.
pub fn plan(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    Ok(vec![build(host, now, Caches::Used)?, Step::new(Stage::Build, "compare", Action::Compare)])
}

/// Evaluates the path of the system that a switch would activate, without building it.
pub fn refresh(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let reference = format!("{}.outPath", flake(host, &attribute(host, now)?));
    let argv = [&NIX[..], &["eval", "--raw"], &JSON_LOG, &[&reference]].concat();
    Ok(vec![Step::new(Stage::Evaluation, "evaluate", Action::Evaluate(Invocation::new(argv)))])
}

/// Updates inputs in the checkout's lock.
pub fn bump(host: &HostSettings, now: &Situation, inputs: &Inputs) -> Result<Vec<Step>, Refusal> {
    let asked: &[String] = match inputs {
        Inputs::All => &[],
        Inputs::Named(names) => names,
    };
    if let Some(known) = &now.lock_inputs {
        let missing = |name: &&String| !known.iter().any(|input| Some(input.as_str()) == name.split('/').next());
        let missing: Vec<&str> = asked.iter().filter(missing).map(String::as_str).collect();
        if !missing.is_empty() {
            let has = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("flake.lock has no input {}; its inputs are: {has}", missing.join(", "));
            return Err(Refusal::new(Stage::Evaluation, message));
        }
    }
    let mut argv: Vec<&str> = NIX.to_vec();
    if asked.is_empty() || now.nix_version.is_none_or(|version| version >= NAMES_INPUTS) {
        argv.extend(["flake", "update"]);
        argv.extend(asked.iter().map(String::as_str));
    } else {
        argv.extend(["flake", "lock"]);
        argv.extend(asked.iter().flat_map(|name| ["--update-input", name]));
    }
    argv.extend(JSON_LOG);
    // In the checkout: there all versions look for the flake by themselves.
    let invocation = Invocation::new(argv).within(&host.checkout);
    Ok(vec![Step::new(Stage::Evaluation, "update", Action::UpdateInputs { asked: asked.to_vec(), invocation })])
}

/// Removes what nothing refers to.
pub fn gc(mode: GcMode) -> Vec<Step> {
    let argv: &[&str] = match mode {
        GcMode::Safe => &["nix-collect-garbage"],
        GcMode::Aggressive => &["nix-collect-garbage", "--delete-old"],
    };
    let invocation = Invocation::new(argv.iter().copied());
    vec![Step::new(Stage::Build, "collect", Action::CollectGarbage { mode, invocation })]
}
