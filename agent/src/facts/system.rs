//! What runs on this host: the system's path and revision, its generations, its boot.
//!
//! All of it is read from links and small files below the configured root. Numbers are compared as numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nixfleet_protocol::agent::{Generation, Platform};
use nixfleet_protocol::{BootId, Commit, Time};

use crate::record::HostSettings;

/// How many generations are reported.
const REPORTED: usize = 20;

/// The link whose target is the running system.
pub fn system_link(host: &HostSettings) -> Option<PathBuf> {
    match host.platform {
        Platform::Nixos | Platform::NixDarwin => Some(host.root.join("run/current-system")),
        Platform::HomeManager => home_profile(&home_of(host)),
        Platform::Script => None,
    }
}

fn home_of(host: &HostSettings) -> PathBuf {
    host.environment.get("HOME").map(PathBuf::from).unwrap_or_default()
}

/// The store path of the system that runs.
pub fn running_system(host: &HostSettings) -> Option<String> {
    let path = fs::canonicalize(system_link(host)?).ok()?;
    Some(path.display().to_string())
}

/// The configuration revision that the running system names.
pub fn revision(host: &HostSettings) -> Option<Commit> {
    match host.platform {
        Platform::Nixos | Platform::NixDarwin => {}
        Platform::HomeManager | Platform::Script => return None,
    }
    let system = host.root.join("run/current-system");
    let text = fs::read_to_string(system.join("etc/nixfleet/revision"))
        .or_else(|_| fs::read_to_string(system.join("configuration-revision")))
        .ok()
        .or_else(|| darwin_revision(&system))?;
    text.trim().parse().ok()
}

/// nix-darwin writes what it knows of itself into a JSON file.
fn darwin_revision(system: &Path) -> Option<String> {
    let text = fs::read_to_string(system.join("darwin-version.json")).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(value.get("darwinRevision").or_else(|| value.get("configurationRevision"))?.as_str()?.to_owned())
}

/// Whether the booted system has another kernel, initrd or modules than the current one.
pub fn reboot_required(host: &HostSettings) -> Option<bool> {
    reboot_parts(host, &host.root.join("run/current-system")).map(|parts| !parts.is_empty())
}

/// What a system has that comes with a boot only, and that the booted one has not: `kernel`, `initrd`,
/// `kernel-modules`. `None` where nobody can say.
pub fn reboot_parts(host: &HostSettings, system: &Path) -> Option<Vec<String>> {
    if host.platform != Platform::Nixos {
        return None;
    }
    let booted = host.root.join("run/booted-system");
    let real = |path: PathBuf| fs::canonicalize(path).ok();
    let known: Vec<(&str, bool)> = ["kernel", "initrd", "kernel-modules"]
        .into_iter()
        .filter_map(|part| Some((part, real(booted.join(part))? != real(system.join(part))?)))
        .collect();
    let differ = known.iter().filter(|(_, differs)| *differs).map(|(part, _)| (*part).to_owned()).collect();
    (!known.is_empty()).then_some(differ)
}

fn profile(host: &HostSettings) -> Option<PathBuf> {
    match host.platform {
        Platform::Nixos | Platform::NixDarwin => Some(host.root.join("nix/var/nix/profiles/system")),
        Platform::HomeManager => home_profile(&home_of(host)),
        Platform::Script => None,
    }
}

/// The store path of the system that the profile names: what boots next, and usually what runs.
pub fn profile_system(host: &HostSettings) -> Option<String> {
    fs::canonicalize(profile(host)?).ok().map(|path| path.display().to_string())
}

/// home-manager's profile: in the state directory of newer versions, else where nix keeps those of all users.
fn home_profile(home: &Path) -> Option<PathBuf> {
    let user = home.file_name()?;
    [
        home.join(".local/state/nix/profiles/home-manager"),
        Path::new("/nix/var/nix/profiles/per-user").join(user).join("home-manager"),
    ]
    .into_iter()
    .find(|path| path.symlink_metadata().is_ok())
}

/// The number in a profile's generation link, `system-42-link`.
fn number(profile: &str, link: &str) -> Option<u64> {
    link.strip_prefix(profile)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok()
}

fn links(profile: &Path) -> Vec<(u64, PathBuf)> {
    let (Some(dir), Some(name)) = (profile.parent(), profile.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy();
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|link| Some((number(&name, &link.file_name().to_string_lossy())?, link.path())))
        .collect();
    found.sort();
    found
}

/// The number of the generation that the profile names.
pub fn current_number(host: &HostSettings) -> Option<u64> {
    let profile = profile(host)?;
    let target = fs::read_link(&profile).ok()?;
    number(&profile.file_name()?.to_string_lossy(), &target.file_name()?.to_string_lossy())
}

/// The last generations, oldest first.
pub fn generations(host: &HostSettings) -> Option<Vec<Generation>> {
    let profile = profile(host)?;
    let running = running_system(host);
    let mut all = links(&profile);
    let extra = all.len().saturating_sub(REPORTED);
    all.drain(..extra);
    Some(
        all.into_iter()
            .map(|(number, link)| Generation {
                number,
                commit: None,
                at: made_at(&link),
                current: fs::canonicalize(&link).ok().map(|path| path.display().to_string()) == running,
            })
            .collect(),
    )
}

fn made_at(link: &Path) -> Option<Time> {
    let made = link.symlink_metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(made.as_millis()).ok().map(Time::from_millis)
}

/// The activation script of the generation before the current one, by number.
pub fn previous_home(home: &Path) -> Option<PathBuf> {
    let profile = home_profile(home)?;
    let name = profile.file_name()?.to_string_lossy().into_owned();
    let now = number(&name, &fs::read_link(&profile).ok()?.file_name()?.to_string_lossy())?;
    let (_, link) = links(&profile).into_iter().rev().find(|(number, _)| *number < now)?;
    Some(link.join("activate"))
}

/// This boot, as the kernel names it.
pub fn boot_id(root: &Path) -> Option<BootId> {
    if cfg!(target_os = "macos") {
        let run = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "kern.bootsessionuuid"]).output().ok()?;
        let text = String::from_utf8(run.stdout).ok()?;
        return (!text.trim().is_empty()).then(|| BootId(text.trim().to_owned()));
    }
    let text = fs::read_to_string(root.join("proc/sys/kernel/random/boot_id")).ok()?;
    Some(BootId(text.trim().to_owned()))
}

/// Version of the operating system, for people.
pub fn os_version(root: &Path) -> String {
    let Ok(text) = fs::read_to_string(root.join("etc/os-release")) else {
        let uname = rustix::system::uname();
        return format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    };
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(|value| value.trim_matches('"'))
    };
    field("PRETTY_NAME").or_else(|| field("NAME")).unwrap_or_default().to_owned()
}

/// Version of nixpkgs that the running system was made from.
pub fn nixpkgs_version(host: &HostSettings) -> Option<String> {
    fs::read_to_string(host.root.join("run/current-system/nixos-version")).ok().map(|text| text.trim().to_owned())
}

/// Hardware addresses of the network cards, for Wake-on-LAN. Virtual ones are left out.
pub fn mac_addresses(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root.join("sys/class/net"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|card| card.path().join("device").exists())
        .filter_map(|card| fs::read_to_string(card.path().join("address")).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| text.len() == 17 && text != "00:00:00:00:00:00")
        .collect();
    found.sort();
    found.dedup();
    found.truncate(16);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests_support::settings;
    use std::os::unix::fs::symlink;

    fn system(root: &Path, n: u32) -> PathBuf {
        let path = root.join(format!("store/system-{n}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("kernel"), n.to_string()).unwrap();
        let profiles = root.join("nix/var/nix/profiles");
        fs::create_dir_all(&profiles).unwrap();
        symlink(&path, profiles.join(format!("system-{n}-link"))).unwrap();
        path
    }

    #[test]
    fn generations_are_told_by_number_and_a_new_kernel_wants_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let host = HostSettings { root: root.clone(), ..settings(Platform::Nixos) };
        fs::create_dir_all(root.join("run")).unwrap();
        assert_eq!(running_system(&host), None);
        assert_eq!(reboot_required(&host), None);
        let nine = system(&root, 9);
        let ten = system(&root, 10);
        symlink("system-10-link", root.join("nix/var/nix/profiles/system")).unwrap();
        symlink(&nine, root.join("run/booted-system")).unwrap();
        symlink(&ten, root.join("run/current-system")).unwrap();
        assert_eq!(current_number(&host), Some(10));
        assert_eq!(running_system(&host).unwrap(), ten.display().to_string());
        let numbers: Vec<(u64, bool)> =
            generations(&host).unwrap().iter().map(|generation| (generation.number, generation.current)).collect();
        assert_eq!(numbers, [(9, false), (10, true)]);
        assert_eq!(reboot_required(&host), Some(true));
        assert_eq!(reboot_parts(&host, &ten), Some(vec!["kernel".to_owned()]));
        assert_eq!(reboot_parts(&host, &nine), Some(vec![]));
        assert_eq!(profile_system(&host), running_system(&host));
    }
}
