//! What a plan needs to know of the host, looked at once, right before the plan is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nixfleet_protocol::Commit;

use super::checkout::MARK;
use super::deployed::DeployedRecord;
use super::lock;
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

/// Major and minor version of nix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NixVersion(pub u32, pub u32);

impl NixVersion {
    /// Reads what `nix --version` prints, such as `nix (Nix) 2.8.0`.
    pub fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().last()?.split('.');
        let minor = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        Some(Self(numbers.next()?.parse().ok()?, minor(numbers.next()?)?))
    }
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
    /// The executable that says what a switch would change, on `script`.
    pub plan: Option<PathBuf>,
    /// The executable tests, in order.
    pub tests: Vec<PathBuf>,
    /// Deployments so far.
    pub deployed: DeployedRecord,
    /// The system that runs.
    pub system_path: Option<String>,
    /// The system that the profile names: another one, after an activation that failed.
    pub profile_path: Option<String>,
    /// The number of that generation.
    pub profile_number: Option<u64>,
    /// The version of nix, where a plan depends on it and nix says it.
    pub nix_version: Option<NixVersion>,
    /// The inputs that the checkout's lock has; `None` without a lock that can be read.
    pub lock_inputs: Option<Vec<String>>,
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
        plan: executable(dir.join("plan")),
        tests: tests(&dir.join("tests")),
        deployed: DeployedRecord::load(&host.state_dir)?,
        system_path: system::running_system(host),
        profile_path: system::profile_system(host),
        profile_number: system::current_number(host),
        nix_version: None,
        lock_inputs: lock::Locked::read(&host.checkout).ok().map(|lock| lock.inputs()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_nix_are_read_and_compared_as_numbers() {
        for (text, version) in [
            ("nix (Nix) 2.8.0\n", Some(NixVersion(2, 8))),
            ("nix (Nix) 2.26.3", Some(NixVersion(2, 26))),
            ("nix (Nix) 2.19pre20230927_abc", Some(NixVersion(2, 19))),
            ("nix (Lix, like Nix) 2.91.1", Some(NixVersion(2, 91))),
            ("nix (Determinate Nix 3.6.0) 2.29.0", Some(NixVersion(2, 29))),
            ("nix: command not found", None),
            ("", None),
        ] {
            assert_eq!(NixVersion::read(text), version, "{text}");
        }
        assert!(NixVersion(2, 8) < NixVersion(2, 19));
    }
}
