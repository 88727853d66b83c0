//! How hosts' actors that died come back, and how all of them are.

use std::time::Duration;

use futures_util::future::join_all;
use nixfleet_model::command::Command;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host::HostRecord;
use nixfleet_model::host_core::{self, Core};
use nixfleet_model::restart::Verdict;
use nixfleet_protocol::HostId;
use ractor::rpc::CallResult;
use ractor::{ActorId, ActorRef, RpcReplyPort};

use super::{Health, Msg, State};
use crate::actors::host::{self, HostRef, REMOVED, tell};
use crate::actors::links::link::close;
use crate::actors::slot::answer;
use crate::actors::store::StoreError;

/// How soon a store that can't be read is asked again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How long a host's actor may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn died(&mut self, myself: &ActorRef<Msg>, actor: ActorId, why: &str) {
        let Some(host) = self.by_actor.remove(&actor) else { return };
        if why == REMOVED {
            return self.gone(&host);
        }
        self.failed(myself, &host, why);
    }

    pub(super) fn failed(&mut self, myself: &ActorRef<Msg>, host: &HostId, why: &str) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        entry.actor = None;
        if let Some(link) = entry.link.take() {
            link.close(close::RESTART, "the host's actor is being restarted, come back");
        }
        let again = match entry.restarts.died(self.world.clock.now()) {
            Verdict::After(wait) => {
                tracing::warn!(%host, why, ?wait, "host actor died, is started again");
                wait
            }
            Verdict::Quarantine { retry_after } => {
                tracing::error!(%host, why, ?retry_after, "host actor keeps dying, is quarantined");
                entry.broken = Some(why.to_owned());
                // Shown with what is on disk of it.
                self.load(myself, host.clone());
                retry_after
            }
        };
        let host = host.clone();
        myself.send_after(again, move || Msg::Revive { host });
    }

    pub(super) fn gone(&mut self, host: &HostId) {
        if let Some(entry) = self.hosts.remove(host)
            && let Some(link) = entry.link
        {
            link.close(close::NOT_ALLOWED, "the host was removed");
        }
    }

    pub(super) fn broken(&self) -> Vec<HostId> {
        self.hosts.iter().filter(|(_, entry)| entry.broken.is_some()).map(|(host, _)| host.clone()).collect()
    }

    /// Reads a host from the store; what is done with it is decided when it is here.
    pub(super) fn load(&self, myself: &ActorRef<Msg>, host: HostId) {
        let (store, myself) = (self.world.store.clone(), myself.clone());
        tokio::spawn(async move {
            // What the one before had under way comes to rest first, or it would be written over what is read now.
            let loaded = match store.settled().await {
                Ok(()) => store.load_host(host.clone()).await,
                Err(error) => Err(error),
            };
            tell(&myself, Msg::Loaded { host, loaded });
        });
    }

    pub(super) async fn loaded(
        &mut self,
        myself: &ActorRef<Msg>,
        host: HostId,
        loaded: Result<Option<(HostRecord, Vec<Command>)>, StoreError>,
    ) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        if entry.actor.is_some() {
            return;
        }
        match loaded {
            Ok(Some((record, open))) => match entry.broken.clone() {
                Some(why) if !std::mem::take(&mut entry.due) => self.show_broken(record, open, &why),
                Some(_) | None => self.spawn(myself, record, open).await,
            },
            // It died before it was ever on disk; its agent makes it anew.
            Ok(None) => self.gone(&host),
            Err(error) => {
                tracing::warn!(%host, %error, "host can't be read, trying again");
                myself.send_after(READ_AGAIN, move || Msg::Revive { host });
            }
        }
    }

    /// Ends commands whose host is not there.
    pub(super) fn abandon(&self, commands: impl Iterator<Item = Command>) {
        let now = self.world.clock.now();
        for command in commands {
            tracing::warn!(id = %command.id, op = %command.op, host = ?command.host, "nobody owns this command: orphaned");
            let batch = host::batch_of(host_core::abandon(command, now));
            let store = self.world.store.clone();
            tokio::spawn(async move {
                // What is not written now is found again at the next start.
                if let Err(error) = store.commit_once(batch).await {
                    tracing::warn!(%error, "a command that nobody owns can't be ended");
                }
            });
        }
    }

    fn show_broken(&self, record: HostRecord, open: Vec<Command>, why: &str) {
        let now = self.world.clock.now();
        let (core, _) = Core::revive(self.world.settings.clone(), record, open, self.remote.clone(), now);
        (self.world.publish)(vec![StateChange::Host(core.view(Some(why), now).into())]);
    }

    pub(super) fn health(&self, reply: RpcReplyPort<Health>) {
        let mut health = Health { hosts: self.hosts.len(), ..Health::default() };
        let mut asked = Vec::new();
        for (host, entry) in &self.hosts {
            match (&entry.broken, &entry.actor) {
                (Some(why), _) => health.quarantined.push((host.clone(), why.clone())),
                (None, None) => health.silent.push(host.clone()),
                (None, Some(actor)) => asked.push((host.clone(), actor.clone())),
            }
        }
        tokio::spawn(async move {
            let answers = join_all(asked.into_iter().map(snapshot)).await;
            health.silent.extend(answers.into_iter().filter(|(_, shot)| shot.is_null()).map(|(host, _)| host));
            health.silent.sort();
            answer(reply, health);
        });
    }

    pub(super) fn inspect_all(&self, reply: RpcReplyPort<serde_json::Value>) {
        let actors = self.hosts.iter().filter_map(|(host, entry)| Some((host.clone(), entry.actor.clone()?)));
        let asked: Vec<_> = actors.map(snapshot).collect();
        tokio::spawn(async move {
            let shots = join_all(asked).await;
            answer(reply, shots.into_iter().map(|(host, shot)| (host.to_string(), shot)).collect());
        });
    }

    pub(super) fn inspect(&self) -> serde_json::Value {
        serde_json::json!({
            "hosts": self.hosts.len(),
            "linked": self.hosts.values().filter(|entry| entry.link.is_some()).count(),
            "restarting": self.hosts.values().filter(|entry| entry.actor.is_none()).count(),
            "broken": self.broken(),
        })
    }
}

/// What an actor says of itself within a second; null when it says nothing.
async fn snapshot((host, actor): (HostId, HostRef)) -> (HostId, serde_json::Value) {
    match actor.call(|reply| host::Msg::Inspect { reply }, Some(ANSWER)).await {
        Ok(CallResult::Success(shot)) => (host, shot),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => (host, serde_json::Value::Null),
    }
}
