//! The janitor over a real store and real files; its hours over a store that is played.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nixfleet_model::command::{Command, Life};
use nixfleet_model::host::{HostRecord, SwitchRun};
use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{EventId, Op, Time};
use uuid::Uuid;

use super::*;
use crate::actors::host::log::{log_path, read, sealed::sealed_path};
use crate::actors::slot::Slot;
use crate::actors::store::{self, Batch, Loaded, Measured, OldEvents, Standing, Write};
use nixfleet_model::event::NewEvent;
use nixfleet_protocol::api::{Category, Level};

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

fn days_ago(days: i64) -> Time {
    Time::from_millis(NOW - days * DAY)
}

fn id(number: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(number))
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn command(number: u128, on: &str, op: Op, state: CommandState, days: i64) -> Command {
    let mut command = Command::new(id(number), Some(host(on)), op, "user".to_owned(), days_ago(days));
    command.state = state;
    command.finished_at = state.is_final().then(|| days_ago(days));
    command.life = Life::default();
    command.log_bytes = 6000;
    command
}

fn put(command: Command) -> Write {
    Write::PutCommand(Box::new(command))
}

fn event(days: i64) -> NewEvent {
    NewEvent::new(days_ago(days), Category::Audit, Level::Info, "user", "tested", format!("{days} days old"))
}

/// A log of 6000 bytes, of a certain age.
fn write_log(dir: &Path, on: &str, number: u128, days: u64) {
    let path = log_path(dir, &host(on), id(number));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "1 o this is a line\n".repeat(400)).unwrap();
    let at = std::time::SystemTime::now() - Duration::from_hours(24 * days);
    fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

struct Place {
    dir: tempfile::TempDir,
    store: StoreHandle,
    actor: ActorRef<store::Msg>,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, actor) = open(dir.path()).await;
        Self { dir, store, actor }
    }

    fn args(&self) -> Args {
        let mut args = Args::new(self.dir.path().to_owned(), self.store.clone(), Retention::default());
        args.clock = Clock::Runtime(Time::from_millis(NOW), tokio::time::Instant::now());
        args
    }

    async fn commit(&self, writes: Vec<Write>, events: Vec<NewEvent>) {
        self.store.commit(Batch { writes, events, changes: Vec::new() }).await.unwrap();
    }

    async fn look(&self) -> Done {
        look::look(self.args(), None).await.unwrap()
    }

    fn sealed(&self, on: &str, number: u128) -> bool {
        let plain = log_path(self.dir.path(), &host(on), id(number));
        !plain.exists() && sealed_path(&plain).exists()
    }

    fn gone(&self, on: &str, number: u128) -> bool {
        let plain = log_path(self.dir.path(), &host(on), id(number));
        !plain.exists() && !sealed_path(&plain).exists()
    }
}

async fn open(dir: &Path) -> (StoreHandle, ActorRef<store::Msg>) {
    let slot = Slot::new("store");
    let args = store::Args { dir: dir.to_owned(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, _) = Actor::spawn(None, store::Store, args).await.unwrap();
    slot.seat(actor.clone());
    (StoreHandle::new(slot), actor)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_its_time_goes_with_its_logs_and_one_event_says_so() {
    use CommandState as S;
    let place = Place::new().await;
    let dir = place.dir.path();
    let mut record = HostRecord::new(host("hsb0"), days_ago(100));
    record.history.last_switch = Some(SwitchRun {
        command: id(11),
        op: Op::Switch,
        ok: false,
        commit: None,
        stage: None,
        at: days_ago(80),
        rolled_back: None,
    });
    let mut all = vec![
        command(10, "hsb0", Op::Gc, S::Success, 90),
        command(11, "hsb0", Op::Switch, S::Error, 80),
        command(12, "hsb0", Op::Gc, S::Executing, 80),
        command(13, "gone", Op::Switch, S::Success, 80),
    ];
    // What the page shows stays: so many young ones before them.
    all.extend((100..150).map(|number| command(number, "hsb0", Op::Gc, S::Success, 1)));
    let writes = [Write::PutHost(Box::new(record))].into_iter().chain(all.into_iter().map(put)).collect();
    place.commit(writes, vec![event(20), event(8), event(6), event(1)]).await;
    for number in [10, 11, 12, 100] {
        write_log(dir, "hsb0", number, 80);
    }
    write_log(dir, "gone", 13, 80);
    write_log(dir, "never", 14, 3);
    write_log(dir, "hsb0", 15, 0);

    let done = place.look().await;
    assert_eq!((done.commands, done.events, done.logs), (2, 2, 3), "{done:?}");
    assert_eq!(done.missing, Vec::<String>::new());
    for number in [10, 13] {
        assert!(place.store.command(id(number)).await.unwrap().is_none());
    }
    for number in [11, 12, 100] {
        assert!(place.store.command(id(number)).await.unwrap().is_some());
    }
    assert!(place.gone("hsb0", 10) && place.gone("gone", 13) && place.gone("never", 14));
    assert!(!dir.join("logs/gone").exists() && !dir.join("logs/never").exists());
    assert!(!place.gone("hsb0", 15), "a young log may be one whose command is just being adopted");
    assert!(place.sealed("hsb0", 11) && place.sealed("hsb0", 100), "the logs of what is over are compressed");
    assert!(!place.sealed("hsb0", 12), "the log of what runs is not");
    let lines = read(&log_path(dir, &host("hsb0"), id(11)), 0, 1 << 20).unwrap().lines;
    assert_eq!(lines.len(), 400);

    let events = place.store.events(None, 10).await.unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(events[0].message, "removed what is past its time: 2 commands, 3 logs, 2 events");
    let again = place.look().await;
    assert_eq!((again.commands, again.events, again.logs, again.sealed), (0, 0, 0, 0), "{again:?}");
    assert_eq!(place.store.events(None, 10).await.unwrap().len(), 3, "nothing to tell");

    // The counts hold: the store opens without a word.
    place.actor.stop_and_wait(None, None).await.unwrap();
    let (store, actor) = open(dir).await;
    assert_eq!(store.load().await.unwrap().warnings, Vec::<String>::new());
    let report = store.check(dir.to_owned()).await.unwrap();
    // 150 commands say that they have a log, and most have none here.
    let other: Vec<_> = report.problems.iter().filter(|what| !what.contains("log")).collect();
    assert!(other.is_empty(), "{other:?}");
    actor.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_others_go_on_while_thousands_are_removed() {
    let place = Place::new().await;
    for from in 0..20 {
        let writes = (0..200).map(|number| put(command(from * 200 + number, "a", Op::Gc, CommandState::Success, 90)));
        place.commit(writes.collect(), (0..200).map(|_| event(30)).collect()).await;
    }
    let args = place.args();
    let looking = tokio::spawn(look::look(args, None));
    let mut between = 0;
    while !looking.is_finished() {
        place.commit(vec![], vec![event(0)]).await;
        between += 1;
    }
    let done = looking.await.unwrap().unwrap();
    assert_eq!((done.commands, done.events), (4000 - 50, 4000));
    assert!(between > 10, "only {between} commits of others");
    place.actor.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_missed() {
    let place = Place::new().await;
    place.commit(vec![], (0..5).map(event).collect()).await;
    place.actor.stop_and_wait(None, None).await.unwrap();
    let db = store::sled_of(place.dir.path());
    db.open_tree("events").unwrap().remove(3_u64.to_be_bytes()).unwrap();
    db.flush().unwrap();
    drop(db);
    let (store, actor) = open(place.dir.path()).await;
    let place = Place { store, actor, ..place };
    let done = place.look().await;
    assert!(done.missing.len() == 1 && done.missing[0].contains("5 events and has 4"), "{done:?}");
    place.actor.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_compressed_when_its_command_is_over() {
    let place = Place::new().await;
    write_log(place.dir.path(), "hsb0", 7, 0);
    let (janitor, join) = Actor::spawn(None, Janitor, place.args()).await.unwrap();
    janitor.cast(Msg::LogOver { host: host("hsb0"), command: id(8) }).unwrap();
    janitor.cast(Msg::LogOver { host: host("hsb0"), command: id(7) }).unwrap();
    while !place.sealed("hsb0", 7) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    janitor.stop(None);
    join.await.unwrap();
    place.actor.stop_and_wait(None, None).await.unwrap();
}

/// A store with nothing in it that counts how often it is looked through, and fails when told.
struct FakeStore;

#[derive(Clone, Default)]
struct Asked {
    looks: Arc<AtomicUsize>,
    failing: Arc<AtomicUsize>,
}

impl Actor for FakeStore {
    type Msg = store::Msg;
    type State = Asked;
    type Arguments = Asked;

    async fn pre_start(&self, _: ActorRef<store::Msg>, asked: Asked) -> Result<Asked, ActorProcessingErr> {
        Ok(asked)
    }

    async fn handle(
        &self,
        _: ActorRef<store::Msg>,
        message: store::Msg,
        asked: &mut Asked,
    ) -> Result<(), ActorProcessingErr> {
        use crate::actors::store::Ask;
        if let store::Msg::Load { reply, .. } = message {
            answer(reply, Ok(Loaded::default()));
        } else if let store::Msg::Upkeep(Ask::Standings { reply, .. }) = message {
            asked.looks.fetch_add(1, Ordering::SeqCst);
            if asked.failing.load(Ordering::SeqCst) > 0 {
                asked.failing.fetch_sub(1, Ordering::SeqCst);
                answer(reply, Err(store::StoreError::CantRead("told to".to_owned())));
            } else {
                answer(reply, Ok(Standing::default()));
            }
        } else if let store::Msg::Upkeep(Ask::Measure { reply }) = message {
            answer(reply, Ok(Measured { size: 1, live: 1, events: 0, last_event: EventId(0) }));
        } else if let store::Msg::Upkeep(Ask::OldRuns { reply, .. }) = message {
            answer(reply, Ok(Vec::new()));
        } else if let store::Msg::Upkeep(Ask::OldEvents { reply, .. }) = message {
            answer(reply, Ok(OldEvents::default()));
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn it_looks_soon_after_its_start_and_every_hour_whatever_happens() {
    let asked = Asked::default();
    let (fake, _) = Actor::spawn(None, FakeStore, asked.clone()).await.unwrap();
    let slot = Slot::new("store");
    slot.seat(fake);
    let dir = tempfile::tempdir().unwrap();
    let args = Args::new(dir.path().to_owned(), StoreHandle::new(slot), Retention::default());
    let (janitor, join) = Actor::spawn(None, Janitor, args).await.unwrap();
    let looks = || asked.looks.load(Ordering::SeqCst);
    tokio::time::sleep(FIRST / 2).await;
    assert_eq!(looks(), 0, "who starts goes first");
    tokio::time::sleep(FIRST).await;
    assert_eq!(looks(), 1);
    asked.failing.store(1, Ordering::SeqCst);
    for hour in 2..6 {
        tokio::time::sleep(EVERY).await;
        assert_eq!(looks(), hour);
        let snapshot = ractor::call_t!(janitor, |reply| Msg::Inspect { reply }, 1000).unwrap();
        assert_eq!(snapshot["failed"].is_null(), hour != 2, "{snapshot}");
    }
    janitor.stop(None);
    join.await.unwrap();
}
