//! What is left in the demo's folder. A running switch outlives its agent: the product wants it so; the demo, at
//! its end, does not. And where an earlier demo in the folder was killed, its daemon and agents still run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Commands that run, and what they started.
    Commands,
    /// A daemon and agents that no demo watches over.
    Orphans,
}

/// Kills what is left in the folder, until nothing is.
pub(super) async fn sweep(dir: &Path, left: Left) {
    for _ in 0..40 {
        let found = inhabitants(dir, left);
        if found.is_empty() {
            return;
        }
        for pid in found.into_iter().filter_map(|pid| i32::try_from(pid).ok()).filter_map(Pid::from_raw) {
            if let Err(error) = kill_process(pid, Signal::KILL) {
                tracing::debug!(%error, ?pid, "gone meanwhile: as good");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tracing::warn!(dir = %dir.display(), "something still works here");
}

/// Such processes, and for commands what these started; not ourselves.
fn inhabitants(dir: &Path, left: Left) -> BTreeSet<u32> {
    let processes = if Path::new("/proc/self/stat").exists() { from_proc(dir) } else { from_ps(dir) };
    let own = std::process::id();
    let mut found: BTreeSet<u32> = processes
        .iter()
        .filter(|process| process.left == Some(left) && process.pid != own)
        .map(|process| process.pid)
        .collect();
    if left == Left::Orphans {
        return found;
    }
    loop {
        let more: Vec<u32> = processes
            .iter()
            .filter(|process| found.contains(&process.parent) && !found.contains(&process.pid) && process.pid != own)
            .map(|process| process.pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

struct Process {
    pid: u32,
    parent: u32,
    left: Option<Left>,
}

fn from_proc(dir: &Path) -> Vec<Process> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // "pid (name) state parent …"; the name may hold anything.
            let mut fields = stat.rsplit_once(") ")?.1.split(' ');
            if fields.next()? == "Z" {
                return None;
            }
            let parent = fields.next()?.parse().ok()?;
            let works_here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
            // A program of the demo has the folder in its arguments; a person's editor or shell may, too.
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let is_runner = contains(&arguments, b"run-command") && contains(&arguments, needle);
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let is_command = works_here && contains(&environment, b"NIXFLEET_HOST=");
            let is_service = !is_runner
                && [&b"NIXFLEET_DATA_DIR="[..], b"NIXFLEET_STATE_DIR="]
                    .iter()
                    .any(|name| contains(&environment, &[name, needle, b"/"].concat()));
            let left = if is_runner || is_command { Some(Left::Commands) } else { is_service.then_some(Left::Orphans) };
            Some(Process { pid, parent, left })
        })
        .collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn from_ps(dir: &Path) -> Vec<Process> {
    let Ok(output) = Command::new("ps").args(["-axo", "pid=,ppid=,args="]).output() else { return Vec::new() };
    let needle = dir.to_string_lossy().into_owned();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (pid, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let inside = line.contains("run-command") && line.contains(&needle);
            Some(Process { pid, parent, left: inside.then_some(Left::Commands) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[tokio::test]
    async fn what_works_in_the_folder_is_killed_and_a_persons_shell_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        // It tells when its child is there: one that is just being made could slip through the sweep.
        let sleep = |environment: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 60 & echo there; wait"]).current_dir(&path).env(environment, "x");
            let mut child = command.stdout(std::process::Stdio::piped()).process_group(0).spawn().unwrap();
            let mut there = [0; 6];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut there).unwrap();
            child
        };
        let (mut command, mut person) = (sleep("NIXFLEET_HOST"), sleep("SOMETHING_ELSE"));
        let reaper = std::thread::spawn(move || command.wait().unwrap());
        sweep(&path, Left::Commands).await;
        assert!(!reaper.join().unwrap().success());
        assert!(person.try_wait().unwrap().is_none());
        let group = Pid::from_raw(i32::try_from(person.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        person.wait().unwrap();
    }
}
