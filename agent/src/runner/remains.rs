//! What is left of a command: its process group, and processes that left it. Finds and ends them.
//!
//! The runner uses it after a stop, the agent after a runner that was killed. Every program of a command carries
//! `NIXFLEET_COMMAND_ID` in its environment; on Linux that finds even those that made sessions of their own.

use std::collections::BTreeSet;
use std::fs;

use nixfleet_protocol::CommandId;
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group, test_kill_process_group};

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
}

/// A group that may be signalled: never ours, never everybody's.
fn group(pid: i32) -> Option<Pid> {
    let pid = Pid::from_raw(pid)?;
    (pid.as_raw_nonzero().get() > 1 && pid != getpgrp()).then_some(pid)
}

/// Sends a signal to a process group. One that is gone already is fine.
pub fn signal_group(pid: i32, force: Force) {
    if let Some(group) = group(pid) {
        let _ = kill_process_group(group, force.signal());
    }
}

/// Whether anybody is left in a process group.
pub fn group_lives(pid: i32) -> bool {
    group(pid).is_some_and(|group| test_kill_process_group(group).is_ok())
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
