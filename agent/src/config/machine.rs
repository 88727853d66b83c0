//! What the machine itself says when the configuration does not: its name, its kind, its user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::{HostType, Platform};

/// The host, as far as defaults depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The system's name, as it stands.
    pub hostname: String,
    /// The kind of system.
    pub host_type: HostType,
    /// How it is probably deployed.
    pub platform: Platform,
    /// The agent's home directory.
    pub home: PathBuf,
    /// The agent's user.
    pub user: String,
}

impl Machine {
    /// Looks at this machine.
    pub fn look(variables: &BTreeMap<String, String>) -> Self {
        let root = rustix::process::geteuid().is_root();
        let macos = cfg!(target_os = "macos");
        let nixos = Path::new("/etc/NIXOS").exists();
        let found = |program: &str| find(variables.get("PATH").map_or("", String::as_str), program).is_some();
        let platform = match (macos, nixos) {
            (false, true) => Platform::Nixos,
            (true, _) if found("darwin-rebuild") || Path::new("/run/current-system/sw/bin/darwin-rebuild").exists() => {
                Platform::NixDarwin
            }
            _ if found("home-manager") => Platform::HomeManager,
            _ => Platform::Script,
        };
        let host_type = match (macos, nixos) {
            (true, _) => HostType::Macos,
            (false, true) => HostType::Nixos,
            (false, false) => HostType::Linux,
        };
        let user = variables.get("USER").cloned().unwrap_or_else(|| if root { "root".into() } else { String::new() });
        let home = variables.get("HOME").map_or_else(|| if root { "/root".into() } else { "/".into() }, PathBuf::from);
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { hostname, host_type, platform, home, user }
    }

    /// The name, cut at the first dot.
    pub fn short_hostname(&self) -> String {
        self.hostname.split('.').next().unwrap_or_default().to_owned()
    }

    /// Where the agent keeps what it knows, unless it is told.
    pub fn default_state_dir(&self) -> PathBuf {
        match self.host_type {
            HostType::Macos => self.home.join(".local/state/nixfleet-agent"),
            HostType::Nixos | HostType::Linux | HostType::Other => "/var/lib/nixfleet-agent".into(),
        }
    }

    /// What reboots it, unless it is told.
    pub fn reboot_command(&self) -> Vec<String> {
        let words: &[&str] = match self.host_type {
            HostType::Macos => &["/sbin/shutdown", "-r", "now"],
            HostType::Nixos | HostType::Linux | HostType::Other => &["systemctl", "reboot"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// Looks for a program in a `PATH`.
pub fn find(path: &str, program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return is_executable(Path::new(program)).then(|| program.into());
    }
    path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(program)).find(|at| is_executable(at))
}

/// Whether this is a file that may be executed.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
