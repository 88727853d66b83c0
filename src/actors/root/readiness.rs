//! Whether everything makes progress: progress, not existence. Each actor of the tree is asked for a snapshot
//! of itself, the store to write something, each host's actor to answer; all at once, a second for each.

use std::time::Duration;

use ractor::{Message, RpcReplyPort};
use serde::Serialize;
use serde_json::Value;

use crate::actors::handles::{Handles, Slots};
use crate::actors::slot::Slot;
use crate::actors::{access, hosts, links, remote, sessions, sync};

/// How long an actor may take to answer.
const WITHIN: Duration = Duration::from_secs(1);

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether everything makes progress.
    pub ready: bool,
    /// What does not, in one sentence each.
    pub problems: Vec<String>,
    /// Hosts whose actor keeps failing: shown as broken, the fleet goes on, and no reason for a 503.
    pub quarantined: Vec<String>,
}

impl Readiness {
    /// Not ready, for one reason.
    pub fn not_ready(why: String) -> Self {
        Self { ready: false, problems: vec![why], quarantined: Vec::new() }
    }
}

/// Asks all.
pub(super) async fn probe(slots: &Slots, handles: &Handles) -> Readiness {
    let store = async { handles.store.probe(WITHIN).await.err().map(|error| error.to_string()) };
    let (store, sync, access, remote, links, sessions, hosts) = tokio::join!(
        store,
        inspect(&slots.sync, |reply| sync::Msg::Inspect { reply }),
        inspect(&slots.access, |reply| access::Msg::Inspect { reply }),
        inspect(&slots.remote, |reply| remote::Msg::Inspect { reply }),
        inspect(&slots.links, |reply| links::Msg::Inspect { reply }),
        inspect(&slots.sessions, |reply| sessions::Msg::Inspect { reply }),
        slots.hosts.call(|reply| hosts::Msg::Health { reply }, WITHIN * 2),
    );
    let mut problems: Vec<String> = [store, sync, access, remote, links, sessions].into_iter().flatten().collect();
    let mut quarantined = Vec::new();
    match hosts {
        Ok(health) => {
            problems.extend(health.silent.iter().map(|host| format!("the actor of {host} did not answer")));
            quarantined.extend(health.quarantined.iter().map(|(host, why)| format!("{host}: {why}")));
        }
        Err(error) => problems.push(error.to_string()),
    }
    Readiness { ready: problems.is_empty(), problems, quarantined }
}

async fn inspect<M: Message>(slot: &Slot<M>, message: impl FnOnce(RpcReplyPort<Value>) -> M) -> Option<String> {
    slot.call(message, WITHIN).await.err().map(|error| error.to_string())
}
