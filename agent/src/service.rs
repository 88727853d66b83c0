//! Who starts us again, and whether another agent stands where we came from.
//!
//! After a restart that was asked for, or a switch that brought another agent, this process must make room: under
//! a service manager by the exit code 101, without one by executing the binary anew.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use nixfleet_protocol::LockHash;

use crate::facts::hash::sha256;

/// The exit code that asks the service manager for a new process.
pub const RESTART: u8 = 101;

/// Whether a service manager watches this process. The variables alone prove nothing: every process of a session
/// that systemd started inherits `INVOCATION_ID`.
pub fn is_managed(variables: &BTreeMap<String, String>, pid: u32, parent: &str) -> bool {
    let says = |name: &str| variables.get(name).map(String::as_str);
    if let Some(watched) = says("SYSTEMD_EXEC_PID") {
        return watched == pid.to_string();
    }
    let systemd = says("INVOCATION_ID").is_some() && parent == "systemd";
    let launchd = says("XPC_SERVICE_NAME").is_some_and(|name| name != "0") && parent == "launchd";
    systemd || launchd
}

/// The name of our parent process.
pub fn parent() -> String {
    let Some(parent) = rustix::process::getppid() else { return String::new() };
    let number = parent.as_raw_nonzero().get();
    match fs::read_to_string(format!("/proc/{number}/comm")) {
        Ok(name) => name.trim().to_owned(),
        // launchd is the first process of a Mac, which has no /proc.
        Err(_) if number == 1 && cfg!(target_os = "macos") => "launchd".into(),
        Err(_) => String::new(),
    }
}

/// Executes our binary anew in this process, with the same arguments and environment. Returns only when it can't.
pub fn execute_anew(program: &Path) -> std::io::Error {
    std::process::Command::new(program).args(std::env::args_os().skip(1)).exec()
}

/// Where agents come from on this host, and which one was there when we started.
#[derive(Debug)]
pub struct Origin {
    places: Vec<(PathBuf, Option<Program>)>,
}

/// A program as it stands at a place: the file behind all links, what tells it from another one without reading it,
/// and what it holds.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    stamp: (u64, u64, i64, i64),
    hash: Option<LockHash>,
}

impl Program {
    fn at(place: &Path) -> Option<Self> {
        let (path, stamp) = Self::look(place)?;
        let hash = sha256(&path).ok();
        Some(Self { path, stamp, hash })
    }

    fn look(place: &Path) -> Option<(PathBuf, (u64, u64, i64, i64))> {
        let path = fs::canonicalize(place).ok()?;
        let meta = fs::metadata(&path).ok()?;
        Some((path, (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec())))
    }

    /// Whether another one stands there now. The same bytes at the same path are the same agent, copied once more.
    fn was_replaced(&self, place: &Path) -> bool {
        let Some((path, stamp)) = Self::look(place) else { return false };
        if path != self.path {
            return true;
        }
        stamp != self.stamp && sha256(&path).ok() != self.hash
    }
}

impl Origin {
    /// Remembers what stands at these places now.
    pub fn of(places: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            places: places
                .into_iter()
                .map(|place| (Program::at(&place), place))
                .map(|(now, place)| (place, now))
                .collect(),
        }
    }

    /// Whether one of them holds another agent now. A place that is empty says nothing.
    pub fn has_changed(&self) -> bool {
        self.places.iter().any(|(place, then)| then.as_ref().is_some_and(|then| then.was_replaced(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_is_known_by_more_than_an_inherited_variable() {
        for (pairs, parent, managed) in [
            (&[][..], "systemd", false),
            (&[("INVOCATION_ID", "x")], "systemd", true),
            (&[("INVOCATION_ID", "x")], "bash", false),
            (&[("INVOCATION_ID", "x"), ("SYSTEMD_EXEC_PID", "42")], "systemd", true),
            (&[("INVOCATION_ID", "x"), ("SYSTEMD_EXEC_PID", "7")], "systemd", false),
            (&[("XPC_SERVICE_NAME", "org.nixfleet.agent")], "launchd", true),
            (&[("XPC_SERVICE_NAME", "0")], "launchd", false),
        ] {
            let variables = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(is_managed(&variables, 42, parent), managed, "{pairs:?} {parent}");
        }
    }

    #[test]
    fn another_file_at_the_same_place_is_another_agent() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("agent");
        fs::write(&place, "1").unwrap();
        let origin = Origin::of([place.clone(), dir.path().join("none")]);
        assert!(!origin.has_changed());
        fs::write(dir.path().join("new"), "1").unwrap();
        fs::rename(dir.path().join("new"), &place).unwrap();
        assert!(!origin.has_changed(), "the same one, copied once more");
        fs::write(dir.path().join("new"), "2").unwrap();
        fs::rename(dir.path().join("new"), &place).unwrap();
        assert!(origin.has_changed());
    }
}
