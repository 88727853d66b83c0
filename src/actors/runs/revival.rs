//! How runs' actors that died come back, how all of them are, and how a run whose actor keeps dying is ended without it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::pipeline::Run;
use nixfleet_model::restart::Verdict;
use nixfleet_protocol::RunId;
use ractor::rpc::CallResult;
use ractor::{ActorId, ActorRef, RpcReplyPort};

use super::{Changed, Health, Msg, READ_AGAIN, State, World, run};
use crate::actors::host::tell;
use crate::actors::slot::answer;
use crate::actors::store::{Batch, StoreError, Write};

/// How long a run's actor may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn died(&mut self, myself: &ActorRef<Msg>, actor: ActorId, why: &str) {
        if let Some(run) = self.by_actor.remove(&actor) {
            self.failed(myself, run, why);
        }
    }

    pub(super) fn failed(&mut self, myself: &ActorRef<Msg>, run: RunId, why: &str) {
        let Some(entry) = self.runs.get_mut(&run) else { return };
        entry.actor = None;
        if entry.ending {
            return;
        }
        let again = match entry.restarts.died(self.world.clock.now()) {
            Verdict::After(wait) => {
                tracing::warn!(%run, why, ?wait, "run actor died, is started again");
                wait
            }
            Verdict::Quarantine { retry_after } => {
                tracing::error!(%run, why, ?retry_after, "run actor keeps dying, is quarantined");
                entry.broken = Some(why.to_owned());
                retry_after
            }
        };
        myself.send_after(again, move || Msg::Revive(run));
    }

    pub(super) fn load(&self, myself: &ActorRef<Msg>, run: RunId) {
        let (store, myself) = (self.world.store.clone(), myself.clone());
        tokio::spawn(async move {
            // What the one before had under way comes to rest first, or it would be written over what is read now.
            let loaded = match store.settled().await {
                Ok(()) => store.run(run).await,
                Err(error) => Err(error),
            };
            tell(&myself, Msg::Loaded { run, loaded: loaded.map(|run| run.map(Box::new)) });
        });
    }

    pub(super) async fn loaded(
        &mut self,
        myself: &ActorRef<Msg>,
        run: RunId,
        loaded: Result<Option<Box<Run>>, StoreError>,
    ) {
        if self.runs.get(&run).is_some_and(|entry| entry.actor.is_some() || entry.ending) {
            return;
        }
        match loaded {
            Ok(Some(found)) if !found.record.is_over() => self.spawn(myself, *found).await,
            // It was over, or never reached the disk.
            Ok(Some(_) | None) => self.ended(run),
            Err(error) => {
                tracing::warn!(%run, %error, "run can't be read, trying again");
                myself.send_after(READ_AGAIN, move || Msg::Revive(run));
            }
        }
    }

    pub(super) fn is_broken(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|entry| entry.actor.is_none() && entry.broken.is_some())
    }

    /// Ends a run that keeps dying, from the store: it needs no actor for that.
    pub(super) fn give_up(&mut self, myself: &ActorRef<Msg>, run: RunId, actor: String, reply: RpcReplyPort<Changed>) {
        let Some(entry) = self.runs.get_mut(&run).filter(|entry| !entry.ending) else {
            return answer(reply, Changed::Unavailable(format!("run {run} is being ended")));
        };
        entry.ending = true;
        let (world, myself) = (Arc::clone(&self.world), myself.clone());
        tokio::spawn(async move {
            // A task of its own, so that a panic in there is an answer.
            let done = tokio::spawn(end(world, run, actor)).await;
            let done = done.unwrap_or_else(|error| Changed::Unavailable(error.to_string()));
            tell(&myself, Msg::GivenUp { run, done, reply });
        });
    }

    pub(super) fn given_up(&mut self, myself: &ActorRef<Msg>, run: RunId, done: Changed, reply: RpcReplyPort<Changed>) {
        match &done {
            // Whoever ended it, it is over.
            Changed::Done(_) | Changed::NotNow(_) | Changed::NotOpen => self.ended(run),
            Changed::Unavailable(_) => {
                if let Some(entry) = self.runs.get_mut(&run) {
                    entry.ending = false;
                }
                // Whether a commit that nobody answered reached the disk, the store says.
                myself.send_after(READ_AGAIN, move || Msg::Revive(run));
            }
        }
        answer(reply, done);
    }

    pub(super) fn health(&self, reply: RpcReplyPort<Health>) {
        let (mut health, mut asked) = (Health::default(), Vec::new());
        for (run, entry) in &self.runs {
            match (&entry.broken, &entry.actor) {
                (Some(why), _) => health.quarantined.push((*run, why.clone())),
                (None, None) => health.silent.push(*run),
                (None, Some(actor)) => asked.push((*run, actor.clone())),
            }
        }
        tokio::spawn(async move {
            let answers = asked.into_iter().map(|(run, actor)| async move {
                match actor.call(|reply| run::Msg::Inspect { reply }, Some(ANSWER)).await {
                    Ok(CallResult::Success(_)) => None,
                    Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Some(run),
                }
            });
            health.silent.extend(join_all(answers).await.into_iter().flatten());
            answer(reply, health);
        });
    }

    pub(super) fn inspect(&self) -> serde_json::Value {
        serde_json::json!({
            "runs": self.runs.keys().collect::<Vec<_>>(),
            "restarting": self.runs.values().filter(|entry| entry.actor.is_none()).count(),
            "starting": self.starting.is_some(),
            "waiting": self.waiting.len(),
        })
    }
}

/// Writes the end of a run that somebody cancelled, as it stands in the store.
async fn end(world: Arc<World>, id: RunId, actor: String) -> Changed {
    // What its actor had under way comes to rest first, or it would be written over this.
    let found = match world.store.settled().await {
        Ok(()) => world.store.run(id).await,
        Err(error) => Err(error),
    };
    let before = match found {
        Ok(Some(run)) => run,
        Ok(None) => return Changed::NotOpen,
        Err(error) => return Changed::Unavailable(error.to_string()),
    };
    let mut run: Run = before.clone();
    let events = match run.abandon(&actor, world.clock.now()) {
        Ok(events) => events,
        Err(why) => return Changed::NotNow(why),
    };
    let view = run.view(Vec::new());
    let mut writes = vec![Write::PutRun(Box::new(run.record))];
    let hosts = run.hosts.into_iter().filter(|(host, now)| before.hosts.get(host) != Some(now));
    writes.extend(hosts.map(|(_, host)| Write::PutRunHost(Box::new(host))));
    let changes = vec![StateChange::Run(Arc::new(view.clone()))];
    match world.store.commit_once(Batch { writes, events, changes }).await {
        Ok(()) => Changed::Done(Box::new(view)),
        Err(error) => Changed::Unavailable(error.to_string()),
    }
}
