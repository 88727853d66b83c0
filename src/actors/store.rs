//! The store's door: what others may ask of it. The actor, the trees and the records stand in `store/`.
//!
//! Owns the sled database, alone. A commit is all or nothing, and answered when it is on disk; then, and not
//! before, its changes go to the sync actor, in the order of the commits.
//! When it dies: reopened by the root; those who wait for an answer are told and commit again
//! ([`StoreHandle::commit`] does that for them).

use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::command::Command;
use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host::HostRecord;
use nixfleet_model::notify::Waiting;
use nixfleet_model::pipeline::{Run, RunHost, RunRecord};
use nixfleet_model::remote::RemoteState;
use nixfleet_model::retention::Sketch;
use nixfleet_protocol::{CommandId, Epoch, EventId, HostId, RunId, api};
use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};

use super::slot::{Slot, Unanswered};

mod actor;
mod archive;
pub mod backup;
pub mod check;
mod compaction;
mod disk;
mod folder;
mod health;
mod migrations;
mod plan;
mod reader;
mod record;
mod replacement;
pub mod restore;
mod start;
mod trees;
pub mod upkeep;
mod walk;
mod witness;
mod writer;

pub use actor::{Args, State, Store};
pub use archive::{BadBackup, Head, Totals};
pub use upkeep::{Ask, Compacted, Measured, OldEvents, Standing};

#[cfg(test)]
mod tests;

/// sled under a store that was just closed: its own threads may hold the file for a moment longer.
#[cfg(test)]
pub(crate) fn sled_of(dir: &std::path::Path) -> sled::Db {
    let begun = std::time::Instant::now();
    loop {
        match sled::Config::new().path(dir.join("store")).flush_every_ms(None).open() {
            Err(error) if error.to_string().contains("acquire lock") && begun.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.expect("sled opens"),
        }
    }
}

/// One record to write. Keys and encodings are the store's own business.
#[derive(Clone, Debug)]
pub enum Write {
    /// A host's record.
    PutHost(Box<HostRecord>),
    /// Forget a host, its tokens included.
    RemoveHost(HostId),
    /// A command's record, and its place in its host's list.
    PutCommand(Box<Command>),
    /// Forget a command that is over.
    RemoveCommand(Sketch),
    /// Forget an event.
    RemoveEvent(EventId),
    /// A run of a pipeline, without its hosts.
    PutRun(Box<RunRecord>),
    /// A host of a run.
    PutRunHost(Box<RunHost>),
    /// Forget a run that is over, with its hosts.
    RemoveRun(RunId),
    /// The last good answer of the remote.
    PutRemote(Box<RemoteState>),
    /// A login session, by the SHA-256 of its id.
    PutSession(SecretHash, LoginSession),
    /// End a login session.
    RemoveSession(SecretHash),
    /// A token, by its SHA-256.
    PutToken(SecretHash, Token),
    /// Forget a token.
    RemoveToken(SecretHash),
    /// A notification that was not taken yet, by number.
    PutOutbox(u64, Box<Waiting>),
    /// It was taken, or let go.
    RemoveOutbox(u64),
    /// A setting by name (e.g. the last TOTP step); small, encoded by its owner.
    PutSetting(&'static str, Vec<u8>),
}

/// The setting that holds when a backup was made last, in milliseconds.
pub const LAST_BACKUP: &str = "last_backup";

/// SHA-256 of a secret: what the store has instead of the secret.
pub type SecretHash = [u8; 32];

/// A logged-in browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSession {
    /// Its public id: names it on the page and in the API.
    pub id: String,
    /// Who; today always `user`.
    pub user: String,
    /// What mutations by cookie must carry.
    pub csrf: String,
    /// When it began.
    pub created_at: nixfleet_protocol::Time,
    /// When it was last used, to the minute.
    pub last_seen: nixfleet_protocol::Time,
    /// When it ends.
    pub expires_at: nixfleet_protocol::Time,
    /// The address that it began from.
    pub address: String,
    /// The browser, as it called itself.
    pub browser: String,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public id: names it on the page and in the API.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// What it opens.
    pub kind: TokenKind,
    /// When it was made.
    pub created_at: nixfleet_protocol::Time,
    /// When it was last used, to the minute.
    pub last_used: Option<nixfleet_protocol::Time>,
    /// When it ends.
    pub expires_at: Option<nixfleet_protocol::Time>,
}

/// The kinds of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKind {
    /// An agent's, bound to its host.
    Host(HostId),
    /// The API's.
    Api(Vec<Scope>),
    /// Good once, for a host's token.
    Enrol,
}

/// What an API token may do.
pub use nixfleet_model::access::Scope;

/// Records and changes that belong together: all of it is on disk, or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What to write.
    pub writes: Vec<Write>,
    /// Events to append; the store numbers and publishes them.
    pub events: Vec<NewEvent>,
    /// What to publish when it is on disk.
    pub changes: Vec<StateChange>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.events.is_empty() && self.changes.is_empty()
    }

    /// What came later goes behind what came before.
    pub fn append(&mut self, mut later: Self) {
        self.writes.append(&mut later.writes);
        self.events.append(&mut later.events);
        // A run shows all of its hosts with each change: of views that nobody has seen the last one is enough.
        let shown = |changes: &[StateChange], other: &StateChange| match other {
            StateChange::Run(run) => changes.iter().any(|it| matches!(it, StateChange::Run(it) if it.id == run.id)),
            StateChange::Host(_)
            | StateChange::Beat(_)
            | StateChange::HostRemoved(_)
            | StateChange::Command(_)
            | StateChange::Remote(_)
            | StateChange::Event(_)
            | StateChange::Server(_) => false,
        };
        self.changes.retain(|change| !shown(&later.changes, change));
        self.changes.append(&mut later.changes);
    }
}

/// Why a commit or a read failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Disk full, or an error of the disk. Nothing was acknowledged; it goes on when there is room.
    #[error("the store can't write: {0}")]
    CantWrite(String),
    /// A record can't be read.
    #[error("the store can't read: {0}")]
    CantRead(String),
    /// The batch itself is wrong (a record longer than any can be). To try again changes nothing.
    #[error("the store refuses the batch: {0}")]
    Refused(String),
    /// The store is being reopened, or hangs.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Everything that the others need at their start.
#[derive(Debug)]
pub struct Loaded {
    /// The store that state versions belong to; made with it.
    pub epoch: Epoch,
    /// All hosts, where their records were asked for; else none.
    pub hosts: Vec<HostRecord>,
    /// The names of all hosts, those apart whose records are damaged.
    pub names: Vec<HostId>,
    /// All commands that are not over.
    pub open: Vec<Command>,
    /// The newest commands that are over, newest first, at most 50.
    pub recent: Vec<Command>,
    /// The last 100 events, newest first.
    pub events: Vec<Arc<api::Event>>,
    /// The runs that are not over, and the newest 20 that are; newest first.
    pub runs: Vec<Run>,
    /// The remote's last good answer.
    pub remote: Option<RemoteState>,
    /// What should be there and is missing or damaged, one sentence each.
    pub warnings: Vec<String>,
}

impl Default for Loaded {
    /// What an empty store has, with the nil epoch.
    fn default() -> Self {
        Self {
            epoch: Epoch::from_uuid(uuid::Uuid::nil()),
            hosts: Vec::new(),
            names: Vec::new(),
            open: Vec::new(),
            recent: Vec::new(),
            events: Vec::new(),
            runs: Vec::new(),
            remote: None,
            warnings: Vec::new(),
        }
    }
}

/// What of the hosts is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostsAs {
    /// All of each.
    Records,
    /// Their names. Most who start want no more, and ten thousand records take their time.
    Names,
}

/// A host, and its commands that are not over.
pub type HostWithOpen = (HostRecord, Vec<Command>);

/// What the store answers to.
#[derive(Debug)]
pub enum Msg {
    /// Make this durable, then publish it, then answer.
    Commit {
        batch: Batch,
        /// It was handed over before, and nobody knows what became of it: its events are looked for first.
        again: bool,
        reply: RpcReplyPort<Result<(), StoreError>>,
    },
    /// Everything that the others need at their start.
    Load { hosts: HostsAs, reply: RpcReplyPort<Result<Loaded, StoreError>> },
    /// One host and its open commands: what a single host's actor is revived from.
    LoadHost { host: HostId, reply: RpcReplyPort<Result<Option<HostWithOpen>, StoreError>> },
    /// One command.
    Command { id: CommandId, reply: RpcReplyPort<Result<Option<Command>, StoreError>> },
    /// Commands, newest first, of one host or of all, before an id.
    Commands {
        host: Option<HostId>,
        before: Option<CommandId>,
        limit: usize,
        reply: RpcReplyPort<Result<Vec<Command>, StoreError>>,
    },
    /// Events, newest first, before a number.
    Events { before: Option<EventId>, limit: usize, reply: RpcReplyPort<Result<Vec<Arc<api::Event>>, StoreError>> },
    /// One run.
    Run { id: RunId, reply: RpcReplyPort<Result<Option<Run>, StoreError>> },
    /// Runs, newest first, before an id.
    Runs { before: Option<RunId>, limit: usize, reply: RpcReplyPort<Result<Vec<Run>, StoreError>> },
    /// All login sessions and tokens.
    Access { reply: RpcReplyPort<Result<AccessRecords, StoreError>> },
    /// Notifications that were not taken yet.
    Outbox { reply: RpcReplyPort<Result<Vec<(u64, Waiting)>, StoreError>> },
    /// A setting.
    Setting { name: &'static str, reply: RpcReplyPort<Result<Option<Vec<u8>>, StoreError>> },
    /// Raise the mark of state versions to at least this, durably; answers the epoch and the old mark.
    RaiseMark { to: u64, reply: RpcReplyPort<Result<u64, StoreError>> },
    /// What the janitor asks: see [`upkeep`].
    Upkeep(upkeep::Ask),
    /// Write and read something now: is there progress?
    Probe { reply: RpcReplyPort<Result<(), StoreError>> },
    /// A snapshot of itself.
    Inspect { reply: RpcReplyPort<serde_json::Value> },
    /// The writer thread tells of a change of its health, or that it died.
    Writer(WriterNews),
}

/// What the writer thread tells the actor.
#[derive(Debug)]
pub enum WriterNews {
    /// It can't write, or can again.
    Health(Option<String>),
    /// It died; the actor fails and is started again.
    Died(String),
}

/// Login sessions and tokens, by the hashes of their secrets.
#[derive(Debug, Default)]
pub struct AccessRecords {
    /// Login sessions.
    pub sessions: Vec<(SecretHash, LoginSession)>,
    /// Tokens.
    pub tokens: Vec<(SecretHash, Token)>,
}

/// How long a read may take.
const READ: Duration = Duration::from_secs(10);

/// How long a commit is waited for before its writer looks whether the store is still the same.
const COMMIT: Duration = Duration::from_secs(30);

/// The store, for those who use it.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    slot: Slot<Msg>,
}

impl StoreHandle {
    /// Over the place where the store's actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Makes the batch durable. Waits through a restart of the store, through a full disk, for as long as it
    /// takes: to write the same batch twice changes nothing. For actors, in a task of their own.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut tried = self.commit_once(batch.clone()).await;
        let mut said = false;
        loop {
            match tried {
                Ok(()) => return Ok(()),
                Err(error @ (StoreError::CantRead(_) | StoreError::Refused(_))) => return Err(error),
                Err(error) => {
                    // Once for each commit: a disk that is full for a night would fill the log too.
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(%error, "commit failed, tried again until it is done");
                    }
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    if self.slot.seated().await.is_none() {
                        return Err(error);
                    }
                }
            }
            tried = self.commit_again(batch.clone()).await;
        }
    }

    /// Makes the batch durable, or says at once why it can't. For people's requests, who want to know.
    pub async fn commit_once(&self, batch: Batch) -> Result<(), StoreError> {
        self.slot.call(|reply| Msg::Commit { batch, again: false, reply }, COMMIT).await?
    }

    /// As [`Self::commit_once`], for a batch that was handed over before and whose answer never came, or was an
    /// error: what of it is on disk already is not written a second time.
    pub async fn commit_again(&self, batch: Batch) -> Result<(), StoreError> {
        self.slot.call(|reply| Msg::Commit { batch, again: true, reply }, COMMIT).await?
    }

    /// Waits until everything that was handed over before is on disk or was refused. Reads overtake commits: who
    /// reads what another wrote and died over asks this first.
    pub async fn settled(&self) -> Result<(), StoreError> {
        match self.probe(COMMIT).await {
            // What waited was refused with it.
            Ok(()) | Err(StoreError::CantWrite(_)) => Ok(()),
            Err(error @ (StoreError::CantRead(_) | StoreError::Refused(_) | StoreError::Unanswered(_))) => Err(error),
        }
    }

    /// Everything that the others need at their start.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        self.load_with(HostsAs::Records).await
    }

    /// The same, and of the hosts what is asked for.
    pub async fn load_with(&self, hosts: HostsAs) -> Result<Loaded, StoreError> {
        self.slot.call(|reply| Msg::Load { hosts, reply }, Duration::from_mins(1)).await?
    }

    /// One host and its open command.
    pub async fn load_host(&self, host: HostId) -> Result<Option<HostWithOpen>, StoreError> {
        self.slot.call(|reply| Msg::LoadHost { host, reply }, READ).await?
    }

    /// One command.
    pub async fn command(&self, id: CommandId) -> Result<Option<Command>, StoreError> {
        self.slot.call(|reply| Msg::Command { id, reply }, READ).await?
    }

    /// Commands, newest first.
    pub async fn commands(
        &self,
        host: Option<HostId>,
        before: Option<CommandId>,
        limit: usize,
    ) -> Result<Vec<Command>, StoreError> {
        self.slot.call(|reply| Msg::Commands { host, before, limit, reply }, READ).await?
    }

    /// Events, newest first.
    pub async fn events(&self, before: Option<EventId>, limit: usize) -> Result<Vec<Arc<api::Event>>, StoreError> {
        self.slot.call(|reply| Msg::Events { before, limit, reply }, READ).await?
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        self.slot.call(|reply| Msg::Run { id, reply }, READ).await?
    }

    /// Runs, newest first.
    pub async fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.slot.call(|reply| Msg::Runs { before, limit, reply }, READ).await?
    }

    /// All login sessions and tokens.
    pub async fn access(&self) -> Result<AccessRecords, StoreError> {
        self.slot.call(|reply| Msg::Access { reply }, READ).await?
    }

    /// Notifications that were not taken yet, by number.
    pub async fn outbox(&self) -> Result<Vec<(u64, Waiting)>, StoreError> {
        self.slot.call(|reply| Msg::Outbox { reply }, READ).await?
    }

    /// A setting.
    pub async fn setting(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.slot.call(|reply| Msg::Setting { name, reply }, READ).await?
    }

    /// Raises the mark of state versions; answers the mark that stood before.
    pub async fn raise_mark(&self, to: u64) -> Result<u64, StoreError> {
        self.slot.call(|reply| Msg::RaiseMark { to, reply }, COMMIT).await?
    }

    /// Whether the store makes progress now.
    pub async fn probe(&self, within: Duration) -> Result<(), StoreError> {
        self.slot.call(|reply| Msg::Probe { reply }, within).await?
    }
}
