//! `--check`: proves a configuration on this machine, in sentences. Changes nothing that stays.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nixfleet_protocol::agent::Platform;

use super::Config;
use super::machine::find;
use crate::durable;

/// What a check found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is well, and why.
    pub good: Vec<String>,
    /// What would not work.
    pub bad: Vec<String>,
}

/// Looks at everything that the configuration names.
pub fn check(config: &Config) -> Findings {
    let mut found = Findings::default();
    found.good.push(format!("host {} on platform {}", config.host.name, config.host.platform.as_str()));
    found.good.push(format!("dashboard {}", config.url));
    state_dir(&config.host.state_dir, &mut found);
    programs(config, &mut found);
    checkout(config, &mut found);
    if let Some(key) = &config.host.ssh_key {
        match fs::metadata(key) {
            Err(error) => found.bad.push(format!("NIXFLEET_SSH_KEY: {} can't be read: {error}", key.display())),
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => found.bad.push(format!(
                "NIXFLEET_SSH_KEY: {} can be read by others, and ssh will refuse it: run `chmod 600 {}`",
                key.display(),
                key.display()
            )),
            Ok(_) => found.good.push(format!("SSH key {}", key.display())),
        }
    }
    if config.url.tls {
        match crate::link::tls::roots(config.ca_file.as_deref()) {
            Ok(roots) => found.good.push(format!("{} certificates are trusted", roots.len())),
            Err(error) => found.bad.push(error.to_string()),
        }
    }
    found
}

fn state_dir(dir: &Path, found: &mut Findings) {
    let probe = dir.join(".check");
    let tried = durable::private_dir(dir)
        .and_then(|()| fs::write(&probe, b"x"))
        .and_then(|()| fs::remove_file(&probe))
        .and_then(|()| fs::metadata(dir));
    match tried {
        Ok(meta) if meta.permissions().mode() & 0o022 != 0 => {
            found
                .bad
                .push(format!("NIXFLEET_STATE_DIR: {} can be changed by others: run `chmod 700 {0}`", dir.display()));
        }
        Ok(_) => found.good.push(format!("state directory {}", dir.display())),
        Err(error) => found.bad.push(format!("NIXFLEET_STATE_DIR: {} can't be used: {error}", dir.display())),
    }
}

fn programs(config: &Config, found: &mut Findings) {
    let path = config.host.environment.get("PATH").map_or("", String::as_str);
    let needed: &[&str] = match config.host.platform {
        Platform::Nixos => &["git", "nix", "nixos-rebuild"],
        Platform::NixDarwin => &["git", "nix", "darwin-rebuild"],
        Platform::HomeManager => &["git", "nix", "home-manager"],
        Platform::Script => &["git"],
    };
    for program in needed {
        match find(path, program) {
            Some(at) => found.good.push(format!("{program} is {}", at.display())),
            None => found.bad.push(format!("{program} is in none of the directories of PATH ({path})")),
        }
    }
}

fn checkout(config: &Config, found: &mut Findings) {
    let dir = &config.host.checkout;
    let git = dir.join(".git");
    match (&config.host.repo_url, git.symlink_metadata()) {
        (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            found.bad.push(format!("NIXFLEET_REPO_DIR: {} is no git checkout", dir.display()));
        }
        (_, Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            found.bad.push(format!("NIXFLEET_REPO_DIR: {} can't be read: {error}", dir.display()));
        }
        (None, _) => found.good.push(format!("checkout {}", dir.display())),
        (Some(_), Ok(_)) if !git.join(crate::ops::checkout::MARK).exists() => found.bad.push(format!(
            "NIXFLEET_REPO_DIR: {} is a checkout that the agent did not make: name another directory, or leave out \
             NIXFLEET_REPO_URL to use it as it is",
            dir.display()
        )),
        (Some(_), _) => found.good.push(format!("own clone in {}", dir.display())),
    }
}
