//! The whole tree, on a real store: who dies comes back alone, who hangs is named, and only the store's repeated
//! failure ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use nixfleet_model::event::NewEvent;
use nixfleet_model::fleet_state::FleetState;
use nixfleet_model::host_core;
use nixfleet_protocol::api::{Category, Command, Host, Level, LogLine, Server};
use nixfleet_protocol::browser::{Change, Fragment};
use nixfleet_protocol::sgr::Pen;
use nixfleet_protocol::{CommandId, HostId};
use ractor::Message as ActorMessage;
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::actors::links::link::Io;
use crate::actors::sessions::Viewer;
use crate::actors::store::Batch;
use crate::actors::sync::{PageKind, Render, View};
use crate::actors::{access, remote, store};
use crate::config::{AccessConfig, Secret};

/// Renders nothing, and hangs while it is told to.
#[derive(Default)]
struct Hanging(AtomicBool);

impl Render for Hanging {
    fn fragments(&self, _: &Change, _: Option<&Host>, _: &FleetState, _: &PageKind) -> Vec<Fragment> {
        while self.0.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Vec::new()
    }

    fn everything(&self, _: &FleetState, _: &PageKind) -> Vec<Fragment> {
        Vec::new()
    }

    fn log_head(&self, _: &FleetState, _: &Command) -> String {
        String::new()
    }

    fn log_rows(&self, _: CommandId, _: u64, _: &[LogLine], _: Pen) -> String {
        String::new()
    }
}

struct Whole {
    root: RootHandle,
    handles: Handles,
    slots: Slots,
    fatal: watch::Receiver<Option<String>>,
    render: Arc<Hanging>,
    people: Option<Runtime>,
    _dir: TempDir,
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Not waited for: this may run on a runtime's own thread.
        if let Some(people) = self.people.take() {
            people.shutdown_background();
        }
    }
}

async fn whole() -> Whole {
    // Tabs have a runtime of their own, as in the daemon.
    let people = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let render = Arc::<Hanging>::default();
    let access = AccessConfig {
        password_hash: Secret::new("$2b$04$abcdefghijklmnopqrstuuJzXeBYSUHXDg3XKjGZm0MzOHRBvkTza".to_owned()),
        totp_secret: None,
        session_secrets: Vec::new(),
        session_duration: Duration::from_mins(1),
        agent_token: None,
        admin_token: None,
    };
    let server =
        Server { version: "1.0.0".into(), started_at: Time::now(), store_error: None, shared_agent_token: false };
    let settings = Settings {
        data_dir: dir.path().to_owned(),
        server,
        beacon: Duration::from_secs(30),
        wake_by: ([127, 0, 0, 1], 9).into(),
        render: Arc::clone(&render) as Arc<dyn Render>,
        remote: remote::Settings::none("main", Duration::from_secs(30)),
        access: access::Settings::new(access),
        hosts: Arc::new(host_core::Settings {
            server_version: "1.0.0".into(),
            daemon_started: Time::now(),
            totp_configured: false,
            kill_at_limit: false,
            alike: Arc::default(),
            auto_test: true,
        }),
        notify: Vec::new(),
        base_url: None,
        retention: nixfleet_model::retention::Retention::default(),
        people: people.handle().clone(),
    };
    let slots = Slots::default();
    let handles = Handles::new(&slots);
    let (tell, fatal) = watch::channel(None);
    let args = Args { settings, slots: slots.clone(), handles: handles.clone(), fatal: tell };
    let (actor, _) = Actor::spawn(None, Root, args).await.unwrap();
    slots.root.seat(actor);
    Whole { root: handles.root.clone(), handles, slots, fatal, render, people: Some(people), _dir: dir }
}

impl Whole {
    /// Waits until everything makes progress.
    async fn until_ready(&self) {
        until("everything makes progress", async || self.root.ready().await.ready).await;
    }

    async fn make_host(&self, name: &str) {
        let host: HostId = name.parse().unwrap();
        self.handles.hosts.create(host, "user".into()).await.unwrap();
    }

    async fn knows(&self, name: &str) -> bool {
        let host: HostId = name.parse().unwrap();
        self.handles.sync.snapshot().await.is_ok_and(|now| now.state.hosts.contains_key(&host))
    }

    fn seats(&self) -> [Option<ActorId>; 10] {
        [
            seat(&self.slots.store),
            seat(&self.slots.sync),
            seat(&self.slots.access),
            seat(&self.slots.remote),
            seat(&self.slots.hosts),
            seat(&self.slots.runs),
            seat(&self.slots.links),
            seat(&self.slots.sessions),
            seat(&self.slots.notifier),
            seat(&self.slots.janitor),
        ]
    }

    fn kill(&self, child: Child) {
        match child {
            Child::Store => kill(&self.slots.store),
            Child::Sync => kill(&self.slots.sync),
            Child::Access => kill(&self.slots.access),
            Child::Remote => kill(&self.slots.remote),
            Child::Hosts => kill(&self.slots.hosts),
            Child::Runs => kill(&self.slots.runs),
            Child::Links => kill(&self.slots.links),
            Child::Sessions => kill(&self.slots.sessions),
            Child::Notifier => kill(&self.slots.notifier),
            Child::Janitor => kill(&self.slots.janitor),
        }
    }

    async fn tab(&self, view: View) -> WebSocketStream<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let socket = WebSocketStream::from_raw_socket(Box::new(theirs) as Box<dyn Io>, Role::Server, None).await;
        assert!(self.handles.sessions.open(socket, view, None, Viewer::Session([0; 32])));
        WebSocketStream::from_raw_socket(ours, Role::Client, None).await
    }
}

fn seat<M: ActorMessage>(slot: &Slot<M>) -> Option<ActorId> {
    slot.sitting().map(|actor| actor.get_id())
}

fn kill<M: ActorMessage>(slot: &Slot<M>) {
    slot.sitting().unwrap().kill();
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "waited too long until {what}");
}

/// The next state or delta of a tab: its type and version.
async fn next(tab: &mut WebSocketStream<DuplexStream>) -> (String, u64) {
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(20), tab.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = frame {
            let frame: serde_json::Value = serde_json::from_str(text.as_str()).unwrap();
            return (frame["type"].as_str().unwrap().to_owned(), frame["version"].as_u64().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_child_comes_back_alone_and_nothing_is_forgotten() {
    let whole = whole().await;
    whole.make_host("hsb0").await;
    whole.until_ready().await;
    for (at, child) in Child::IN_ORDER.iter().enumerate() {
        let before = whole.seats();
        whole.kill(*child);
        until("it is back", async || {
            let now = whole.seats();
            now[at].is_some() && now[at] != before[at]
        })
        .await;
        whole.until_ready().await;
        let after = whole.seats();
        for (other, name) in Child::IN_ORDER.iter().enumerate() {
            assert_eq!(before[other] == after[other], other != at, "{name:?}, when {child:?} was killed");
        }
        until("the host is known", async || whole.knows("hsb0").await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_that_hangs_is_named_until_it_goes_on() {
    let whole = whole().await;
    whole.until_ready().await;
    let mut tab = whole.tab(View::Html(PageKind::Fleet)).await;
    assert_eq!(next(&mut tab).await.0, "init");
    whole.render.0.store(true, Ordering::SeqCst);
    let event = NewEvent::new(Time::now(), Category::System, Level::Info, "system", "tick", "tick");
    whole.handles.store.commit_once(Batch { events: vec![event], ..Batch::default() }).await.unwrap();
    until("it is named", async || {
        let readiness = whole.root.ready().await;
        !readiness.ready && readiness.problems.iter().any(|problem| problem.contains("sync"))
    })
    .await;
    whole.render.0.store(false, Ordering::SeqCst);
    whole.until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_keeps_failing_ends_the_process() {
    let mut whole = whole().await;
    for _ in 0..5 {
        until("the store sits", async || whole.slots.store.sitting().is_some() || whole.fatal.borrow().is_some()).await;
        if let Some(store) = whole.slots.store.sitting() {
            store.kill();
            until("it is gone", async || seat(&whole.slots.store) != Some(store.get_id())).await;
        }
    }
    let told = tokio::time::timeout(Duration::from_secs(20), whole.fatal.wait_for(Option::is_some)).await;
    assert!(told.unwrap().unwrap().as_deref().is_some_and(|why| why.contains("store")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_get_the_state_anew_when_sync_comes_back_and_no_version_comes_twice() {
    let whole = whole().await;
    let mut tab = whole.tab(View::Json).await;
    let (kind, before) = next(&mut tab).await;
    assert_eq!(kind, "init");
    kill(&whole.slots.sync);
    loop {
        let (kind, version) = next(&mut tab).await;
        if kind == "init" || kind == "full_state" {
            assert!(version > before);
            break;
        }
    }
    whole.make_host("hsb1").await;
    while next(&mut tab).await.0 != "delta" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_dies_takes_no_other_along() {
    let whole = whole().await;
    let mut first = whole.tab(View::Json).await;
    next(&mut first).await;
    let mut second = whole.tab(View::Json).await;
    next(&mut second).await;
    let sessions = whole.slots.sessions.sitting().unwrap();
    let children = sessions.get_cell().get_children();
    assert_eq!(children.len(), 2);
    children.first().unwrap().kill();
    let ended = async |tab: &mut WebSocketStream<DuplexStream>| {
        tokio::time::timeout(Duration::from_millis(500), async { while let Some(Ok(_)) = tab.next().await {} })
            .await
            .is_ok()
    };
    let (one, other) = (ended(&mut first).await, ended(&mut second).await);
    assert!(one != other, "one tab ended, the other did not: {one} {other}");
    assert_eq!(seat(&whole.slots.sessions), Some(sessions.get_id()));
    whole.until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_committed_while_sync_is_away_is_in_the_state_when_it_is_back() {
    let whole = whole().await;
    whole.until_ready().await;
    let store = whole.handles.store.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while !told.load(Ordering::SeqCst) {
            number += 1;
            let message = format!("tick {number}");
            let event = NewEvent::new(Time::now(), Category::System, Level::Info, "system", "tick", message);
            store.commit(Batch { events: vec![event], ..Batch::default() }).await.unwrap();
        }
    });
    for _ in 0..3 {
        let before = seat(&whole.slots.sync);
        whole.kill(Child::Sync);
        until("it is back", async || {
            let now = seat(&whole.slots.sync);
            now.is_some() && now != before && whole.handles.sync.snapshot().await.is_ok()
        })
        .await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    stop.store(true, Ordering::SeqCst);
    writing.await.unwrap();
    let stored = whole.handles.store.events(None, 100).await.unwrap();
    let shown = whole.handles.sync.snapshot().await.unwrap();
    let ids = |events: &mut dyn Iterator<Item = &Arc<nixfleet_protocol::api::Event>>| -> Vec<u64> {
        events.map(|event| event.id.0).collect()
    };
    assert_eq!(ids(&mut shown.state.events.iter()), ids(&mut stored.iter()), "no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_can_not_write_is_said_by_the_next_sync_too() {
    let whole = whole().await;
    whole.until_ready().await;
    let full = store::WriterNews::Health(Some("the disk is full".to_owned()));
    assert!(whole.slots.store.cast(store::Msg::Writer(full)));
    let says = async || {
        let now = whole.handles.sync.snapshot().await;
        now.is_ok_and(|now| now.state.server.store_error.as_deref() == Some("the disk is full"))
    };
    until("it is said", says).await;
    let before = seat(&whole.slots.sync);
    whole.kill(Child::Sync);
    until("it is back", async || seat(&whole.slots.sync) != before && seat(&whole.slots.sync).is_some()).await;
    until("it is still said", says).await;
}
