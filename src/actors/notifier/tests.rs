//! The notifier over a store and a fleet that are played, with receivers that do as they are told; in paused time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use nixfleet_model::fleet_state::{FleetState, StateChange};
use nixfleet_model::notify::{Kind, Quiet};
use nixfleet_protocol::api::{Event, Remote, Run, RunState, Server};
use nixfleet_protocol::{Epoch, EventId, Version};
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::actors::store;
use crate::actors::sync::{self, Snapshot};
use crate::config::Secret;

/// Noon.
const BEGAN: &str = "2027-03-10T12:00:00.000Z";

#[derive(Default)]
struct Disk {
    settings: BTreeMap<&'static str, Vec<u8>>,
    outbox: BTreeMap<u64, Waiting>,
    events: Vec<NewEvent>,
}

struct FakeStore;

impl Actor for FakeStore {
    type Msg = store::Msg;
    type State = Arc<Mutex<Disk>>;
    type Arguments = Arc<Mutex<Disk>>;

    async fn pre_start(
        &self,
        _: ActorRef<store::Msg>,
        disk: Arc<Mutex<Disk>>,
    ) -> Result<Arc<Mutex<Disk>>, ActorProcessingErr> {
        Ok(disk)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what else is asked is a failure")]
    async fn handle(
        &self,
        _: ActorRef<store::Msg>,
        message: store::Msg,
        disk: &mut Arc<Mutex<Disk>>,
    ) -> Result<(), ActorProcessingErr> {
        let mut disk = disk.lock().unwrap();
        match message {
            store::Msg::Commit { batch, reply, .. } => {
                for write in batch.writes {
                    match write {
                        Write::PutOutbox(number, waiting) => drop(disk.outbox.insert(number, *waiting)),
                        Write::RemoveOutbox(number) => drop(disk.outbox.remove(&number)),
                        Write::PutSetting(name, bytes) => drop(disk.settings.insert(name, bytes)),
                        other => panic!("the notifier writes no {other:?}"),
                    }
                }
                disk.events.extend(batch.events);
                answer(reply, Ok(()));
            }
            store::Msg::Setting { name, reply } => answer(reply, Ok(disk.settings.get(name).cloned())),
            store::Msg::Outbox { reply } => {
                answer(reply, Ok(disk.outbox.iter().map(|(number, it)| (*number, it.clone())).collect()));
            }
            store::Msg::Probe { reply } => answer(reply, Ok(())),
            store::Msg::Events { reply, .. } => answer(reply, Ok(Vec::new())),
            other => panic!("the notifier asks no {other:?}"),
        }
        Ok(())
    }
}

type Fleet = Arc<Mutex<FleetState>>;

struct FakeSync;

impl Actor for FakeSync {
    type Msg = sync::Msg;
    type State = Fleet;
    type Arguments = Fleet;

    async fn pre_start(&self, _: ActorRef<sync::Msg>, fleet: Fleet) -> Result<Fleet, ActorProcessingErr> {
        Ok(fleet)
    }

    async fn handle(
        &self,
        _: ActorRef<sync::Msg>,
        message: sync::Msg,
        fleet: &mut Fleet,
    ) -> Result<(), ActorProcessingErr> {
        if let sync::Msg::Snapshot { reply } = message {
            let state = Arc::new(fleet.lock().unwrap().clone());
            answer(reply, Snapshot { epoch: Epoch::from_uuid(Uuid::nil()), version: Version(1), state });
        }
        Ok(())
    }
}

/// How receivers behave, by the host of their address; nothing: they take everything.
type Manners = Arc<Mutex<BTreeMap<&'static str, Manner>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Refuses,
    Hangs,
}

struct Bench {
    disk: Arc<Mutex<Disk>>,
    fleet: Fleet,
    manners: Manners,
    /// What arrived: where, and what.
    arrived: Arc<Mutex<Vec<(String, Letter)>>>,
    args: Args,
    actor: ActorRef<Msg>,
    slot: Slot<Msg>,
    events: u64,
}

fn channel(name: &str, quiet: Option<Quiet>) -> ChannelConfig {
    let way = Way::Webhook { url: Secret::new(format!("http://{name}/")), secret: None, headers: Vec::new() };
    ChannelConfig { name: name.to_owned(), rules: Rules::default(), quiet, way }
}

impl Bench {
    async fn new(channels: Vec<ChannelConfig>) -> Self {
        let disk = Arc::<Mutex<Disk>>::default();
        let server = Server {
            version: "1".into(),
            started_at: Time::from_millis(0),
            store_error: None,
            shared_agent_token: false,
        };
        let fleet: Fleet = Arc::new(Mutex::new(FleetState::new(Remote::default(), server)));
        let (store_slot, sync_slot) = (Slot::new("store"), Slot::new("sync"));
        store_slot.seat(Actor::spawn(None, FakeStore, Arc::clone(&disk)).await.unwrap().0);
        sync_slot.seat(Actor::spawn(None, FakeSync, Arc::clone(&fleet)).await.unwrap().0);
        let (manners, arrived) = (Manners::default(), Arc::<Mutex<Vec<(String, Letter)>>>::default());
        let (theirs, letters) = (Arc::clone(&manners), Arc::clone(&arrived));
        let deliver: Deliver = Arc::new(move |way, letter| {
            let (theirs, letters) = (Arc::clone(&theirs), Arc::clone(&letters));
            Box::pin(async move {
                let place = sending::place(&way);
                let manner = theirs.lock().unwrap().get(place.as_str()).copied();
                match manner {
                    Some(Manner::Refuses) => Err(sending::failure("it answered 503")),
                    Some(Manner::Hangs) => {
                        tokio::time::sleep(SEND_WITHIN).await;
                        Err(sending::failure("no answer within 20 s"))
                    }
                    None => {
                        letters.lock().unwrap().push((place, Letter::clone(&letter)));
                        Ok(Taken::default())
                    }
                }
            })
        });
        let args = Args {
            channels,
            base_url: Some("https://fleet.example.org".into()),
            store: StoreHandle::new(store_slot),
            sync: SyncHandle::new(sync_slot),
            news: Arc::default(),
            deliver,
            clock: Clock::Runtime(BEGAN.parse().unwrap(), Instant::now()),
        };
        let slot = Slot::new("notifier");
        let (actor, _) = Actor::spawn(None, Notifier, args.clone()).await.unwrap();
        slot.seat(actor.clone());
        let bench = Self { disk, fleet, manners, arrived, args, actor, slot, events: 0 };
        bench.settle().await;
        bench
    }

    /// Dies, and is started again over the same disk.
    async fn restart(&mut self) {
        self.actor.kill();
        let (actor, _) = Actor::spawn(None, Notifier, self.args.clone()).await.unwrap();
        self.slot.seat(actor.clone());
        self.actor = actor;
    }

    /// What is on its way arrives.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// A command fails on a host.
    async fn fail(&mut self, host: &str) {
        self.events += 1;
        let event = Event {
            id: EventId(self.events),
            time: self.args.clock.now(),
            category: Category::Audit,
            level: Level::Error,
            actor: "user".into(),
            host: host.parse().ok(),
            action: "command_finished".into(),
            message: "switch failed: exit code 4".into(),
            details: json!({ "command_id": Uuid::from_u128(7), "op": "switch", "state": "ERROR" }),
        };
        self.fleet.lock().unwrap().apply(StateChange::Event(Arc::new(event)));
        self.args.news.notify_one();
        self.settle().await;
    }

    /// Titles that arrived somewhere, since this was last asked.
    fn titles(&self, place: &str) -> Vec<String> {
        let mut arrived = self.arrived.lock().unwrap();
        let (theirs, others) = arrived.drain(..).partition::<Vec<_>, _>(|(at, _)| at == place);
        *arrived = others;
        theirs.into_iter().map(|(_, letter)| letter.title).collect()
    }

    fn handle(&self) -> NotifierHandle {
        NotifierHandle::new(self.slot.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_and_the_outbox_is_empty_then() {
    let mut bench = Bench::new(vec![channel("a", None)]).await;
    bench.fail("hsb0").await;
    assert_eq!(bench.titles("a"), ["switch on hsb0 failed"]);
    assert!(bench.disk.lock().unwrap().outbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_or_refuses_disturbs_no_other_and_gets_all_when_it_is_back() {
    let mut bench = Bench::new(vec![channel("a", None), channel("b", None), channel("c", None)]).await;
    bench.manners.lock().unwrap().extend([("b", Manner::Hangs), ("c", Manner::Refuses)]);
    bench.fail("h1").await;
    assert_eq!(bench.titles("a"), ["switch on h1 failed"], "at once");
    bench.fail("h2").await;
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert_eq!(bench.titles("a"), ["switch on h2 failed"]);
    let lanes: Vec<_> = bench.handle().channels().await.unwrap().into_iter().map(|view| view.lane).collect();
    assert_eq!(lanes.iter().map(|lane| lane.waiting).collect::<Vec<_>>(), [0, 2, 2]);
    assert!(lanes[2].last_error.as_ref().is_some_and(|(_, why)| why.contains("503")));
    bench.manners.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_mins(30)).await;
    for place in ["b", "c"] {
        assert_eq!(bench.titles(place), ["switch on h1 failed", "switch on h2 failed"], "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_sends_what_waited_with_the_same_id_and_tells_nothing_twice() {
    let mut bench = Bench::new(vec![channel("a", None), channel("b", None)]).await;
    bench.manners.lock().unwrap().insert("b", Manner::Refuses);
    bench.fail("h1").await;
    let letter = bench.arrived.lock().unwrap()[0].1.clone();
    assert_eq!(bench.titles("a").len(), 1);
    bench.manners.lock().unwrap().clear();
    bench.restart().await;
    bench.settle().await;
    let again = bench.arrived.lock().unwrap().clone();
    assert_eq!(again.len(), 1, "to b alone: {again:?}");
    assert_eq!((again[0].0.as_str(), &again[0].1.title), ("b", &letter.title));
    bench.restart().await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(bench.arrived.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn quiet_hours_end_in_one_digest() {
    let quiet = Quiet::parse("22:00-07:00", TimeZone::UTC).ok();
    let mut bench = Bench::new(vec![channel("a", quiet)]).await;
    tokio::time::sleep(Duration::from_hours(11)).await;
    for host in ["h1", "h2", "h3"] {
        bench.fail(host).await;
    }
    bench.restart().await;
    tokio::time::sleep(Duration::from_hours(7)).await;
    assert_eq!(bench.titles("a"), Vec::<String>::new(), "also over a restart");
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(bench.titles("a"), ["In quiet hours: 3 commands failed"]);
}

#[tokio::test(start_paused = true)]
async fn runs_that_halt_and_end_are_told() {
    let bench = Bench::new(vec![channel("a", None)]).await;
    let mut run: Run = serde_json::from_value(json!({
        "id": Uuid::from_u128(9), "pipeline": "do-all", "label": "Do all", "actor": "user", "state": "HALTED",
        "message": "tests failed on hsb0.", "stage": 2, "ops": [], "hosts": { "hsb0": ["ERROR"] }, "commands": {},
        "notes": {}, "groups": [], "group": 0, "waits": [], "halted": null, "options": {},
        "created_at": BEGAN, "finished_at": null,
    }))
    .unwrap();
    for state in [RunState::Halted, RunState::Failed] {
        run.state = state;
        bench.fleet.lock().unwrap().apply(StateChange::Run(Arc::new(run.clone())));
        bench.args.news.notify_one();
        bench.settle().await;
    }
    let kinds: Vec<_> = bench.arrived.lock().unwrap().iter().map(|(_, letter)| letter.kind).collect();
    assert_eq!(kinds, [Some(Kind::RunHalted), Some(Kind::RunFinished)]);
    let halted = bench.arrived.lock().unwrap()[0].1.clone();
    assert!(halted.text.contains("tests failed on hsb0"), "{}", halted.text);
    assert!(halted.url.unwrap().starts_with("https://fleet.example.org/runs/"));
}

#[tokio::test(start_paused = true)]
async fn a_test_tells_what_the_receiver_said_and_is_in_the_audit_log() {
    let bench = Bench::new(vec![channel("a", None), channel("b", None)]).await;
    bench.manners.lock().unwrap().insert("b", Manner::Refuses);
    let handle = bench.handle();
    assert_eq!(handle.test("a".into(), "user".into()).await.unwrap(), Tested::Taken);
    assert_eq!(handle.test("b".into(), "user".into()).await.unwrap(), Tested::NotTaken("it answered 503".into()));
    assert_eq!(handle.test("c".into(), "user".into()).await.unwrap(), Tested::NoSuchChannel);
    let events: Vec<_> =
        bench.disk.lock().unwrap().events.iter().map(|event| (event.action.clone(), event.level)).collect();
    assert_eq!(
        events,
        [("notification_tested".to_owned(), Level::Success), ("notification_tested".to_owned(), Level::Warn)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_test_that_hangs_ends_in_time_and_a_second_one_is_told_to_wait() {
    let bench = Bench::new(vec![channel("a", None)]).await;
    bench.manners.lock().unwrap().insert("a", Manner::Hangs);
    let handle = bench.handle();
    let first = tokio::spawn(async move { handle.test("a".into(), "user".into()).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.handle().test("a".into(), "user".into()).await.unwrap(), Tested::Busy);
    assert!(matches!(first.await.unwrap().unwrap(), Tested::NotTaken(why) if why.contains("no answer")));
}

#[tokio::test(start_paused = true)]
async fn without_a_channel_nothing_is_remembered() {
    let mut bench = Bench::new(vec![channel("a", None)]).await;
    bench.manners.lock().unwrap().insert("a", Manner::Refuses);
    bench.fail("h1").await;
    assert_eq!(bench.disk.lock().unwrap().outbox.len(), 1);
    let channels = std::mem::take(&mut bench.args.channels);
    bench.restart().await;
    bench.fail("h2").await;
    assert!(bench.disk.lock().unwrap().outbox.is_empty(), "who is told of nothing is not told later");
    bench.manners.lock().unwrap().clear();
    bench.args.channels = channels;
    bench.restart().await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(bench.titles("a"), Vec::<String>::new());
}
