//! Versions, subscribers, resume and restart, over a store that only knows marks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nixfleet_model::host::HostRecord;
use nixfleet_model::view::HostView;
use nixfleet_protocol::api::Level;
use nixfleet_protocol::api::{Category, Event};
use nixfleet_protocol::{EventId, browser::Resume};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::*;
use crate::actors::store;

/// A store that keeps a mark, and knows the names of some hosts.
#[derive(Default)]
struct Marks {
    hosts: Vec<&'static str>,
}

impl Actor for Marks {
    type Msg = store::Msg;
    type State = Arc<AtomicU64>;
    type Arguments = Arc<AtomicU64>;

    async fn pre_start(
        &self,
        _myself: ActorRef<store::Msg>,
        mark: Arc<AtomicU64>,
    ) -> Result<Arc<AtomicU64>, ActorProcessingErr> {
        Ok(mark)
    }

    async fn handle(
        &self,
        _myself: ActorRef<store::Msg>,
        message: store::Msg,
        mark: &mut Arc<AtomicU64>,
    ) -> Result<(), ActorProcessingErr> {
        if let store::Msg::Load { reply, .. } = message {
            let names = self.hosts.iter().map(|name| name.parse().unwrap()).collect();
            answer(reply, Ok(Loaded { names, ..Loaded::default() }));
        } else if let store::Msg::RaiseMark { to, reply } = message {
            answer(reply, Ok(mark.fetch_max(to, Ordering::SeqCst)));
        }
        Ok(())
    }
}

/// Renders the kind of a change, and remembers how often it was asked: for a change, and for all.
#[derive(Default)]
struct Counting(Mutex<Vec<PageKind>>, AtomicU64);

impl Render for Counting {
    fn fragments(&self, change: &Change, _: Option<&Host>, _: &FleetState, page: &PageKind) -> Vec<Fragment> {
        self.0.lock().unwrap().push(page.clone());
        vec![fragment(change.kind())]
    }

    fn everything(&self, state: &FleetState, _page: &PageKind) -> Vec<Fragment> {
        self.1.fetch_add(1, Ordering::SeqCst);
        vec![fragment(&format!("{} events", state.events.len()))]
    }

    fn log_head(&self, _: &FleetState, _: &Command) -> String {
        String::new()
    }

    fn log_rows(&self, _: CommandId, _: u64, _: &[LogLine], _: Pen) -> String {
        String::new()
    }
}

fn fragment(html: &str) -> Fragment {
    Fragment { id: "x".into(), place: nixfleet_protocol::browser::Place::Morph, html: html.into() }
}

struct Bench {
    sync: SyncHandle,
    actor: ActorRef<Msg>,
    render: Arc<Counting>,
}

async fn start(mark: &Arc<AtomicU64>) -> Bench {
    start_over(Marks::default(), mark).await
}

async fn start_over(store: Marks, mark: &Arc<AtomicU64>) -> Bench {
    let store_slot = Slot::new("store");
    store_slot.seat(Actor::spawn(None, store, Arc::clone(mark)).await.unwrap().0);
    let render = Arc::new(Counting::default());
    let server =
        Server { version: "1".into(), started_at: Time::from_millis(0), store_error: None, shared_agent_token: false };
    let args = Args {
        store: StoreHandle::new(store_slot),
        render: Arc::clone(&render) as Arc<dyn Render>,
        server,
        beacon: Duration::from_secs(30),
        news: Arc::default(),
        seat: Slot::new("sync"),
    };
    let (actor, _) = Actor::spawn(None, Sync, args).await.unwrap();
    let slot = Slot::new("sync");
    slot.seat(actor.clone());
    Bench { sync: SyncHandle::new(slot), actor, render }
}

fn event(id: u64) -> StateChange {
    StateChange::Event(Arc::new(Event {
        id: EventId(id),
        time: Time::from_millis(0),
        category: Category::System,
        level: Level::Info,
        actor: "system".into(),
        host: None,
        action: "tick".into(),
        message: id.to_string(),
        details: Value::Null,
    }))
}

async fn read(reader: &mut OutboxReader) -> Value {
    let frame: Utf8Bytes = reader.next().await.unwrap();
    serde_json::from_str(frame.as_str()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_the_state_and_then_every_change_without_gaps() {
    let bench = start(&Arc::default()).await;
    let (outbox, mut reader) = outbox();
    bench.sync.publish(vec![event(1)]);
    bench.sync.cast(Msg::Subscribe { id: 1, view: View::Json, outbox, resume: None });
    bench.sync.publish(vec![event(2), event(3)]);
    let init = read(&mut reader).await;
    assert_eq!(init["type"], "init");
    assert_eq!(init["payload"]["state"]["events"].as_array().unwrap().len(), 1);
    for n in 1..=2 {
        let delta = read(&mut reader).await;
        assert_eq!(delta["type"], "delta");
        assert_eq!(delta["payload"]["change"]["type"], "event");
        assert_eq!(delta["version"].as_u64(), init["version"].as_u64().map(|version| version + n));
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_gets_no_version() {
    let bench = start(&Arc::default()).await;
    bench.sync.publish(vec![event(1)]);
    let before = bench.sync.snapshot().await.unwrap().version;
    bench.sync.publish(vec![event(1)]);
    assert_eq!(bench.sync.snapshot().await.unwrap().version, before);
}

#[tokio::test(start_paused = true)]
async fn fragments_are_made_once_for_each_kind_of_page() {
    let bench = start(&Arc::default()).await;
    let mut readers = Vec::new();
    for id in 0..10 {
        let (outbox, reader) = outbox();
        let page = if id < 7 { PageKind::Fleet } else { PageKind::Events };
        bench.sync.cast(Msg::Subscribe { id, view: View::Html(page), outbox, resume: None });
        readers.push(reader);
    }
    bench.sync.publish(vec![event(1)]);
    for reader in &mut readers {
        assert_eq!(read(reader).await["type"], "init");
        assert_eq!(read(reader).await["payload"]["fragments"][0]["html"], "event");
    }
    assert_eq!(bench.render.0.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_state_is_made_once_for_all_who_ask_before_it_changes() {
    let bench = start(&Arc::default()).await;
    let made = || bench.render.1.load(Ordering::SeqCst);
    let subscribe = async |id, page: PageKind, away: bool| {
        let (outbox, mut reader) = outbox();
        let resume = away.then(|| Resume { epoch: Epoch::from_uuid(Uuid::nil()), version: Version(7) });
        bench.sync.cast(Msg::Subscribe { id, view: View::Html(page), outbox, resume });
        read(&mut reader).await
    };
    bench.sync.publish(vec![event(1)]);
    let first = subscribe(1, PageKind::Fleet, true).await;
    assert_eq!(first["type"], "full_state");
    for id in 2..50 {
        assert_eq!(subscribe(id, PageKind::Fleet, true).await, first);
    }
    assert_eq!(made(), 1);
    // Another word, another page, another version: made for them.
    assert_eq!(subscribe(50, PageKind::Fleet, false).await["type"], "init");
    assert_eq!(made(), 2);
    assert_eq!(subscribe(51, PageKind::Events, false).await["payload"], first["payload"]);
    assert_eq!(made(), 3);
    bench.sync.publish(vec![event(2)]);
    assert_ne!(subscribe(52, PageKind::Events, false).await["payload"], first["payload"]);
    assert_eq!(made(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_missed_much_gets_everything_and_is_rendered_once() {
    let bench = start(&Arc::default()).await;
    bench.sync.publish(vec![event(1)]);
    let at = bench.sync.snapshot().await.unwrap();
    let back = async |id| {
        let (outbox, mut reader) = outbox();
        let resume = Some(Resume { epoch: at.epoch, version: at.version });
        bench.sync.cast(Msg::Subscribe { id, view: View::Html(PageKind::Fleet), outbox, resume });
        read(&mut reader).await
    };
    bench.sync.publish((2..66).map(event).collect());
    let missed = back(1).await;
    assert_eq!(
        (missed["type"].as_str(), missed["payload"]["deltas"].as_array().map(Vec::len)),
        (Some("deltas"), Some(64))
    );
    bench.sync.publish(vec![event(66)]);
    assert_eq!(back(2).await["type"], "full_state");
    assert_eq!(bench.render.0.lock().unwrap().len(), 64 + 1, "one more for the tab that was there");
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_and_again_without_reading_is_made_nothing() {
    let bench = start(&Arc::default()).await;
    let (outbox, mut reader) = outbox();
    bench.sync.publish(vec![event(1)]);
    bench.sync.cast(Msg::Subscribe { id: 1, view: View::Html(PageKind::Fleet), outbox, resume: None });
    for number in 2..30 {
        bench.sync.publish(vec![event(number)]);
        bench.sync.cast(Msg::GetState { id: 1 });
    }
    bench.sync.snapshot().await.unwrap();
    assert_eq!(bench.render.1.load(Ordering::SeqCst), 1);
    assert_eq!(read(&mut reader).await["type"], "init");
    bench.sync.cast(Msg::GetState { id: 1 });
    loop {
        let frame = read(&mut reader).await;
        if frame["type"] == "full_state" {
            assert_eq!(frame["payload"]["fragments"][0]["html"], "29 events");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_a_moment_gets_what_it_missed_and_who_was_away_for_long_everything() {
    let bench = start(&Arc::default()).await;
    bench.sync.publish(vec![event(1)]);
    let then = bench.sync.snapshot().await.unwrap();
    bench.sync.publish(vec![event(2), event(3)]);
    for (epoch, version, expected) in [
        (then.epoch, then.version, "deltas"),
        (then.epoch, Version(0), "full_state"),
        (then.epoch, Version(then.version.0 + 100), "full_state"),
        (Epoch::from_uuid(uuid::Uuid::max()), then.version, "full_state"),
    ] {
        let (outbox, mut reader) = outbox();
        let resume = Some(Resume { epoch, version });
        bench.sync.cast(Msg::Subscribe { id: 1, view: View::Json, outbox, resume });
        let frame = read(&mut reader).await;
        assert_eq!(frame["type"], expected);
        if expected == "deltas" {
            let deltas = frame["payload"]["deltas"].as_array().unwrap();
            assert_eq!(deltas.len(), 2);
            assert_eq!(deltas[0]["version"].as_u64(), Some(then.version.0 + 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_version_is_given_twice_over_a_restart() {
    let mark = Arc::default();
    let bench = start(&mark).await;
    bench.sync.publish((1..=10).map(event).collect());
    let before = bench.sync.snapshot().await.unwrap().version;
    bench.actor.kill();
    let bench = start(&mark).await;
    assert!(bench.sync.snapshot().await.unwrap().version > before);
}

#[tokio::test(start_paused = true)]
async fn the_mark_is_raised_before_it_is_reached() {
    let mark = Arc::<AtomicU64>::default();
    let bench = start(&mark).await;
    let at_start = mark.load(Ordering::SeqCst);
    for batch in 0..60 {
        bench.sync.publish((batch * 10_000 + 1..=(batch + 1) * 10_000).map(event).collect());
    }
    let version = bench.sync.snapshot().await.unwrap().version;
    assert!(version.0 > MARK_REST && version.0 < at_start);
    tokio::task::yield_now().await;
    while mark.load(Ordering::SeqCst) == at_start {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_subscriber_slows_nobody_and_gets_the_state_later() {
    let bench = start(&Arc::default()).await;
    let (stalled, mut stalled_reader) = outbox();
    let (awake, mut awake_reader) = outbox();
    bench.sync.cast(Msg::Subscribe { id: 1, view: View::Json, outbox: stalled, resume: None });
    bench.sync.cast(Msg::Subscribe { id: 2, view: View::Json, outbox: awake, resume: None });
    let mut last = Value::Null;
    for n in 1..=1000 {
        bench.sync.publish(vec![event(n)]);
        last = read(&mut awake_reader).await;
    }
    assert_eq!(last["type"], "delta");
    while !stalled_reader.needs_state() {
        read(&mut stalled_reader).await;
    }
    bench.sync.cast(Msg::GetState { id: 1 });
    let state = read(&mut stalled_reader).await;
    assert_eq!(state["type"], "full_state");
    assert_eq!(state["payload"]["state"]["events"][0]["id"], "1000");
    assert!(!stalled_reader.needs_state());
}

fn host(name: &str) -> StateChange {
    let settings = nixfleet_model::host_core::Settings {
        server_version: "1".into(),
        daemon_started: Time::from_millis(0),
        totp_configured: false,
        kill_at_limit: false,
        alike: Arc::default(),
        auto_test: true,
    };
    let record = HostRecord::new(name.parse().unwrap(), Time::from_millis(0));
    let remote = nixfleet_model::remote::RemoteState::new(None, "main", Duration::from_secs(30));
    let now = Time::from_millis(1);
    let (core, _) =
        nixfleet_model::host_core::Core::revive(Arc::new(settings), record, Vec::new(), Arc::new(remote), now);
    let view: HostView = core.view(None, now);
    StateChange::Host(Arc::new(view))
}

fn names(frame: &Value) -> Vec<&str> {
    let hosts = frame["payload"]["state"]["hosts"].as_array().unwrap();
    hosts.iter().map(|host| host["id"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nobody_sees_half_of_the_hosts() {
    let bench = start_over(Marks { hosts: vec!["a", "b"] }, &Arc::default()).await;
    let (outbox, mut reader) = outbox();
    bench.sync.cast(Msg::Subscribe { id: 1, view: View::Json, outbox, resume: None });
    let snapshot = tokio::spawn({
        let sync = bench.sync.clone();
        async move { sync.snapshot().await }
    });
    bench.sync.publish(vec![host("a")]);
    let early = tokio::time::timeout(Duration::from_secs(1), reader.next()).await;
    assert!(early.is_err(), "half of the hosts were shown: {early:?}");
    bench.sync.publish(vec![event(1), host("b")]);
    assert_eq!(names(&read(&mut reader).await), ["a", "b"]);
    assert_eq!(snapshot.await.unwrap().unwrap().state.hosts.len(), 2);
    bench.sync.publish(vec![host("c")]);
    assert_eq!(read(&mut reader).await["payload"]["change"]["type"], "host_added");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_tells_nothing_is_not_waited_for_without_end() {
    let bench = start_over(Marks { hosts: vec!["a", "b"] }, &Arc::default()).await;
    bench.sync.publish(vec![host("a")]);
    let begun = tokio::time::Instant::now();
    let now = bench.sync.snapshot().await.unwrap();
    assert_eq!(now.state.hosts.len(), 1);
    assert!(begun.elapsed() <= waking::WITHIN);
    bench.sync.publish(vec![host("b")]);
    assert_eq!(bench.sync.snapshot().await.unwrap().state.hosts.len(), 2);
}
