//! One command's folder, and what its files say: the only truth about a command after any crash.
//!
//! | `started` | its lock | `result.json` | so |
//! | --- | --- | --- | --- |
//! | no | – | no | it may be started |
//! | yes | held | no | it runs |
//! | any | any | yes | it ended |
//! | yes | free | no | its runner died: interrupted, or the reboot that was asked for |

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::Signal;
use nixfleet_protocol::{BootId, CommandId, Op, Time};
use serde::{Deserialize, Serialize};

use super::retention::Holding;
use crate::durable;
use crate::record::{Order, Outcome, ProgressRecord};

/// The order.
pub const ORDER: &str = "command.json";
/// The runner's claim; locked while it lives.
pub const STARTED: &str = "started";
/// The log, in the record format of the protocol.
pub const LOG: &str = "output.log";
/// How it ended.
pub const RESULT: &str = "result.json";
/// A result that nobody could read, kept for people.
pub const UNREADABLE: &str = "result.unreadable";
/// A wish to stop it. It says all by being there: an empty file can be made on a disk that is full.
pub const STOP: &str = "stop";
/// A wish to stop it without asking, beside the other.
pub const STOP_AT_ONCE: &str = "stop-at-once";
/// How far it is.
pub const PROGRESS: &str = "progress.json";
/// The result was acknowledged.
pub const ACKNOWLEDGED: &str = "acknowledged";
/// The process group of the step that runs.
pub const GROUP: &str = "group";
/// Where the log's hole lies, once it was cut.
pub const HOLE: &str = "hole";

/// What the runner writes into `started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The runner's process.
    pub pid: i32,
    /// The boot it lives in.
    pub boot: Option<BootId>,
    /// When it began.
    pub at: Time,
}

/// How things stand with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Accepted, never begun.
    Startable,
    /// A runner lives.
    Running,
    /// There is a result.
    Ended,
    /// It was begun, nobody runs it, there is no result.
    Abandoned,
}

/// What an abandoned command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It was a restart of the agent, and the agent is another process now: it succeeded.
    Restarted,
    /// It was a reboot, and the host booted: it succeeded.
    Rebooted,
    /// It was a reboot, and the host did not boot yet: it may be going down right now.
    GoingDown,
    /// The host went down under it.
    LostWithBoot,
    /// Its runner was killed.
    RunnerDied,
}

/// Judges an abandoned command. Pure.
pub fn judge(ops: &[Op], begun_in: Option<&BootId>, now_in: Option<&BootId>) -> Abandoned {
    let other_boot = begun_in.is_some() && now_in.is_some() && begun_in != now_in;
    match ops.last() {
        // At the end of other ops it is the agent's, after their result: then they are what did not come to its end.
        Some(Op::Restart) if ops.len() == 1 => Abandoned::Restarted,
        Some(Op::Reboot) if other_boot => Abandoned::Rebooted,
        Some(Op::Reboot) => Abandoned::GoingDown,
        _ if other_boot => Abandoned::LostWithBoot,
        _ => Abandoned::RunnerDied,
    }
}

/// A command's folder.
#[derive(Clone, Debug)]
pub struct Entry {
    dir: PathBuf,
    id: CommandId,
}

impl Entry {
    /// The folder of this command. Reads nothing.
    pub const fn at(dir: PathBuf, id: CommandId) -> Self {
        Self { dir, id }
    }

    /// The command's id.
    pub const fn id(&self) -> CommandId {
        self.id
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The order, when it can be read.
    pub fn order(&self) -> io::Result<Option<Order>> {
        durable::read_json(&self.file(ORDER))
    }

    /// The result, when there is one.
    pub fn outcome(&self) -> io::Result<Option<Outcome>> {
        durable::read_json(&self.file(RESULT))
    }

    /// The runner's claim.
    pub fn claim(&self) -> io::Result<Option<Claim>> {
        durable::read_json(&self.file(STARTED))
    }

    /// How far it is.
    pub fn progress(&self) -> io::Result<Option<ProgressRecord>> {
        durable::read_json(&self.file(PROGRESS))
    }

    /// How things stand. The result is looked for last again: a runner writes it and then lets go of its lock.
    pub fn standing(&self) -> io::Result<Standing> {
        if self.file(RESULT).exists() {
            return Ok(Standing::Ended);
        }
        if !self.file(STARTED).exists() {
            return Ok(Standing::Startable);
        }
        if durable::is_locked(&self.file(STARTED))? {
            return Ok(Standing::Running);
        }
        Ok(if self.file(RESULT).exists() { Standing::Ended } else { Standing::Abandoned })
    }

    /// Leaves the wish to stop, on disk: it holds for a runner that has not begun yet, too.
    pub fn ask_to_stop(&self, signal: Signal) -> io::Result<()> {
        let make = |name| OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(self.file(name));
        match signal {
            Signal::Term => {}
            Signal::Kill => drop(make(STOP_AT_ONCE)?),
        }
        drop(make(STOP)?);
        durable::sync_dir(&self.dir)
    }

    /// The wish to stop, when there is one.
    pub fn asked_to_stop(&self) -> Option<Signal> {
        if self.file(STOP_AT_ONCE).exists() {
            return Some(Signal::Kill);
        }
        self.file(STOP).exists().then_some(Signal::Term)
    }

    /// Whether the dashboard has the result.
    pub fn is_acknowledged(&self) -> bool {
        self.file(ACKNOWLEDGED).exists()
    }

    /// The dashboard has the result. A crash may lose this, and then the result is sent once more.
    pub fn acknowledge(&self, at: Time) -> io::Result<()> {
        durable::write_lightly(&self.file(ACKNOWLEDGED), at.millis().to_string().as_bytes())
    }

    /// What the folder holds, for the decision whether it may go; `None` while the command has no result.
    pub fn holding(&self) -> io::Result<Option<Holding>> {
        if !self.file(RESULT).exists() {
            return Ok(None);
        }
        let acknowledged_at = fs::read_to_string(self.file(ACKNOWLEDGED))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map(Time::from_millis);
        // Blocks, not length: a log that was cut has a hole.
        let bytes = fs::metadata(self.file(LOG)).map_or(0, |log| log.blocks() * 512);
        Ok(Some(Holding { id: self.id, acknowledged_at, bytes }))
    }

    /// How long the log is.
    pub fn log_length(&self) -> u64 {
        fs::metadata(self.file(LOG)).map_or(0, |log| log.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_command_is_judged_by_its_op_and_the_boot() {
        let boot = |name: &str| Some(BootId(name.into()));
        let (a, b) = (boot("a"), boot("b"));
        for (ops, begun, now, judged) in [
            (&[Op::Switch][..], &a, &a, Abandoned::RunnerDied),
            (&[Op::Switch], &a, &b, Abandoned::LostWithBoot),
            (&[Op::Switch], &None, &b, Abandoned::RunnerDied),
            (&[Op::Reboot], &a, &b, Abandoned::Rebooted),
            (&[Op::Reboot], &a, &a, Abandoned::GoingDown),
            (&[Op::Reboot], &a, &None, Abandoned::GoingDown),
            (&[Op::Restart], &a, &a, Abandoned::Restarted),
            (&[Op::Restart], &a, &b, Abandoned::Restarted),
            (&[Op::Pull, Op::Switch], &a, &b, Abandoned::LostWithBoot),
            (&[Op::ForceRebuild, Op::Restart], &a, &a, Abandoned::RunnerDied),
            (&[Op::ForceRebuild, Op::Restart], &a, &b, Abandoned::LostWithBoot),
            (&[], &a, &a, Abandoned::RunnerDied),
        ] {
            assert_eq!(judge(ops, begun.as_ref(), now.as_ref()), judged, "{ops:?} {begun:?} {now:?}");
        }
    }
}
