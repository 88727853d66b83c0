//! The top of the tree: starts the actors in their order, starts again the one that died, and asks them all
//! whether they make progress.
//!
//! A child that fails is started again alone, with backoff (`model::restart`); its neighbours hold slots and
//! find the new one. Only the store's repeated failure ends the process, with a non-zero code, and the service
//! manager starts it again. What another child misses when its neighbour was away is told in `after_start`.

mod children;
mod readiness;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::restart::{Restarts, Verdict};
use nixfleet_protocol::Time;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::children::{Child, Settings};
use self::children::{Tree, spawn};
pub use self::readiness::Readiness;
use super::death::death;
use super::handles::{Handles, Slots};
use super::slot::{Slot, Unanswered, answer};
use super::{hosts, remote, runs, sessions};

/// How long an answer to `/readyz` is good for: at most one probe a second, shared.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What the root answers to.
#[derive(Debug)]
pub enum Msg {
    /// Start this child (again).
    Start(Child),
    /// It started.
    Started {
        /// Which.
        child: Child,
        /// The new actor.
        actor: ActorId,
    },
    /// It could not be started.
    NotStarted {
        /// Which.
        child: Child,
        /// Why.
        why: String,
    },
    /// Does everything make progress?
    Ready {
        /// Where to.
        reply: RpcReplyPort<Readiness>,
    },
    /// The probe ended.
    Probed(Readiness),
    /// Stop everything, from the bottom.
    Stop {
        /// Told when all have stopped.
        reply: RpcReplyPort<()>,
    },
}

/// What it needs.
pub struct Args {
    /// The settings that children start with.
    pub settings: Settings,
    /// The places that they are seated at.
    pub slots: Slots,
    /// The same places, for those who use them.
    pub handles: Handles,
    /// Told why the process must end.
    pub fatal: watch::Sender<Option<String>>,
}

/// The root, for those who use it.
#[derive(Clone, Debug)]
pub struct RootHandle {
    slot: Slot<Msg>,
}

impl RootHandle {
    /// Over the place where the root sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Whether everything makes progress.
    pub async fn ready(&self) -> Readiness {
        match self.slot.call(|reply| Msg::Ready { reply }, Duration::from_secs(4)).await {
            Ok(readiness) => readiness,
            Err(error) => Readiness::not_ready(error.to_string()),
        }
    }

    /// Stops everything, from the bottom.
    pub async fn stop(&self) -> Result<(), Unanswered> {
        self.slot.call(|reply| Msg::Stop { reply }, Duration::from_secs(15)).await
    }
}

/// What it remembers.
pub struct State {
    tree: Tree,
    handles: Handles,
    children: HashMap<ActorId, Child>,
    restarts: HashMap<Child, Restarts>,
    stopping: bool,
    fatal: watch::Sender<Option<String>>,
    probed: Option<(Instant, Readiness)>,
    probing: Vec<RpcReplyPort<Readiness>>,
}

/// The actor.
pub struct Root;

impl Actor for Root {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            tree: Tree::new(args.settings, args.slots, args.handles.clone()),
            handles: args.handles,
            children: HashMap::new(),
            restarts: HashMap::new(),
            stopping: false,
            fatal: args.fatal,
            probed: None,
            probing: Vec::new(),
        };
        for child in Child::IN_ORDER {
            let actor = spawn(*child, &state.tree, &myself).await?;
            state.children.insert(actor, *child);
        }
        // What the remote told before the hosts were there.
        state.after_start(Child::Hosts);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Start(child) => state.start(&myself, child),
            Msg::Started { child, actor } => {
                tracing::info!(?child, "started again");
                state.children.insert(actor, child);
                state.after_start(child);
            }
            Msg::NotStarted { child, why } => state.died(&myself, child, &why),
            Msg::Ready { reply } => state.ready(&myself, reply),
            Msg::Probed(readiness) => {
                for reply in state.probing.drain(..) {
                    answer(reply, readiness.clone());
                }
                state.probed = Some((Instant::now(), readiness));
            }
            Msg::Stop { reply } => {
                state.stopping = true;
                let slots = state.tree.slots.clone();
                tokio::spawn(async move {
                    children::stop_all(&slots).await;
                    answer(reply, ());
                });
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((who, why)) = death(event)
            && let Some(child) = state.children.remove(&who)
        {
            state.died(&myself, child, &why);
        }
        Ok(())
    }
}

impl State {
    fn died(&mut self, myself: &ActorRef<Msg>, child: Child, why: &str) {
        if self.stopping {
            return;
        }
        self.tree.vacate(child);
        tracing::error!(?child, why, "failed");
        let restarts = self.restarts.entry(child).or_insert_with(|| Restarts::new(child.policy()));
        let verdict = restarts.died(Time::now());
        let delay = match verdict {
            Verdict::After(delay) => delay,
            Verdict::Quarantine { .. } if child == Child::Store => {
                self.fatal.send_replace(Some(format!("the store keeps failing: {why}")));
                return;
            }
            Verdict::Quarantine { retry_after } => {
                tracing::error!(?child, "keeps failing, tried again in {retry_after:?}");
                retry_after
            }
        };
        myself.send_after(delay, move || Msg::Start(child));
    }

    /// In a task: what a child does at its start may wait for its neighbours.
    fn start(&self, myself: &ActorRef<Msg>, child: Child) {
        if self.stopping {
            return;
        }
        let (tree, tell) = (self.tree.clone(), myself.clone());
        tokio::spawn(async move {
            let news = match spawn(child, &tree, &tell).await {
                Ok(actor) => Msg::Started { child, actor },
                Err(error) => Msg::NotStarted { child, why: error.to_string() },
            };
            if tell.cast(news).is_err() {
                tracing::debug!("root is gone");
            }
        });
    }

    /// What the others must tell one that came back, and what they must be told.
    fn after_start(&self, child: Child) {
        let slots = &self.tree.slots;
        let told = match child {
            Child::Sync => {
                // What the store said while nobody sat there.
                self.handles.sync.publish(vec![StateChange::Server(Arc::new(self.tree.server()))]);
                slots.hosts.cast(hosts::Msg::Republish)
                    & slots.runs.cast(runs::Msg::Republish)
                    & slots.remote.cast(remote::Msg::Republish)
                    & slots.sessions.cast(sessions::Msg::SyncRestarted)
            }
            Child::Hosts => slots.remote.cast(remote::Msg::Republish),
            Child::Remote => slots.hosts.cast(hosts::Msg::Republish),
            Child::Store
            | Child::Access
            | Child::Runs
            | Child::Links
            | Child::Sessions
            | Child::Notifier
            | Child::Janitor => true,
        };
        if !told {
            tracing::debug!(?child, "a neighbour is being restarted too");
        }
    }

    fn ready(&mut self, myself: &ActorRef<Msg>, reply: RpcReplyPort<Readiness>) {
        if let Some((at, readiness)) = &self.probed
            && at.elapsed() < PROBE_EVERY
        {
            return answer(reply, readiness.clone());
        }
        self.probing.push(reply);
        if self.probing.len() > 1 {
            return;
        }
        let (slots, handles, tell) = (self.tree.slots.clone(), self.handles.clone(), myself.clone());
        tokio::spawn(async move {
            let readiness = readiness::probe(&slots, &handles).await;
            if tell.cast(Msg::Probed(readiness)).is_err() {
                tracing::debug!("root is gone");
            }
        });
    }
}
