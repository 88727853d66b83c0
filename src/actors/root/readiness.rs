//! Whether everything makes progress: progress, not existence. Each actor of the tree is asked for a snapshot
//! of itself, the store to write something, each host's actor to answer; all at once, a second for each.

use std::time::Duration;

use ractor::{Message, RpcReplyPort};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actors::handles::{Handles, Slots};
use crate::actors::slot::Slot;
use crate::actors::{access, hosts, janitor, links, notifier, remote, runs, sessions, store, sync};

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
    /// What makes people wait, and is no failure.
    pub notes: Vec<String>,
    /// Bytes on the disk, as of the janitor's last look.
    pub disk: Option<DiskUse>,
}

/// What is used of the disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// By the store.
    #[serde(rename(deserialize = "store_size"))]
    pub store: u64,
    /// By the logs.
    #[serde(rename(deserialize = "logs_size"))]
    pub logs: u64,
    /// What may still be written.
    pub free: u64,
}

impl Readiness {
    /// Not ready, for one reason.
    pub fn not_ready(why: String) -> Self {
        Self { ready: false, problems: vec![why], quarantined: Vec::new(), notes: Vec::new(), disk: None }
    }
}

/// Asks all.
pub(super) async fn probe(slots: &Slots, handles: &Handles) -> Readiness {
    let store = async { handles.store.probe(WITHIN).await.err().map(|error| error.to_string()) };
    let (store, inside, janitor, sync, access, remote, links, sessions, notifier, hosts, runs) = tokio::join!(
        store,
        slots.store.call(|reply| store::Msg::Inspect { reply }, WITHIN),
        slots.janitor.call(|reply| janitor::Msg::Inspect { reply }, WITHIN),
        inspect(&slots.sync, |reply| sync::Msg::Inspect { reply }),
        inspect(&slots.access, |reply| access::Msg::Inspect { reply }),
        inspect(&slots.remote, |reply| remote::Msg::Inspect { reply }),
        inspect(&slots.links, |reply| links::Msg::Inspect { reply }),
        inspect(&slots.sessions, |reply| sessions::Msg::Inspect { reply }),
        inspect(&slots.notifier, |reply| notifier::Msg::Inspect { reply }),
        slots.hosts.call(|reply| hosts::Msg::Health { reply }, WITHIN * 2),
        slots.runs.call(|reply| runs::Msg::Health { reply }, WITHIN * 2),
    );
    let mut problems: Vec<String> =
        [store, sync, access, remote, links, sessions, notifier].into_iter().flatten().collect();
    let mut quarantined = Vec::new();
    let mut notes = Vec::new();
    if let Ok(store) = inside {
        notes.extend(store["busy"].as_str().map(|busy| format!("{busy}: commits wait")));
        let warnings = store["warnings"].as_array();
        notes.extend(warnings.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    let disk = match janitor {
        Ok(mut janitor) => {
            notes.extend(janitor["failed"].as_str().map(|why| format!("the janitor could not do everything: {why}")));
            let missing = janitor["last"]["missing"].as_array();
            notes.extend(missing.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            serde_json::from_value(janitor["last"].take()).ok()
        }
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    match runs {
        Ok(health) => {
            problems.extend(health.silent.iter().map(|run| format!("the actor of run {run} did not answer")));
            quarantined.extend(health.quarantined.iter().map(|(run, why)| format!("run {run}: {why}")));
        }
        Err(error) => problems.push(error.to_string()),
    }
    match hosts {
        Ok(health) => {
            problems.extend(health.silent.iter().map(|host| format!("the actor of {host} did not answer")));
            quarantined.extend(health.quarantined.iter().map(|(host, why)| format!("{host}: {why}")));
        }
        Err(error) => problems.push(error.to_string()),
    }
    Readiness { ready: problems.is_empty(), problems, quarantined, notes, disk }
}

async fn inspect<M: Message>(slot: &Slot<M>, message: impl FnOnce(RpcReplyPort<Value>) -> M) -> Option<String> {
    slot.call(message, WITHIN).await.err().map(|error| error.to_string())
}
