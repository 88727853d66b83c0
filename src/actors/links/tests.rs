//! Agents of the tests' own hand, over in-memory sockets: who is let in, who keeps a name, and that nobody floods
//! a host's actor.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Heartbeat, OutputAck};
use nixfleet_protocol::codec::encode;
use nixfleet_protocol::{HostId, JournalId};
use tokio::io::DuplexStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::link::Io;
use super::*;
use crate::actors::store;

type Heard = Arc<Mutex<Vec<(u64, OwnedSemaphorePermit)>>>;
type Up = Arc<Mutex<Vec<LinkRef>>>;

/// A host's actor that holds every permit that it is given.
struct Holder;

impl Actor for Holder {
    type Msg = host::Msg;
    type State = Heard;
    type Arguments = Heard;

    async fn pre_start(&self, _myself: ActorRef<host::Msg>, heard: Heard) -> Result<Heard, ActorProcessingErr> {
        Ok(heard)
    }

    async fn handle(
        &self,
        _myself: ActorRef<host::Msg>,
        message: host::Msg,
        heard: &mut Heard,
    ) -> Result<(), ActorProcessingErr> {
        if let host::Msg::FromAgent { link, permit, .. } = message {
            heard.lock().unwrap().push((link, permit));
        }
        Ok(())
    }
}

/// The hosts' parent: every host is the one holder. It keeps the links.
struct Hosts(Up);

impl Actor for Hosts {
    type Msg = hosts::Msg;
    type State = ActorRef<host::Msg>;
    type Arguments = ActorRef<host::Msg>;

    async fn pre_start(
        &self,
        _myself: ActorRef<hosts::Msg>,
        host: ActorRef<host::Msg>,
    ) -> Result<ActorRef<host::Msg>, ActorProcessingErr> {
        Ok(host)
    }

    async fn handle(
        &self,
        _myself: ActorRef<hosts::Msg>,
        message: hosts::Msg,
        host: &mut ActorRef<host::Msg>,
    ) -> Result<(), ActorProcessingErr> {
        if let hosts::Msg::LinkUp { attach, link, .. } = message {
            self.0.lock().unwrap().push(link);
            answer(attach, host.clone());
        }
        Ok(())
    }
}

/// A store that takes events and answers nothing else.
struct Events;

impl Actor for Events {
    type Msg = store::Msg;
    type State = Arc<Mutex<Vec<String>>>;
    type Arguments = Arc<Mutex<Vec<String>>>;

    async fn pre_start(
        &self,
        _myself: ActorRef<store::Msg>,
        events: Arc<Mutex<Vec<String>>>,
    ) -> Result<Arc<Mutex<Vec<String>>>, ActorProcessingErr> {
        Ok(events)
    }

    async fn handle(
        &self,
        _myself: ActorRef<store::Msg>,
        message: store::Msg,
        events: &mut Arc<Mutex<Vec<String>>>,
    ) -> Result<(), ActorProcessingErr> {
        if let store::Msg::Commit { batch, reply, .. } = message {
            events.lock().unwrap().extend(batch.events.into_iter().map(|event| event.action));
            answer(reply, Ok(()));
        }
        Ok(())
    }
}

struct Bench {
    links: ActorRef<Msg>,
    host: ActorRef<host::Msg>,
    heard: Heard,
    events: Arc<Mutex<Vec<String>>>,
    up: Up,
}

async fn bench() -> Bench {
    let (heard, events, up) = (Heard::default(), Arc::default(), Up::default());
    let (host, _) = Actor::spawn(None, Holder, Arc::clone(&heard)).await.unwrap();
    let (hosts_slot, store_slot) = (Slot::new("hosts"), Slot::new("store"));
    hosts_slot.seat(Actor::spawn(None, Hosts(Arc::clone(&up)), host.clone()).await.unwrap().0);
    store_slot.seat(Actor::spawn(None, Events, Arc::clone(&events)).await.unwrap().0);
    let args = Args { hosts: hosts_slot, store: StoreHandle::new(store_slot) };
    let (links, _) = Actor::spawn(None, Links, args).await.unwrap();
    Bench { links, host, heard, events, up }
}

type Agent = WebSocketStream<DuplexStream>;

impl Bench {
    async fn dial(&self, who: AgentIdentity) -> Agent {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let socket = WebSocketStream::from_raw_socket(Box::new(theirs) as Box<dyn Io>, Role::Server, None).await;
        let own_tokens = OwnTokens(Arc::new(|host| host.as_str() == "own"));
        self.links.cast(Msg::Accept { socket: Box::new(socket), who, own_tokens }).unwrap();
        WebSocketStream::from_raw_socket(ours, Role::Client, None).await
    }

    async fn register(&self, name: &str, journal: Option<u128>) -> Agent {
        let mut agent = self.dial(AgentIdentity::Shared).await;
        say_register(&mut agent, name, journal).await;
        agent
    }

    /// Waits until this many messages were heard; the clock is paused and runs while nobody works.
    async fn until_heard(&self, count: usize) {
        while self.heard.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn say_register(agent: &mut Agent, name: &str, journal: Option<u128>) {
    let journal = journal.map(|n| JournalId::from_uuid(uuid::Uuid::from_u128(n)));
    let register = Register { hostname: name.into(), journal, ..Register::default() };
    agent.send(Message::text(encode(&AgentMessage::Register(Box::new(register))))).await.unwrap();
}

async fn beat(agent: &mut Agent) {
    agent.send(Message::text(encode(&AgentMessage::Heartbeat(Box::<Heartbeat>::default())))).await.unwrap();
}

/// Reads, and so answers pings, until the close frame; its code.
async fn closed(agent: &mut Agent) -> u16 {
    loop {
        match agent.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("ended without a close frame: {other:?}"),
        }
    }
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_agent_may_be_its_own_host_and_no_other() {
    let bench = bench().await;
    for (who, name, code) in [
        (AgentIdentity::Host(host("a")), "b", close::NOT_ALLOWED),
        (AgentIdentity::Shared, "own", close::NOT_ALLOWED),
        (AgentIdentity::Shared, "no name", close::BAD_NAME),
        (AgentIdentity::Shared, "", close::BAD_NAME),
    ] {
        let mut agent = bench.dial(who).await;
        say_register(&mut agent, name, Some(1)).await;
        assert_eq!(closed(&mut agent).await, code, "{name:?}");
    }
    assert_eq!(*bench.events.lock().unwrap(), ["agent_refused"; 4]);
    let mut agent = bench.dial(AgentIdentity::Host(host("a"))).await;
    say_register(&mut agent, "A", Some(1)).await;
    beat(&mut agent).await;
    bench.until_heard(1).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_register_first_is_let_go() {
    let bench = bench().await;
    let mut silent = bench.dial(AgentIdentity::Shared).await;
    assert_eq!(closed(&mut silent).await, close::POLICY);
    let mut wrong = bench.dial(AgentIdentity::Shared).await;
    beat(&mut wrong).await;
    assert_eq!(closed(&mut wrong).await, close::POLICY);
}

#[tokio::test(start_paused = true)]
async fn the_same_machine_takes_over_at_once() {
    let bench = bench().await;
    let mut old = bench.register("a", Some(1)).await;
    beat(&mut old).await;
    bench.until_heard(1).await;
    let mut new = bench.register("a", Some(1)).await;
    assert_eq!(closed(&mut old).await, close::REPLACED);
    beat(&mut new).await;
    bench.until_heard(2).await;
}

#[tokio::test(start_paused = true)]
async fn another_machine_is_refused_while_the_first_answers() {
    let bench = bench().await;
    let mut first = bench.register("a", Some(1)).await;
    beat(&mut first).await;
    bench.until_heard(1).await;
    let mut second = bench.register("a", Some(2)).await;
    let (code, ()) = tokio::join!(closed(&mut second), async {
        // Reading answers the ping.
        assert!(matches!(first.next().await, Some(Ok(Message::Ping(_)))));
        first.flush().await.unwrap();
    });
    assert_eq!(code, close::NAME_TAKEN);
    assert_eq!(*bench.events.lock().unwrap(), ["name_clash"]);
    beat(&mut first).await;
    bench.until_heard(2).await;
}

#[tokio::test(start_paused = true)]
async fn another_machine_takes_over_from_one_that_is_silent() {
    let bench = bench().await;
    let mut first = bench.register("a", Some(1)).await;
    beat(&mut first).await;
    bench.until_heard(1).await;
    let mut second = bench.register("a", Some(2)).await;
    beat(&mut second).await;
    bench.until_heard(2).await;
    assert_eq!(closed(&mut first).await, close::REPLACED);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_back_while_its_old_link_is_pinged_keeps_its_name() {
    for old_ends in [false, true] {
        let bench = bench().await;
        let mut old = bench.register("a", Some(1)).await;
        beat(&mut old).await;
        bench.until_heard(1).await;
        // Half open: nobody reads it, and so nobody answers the ping.
        let mut other = bench.register("a", Some(2)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if old_ends {
            // Its end is noticed before the ping's.
            let link = bench.up.lock().unwrap()[0].id();
            bench.links.cast(Msg::News(LinkNews::Ended { link })).unwrap();
        }
        let mut back = bench.register("a", Some(1)).await;
        beat(&mut back).await;
        bench.until_heard(2).await;
        let (code, ()) = tokio::join!(closed(&mut other), async {
            assert!(matches!(back.next().await, Some(Ok(Message::Ping(_)))), "the link that is good is asked itself");
            back.flush().await.unwrap();
        });
        assert_eq!(code, close::NAME_TAKEN);
        beat(&mut back).await;
        bench.until_heard(3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_stops_at_the_socket() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    for _ in 0..1000 {
        beat(&mut agent).await;
    }
    bench.until_heard(256).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.heard.lock().unwrap().len(), 256, "no more until permits come back");
    bench.heard.lock().unwrap().truncate(246);
    while bench.heard.lock().unwrap().len() < 256 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_fill_a_link_sooner() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    let line = "x".repeat(400 * 1024);
    let output = AgentMessage::Output(nixfleet_protocol::agent::Output { line, ..Default::default() });
    let sending = tokio::spawn(async move {
        for _ in 0..6 {
            agent.send(Message::text(encode(&output))).await.unwrap();
        }
        agent
    });
    bench.until_heard(2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.heard.lock().unwrap().len(), 2, "a mebibyte is on its way, and no more");
    bench.heard.lock().unwrap().clear();
    bench.until_heard(2).await;
    bench.heard.lock().unwrap().clear();
    bench.until_heard(2).await;
    drop(sending.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_output_is_read_at_a_pace_and_output_is_not() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    let began = tokio::time::Instant::now();
    let some = async |agent: &mut Agent, message: &AgentMessage| {
        for _ in 0..200 {
            agent.send(Message::text(encode(message))).await.unwrap();
        }
        bench.until_heard(200).await;
        bench.heard.lock().unwrap().clear();
    };
    let beat = AgentMessage::Heartbeat(Box::<Heartbeat>::default());
    some(&mut agent, &beat).await;
    assert!(began.elapsed() < Duration::from_secs(1), "a burst costs nothing: {:?}", began.elapsed());
    for _ in 0..5 {
        some(&mut agent, &beat).await;
    }
    let slowed = began.elapsed();
    assert!(slowed > Duration::from_secs(15), "{slowed:?}");
    for _ in 0..20 {
        some(&mut agent, &AgentMessage::Output(nixfleet_protocol::agent::Output::default())).await;
    }
    assert!(began.elapsed() < slowed + Duration::from_secs(2), "{:?} after {slowed:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn garbage_is_ignored_and_counted() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    for _ in 0..100 {
        agent.send(Message::text("garbage")).await.unwrap();
    }
    beat(&mut agent).await;
    bench.until_heard(1).await;
    agent.send(Message::text("once too often")).await.unwrap();
    assert_eq!(closed(&mut agent).await, close::POLICY);
}

#[tokio::test(start_paused = true)]
async fn when_the_hosts_actor_died_the_agent_is_told_to_come_back() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    beat(&mut agent).await;
    bench.until_heard(1).await;
    bench.host.stop_and_wait(None, None).await.unwrap();
    beat(&mut agent).await;
    assert_eq!(closed(&mut agent).await, close::RESTART);
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_everyone_to_come_back() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    let mut stranger = bench.dial(AgentIdentity::Shared).await;
    beat(&mut agent).await;
    bench.until_heard(1).await;
    ractor::call!(bench.links, |reply| Msg::Drain { reply }).unwrap();
    assert_eq!(closed(&mut agent).await, close::RESTART);
    assert_eq!(closed(&mut stranger).await, close::RESTART);
}

#[tokio::test(start_paused = true)]
async fn when_the_links_actor_dies_its_agents_are_told_to_come_back() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    let mut stranger = bench.dial(AgentIdentity::Shared).await;
    beat(&mut agent).await;
    bench.until_heard(1).await;
    bench.links.kill();
    assert_eq!(closed(&mut agent).await, close::RESTART);
    assert_eq!(closed(&mut stranger).await, close::RESTART);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_is_let_go_before_a_frame_is_lost_on_it() {
    let bench = bench().await;
    let mut agent = bench.register("a", Some(1)).await;
    beat(&mut agent).await;
    bench.until_heard(1).await;
    let link = bench.up.lock().unwrap()[0].clone();
    // More than the socket and the outbox take, while the agent sends and never reads.
    let mut lost = false;
    for _ in 0..200_000 {
        let frame = OutputAck { command_id: nixfleet_protocol::CommandId::from_uuid(uuid::Uuid::nil()), offset: 1 };
        if !link.send(DashboardMessage::OutputAck(frame)) {
            lost = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(lost, "the outbox is bounded");
    let over = async {
        while ractor::call!(bench.links, |reply| Msg::Inspect { reply }).unwrap()["links"] != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), over).await.is_ok(), "it comes back and tells again");
    drop(agent);
}

#[tokio::test(start_paused = true)]
async fn a_removed_token_lets_nobody_in_who_waits_at_the_door() {
    let bench = bench().await;
    let mut first = bench.register("a", Some(1)).await;
    beat(&mut first).await;
    bench.until_heard(1).await;
    let mut second = bench.register("a", Some(2)).await;
    let mut bound = bench.dial(AgentIdentity::Host(host("a"))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let gone = Msg::CloseHost { host: host("a"), code: close::NOT_ALLOWED, reason: "the token was removed".into() };
    bench.links.cast(gone).unwrap();
    for agent in [&mut first, &mut second, &mut bound] {
        assert_eq!(closed(agent).await, close::NOT_ALLOWED);
    }
}
