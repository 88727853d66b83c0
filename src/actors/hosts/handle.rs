//! The hosts, for the rest of the daemon: each wish is one message to whoever sits at their place, and its answer is
//! waited for no longer than this file says. No answer, because the actor is being started again or is slow, is an
//! answer too: whether the wish was carried out all the same is then told by the store, by the id of the command.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::Refusal;
use nixfleet_model::remote::RemoteState;
use nixfleet_protocol::{CommandId, HostId, RunId, api};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Created, Health, Msg};
use crate::actors::host::log::LogEnd;
use crate::actors::host::{Act, ActRefused, Submit, Submitted, WISH};
use crate::actors::slot::{Slot, Unanswered};

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(3);

/// The hosts, for those who use them.
#[derive(Clone, Debug)]
pub struct HostsHandle {
    slot: Slot<Msg>,
}

impl HostsHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// An op on a host.
    pub async fn submit(&self, host: HostId, request: Submit) -> Submitted {
        let id = request.id.unwrap_or_else(|| CommandId::from_uuid(Uuid::now_v7()));
        let asked = self.slot.call(|reply| Msg::Submit { host, id, request: Box::new(request), reply }, WISH).await;
        asked.unwrap_or_else(|error| match error {
            Unanswered::Gone(_) => Submitted::Unavailable(error.to_string()),
            Unanswered::Late(..) => Submitted::late(id),
        })
    }

    /// Takes hosts for a run: all of them, or none. Answers those that can't be had, and why.
    pub async fn reserve(&self, run: RunId, hosts: Vec<HostId>) -> Result<Vec<(HostId, Refusal)>, Unanswered> {
        self.slot.call(|reply| Msg::Reserve { run, hosts, reply }, WISH).await
    }

    /// Says what a run's record says: these hosts are its own.
    pub fn own(&self, run: RunId, hosts: Vec<HostId>) -> bool {
        self.slot.cast(Msg::Own { run, hosts })
    }

    /// A run is over.
    pub fn release(&self, run: RunId) -> bool {
        self.slot.cast(Msg::Release(run))
    }

    /// The runs that there are, and no others.
    pub fn open_runs(&self, runs: BTreeSet<RunId>) -> bool {
        self.slot.cast(Msg::OpenRuns(runs))
    }

    /// Something of a running command.
    pub async fn act(
        &self,
        host: HostId,
        command: CommandId,
        action: Act,
        actor: String,
    ) -> Result<api::Command, ActRefused> {
        let asked = self.slot.call(|reply| Msg::Act { command, host, action, actor, reply }, WISH).await;
        asked.unwrap_or_else(|error| Err(ActRefused::Unavailable(error.to_string())))
    }

    /// How far a command's log has come, while it grows.
    pub async fn follow_log(
        &self,
        host: HostId,
        command: CommandId,
    ) -> Result<Option<watch::Receiver<LogEnd>>, Unanswered> {
        self.slot.call(|reply| Msg::FollowLog { host, command, reply }, LOOK).await
    }

    /// Makes a host of which nothing but its name is known.
    pub async fn create(&self, host: HostId, actor: String) -> Result<Created, Unanswered> {
        self.slot.call(|reply| Msg::Create { host, actor, reply }, WISH).await
    }

    /// Tells all hosts what the remote is now.
    pub fn remote_changed(&self, remote: Arc<RemoteState>) -> bool {
        self.slot.cast(Msg::RemoteChanged(remote))
    }

    /// Has everything published again.
    pub fn republish(&self) -> bool {
        self.slot.cast(Msg::Republish)
    }

    /// How the hosts are; answers within little more than a second.
    pub async fn health(&self) -> Result<Health, Unanswered> {
        self.slot.call(|reply| Msg::Health { reply }, LOOK).await
    }

    /// Snapshots of all hosts' actors.
    pub async fn inspect_all(&self) -> Result<serde_json::Value, Unanswered> {
        self.slot.call(|reply| Msg::InspectAll { reply }, LOOK).await
    }
}
