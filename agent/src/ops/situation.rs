//! What a plan needs to know of the host, looked at once, right before the plan is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nixfleet_protocol::Commit;

use super::checkout::MARK;
use super::deployed::DeployedRecord;
use crate::config::machine::is_executable;
use crate::facts::{git, system};
use crate::record::HostSettings;

/// What lies where the checkout should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckoutState {
    /// Nothing, or an empty directory.
    #[default]
    Absent,
    /// A repository.
    Present {
        /// It carries our mark.
        ours: bool,
    },
    /// Our own clone, damaged.
    Broken,
    /// Files that are no repository.
    Occupied,
}

/// The host, as far as plans depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// What lies in the checkout's directory.
    pub checkout: CheckoutState,
    /// The directory, for sentences.
    pub checkout_dir: String,
    /// The commit that is checked out.
    pub head: Option<Commit>,
    /// No branch is checked out.
    pub detached: bool,
    /// Changed files of the operator's checkout.
    pub local_changes: Vec<String>,
    /// The executable that switches, on `script`.
    pub switch: Option<PathBuf>,
    /// The executable that rolls back, on `script`.
    pub rollback: Option<PathBuf>,
    /// The executable tests, in order.
    pub tests: Vec<PathBuf>,
    /// Deployments so far.
    pub deployed: DeployedRecord,
    /// The system that runs.
    pub system_path: Option<String>,
    /// The names to try in `homeConfigurations`.
    pub home_names: Vec<String>,
    /// The first of them that the flake has.
    pub home_name: Option<String>,
    /// The activation script of home-manager's generation before.
    pub previous_home: Option<PathBuf>,
}

/// Looks at everything that needs no program to be run; the runner adds the rest.
pub fn look(host: &HostSettings) -> io::Result<Situation> {
    let dir = host.checkout.join("hosts").join(&host.name);
    let executable = |path: PathBuf| is_executable(&path).then_some(path);
    let home = host.environment.get("HOME").map(PathBuf::from).unwrap_or_default();
    Ok(Situation {
        checkout: checkout_state(&host.checkout)?,
        checkout_dir: host.checkout.display().to_string(),
        head: git::head(&host.checkout),
        detached: git::is_detached(&host.checkout),
        local_changes: Vec::new(),
        switch: executable(dir.join("switch")).or_else(|| executable(host.checkout.join("switch"))),
        rollback: executable(dir.join("rollback")),
        tests: tests(&dir.join("tests")),
        deployed: DeployedRecord::load(&host.state_dir)?,
        system_path: system::running_system(host),
        home_names: home_names(host),
        home_name: None,
        previous_home: system::previous_home(&home),
    })
}

/// What lies there.
pub fn checkout_state(dir: &Path) -> io::Result<CheckoutState> {
    let git_dir = dir.join(".git");
    if git_dir.symlink_metadata().is_ok() {
        let ours = git_dir.join(MARK).exists();
        let whole = git_dir.is_file() || git_dir.join("HEAD").is_file() && git_dir.join("objects").is_dir();
        return Ok(if ours && !whole { CheckoutState::Broken } else { CheckoutState::Present { ours } });
    }
    match fs::read_dir(dir) {
        Ok(mut found) => Ok(if found.next().is_some() { CheckoutState::Occupied } else { CheckoutState::Absent }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(CheckoutState::Absent),
        Err(error) => Err(error),
    }
}

/// The executable `*.sh` of a directory, by name.
pub fn tests(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "sh") && is_executable(path))
        .collect();
    found.sort();
    found
}

/// `user@host`, then `user`, as home-manager itself tries them.
fn home_names(host: &HostSettings) -> Vec<String> {
    let user = host.environment.get("USER").cloned().unwrap_or_default();
    vec![format!("{user}@{}", host.name), user]
}
