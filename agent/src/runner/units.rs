//! Which units a switch would start, stop or restart: the unit files of two systems compared.
//!
//! Nothing of the new system is executed for it. What a unit asks for (`X-ReloadIfChanged`, …) is heeded as NixOS
//! heeds it; whether it runs at all is not known here, so this is what would happen if it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::Platform;
use nixfleet_protocol::agent::details::{UnitAction, UnitChange};

/// Where a system keeps its units.
fn places(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Nixos => &["etc/systemd/system"],
        Platform::NixDarwin => &["Library/LaunchDaemons", "Library/LaunchAgents"],
        Platform::HomeManager => &["home-files/.config/systemd/user", "LaunchAgents"],
        Platform::Script => &[],
    }
}

/// Kinds of units that are processes or lead to some. Targets, slices and the like change without anybody noticing.
const KINDS: [&str; 6] = ["service", "socket", "timer", "path", "mount", "plist"];

/// What differs between two systems. Sorted by name.
pub fn changes(platform: Platform, from: &Path, to: &Path) -> Vec<UnitChange> {
    let mut out = Vec::new();
    for place in places(platform) {
        let (before, after) = (units(&from.join(place)), units(&to.join(place)));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let action = match (before.get(name), after.get(name)) {
                (Some(old), Some(new)) if old.same_files(new) => continue,
                (Some(old), Some(new)) => {
                    let (old, new) = (old.text(), new.text());
                    if old == new {
                        continue;
                    }
                    wanted(name, &new)
                }
                (None, Some(_)) => UnitAction::Start,
                (Some(_), None) => UnitAction::Stop,
                (None, None) => continue,
            };
            out.push(UnitChange { name: name.clone(), action });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// A unit's file and its drop-ins, in order.
#[derive(Debug, Default)]
struct Unit {
    files: Vec<PathBuf>,
}

impl Unit {
    /// Store paths never change: what leads to the same files is the same.
    fn same_files(&self, other: &Self) -> bool {
        let real = |unit: &Self| -> Vec<Option<PathBuf>> {
            unit.files.iter().map(|file| fs::canonicalize(file).ok()).collect()
        };
        let (ours, theirs) = (real(self), real(other));
        ours == theirs && ours.iter().all(Option::is_some)
    }

    fn text(&self) -> String {
        self.files.iter().map(|file| fs::read_to_string(file).unwrap_or_default() + "\n").collect()
    }
}

fn units(dir: &Path) -> BTreeMap<String, Unit> {
    let mut found: BTreeMap<String, Unit> = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        match name.strip_suffix(".d") {
            Some(unit) if is_unit(unit) && path.is_dir() => {
                let mut parts: Vec<PathBuf> =
                    fs::read_dir(&path).into_iter().flatten().flatten().map(|part| part.path()).collect();
                parts.retain(|part| part.extension().is_some_and(|end| end == "conf"));
                parts.sort();
                found.entry(unit.to_owned()).or_default().files.extend(parts);
            }
            // A unit that is masked leads to /dev/null, and is as good as gone.
            None if is_unit(&name) && path.is_file() => found.entry(name).or_default().files.insert(0, path),
            Some(_) | None => {}
        }
    }
    found.retain(|_, unit| !unit.files.is_empty());
    found
}

/// Whether a name is one of a unit that may run. `foo@.service` is a pattern for units, and runs never.
fn is_unit(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, kind)| KINDS.contains(&kind) && !stem.ends_with('@'))
}

/// What a changed unit asks for.
fn wanted(name: &str, text: &str) -> UnitAction {
    let says = |key: &str, values: [&str; 2]| {
        // As in systemd the last word counts.
        text.lines()
            .filter_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
            .next_back()
            .is_some_and(|value| values.contains(&value.trim()))
    };
    if says("X-RestartIfChanged", ["false", "no"])
        || says("RefuseManualStop", ["true", "yes"])
        || says("X-OnlyManualStart", ["true", "yes"])
    {
        return UnitAction::Keep;
    }
    if says("X-ReloadIfChanged", ["true", "yes"]) || Path::new(name).extension().is_some_and(|kind| kind == "mount") {
        return UnitAction::Reload;
    }
    UnitAction::Restart
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn system(dir: &Path, name: &str, units: &[(&str, &str)]) -> PathBuf {
        let system = dir.join(name);
        let place = system.join("etc/systemd/system");
        for (unit, text) in units {
            let path = place.join(unit);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        system
    }

    #[test]
    fn changed_units_do_what_they_ask_for() {
        let dir = tempfile::tempdir().unwrap();
        let from = system(
            dir.path(),
            "from",
            &[
                ("same.service", "[Service]\nExecStart=/a\n"),
                ("changed.service", "[Service]\nExecStart=/a\n"),
                ("reloads.service", "[Service]\nExecStart=/a\n"),
                ("stays.service", "[Service]\nExecStart=/a\n"),
                ("dropped-in.service", "[Service]\nExecStart=/a\n"),
                ("gone.timer", "[Timer]\n"),
                ("pattern@.service", "1"),
                ("some.target", "1"),
                ("data.mount", "Options=ro"),
            ],
        );
        let to = system(
            dir.path(),
            "to",
            &[
                ("same.service", "[Service]\nExecStart=/a\n"),
                ("changed.service", "[Service]\nExecStart=/b\n"),
                ("reloads.service", "[Unit]\nX-ReloadIfChanged=true\n[Service]\nExecStart=/b\n"),
                ("stays.service", "[Unit]\nX-RestartIfChanged=false\n[Service]\nExecStart=/b\n"),
                ("dropped-in.service", "[Service]\nExecStart=/a\n"),
                ("dropped-in.service.d/overrides.conf", "[Service]\nX=1\n"),
                ("new.service", "[Service]\n"),
                ("pattern@.service", "2"),
                ("some.target", "2"),
                ("data.mount", "Options=rw"),
            ],
        );
        let told: Vec<(String, UnitAction)> =
            changes(Platform::Nixos, &from, &to).into_iter().map(|unit| (unit.name, unit.action)).collect();
        let told: Vec<(&str, UnitAction)> = told.iter().map(|(name, action)| (name.as_str(), *action)).collect();
        assert_eq!(
            told,
            [
                ("changed.service", UnitAction::Restart),
                ("data.mount", UnitAction::Reload),
                ("dropped-in.service", UnitAction::Restart),
                ("gone.timer", UnitAction::Stop),
                ("new.service", UnitAction::Start),
                ("reloads.service", UnitAction::Reload),
                ("stays.service", UnitAction::Keep),
            ]
        );
        assert_eq!(changes(Platform::Nixos, &to, &to), []);
        assert_eq!(changes(Platform::Script, &from, &to), []);
    }

    #[test]
    fn launchd_and_home_have_their_own_places_and_a_masked_unit_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        for (platform, place, unit) in [
            (Platform::NixDarwin, "Library/LaunchDaemons", "org.nixos.agent.plist"),
            (Platform::HomeManager, "home-files/.config/systemd/user", "sync.service"),
        ] {
            let (from, to) = (dir.path().join(format!("{platform:?}-1")), dir.path().join(format!("{platform:?}-2")));
            for (system, text) in [(&from, "1"), (&to, "2")] {
                fs::create_dir_all(system.join(place)).unwrap();
                fs::write(system.join(place).join(unit), text).unwrap();
            }
            let restart = UnitChange { name: unit.into(), action: UnitAction::Restart };
            assert_eq!(changes(platform, &from, &to), [restart]);
            fs::remove_file(to.join(place).join(unit)).unwrap();
            symlink("/dev/null", to.join(place).join(unit)).unwrap();
            assert_eq!(changes(platform, &from, &to), [UnitChange { name: unit.into(), action: UnitAction::Stop }]);
        }
    }
}
