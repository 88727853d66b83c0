//! The runner: the agent's binary in another mode, in a session of its own, which carries one command out.
//!
//! ```text
//! agent ──starts──→ runner ──pipes── the command's process group
//!   ╎                  └─→ output.log, progress.json, deployed.json, result.json
//!   └╌╌╌ follows the files; may die, be replaced, come back ╌╌╌┘
//! ```
//!
//! It asks nobody: the order in its folder is complete. It claims the folder by creating `started` locked, so a
//! command is begun at most once, and holds the lock while it lives. `result.json` is its last act. If it is
//! killed, the free lock without a result says so.

pub mod clone;
pub mod closures;
pub mod execution;
pub mod garbage;
pub mod handed_over;
pub mod lines;
pub mod log;
pub mod masked;
pub mod nix;
pub mod nix_log;
pub mod nix_reports;
pub mod own;
pub mod process;
pub mod remains;
pub mod stopping;
pub mod suite;
pub mod units;

use std::io;
use std::path::Path;
use std::time::Duration;

use nixfleet_protocol::Time;
use nixfleet_protocol::text::plain;

use crate::durable;
use crate::facts::{git, hash, lock_local, system};
use crate::journal::entry::{Claim, Entry, ORDER, RESULT, STARTED};
use crate::ops::deployed::DeployedRecord;
use crate::record::{Order, Outcome, Stage};
use execution::{Execution, Verdict};
use stopping::Wish;

/// How often what can't be written is tried again, as long as we live: a full disk may be emptied after days, and
/// whoever gives up leaves a command of which nobody knows how it ended.
const RETRY: Duration = Duration::from_secs(5);

/// The runner could not do its work. It ends without a result; the agent then calls the command interrupted.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// There is no order, or it can't be read.
    #[error("the order in {0} can't be read")]
    NoOrder(String, #[source] Option<io::Error>),
    /// The folder can't be worked in.
    #[error("the folder {0} can't be used")]
    Folder(String, #[source] io::Error),
}

/// Carries out the order of a folder. A folder that somebody else has claimed is left alone; but where its runner was
/// root and was killed, the agent asks for another one, which ends what the agent itself may not end.
pub async fn run(dir: &Path) -> Result<(), RunnerError> {
    // Fails only for a process that leads a group already, e.g. one that a person started from a shell.
    let _ = rustix::process::setsid();
    remains::adopt_orphans();
    let name = || dir.display().to_string();
    let order: Order = durable::read_json(&dir.join(ORDER))
        .map_err(|error| RunnerError::NoOrder(name(), Some(error)))?
        .ok_or_else(|| RunnerError::NoOrder(name(), None))?;
    let entry = Entry::at(dir.to_owned(), order.id);
    let wish = Wish::listening(&entry).map_err(|error| RunnerError::Folder(name(), error))?;
    let started_at = Time::now();
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let claim = Claim { pid, boot: system::boot_id(&order.host.root), at: started_at };
    let bytes = serde_json::to_vec(&claim).map_err(|error| RunnerError::Folder(name(), error.into()))?;
    let claimed = durable::claim(&entry.file(STARTED), &bytes).map_err(|error| RunnerError::Folder(name(), error))?;
    let root = rustix::process::geteuid().is_root();
    let Some(_held_while_we_live) = claimed else {
        if root {
            end_what_is_left(&entry);
        }
        return Ok(());
    };
    // The agent's own user can't remove what earlier runners made as root. Tried again by the next one.
    let swept = if root { crate::journal::sweep_as_root(&order.host.state_dir) } else { Ok(()) };
    let created = until_done(dir, || match log::LogFile::create(dir, log::BOUNDS) {
        // Nothing runs yet, so it may be stopped; and what is no matter of room will not be better later.
        Err(error) if wish.asked().is_some() || error.kind() != io::ErrorKind::StorageFull => Ok(Err(error)),
        created => created.map(Ok),
    });
    let (verdict, output_end, lost) = match created.await.map_err(|error| RunnerError::Folder(name(), error))? {
        Ok(mut log) => {
            if let Err(error) = swept {
                log.note(&format!("what earlier commands left can't be removed yet: {error}"));
            }
            let (verdict, log) = Execution::new(&order, &entry, wish, log).carry_out().await;
            let (output_end, lost) = log.finish();
            (verdict, output_end, lost)
        }
        Err(_) if wish.asked().is_some() => (Verdict::stopped(), 0, None),
        Err(error) => {
            let message = format!("the command was not begun: its log can't be made: {error}");
            (Verdict::failed(1, Stage::Interrupted, message), 0, None)
        }
    };
    let mut outcome = outcome(&order, started_at, output_end, verdict, lost);
    outcome.lock_local = lock_local::of(&order.host).await;
    until_done(dir, || durable::write_json(&entry.file(RESULT), &outcome))
        .await
        .map_err(|error| RunnerError::Folder(name(), error))
}

/// Ends the processes of a command whose runner was killed. What a command left running that ended is left on purpose.
fn end_what_is_left(entry: &Entry) {
    let interrupted = matches!(entry.outcome(), Ok(Some(outcome)) if outcome.stage == Some(Stage::Interrupted));
    if interrupted && matches!(durable::is_locked(&entry.file(STARTED)), Ok(false)) {
        remains::kill_all(entry.id(), None);
    }
}

/// The verdict with the facts of this moment.
fn outcome(order: &Order, started_at: Time, output_end: u64, verdict: Verdict, lost: Option<io::Error>) -> Outcome {
    let mut message = plain(&verdict.message);
    if let Some(error) = lost {
        message = format!("{message} (a part of the output could not be kept: {error})");
    }
    Outcome {
        exit_code: verdict.exit_code,
        stage: verdict.stage,
        message,
        started_at: Some(started_at),
        finished_at: Time::now(),
        output_end,
        details: verdict.details,
        ..facts_now(order)
    }
}

/// An outcome that has nothing but what the host looks like now.
pub fn facts_now(order: &Order) -> Outcome {
    let deployed = DeployedRecord::load(&order.host.state_dir).unwrap_or_default();
    Outcome {
        exit_code: 1,
        stage: Some(Stage::Interrupted),
        message: String::new(),
        started_at: None,
        finished_at: Time::now(),
        output_end: 0,
        generation: git::head(&order.host.checkout),
        lock_hash: hash::sha256(&order.host.checkout.join("flake.lock")).ok(),
        lock_local: None,
        deployed: deployed.current().cloned(),
        system_path: system::running_system(&order.host),
        details: None,
    }
}

/// Does something with a command's folder until it works. Only a folder that is gone is given up.
async fn until_done<T>(dir: &Path, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Ok(done) => return Ok(done),
            Err(error) if !dir.exists() => return Err(error),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_is_full_for_days_costs_no_result() {
        let dir = tempfile::tempdir().unwrap();
        let begun = tokio::time::Instant::now();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let three_days = Duration::from_hours(72);
        let written = || if begun.elapsed() > three_days { Ok(()) } else { Err(full()) };
        until_done(dir.path(), written).await.unwrap();
        assert!(begun.elapsed() > three_days);
        let gone = dir.path().join("gone");
        assert!(
            until_done::<()>(&gone, || Err(full())).await.is_err(),
            "without a folder there is nothing to wait for"
        );
    }
}
