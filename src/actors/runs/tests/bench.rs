//! The hosts and the disk that the tests of runs play. The hosts keep what they were asked for by its id, and show their
//! command with themselves, as the real ones do.

#![expect(clippy::wildcard_enum_match_arm, reason = "a fake answers what a run asks; the rest is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use nixfleet_model::command::Command;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::pipeline::{Registry, RunHost, RunRecord, Wanted, draft};
use nixfleet_model::view::{HostView, command_view};
use nixfleet_protocol::api::{CommandState, Host, HostState, Light, LightStatus, Lights, RunOptions, Server};
use nixfleet_protocol::browser::Change;
use nixfleet_protocol::{CommandId, Op, Time};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::*;
use crate::actors::clock::Clock;
use crate::actors::hosts::{self, HostsHandle};
use crate::actors::remote::RemoteHandle;
use crate::actors::store::{self, Loaded, StoreHandle};
use crate::actors::sync::{self, Follower, SyncHandle};
use crate::web::render::Pages;

use CommandState::{Executing, Success};

pub(super) const BEGAN: Time = Time::from_millis(1_800_000_000_000);

pub(super) fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

/// What is on the test's disk.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) runs: BTreeMap<RunId, RunRecord>,
    pub(super) hosts: BTreeMap<(RunId, HostId), RunHost>,
    pub(super) events: Vec<String>,
}

impl Disk {
    pub(super) fn run(&self, id: RunId) -> Option<Run> {
        let hosts = self.hosts.iter().filter(|((run, _), _)| *run == id);
        let hosts = hosts.map(|((_, host), it)| (host.clone(), it.clone())).collect();
        Some(Run { record: self.runs.get(&id)?.clone(), hosts })
    }
}

struct FakeStore;

impl Actor for FakeStore {
    type Msg = store::Msg;
    type State = (Arc<Mutex<Disk>>, SyncHandle);
    type Arguments = (Arc<Mutex<Disk>>, SyncHandle);

    async fn pre_start(
        &self,
        _: ActorRef<store::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(args)
    }

    async fn handle(
        &self,
        _: ActorRef<store::Msg>,
        message: store::Msg,
        (disk, sync): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let mut disk = disk.lock().unwrap();
        match message {
            store::Msg::Commit { batch, reply, .. } => {
                for write in batch.writes {
                    match write {
                        Write::PutRun(run) => drop(disk.runs.insert(run.id, *run)),
                        Write::PutRunHost(it) => drop(disk.hosts.insert((it.run, it.host.clone()), *it)),
                        other => panic!("a run writes no {other:?}"),
                    }
                }
                disk.events.extend(batch.events.into_iter().map(|event| event.action));
                sync.publish(batch.changes);
                answer(reply, Ok(()));
            }
            store::Msg::Probe { reply } => answer(reply, Ok(())),
            store::Msg::RaiseMark { reply, .. } => answer(reply, Ok(0)),
            store::Msg::Run { id, reply } => answer(reply, Ok(disk.run(id))),
            store::Msg::Command { reply, .. } => answer(reply, Ok(None)),
            store::Msg::Load { reply, .. } => {
                let runs = disk.runs.keys().filter_map(|id| disk.run(*id)).collect();
                answer(reply, Ok(Loaded { runs, ..Loaded::default() }));
            }
            other => panic!("a run asks no {other:?}"),
        }
        Ok(())
    }
}

/// The hosts: what they have, and what they were asked for.
#[derive(Default)]
pub(super) struct Fleet {
    pub(super) commands: BTreeMap<CommandId, Command>,
    /// `pull a`, in the order in which they began.
    pub(super) begun: Vec<String>,
    pub(super) owners: BTreeMap<HostId, RunId>,
    pub(super) away: BTreeSet<HostId>,
    pub(super) busy: BTreeSet<HostId>,
}

struct FakeHosts;

impl Actor for FakeHosts {
    type Msg = hosts::Msg;
    type State = (Arc<Mutex<Fleet>>, SyncHandle);
    type Arguments = (Arc<Mutex<Fleet>>, SyncHandle);

    async fn pre_start(
        &self,
        _: ActorRef<hosts::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(args)
    }

    async fn handle(
        &self,
        _: ActorRef<hosts::Msg>,
        message: hosts::Msg,
        (fleet, sync): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let mut fleet = fleet.lock().unwrap();
        let refusal = |code| Refusal { code, message: format!("because of {code}."), offer: None, command_id: None };
        match message {
            hosts::Msg::Reserve { run, hosts, reply } => {
                let taken = |host: &HostId| fleet.owners.contains_key(host) || fleet.busy.contains(host);
                let refused: Vec<_> = hosts.iter().filter(|host| taken(host)).cloned().collect();
                if refused.is_empty() {
                    fleet.owners.extend(hosts.into_iter().map(|host| (host, run)));
                }
                answer(reply, refused.into_iter().map(|host| (host, refusal("host_busy"))).collect());
            }
            hosts::Msg::Own { run, hosts } => fleet.owners.extend(hosts.into_iter().map(|host| (host, run))),
            hosts::Msg::Release(run) => fleet.owners.retain(|_, owner| *owner != run),
            hosts::Msg::OpenRuns(runs) => fleet.owners.retain(|_, owner| runs.contains(owner)),
            hosts::Msg::Submit { host, id, request, reply } => {
                assert_eq!(request.id, Some(id), "a run chooses its ids");
                if let Some(known) = fleet.commands.get(&id) {
                    answer(reply, Submitted::Accepted(Box::new(command_view(known))));
                } else if request.only_known {
                    answer(reply, Submitted::NotNow(refusal("not_begun")));
                } else if fleet.owners.get(&host) != request.run_id.as_ref() {
                    answer(reply, Submitted::NotNow(refusal("not_owned")));
                } else if fleet.away.contains(&host) {
                    answer(reply, Submitted::NotNow(refusal("host_offline")));
                } else {
                    fleet.begun.push(format!("{} {host}", request.op));
                    let mut command = Command::new(id, Some(host.clone()), request.op, request.actor, BEGAN);
                    command.run_id = request.run_id;
                    command.state = Executing;
                    fleet.commands.insert(id, command.clone());
                    let view = Box::new(command_view(&command));
                    let busy = shown(host.as_str(), HostState::Online, Some(view.clone()));
                    sync.publish(vec![StateChange::Command(Arc::new(*view.clone())), busy]);
                    answer(reply, Submitted::Accepted(view));
                }
            }
            other => panic!("a run asks no {other:?}"),
        }
        Ok(())
    }
}

/// An idle host.
pub(super) fn view(name: &str, state: HostState) -> StateChange {
    shown(name, state, None)
}

fn shown(name: &str, state: HostState, command: Option<Box<api::Command>>) -> StateChange {
    let light = || Light {
        status: LightStatus::Ok,
        message: String::new(),
        action: nixfleet_model::ops::spec(Op::Pull).action(),
        also: Vec::new(),
    };
    let record = nixfleet_model::host::HostRecord::new(host(name), BEGAN);
    let settings = nixfleet_model::host_core::Settings {
        server_version: "1.0.0".into(),
        daemon_started: BEGAN,
        totp_configured: false,
        kill_at_limit: false,
        alike: Arc::default(),
        auto_test: true,
    };
    let remote = nixfleet_model::remote::RemoteState::new(None, "main", Duration::from_secs(30));
    let (core, _) =
        nixfleet_model::host_core::Core::revive(Arc::new(settings), record, Vec::new(), Arc::new(remote), BEGAN);
    let view = core.view(None, BEGAN);
    let lights = Lights { agent: light(), git: light(), lock: light(), system: light(), tests: light() };
    let host = Host { state, command, lights: Arc::new(lights), ..(*view.host).clone() };
    StateChange::Host(Arc::new(HostView { host: Arc::new(host), ..view }))
}

pub(super) struct Bench {
    pub(super) runs: RunsHandle,
    pub(super) actor: ActorRef<Msg>,
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) fleet: Arc<Mutex<Fleet>>,
    pub(super) sync: SyncHandle,
    pub(super) slot: Slot<sync::Msg>,
    pub(super) world: Arc<World>,
}

pub(super) async fn start_sync(store: &StoreHandle, slot: &Slot<sync::Msg>) {
    let server = Server { version: "0".into(), started_at: BEGAN, store_error: None, shared_agent_token: false };
    let args = sync::Args {
        store: store.clone(),
        render: Arc::new(Pages::default()),
        server,
        beacon: Duration::from_secs(30),
        seat: slot.clone(),
        news: Arc::default(),
    };
    slot.seat(Actor::spawn(None, sync::Sync, args).await.unwrap().0);
}

impl Bench {
    pub(super) async fn new() -> Self {
        let (store_slot, slot, hosts_slot) = (Slot::new("store"), Slot::new("sync"), Slot::new("hosts"));
        let (disk, fleet) = (Arc::<Mutex<Disk>>::default(), Arc::<Mutex<Fleet>>::default());
        let (store, sync) = (StoreHandle::new(store_slot.clone()), SyncHandle::new(slot.clone()));
        let fake = Actor::spawn(None, FakeStore, (Arc::clone(&disk), sync.clone())).await.unwrap().0;
        store_slot.seat(fake);
        start_sync(&store, &slot).await;
        let fake = Actor::spawn(None, FakeHosts, (Arc::clone(&fleet), sync.clone())).await.unwrap().0;
        hosts_slot.seat(fake);
        let world = Arc::new(World {
            store,
            sync: sync.clone(),
            hosts: HostsHandle::new(hosts_slot),
            remote: RemoteHandle::new(Slot::new("remote")),
            daemon_started: BEGAN.minus(Duration::from_hours(1)),
            clock: Clock::Runtime(BEGAN, Instant::now()),
        });
        let runs = Slot::new("runs");
        let actor = Actor::spawn(None, Runs, Args { world: Arc::clone(&world) }).await.unwrap().0;
        runs.seat(actor.clone());
        let bench = Self { runs: RunsHandle::new(runs), actor, disk, fleet, sync, slot, world };
        for name in ["a", "b", "c"] {
            bench.sync.publish(vec![view(name, HostState::Online)]);
        }
        bench
    }

    pub(super) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap()
    }

    pub(super) fn draft(hosts: &[&str], options: RunOptions) -> Run {
        let wanted = Wanted {
            id: RunId::from_uuid(Uuid::now_v7()),
            hosts: hosts.iter().map(|name| host(name)).collect(),
            options,
            actor: "user".to_owned(),
            totp: false,
        };
        draft(Registry::default().get("do-all").unwrap(), wanted, |_| Vec::new(), BEGAN).unwrap()
    }

    pub(super) async fn start(&self, hosts: &[&str], options: RunOptions) -> RunId {
        match self.runs.start(Self::draft(hosts, options)).await {
            Started::Begun(run) => run.id,
            Started::Not(why) => panic!("{why:?}"),
        }
    }

    /// Waits until the run on the disk is so.
    pub(super) async fn until(&self, id: RunId, what: &str, holds: impl Fn(&Run) -> bool) -> Run {
        for _ in 0..2000 {
            let run = self.disk.lock().unwrap().run(id);
            if let Some(run) = run.filter(|run| holds(run)) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {what}: {:#?}", self.disk.lock().unwrap().run(id));
    }

    /// Waits until something was begun.
    pub(super) async fn begun(&self, what: &str) {
        for _ in 0..2000 {
            if self.fleet().begun.iter().any(|begun| begun == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} never began: {:?}", self.fleet().begun);
    }

    /// The command that was begun as this ends.
    pub(super) fn ends(&self, op: Op, name: &str, state: CommandState) {
        let mut fleet = self.fleet();
        let of = |it: &&mut Command| it.op == op && it.host == Some(host(name)) && !it.state.is_final();
        let command = fleet.commands.values_mut().find(of).expect("it runs");
        command.state = state;
        command.finished_at = Some(self.world.clock.now());
        // In one commit, the command first.
        let over = StateChange::Command(Arc::new(command_view(command)));
        self.sync.publish(vec![over, view(name, HostState::Online)]);
    }

    /// All hosts are everyone's again.
    pub(super) async fn idle_again(&self) {
        for _ in 0..100 {
            if self.fleet().owners.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("these belong to a run still: {:?}", self.fleet().owners);
    }

    /// How often a run is shown from now on.
    pub(super) async fn count_shown_runs(&self) -> Arc<AtomicUsize> {
        let shown = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&shown);
        let follower = Follower::new(move |change| {
            if let Change::RunStarted(_) | Change::RunUpdated(_) | Change::RunFinished(_) = change {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.sync.follow(Uuid::now_v7(), follower).await.unwrap();
        shown
    }

    /// A whole stage on some hosts.
    pub(super) async fn stage(&self, op: Op, names: &[&str]) {
        for name in names {
            self.begun(&format!("{op} {name}")).await;
            self.ends(op, name, Success);
        }
    }

    /// The run's actor dies.
    pub(super) async fn kill(&self, id: RunId) {
        for _ in 0..200 {
            if let [actor] = &self.actor.get_children()[..] {
                return actor.kill();
            }
            // It died before, and is being started again.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{id} has no actor");
    }

    pub(super) fn states(run: &Run, name: &str) -> Vec<CommandState> {
        run.hosts[&host(name)].cells.iter().map(|cell| cell.state).collect()
    }

    pub(super) fn each_once(&self) {
        let begun = self.fleet().begun.clone();
        let once: BTreeSet<_> = begun.iter().collect();
        assert_eq!(once.len(), begun.len(), "something began twice: {begun:?}");
    }
}

pub(super) fn over(run: &Run) -> bool {
    run.record.is_over()
}
