//! What the tests stand on: a store in memory, a state that everyone sees, and links that are channels.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use nixfleet_model::command::Command;
use nixfleet_model::fleet_state::{FleetState, StateChange};
use nixfleet_model::host::HostRecord;
use nixfleet_model::host_core::{Settings, Submit};
use nixfleet_model::remote::{Desired, RemoteState};
use nixfleet_model::wake::Mac;
use nixfleet_protocol::agent::{AgentMessage, DashboardMessage, Output, Register, Status, Stream};
use nixfleet_protocol::api::{Host, Remote, Server};
use nixfleet_protocol::log::Record;
use nixfleet_protocol::{CommandId, HostId, Op, Time};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::actors::clock::Clock;
use crate::actors::host::{self, AskRemote, HostRef, World};
use crate::actors::hosts::{self, Hosts, HostsHandle};
use crate::actors::links::link::{Outbox, Outgoing, Taken, outbox};
use crate::actors::slot::{Slot, answer};
use crate::actors::store::{self, Loaded, StoreError, StoreHandle, Write};

/// What is on the tests' disk, and how that disk behaves.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) hosts: BTreeMap<HostId, HostRecord>,
    pub(super) commands: BTreeMap<CommandId, Command>,
    pub(super) events: Vec<String>,
    pub(super) delay: Duration,
    pub(super) failing: bool,
}

type Shared<T> = Arc<Mutex<T>>;

/// A store in memory: one commit after the other, each as slow as the test says. Reads overtake commits.
struct FakeStore;

/// What waits for the disk.
enum Job {
    Commit(store::Batch, RpcReplyPort<Result<(), StoreError>>),
    Probe(RpcReplyPort<Result<(), StoreError>>),
}

async fn write(mut jobs: mpsc::UnboundedReceiver<Job>, disk: Shared<Disk>, seen: Shared<FleetState>) {
    while let Some(job) = jobs.recv().await {
        let (batch, reply) = match job {
            Job::Probe(reply) => {
                answer(reply, Ok(()));
                continue;
            }
            Job::Commit(batch, reply) => (batch, reply),
        };
        let delay = disk.lock().unwrap().delay;
        tokio::time::sleep(delay).await;
        let mut disk = disk.lock().unwrap();
        if disk.failing {
            answer(reply, Err(StoreError::CantWrite("the disk is full".into())));
            continue;
        }
        for write in batch.writes {
            match write {
                Write::PutHost(record) => drop(disk.hosts.insert(record.id.clone(), *record)),
                Write::RemoveHost(host) => drop(disk.hosts.remove(&host)),
                Write::PutCommand(command) => drop(disk.commands.insert(command.id, *command)),
                other => panic!("a host writes no {other:?}"),
            }
        }
        disk.events.extend(batch.events.into_iter().map(|event| event.action));
        drop(disk);
        apply(&seen, batch.changes);
        answer(reply, Ok(()));
    }
}

impl Actor for FakeStore {
    type Msg = store::Msg;
    type State = (Shared<Disk>, mpsc::UnboundedSender<Job>);
    type Arguments = (Shared<Disk>, Shared<FleetState>);

    async fn pre_start(
        &self,
        _: ActorRef<store::Msg>,
        (disk, seen): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (sender, jobs) = mpsc::unbounded_channel();
        tokio::spawn(write(jobs, Arc::clone(&disk), seen));
        Ok((disk, sender))
    }

    async fn handle(
        &self,
        _: ActorRef<store::Msg>,
        message: store::Msg,
        (disk, jobs): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            store::Msg::Commit { batch, reply, .. } => drop(jobs.send(Job::Commit(batch, reply))),
            store::Msg::Probe { reply } => drop(jobs.send(Job::Probe(reply))),
            store::Msg::Load { reply, .. } => {
                let disk = disk.lock().unwrap();
                let open = disk.commands.values().filter(|command| !command.state.is_final()).cloned().collect();
                answer(reply, Ok(Loaded { hosts: disk.hosts.values().cloned().collect(), open, ..Loaded::default() }));
            }
            store::Msg::LoadHost { host, reply } => {
                let disk = disk.lock().unwrap();
                let record = disk.hosts.get(&host).cloned();
                let of_host = |command: &&Command| command.host.as_ref() == Some(&host) && !command.state.is_final();
                let open = disk.commands.values().filter(of_host).cloned().collect();
                answer(reply, Ok(record.map(|record| (record, open))));
            }
            store::Msg::Command { id, reply } => {
                let disk = disk.lock().unwrap();
                let why = || StoreError::CantRead("the store is closed".into());
                answer(reply, if disk.failing { Err(why()) } else { Ok(disk.commands.get(&id).cloned()) });
            }
            other => panic!("a host asks no {other:?}"),
        }
        Ok(())
    }
}

fn apply(seen: &Shared<FleetState>, changes: Vec<StateChange>) {
    let mut seen = seen.lock().unwrap();
    for change in changes {
        seen.apply(change);
    }
}

/// How the others behave.
#[derive(Clone, Copy, Default)]
struct Manner {
    kill_at_limit: bool,
    silent_remote: bool,
}

pub(super) struct Bench {
    pub(super) handle: HostsHandle,
    hosts: ActorRef<hosts::Msg>,
    disk: Shared<Disk>,
    seen: Shared<FleetState>,
    /// Whom packets were sent to.
    pub(super) packets: Shared<Vec<Mac>>,
    dir: Arc<tempfile::TempDir>,
    /// When the tests' clock began.
    since: Instant,
}

fn nothing_seen() -> FleetState {
    let server = Server {
        version: "3.0.0".into(),
        started_at: Time::from_millis(0),
        store_error: None,
        shared_agent_token: false,
    };
    FleetState::new(Remote::default(), server)
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::over(Arc::default(), Arc::new(tempfile::tempdir().unwrap()), Manner::default(), Instant::now()).await
    }

    /// What passes its limit is stopped without asking.
    pub(super) async fn that_kills() -> Self {
        let manner = Manner { kill_at_limit: true, ..Manner::default() };
        Self::over(Arc::default(), Arc::new(tempfile::tempdir().unwrap()), manner, Instant::now()).await
    }

    /// The remote is asked, and says nothing.
    pub(super) async fn that_never_hears_of_the_remote() -> Self {
        let manner = Manner { silent_remote: true, ..Manner::default() };
        Self::over(Arc::default(), Arc::new(tempfile::tempdir().unwrap()), manner, Instant::now()).await
    }

    /// The remote's head is this commit.
    pub(super) fn tell_remote(&self, head: &str) {
        let mut remote = RemoteState::new(Some("/repo".into()), "main", Duration::from_secs(30));
        let desired = Desired {
            commit: head.parse().unwrap(),
            subject: String::new(),
            author: String::new(),
            committed_at: Time::from_millis(0),
            lock_hash: None,
        };
        remote.read(desired, Time::from_millis(1_800_000_000_000));
        assert!(self.handle.remote_changed(Arc::new(remote)));
    }

    /// The daemon dies, and another starts on the same disk.
    pub(super) async fn restart(self) -> Self {
        self.restart_after(Duration::ZERO).await
    }

    /// The same, after it was away for a while.
    pub(super) async fn restart_after(self, away: Duration) -> Self {
        self.hosts.stop_and_wait(None, None).await.unwrap();
        tokio::time::sleep(away).await;
        Self::over(self.disk, self.dir, Manner::default(), self.since).await
    }

    async fn over(disk: Shared<Disk>, dir: Arc<tempfile::TempDir>, manner: Manner, since: Instant) -> Self {
        let seen = Arc::new(Mutex::new(nothing_seen()));
        let (store, _) = Actor::spawn(None, FakeStore, (Arc::clone(&disk), Arc::clone(&seen))).await.unwrap();
        let slot = Slot::new("store");
        slot.seat(store);
        let began = Time::from_millis(1_800_000_000_000);
        let published = Arc::clone(&seen);
        let packets: Shared<Vec<Mac>> = Arc::default();
        let woken = Arc::clone(&packets);
        let world = World {
            settings: Arc::new(Settings {
                server_version: "3.0.0".into(),
                daemon_started: began,
                totp_configured: false,
                kill_at_limit: manner.kill_at_limit,
                alike: Arc::default(),
                auto_test: true,
            }),
            store: StoreHandle::new(slot),
            publish: Box::new(move |changes| apply(&published, changes)),
            ask_remote: Box::new(move |AskRemote { done, .. }| {
                if !manner.silent_remote {
                    done();
                }
            }),
            interest: Box::new(|_| {}),
            wake: Box::new(move |addresses| woken.lock().unwrap().extend(addresses)),
            log_over: Box::new(|_, _| {}),
            data_dir: dir.path().to_path_buf(),
            clock: Clock::Runtime(began, since),
        };
        let remote = Arc::new(RemoteState::new(None, "main", Duration::from_secs(30)));
        let args = hosts::Args { world: Arc::new(world), remote };
        let (hosts, _) = Actor::spawn(None, Hosts, args).await.unwrap();
        let slot = Slot::new("hosts");
        slot.seat(hosts.clone());
        Self { handle: HostsHandle::new(slot), hosts, disk, seen, packets, dir, since }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub(super) fn world_mut(&self) -> MutexGuard<'_, Disk> {
        self.world()
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// A host as everyone sees it.
    pub(super) fn seen(&self, host: &HostId) -> Option<Arc<Host>> {
        self.seen.lock().unwrap().hosts.get(host).map(|view| Arc::clone(&view.host))
    }

    pub(super) async fn link(&self, name: &str, protocol: u32) -> TestLink {
        self.link_with(name, protocol, |_| {}).await
    }

    pub(super) async fn link_with(&self, name: &str, protocol: u32, change: impl FnOnce(&mut Register)) -> TestLink {
        let uuid = |number: u8| format!("0190b6a8-0000-7000-8000-0000000000{number:02x}");
        let mut register = Register {
            hostname: name.to_owned(),
            agent_version: "3.0.0".into(),
            protocol: Some(protocol),
            journal: uuid(1).parse().ok().filter(|_| protocol >= 3),
            instance: uuid(2).parse().ok().filter(|_| protocol >= 3),
            generation: "aaaaaaa".parse().ok(),
            heartbeat_interval: Some(5),
            ..Register::default()
        };
        change(&mut register);
        let id = u64::from(uuid::Uuid::now_v7().as_fields().0) << 20 | u64::from(rand_of(name));
        let (link, frames) = outbox(id);
        let (attach, attached) = ractor::concurrency::oneshot();
        let up = hosts::Msg::LinkUp {
            host: name.parse().unwrap(),
            link,
            register: Box::new(register),
            attach: attach.into(),
        };
        self.hosts.cast(up).unwrap();
        let actor = attached.await.unwrap();
        TestLink { id, actor, frames, permits: Arc::new(Semaphore::new(256)) }
    }

    /// Kills a host's actor, where one lives.
    pub(super) async fn kill(&self, name: &str) {
        let register = self.actor_of(name).await;
        if let Some(actor) = register {
            actor.kill();
        }
    }

    async fn actor_of(&self, name: &str) -> Option<HostRef> {
        let (attach, attached) = ractor::concurrency::oneshot();
        let register = Box::new(Register { hostname: name.into(), protocol: Some(3), ..Register::default() });
        let (link, _frames) = outbox(7);
        self.hosts
            .cast(hosts::Msg::LinkUp { host: name.parse().unwrap(), link, register, attach: attach.into() })
            .unwrap();
        attached.await.ok()
    }
}

fn rand_of(name: &str) -> u16 {
    name.bytes().fold(7, |sum: u16, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)))
}

/// An agent's end of a link.
pub(super) struct TestLink {
    id: u64,
    pub(super) actor: HostRef,
    frames: Outbox,
    permits: Arc<Semaphore>,
}

impl TestLink {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) async fn next(&mut self) -> DashboardMessage {
        let next = tokio::time::timeout(Duration::from_secs(30), self.frame()).await;
        match next.expect("a frame within 30 s") {
            Outgoing::Frame(message) => *message,
            other => panic!("no frame: {other:?}"),
        }
    }

    pub(super) fn try_next(&mut self) -> Option<Outgoing> {
        match self.frames.take()? {
            Taken::Outgoing(outgoing) => Some(outgoing),
            Taken::Ping => None,
        }
    }

    async fn frame(&mut self) -> Outgoing {
        std::future::poll_fn(|cx| {
            assert!(!self.frames.listen(cx.waker()), "a link that is read is not cut");
            self.try_next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits for the close frame; its code.
    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            match self.frame().await {
                Outgoing::Close { code, .. } => return code,
                Outgoing::Frame(_) | Outgoing::Ping(_) => {}
            }
        }
    }

    pub(super) async fn say(&self, message: AgentMessage) {
        let permit = Arc::clone(&self.permits).acquire_owned().await.unwrap();
        self.actor.cast(host::Msg::FromAgent { link: self.id, message, permit }).unwrap();
    }

    /// Prints lines from an offset on; where the log goes on.
    pub(super) async fn print(&self, command: CommandId, mut offset: u64, lines: &[&str]) -> u64 {
        for line in lines {
            let time = Time::from_millis(1_800_000_000_000);
            let end = offset + Record::line(time, Stream::Stdout, *line).encode().len() as u64;
            let output = Output {
                line: (*line).to_owned(),
                command_id: Some(command),
                offset: Some(offset),
                end: Some(end),
                time: Some(time),
                ..Output::default()
            };
            self.say(AgentMessage::Output(output)).await;
            offset = end;
        }
        offset
    }
}

pub(super) fn wish(op: Op) -> Submit {
    Submit { force: true, ..Submit::new(op, "user") }
}

pub(super) fn status(id: CommandId, op: &str, exit_code: i32, end: u64) -> AgentMessage {
    AgentMessage::Status(Box::new(Status {
        command: op.into(),
        exit_code: Some(exit_code),
        command_id: Some(id),
        output_end: Some(end),
        ..Status::default()
    }))
}
