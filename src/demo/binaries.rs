//! Where the agent's binary is: beside our own. Under cargo it may not be built yet, or be older than the source;
//! then it is built first.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::cli::output::note;

/// What cargo told us about our own package. Handed on, some build scripts would take it for a change and build
/// everything anew.
const OURS: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The agent's binary that belongs to this daemon.
pub(super) async fn agent(daemon: &Path) -> anyhow::Result<PathBuf> {
    let agent = daemon.with_file_name("nixfleet-agent");
    if let Some(build) = build(daemon) {
        note(&format!("building the agent: {}", build.words().join(" ")));
        let mut cargo = Command::new(&build.cargo);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| OURS.iter().any(|ours| name.starts_with(ours))) {
                cargo.env_remove(name);
            }
        }
        let status = cargo
            .args(&build.arguments)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .kill_on_drop(true)
            .status()
            .await
            .context("running cargo")?;
        if !status.success() {
            bail!("the agent could not be built: {status}");
        }
    }
    if !agent.exists() {
        bail!("{} is missing: build it with `cargo build -p nixfleet-agent`, or install it there", agent.display());
    }
    Ok(agent)
}

/// How cargo builds the agent as it built us.
struct Build {
    cargo: PathBuf,
    arguments: Vec<String>,
}

impl Build {
    fn words(&self) -> Vec<String> {
        let cargo = self.cargo.file_name().unwrap_or_default().to_string_lossy().into_owned();
        std::iter::once(cargo).chain(self.arguments.iter().cloned()).collect()
    }
}

/// Set when cargo runs us, and from our own workspace.
fn build(daemon: &Path) -> Option<Build> {
    let cargo = PathBuf::from(std::env::var_os("CARGO")?);
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    if !manifest.with_file_name("agent").join("Cargo.toml").exists() {
        return None;
    }
    let folder = daemon.parent()?;
    Some(Build { cargo, arguments: arguments(&manifest, folder)? })
}

fn arguments(manifest: &Path, folder: &Path) -> Option<Vec<String>> {
    let target = folder.parent()?;
    // Both packages are named, so that what they share is taken as it was built for us.
    let words = "build --package nixfleet --package nixfleet-agent --bin nixfleet-agent --manifest-path";
    let mut arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
    arguments.push(manifest.display().to_string());
    arguments.push("--target-dir".to_owned());
    arguments.push(target.display().to_string());
    match folder.file_name()?.to_str()? {
        "debug" => {}
        "release" => arguments.push("--release".to_owned()),
        profile => arguments.extend(["--profile".to_owned(), profile.to_owned()]),
    }
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_built_as_the_daemon_was() {
        let built = |folder: &str| arguments(Path::new("/src/Cargo.toml"), Path::new(folder)).unwrap().join(" ");
        let same = "build --package nixfleet --package nixfleet-agent --bin nixfleet-agent --manifest-path /src/Cargo.toml \
                    --target-dir /src/target";
        assert_eq!(built("/src/target/debug"), same);
        assert_eq!(built("/src/target/release"), format!("{same} --release"));
        assert_eq!(built("/src/target/ci"), format!("{same} --profile ci"));
    }
}
