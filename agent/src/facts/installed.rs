//! Which agent the service manager would start now: asked by `check-version`, never at a heartbeat.
//!
//! Looked for in this order: the unit (or the property list) of the running system and of the machine, the agent
//! among the running system's packages, the place that this agent was started from.

use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::AgentProgram;

use super::{hash, store_path};
use crate::config::machine::{find, is_executable};
use crate::record::HostSettings;

/// The file's name of our binary, our unit and, as a part, our property list.
const NAME: &str = "nixfleet-agent";

/// The program at a place, with everything that its file tells. Its version and commit, only it can tell.
pub fn program(place: &Path) -> AgentProgram {
    let path = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    AgentProgram {
        store_path: store_path(&path),
        binary_hash: hash::sha256(&path).ok(),
        path: path.display().to_string(),
        ..AgentProgram::default()
    }
}

/// Where the agent lies that would be started now. `started_as` is the first word that this agent was started with.
pub fn place(host: &HostSettings, started_as: &str) -> Option<PathBuf> {
    let home = host.environment.get("HOME").map(PathBuf::from).unwrap_or_default();
    let system = host.root.join("run/current-system");
    let path = host.environment.get("PATH").map_or("", String::as_str);
    units(&host.root, &system, &home)
        .into_iter()
        .find_map(|unit| exec_start(&fs::read_to_string(unit).ok()?))
        .or_else(|| property_lists(&host.root, &system, &home).into_iter().find_map(|list| first_argument(&list)))
        .map(|program| below(&host.root, program))
        .filter(|program| is_executable(program))
        .or_else(|| Some(system.join("sw/bin").join(NAME)).filter(|program| is_executable(program)))
        .or_else(|| find(path, started_as))
}

/// A path of the host, where the host lies below another root.
fn below(root: &Path, program: PathBuf) -> PathBuf {
    let there = program.strip_prefix("/").map(|rest| root.join(rest)).ok();
    there.filter(|there| is_executable(there)).unwrap_or(program)
}

fn units(root: &Path, system: &Path, home: &Path) -> [PathBuf; 4] {
    let unit = format!("{NAME}.service");
    [
        system.join("etc/systemd/system").join(&unit),
        root.join("etc/systemd/system").join(&unit),
        home.join(".config/systemd/user").join(&unit),
        root.join("usr/lib/systemd/system").join(&unit),
    ]
}

fn property_lists(root: &Path, system: &Path, home: &Path) -> Vec<String> {
    [system.join("Library/LaunchDaemons"), root.join("Library/LaunchDaemons"), home.join("Library/LaunchAgents")]
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().contains(NAME))
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .collect()
}

/// The program of a unit's last `ExecStart=`: an empty one takes back what stood before.
fn exec_start(unit: &str) -> Option<PathBuf> {
    let line = unit.lines().rev().find_map(|line| line.trim().strip_prefix("ExecStart="))?;
    let word = line.trim().trim_start_matches(['@', '-', ':', '+', '!', '|']).split_whitespace().next()?;
    let word = word.trim_matches(['"', '\'']);
    word.starts_with('/').then(|| word.into())
}

/// The first text of a property list's `ProgramArguments`, or its `Program`. One that runs a shell tells nothing,
/// unless the agent's path stands in the shell's line.
fn first_argument(list: &str) -> Option<PathBuf> {
    let after = |key: &str| list.split_once(&format!("<key>{key}</key>")).map(|(_, rest)| rest);
    let rest = after("ProgramArguments").or_else(|| after("Program"))?;
    let rest = rest.split_once("</array>").map_or(rest, |(array, _)| array);
    rest.split("<string>")
        .skip(1)
        .filter_map(|text| text.split("</string>").next())
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches(['"', '\'']))
        .find(|word| word.starts_with('/') && word.ends_with(NAME))
        .map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests_support::settings;
    use nixfleet_protocol::agent::Platform;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn agent(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_unit_of_the_running_system_says_what_is_started_next() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let host = HostSettings { root: root.clone(), ..settings(Platform::Nixos) };
        let (started, profile, store) =
            (root.join("opt/nixfleet-agent"), root.join("profile"), root.join("nix/store/b-agent/bin/nixfleet-agent"));
        assert_eq!(place(&host, &started.display().to_string()), None);
        agent(&started, "1");
        assert_eq!(place(&host, &started.display().to_string()), Some(started.clone()));
        // The agent among the packages of the running system, through the profile's links.
        agent(&root.join("system/sw/bin/nixfleet-agent"), "2");
        fs::create_dir_all(root.join("run")).unwrap();
        symlink("../system", root.join("run/current-system")).unwrap();
        let found = place(&host, &started.display().to_string()).unwrap();
        assert_eq!(program(&found).path, root.join("system/sw/bin/nixfleet-agent").display().to_string());
        // Its unit: the link of a profile is resolved.
        agent(&store, "3");
        symlink(&store, &profile).unwrap();
        let units = root.join("system/etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::write(units.join("nixfleet-agent.service"), "[Service]\nExecStart=/profile --x\n").unwrap();
        let found = place(&host, &started.display().to_string()).unwrap();
        assert_eq!(program(&found).path, store.display().to_string());
        assert_eq!(program(&found).binary_hash, hash::sha256(&store).ok());
    }

    #[test]
    fn units_and_property_lists_name_their_program() {
        for (unit, program) in [
            ("[Service]\nExecStart=/a/nixfleet-agent\n", Some("/a/nixfleet-agent")),
            ("ExecStart=\nExecStart=-@\"/b/x\" y\n", Some("/b/x")),
            ("ExecStart=relative\n", None),
            ("[Service]\n", None),
        ] {
            assert_eq!(exec_start(unit), program.map(PathBuf::from), "{unit}");
        }
        let list = "<key>Label</key><string>x</string><key>ProgramArguments</key><array><string>/bin/sh</string>\
                    <string>-c</string><string>/bin/wait4path /nix/store &amp;&amp; exec /nix/store/a/bin/nixfleet-agent</string></array>";
        assert_eq!(first_argument(list), Some("/nix/store/a/bin/nixfleet-agent".into()));
        assert_eq!(first_argument("<key>Label</key><string>/a/nixfleet-agent</string>"), None);
    }
}
