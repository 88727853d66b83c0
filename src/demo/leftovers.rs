//! What outlives its agent on purpose: a running switch. The product wants it so; the demo, at its end, does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Kills everything that works in the folder, until nothing does.
pub(super) async fn sweep(dir: &Path) {
    for _ in 0..40 {
        let found = inhabitants(dir);
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

/// Processes that work in the folder or were started with a path in it, and what these started; not ourselves.
fn inhabitants(dir: &Path) -> BTreeSet<u32> {
    let processes = if Path::new("/proc/self/stat").exists() { from_proc(dir) } else { from_ps(dir) };
    let own = std::process::id();
    let mut found: BTreeSet<u32> =
        processes.iter().filter(|process| process.inside && process.pid != own).map(|process| process.pid).collect();
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
    inside: bool,
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
            Some(Process { pid, parent, inside: is_runner || is_command })
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
            Some(Process { pid, parent, inside })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_works_in_the_folder_is_killed_and_a_persons_shell_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        let sleep = |environment: &str| {
            Command::new("sh").args(["-c", "sleep 60 & wait"]).current_dir(&path).env(environment, "x").spawn().unwrap()
        };
        let (mut command, mut person) = (sleep("NIXFLEET_HOST"), sleep("SOMETHING_ELSE"));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let reaper = std::thread::spawn(move || command.wait().unwrap());
        sweep(&path).await;
        assert!(!reaper.join().unwrap().success());
        assert!(person.try_wait().unwrap().is_none());
        person.kill().unwrap();
        person.wait().unwrap();
        // Its child sleeps on for a while; it holds nothing.
    }
}
