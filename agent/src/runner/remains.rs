//! What is left of a command: its process group, and processes that left it. Finds and ends them.
//!
//! The runner uses it after a stop, the agent after a runner that was killed. Three ways lead to a process:
//!
//! - the process group of the step that runs;
//! - `NIXFLEET_COMMAND_ID`, which every program of a command carries in its environment: it finds those that made
//!   sessions of their own, and it is all that the agent has when the runner is dead;
//! - the family: on Linux what a command orphans becomes a child of its runner, so even a daemon that left the group
//!   and was given a clean environment (as `sudo` gives one) is found while the runner lives.
//!
//! On macOS only the group is left of these: what makes a session of its own there outlives a stop.

use std::collections::BTreeSet;
use std::fs;

use nixfleet_protocol::CommandId;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, kill_process, kill_process_group, test_kill_process, test_kill_process_group,
    waitpid,
};

/// The variable that names the command.
pub const VARIABLE: &str = "NIXFLEET_COMMAND_ID";

/// How processes are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// SIGTERM.
    Ask,
    /// SIGKILL.
    Kill,
}

impl Force {
    const fn signal(self) -> Signal {
        match self {
            Self::Ask => Signal::TERM,
            Self::Kill => Signal::KILL,
        }
    }

    /// The signal's name, as `kill -s` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask => "TERM",
            Self::Kill => "KILL",
        }
    }
}

/// A group that may be signalled: never ours, never everybody's.
fn group(pid: i32) -> Option<Pid> {
    let pid = Pid::from_raw(pid)?;
    (pid.as_raw_nonzero().get() > 1 && pid != getpgrp()).then_some(pid)
}

/// Whom a signal reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At least one process.
    Somebody,
    /// Those who are there belong to another user, or nobody is.
    Nobody,
}

/// Sends a signal to a process group. One that is gone already is fine.
pub fn signal_group(pid: i32, force: Force) -> Reach {
    let sent = group(pid).is_some_and(|group| kill_process_group(group, force.signal()).is_ok());
    if sent { Reach::Somebody } else { Reach::Nobody }
}

/// Whether anybody is left in a process group, whoever that is.
pub fn group_lives(pid: i32) -> bool {
    group(pid).is_some_and(|group| matches!(test_kill_process_group(group), Ok(()) | Err(Errno::PERM)))
}

/// What is left of a command and belongs to another user: a signal of ours does not reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// In the command's process group.
    pub in_group: bool,
    /// Descendants of ours outside of it.
    pub others: BTreeSet<i32>,
}

impl Beyond {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        !self.in_group && self.others.is_empty()
    }
}

/// Looks for what belongs to another user.
pub fn beyond(pid: i32) -> Beyond {
    let processes = processes();
    let is_beyond = |pid: i32| Pid::from_raw(pid).is_some_and(|pid| matches!(test_kill_process(pid), Err(Errno::PERM)));
    // Where processes can't be listed, the group alone tells: and only when nobody of it is ours.
    let in_group = group(pid).is_some_and(|group| matches!(test_kill_process_group(group), Err(Errno::PERM)))
        || processes.iter().any(|process| process.group == pid && is_beyond(process.pid));
    let is_in_group = |other: i32| processes.iter().any(|process| process.pid == other && process.group == pid);
    let family = descendants(&parents_of(&processes), i32::try_from(std::process::id()).unwrap_or_default());
    let others = family.into_iter().filter(|other| !is_in_group(*other) && is_beyond(*other)).collect();
    Beyond { in_group, others }
}

/// Makes this process the parent of everything that its children leave behind. Only the runner asks for it.
#[cfg(target_os = "linux")]
pub fn adopt_orphans() {
    // Where the kernel refuses, the other two ways are left.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Makes this process the parent of everything that its children leave behind: not on this system.
#[cfg(not(target_os = "linux"))]
pub const fn adopt_orphans() {}

/// Lets go of orphans that ended: nobody else waits for them. `group` is one whose leader was waited for already.
pub fn reap(group: i32) {
    let Some(group) = self::group(group) else { return };
    while let Ok(Some(_)) = rustix::process::waitpgid(group, WaitOptions::NOHANG) {}
}

/// Kills everything that descends from this process, and waits for it. Given the runner's own children, this ends
/// every process of its command.
pub fn kill_family() {
    // What forks while we look is found the next time; what comes from a killed one becomes our child.
    for _ in 0..20 {
        let family = descendants(&parents_of(&processes()), i32::try_from(std::process::id()).unwrap_or_default());
        if family.is_empty() {
            return;
        }
        for pid in family.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A living process.
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

fn parents_of(processes: &[Process]) -> Vec<(i32, i32)> {
    processes.iter().map(|process| (process.pid, process.parent)).collect()
}

/// All living processes, where they can be listed.
fn processes() -> Vec<Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| {
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            // `pid (name) state parent group …`, and the name may hold anything.
            let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
            let state = rest.next()?;
            let parent = rest.next()?.parse().ok()?;
            let group = rest.next()?.parse().ok()?;
            (state != "Z").then_some(Process { pid, parent, group })
        })
        .collect()
}

/// All that descend from a process, in a list of processes with their parents. Pure.
fn descendants(parents: &[(i32, i32)], of: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(pid, parent)| *pid != of && (*parent == of || found.contains(parent)))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

/// Kills a command's group, and every process that carries its id.
pub fn kill_all(id: CommandId, group: Option<i32>) {
    if let Some(group) = group {
        signal_group(group, Force::Kill);
    }
    // Twice: what was forked while we looked is found the second time.
    for _ in 0..2 {
        for pid in carriers(id) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The processes that carry a command's id in their environment; ours does not.
pub fn carriers(id: CommandId) -> BTreeSet<i32> {
    let wanted = format!("{VARIABLE}={id}");
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| {
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(process.path().join("environ")).ok()?;
            let carries = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
            (pid != own && carries).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_everybody_who_descends() {
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 4), (7, 7)];
        assert_eq!(descendants(&parents, 2).into_iter().collect::<Vec<_>>(), [3, 4, 6]);
        assert_eq!(descendants(&parents, 9), BTreeSet::new());
    }
}
