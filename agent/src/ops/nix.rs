//! Plans for the platforms with Nix: build first, then activate, then look whether the built system runs.

use nixfleet_protocol::agent::Platform;

use super::situation::Situation;
use super::step::{Action, Expectation, Invocation, Refusal, Remember, Step};
use crate::record::{HostSettings, Stage};

/// The flake reference of a configuration, `<dir>#<name>`.
fn flake(host: &HostSettings, name: &str) -> String {
    format!("{}#{name}", host.checkout.display())
}

/// A name inside an attribute path, quoted: host names may hold dots.
fn attribute(name: &str) -> String {
    format!("\"{name}\"")
}

fn build(host: &HostSettings, path: &str) -> Step {
    let reference = flake(host, path);
    let argv = [
        "nix",
        "--extra-experimental-features",
        "nix-command flakes",
        "build",
        "--no-link",
        "--json",
        "--log-format",
        "internal-json",
        &reference,
    ];
    Step::new(Stage::Build, "build", Action::Build(Invocation::new(argv)))
}

fn activate(argv: &[&str]) -> Step {
    Step::new(Stage::Activation, "activate", Action::Run(Invocation::new(argv.iter().copied())))
}

fn expect(expectation: Expectation) -> Step {
    Step::new(Stage::Activation, "activate", Action::Expect(expectation))
}

fn remember(remember: Remember) -> Step {
    Step::new(Stage::Activation, "activate", Action::Remember(remember))
}

/// Builds the checkout and makes it the running system.
pub fn switch(host: &HostSettings, now: &Situation) -> Result<Vec<Step>, Refusal> {
    let (path, activation) = match host.platform {
        Platform::Nixos => {
            let path = format!("nixosConfigurations.{}.config.system.build.toplevel", attribute(&host.name));
            (path, activate(&["nixos-rebuild", "switch", "--flake", &flake(host, &host.name)]))
        }
        Platform::NixDarwin => {
            let path = format!("darwinConfigurations.{}.system", attribute(&host.name));
            (path, activate(&["darwin-rebuild", "switch", "--flake", &flake(host, &host.name)]))
        }
        Platform::HomeManager => {
            let Some(name) = &now.home_name else {
                return Err(Refusal::new(
                    Stage::Evaluation,
                    format!("the flake has no homeConfigurations for any of: {}", now.home_names.join(", ")),
                ));
            };
            let path = format!("homeConfigurations.{}.activationPackage", attribute(name));
            (path, activate(&["home-manager", "switch", "--flake", &flake(host, name)]))
        }
        Platform::Script => return Err(Refusal::new(Stage::Build, "the platform script has nothing to build")),
    };
    Ok(vec![build(host, &path), activation, expect(Expectation::Built), remember(Remember::Deployed)])
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
    let from = now.system_path.clone();
    Ok(vec![activation, expect(Expectation::Changed { from }), remember(Remember::WentBack { to: None })])
}
