//! How a run hears of its hosts and commands: it follows sync's stream and is woken when something of its own changed,
//! at most once for each look; then it takes the state as it is. Commands that are over come by themselves, since the
//! state keeps only the last of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nixfleet_protocol::browser::Change;
use nixfleet_protocol::{HostId, RunId};

use super::run::{Msg, RunRef};
use crate::actors::host::tell;
use crate::actors::owned::OwnedTask;
use crate::actors::sync::{Follower, SyncHandle};

/// How soon sync is asked again when it did not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// A run's ear at sync's stream.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    run: RunId,
    hosts: Arc<BTreeSet<HostId>>,
    sync: SyncHandle,
    /// Its actor was woken, and has not looked since.
    woken: Arc<AtomicBool>,
}

impl Ear {
    pub(super) fn new(run: RunId, hosts: BTreeSet<HostId>, sync: SyncHandle) -> Self {
        Self { run, hosts: Arc::new(hosts), sync, woken: Arc::default() }
    }

    /// Follows from now on, and sees the state as it is; for as long as it takes until sync answers.
    pub(super) fn follow(&self, myself: &RunRef) -> OwnedTask {
        let (ear, myself) = (self.clone(), myself.clone());
        OwnedTask::start(async move {
            let follower = ear.follower(myself.clone());
            loop {
                ear.woken.store(false, Ordering::Release);
                match ear.sync.follow(ear.run.uuid(), follower.clone()).await {
                    Ok(snapshot) => return tell(&myself, Msg::Saw(snapshot)),
                    Err(error) => tracing::debug!(%error, "sync does not answer, asked again"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        })
    }

    /// Sees the state as it is, after a breath. What changes from then on wakes again.
    pub(super) fn look(&self, breath: Duration, myself: &RunRef) -> OwnedTask {
        let (ear, myself) = (self.clone(), myself.clone());
        OwnedTask::start(async move {
            tokio::time::sleep(breath).await;
            loop {
                ear.woken.store(false, Ordering::Release);
                match ear.sync.snapshot().await {
                    Ok(snapshot) => return tell(&myself, Msg::Saw(snapshot)),
                    Err(error) => tracing::debug!(%error, "sync does not answer, asked again"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        })
    }

    pub(super) fn leave(&self) {
        self.sync.unfollow(self.run.uuid());
    }

    fn follower(&self, myself: RunRef) -> Follower {
        let (run, hosts, woken) = (self.run, Arc::clone(&self.hosts), Arc::clone(&self.woken));
        Follower::new(move |change| {
            let of_ours = match change {
                Change::HostAdded(host) | Change::HostUpdated(host) => hosts.contains(&host.id),
                Change::HostRemoved(host) => hosts.contains(host),
                Change::CommandStarted(command) | Change::CommandProgress(command) => command.run_id == Some(run),
                Change::CommandFinished(command) => {
                    if command.run_id == Some(run) {
                        // There are as many of them as the run has cells.
                        tell(&myself, Msg::Over(Arc::clone(command)));
                    }
                    false
                }
                Change::RunStarted(_)
                | Change::RunUpdated(_)
                | Change::RunFinished(_)
                | Change::RemoteUpdated(_)
                | Change::Event(_)
                | Change::ServerUpdated(_) => false,
            };
            if of_ours && !woken.swap(true, Ordering::AcqRel) {
                tell(&myself, Msg::Changed);
            }
        })
    }
}
