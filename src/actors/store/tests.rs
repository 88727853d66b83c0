//! The store on real disks: everything below opens real sled in a folder of its own.

use std::path::Path;
use std::sync::{Arc, Mutex};

use nixfleet_model::command::{Command, Life};
use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::StateChange;
use nixfleet_model::host::HostRecord;
use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, HostId, Op, Time};
use ractor::{Actor, ActorRef};
use uuid::Uuid;

use super::*;

mod backup;
mod basics;
mod compaction;
mod damage;
mod full;
mod kill;
mod large;
mod mounts;
mod overlap;
mod power;
mod random;
mod restart;

/// A running store with its handle, and what it published.
struct Running {
    handle: StoreHandle,
    actor: ActorRef<Msg>,
    join: tokio::task::JoinHandle<()>,
    published: Arc<Mutex<Vec<StateChange>>>,
    health: Arc<Mutex<Vec<Option<String>>>>,
}

impl Running {
    async fn open(dir: &Path) -> Self {
        Self::try_open(dir).await.expect("the store opens")
    }

    async fn try_open(dir: &Path) -> Result<Self, ractor::SpawnErr> {
        let published = Arc::new(Mutex::new(Vec::new()));
        let health = Arc::new(Mutex::new(Vec::new()));
        let (theirs, theirs_too) = (Arc::clone(&published), Arc::clone(&health));
        let args = Args {
            dir: dir.to_owned(),
            publish: Box::new(move |changes| theirs.lock().unwrap().extend(changes)),
            on_health: Box::new(move |health| theirs_too.lock().unwrap().push(health)),
        };
        let (actor, join) = Actor::spawn(None, Store, args).await?;
        let slot = Slot::new("store");
        slot.seat(actor.clone());
        Ok(Self { handle: StoreHandle::new(slot), actor, join, published, health })
    }

    async fn stop(self) {
        self.actor.stop(None);
        self.join.await.unwrap();
    }

    fn published(&self) -> Vec<StateChange> {
        self.published.lock().unwrap().clone()
    }
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn at(millis: i64) -> Time {
    Time::from_millis(millis)
}

fn id(number: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(number))
}

fn host_record(name: &str) -> HostRecord {
    HostRecord::new(host(name), at(1))
}

fn a_command(number: u128, on: Option<&str>, state: CommandState) -> Command {
    Command {
        id: id(number),
        host: on.map(host),
        op: Op::Switch,
        args: "{}".to_owned(),
        state,
        code: None,
        message: None,
        actor: "user".to_owned(),
        force: false,
        run_id: None,
        created_at: at(2),
        sent_at: None,
        started_at: None,
        finished_at: None,
        exit_code: None,
        log_bytes: 0,
        progress: None,
        details: None,
        life: Life::default(),
    }
}

fn an_event(message: &str) -> NewEvent {
    NewEvent::new(at(3), Category::Audit, Level::Info, "user", "tested", message)
}

fn a_token(name: &str, kind: TokenKind) -> Token {
    Token { id: name.to_owned(), name: name.to_owned(), kind, created_at: at(4), last_used: None, expires_at: None }
}

fn writes(writes: Vec<Write>) -> Batch {
    Batch { writes, ..Batch::default() }
}

fn put_host(name: &str) -> Write {
    Write::PutHost(Box::new(host_record(name)))
}

fn put_command(command: Command) -> Write {
    Write::PutCommand(Box::new(command))
}
