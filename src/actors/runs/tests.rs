//! Runs over hosts and a disk that the test plays, in paused time: killed at each stage, cancelled, waited for, halted.
//! The hosts keep what they were asked for by its id, as the real ones do.

#![expect(clippy::wildcard_enum_match_arm, reason = "a fake answers what a run asks; the rest is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use nixfleet_model::command::Command;
use nixfleet_model::fleet_state::FleetState;
use nixfleet_model::host_core::Submitted;
use nixfleet_model::pipeline::{Registry, RunHost, RunRecord, Wanted, draft};
use nixfleet_model::view::{HostView, command_view};
use nixfleet_protocol::api::{
    Canary, CommandState, Host, HostState, Light, LightStatus, Lights, RunOptions, RunState, Server,
};
use nixfleet_protocol::{CommandId, Op, Time};
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::actors::clock::Clock;
use crate::actors::hosts::{self, HostsHandle};
use crate::actors::remote::RemoteHandle;
use crate::actors::store::{self, Loaded, StoreHandle};
use crate::actors::sync::{self, SyncHandle};
use crate::web::render::Pages;

use CommandState::{Cancelled, Error, Executing, Pending, Skipped, Success};

const BEGAN: Time = Time::from_millis(1_800_000_000_000);

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

/// What is on the test's disk.
#[derive(Default)]
struct Disk {
    runs: BTreeMap<RunId, RunRecord>,
    hosts: BTreeMap<(RunId, HostId), RunHost>,
    events: Vec<String>,
}

impl Disk {
    fn run(&self, id: RunId) -> Option<Run> {
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
            store::Msg::Load { reply } => {
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
struct Fleet {
    commands: BTreeMap<CommandId, Command>,
    /// `pull a`, in the order in which they began.
    begun: Vec<String>,
    owners: BTreeMap<HostId, RunId>,
    away: BTreeSet<HostId>,
    busy: BTreeSet<HostId>,
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
                    let mut command = Command::new(id, Some(host), request.op, request.actor, BEGAN);
                    command.run_id = request.run_id;
                    command.state = Executing;
                    fleet.commands.insert(id, command.clone());
                    let view = Box::new(command_view(&command));
                    sync.publish(vec![StateChange::Command(Arc::new(*view.clone()))]);
                    answer(reply, Submitted::Accepted(view));
                }
            }
            other => panic!("a run asks no {other:?}"),
        }
        Ok(())
    }
}

fn view(name: &str, state: HostState) -> StateChange {
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
    let shown = core.view(None, BEGAN);
    let lights = Lights { agent: light(), git: light(), lock: light(), system: light(), tests: light() };
    let seen = Host { state, lights: Arc::new(lights), ..(*shown.host).clone() };
    StateChange::Host(Arc::new(HostView { host: Arc::new(seen), refused: shown.refused }))
}

struct Bench {
    runs: RunsHandle,
    actor: ActorRef<Msg>,
    disk: Arc<Mutex<Disk>>,
    fleet: Arc<Mutex<Fleet>>,
    sync: SyncHandle,
    slot: Slot<sync::Msg>,
    world: Arc<World>,
}

async fn start_sync(store: &StoreHandle, slot: &Slot<sync::Msg>) {
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
    async fn new() -> Self {
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

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap()
    }

    fn draft(hosts: &[&str], options: RunOptions) -> Run {
        let wanted = Wanted {
            id: RunId::from_uuid(Uuid::now_v7()),
            hosts: hosts.iter().map(|name| host(name)).collect(),
            options,
            actor: "user".to_owned(),
            totp: false,
        };
        draft(Registry::default().get("do-all").unwrap(), wanted, |_| Vec::new(), BEGAN).unwrap()
    }

    async fn start(&self, hosts: &[&str], options: RunOptions) -> RunId {
        match self.runs.start(Self::draft(hosts, options)).await {
            Started::Begun(run) => run.id,
            Started::Not(why) => panic!("{why:?}"),
        }
    }

    /// Waits until the run on the disk is so.
    async fn until(&self, id: RunId, what: &str, holds: impl Fn(&Run) -> bool) -> Run {
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
    async fn begun(&self, what: &str) {
        for _ in 0..2000 {
            if self.fleet().begun.iter().any(|begun| begun == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} never began: {:?}", self.fleet().begun);
    }

    /// The command that was begun as this ends.
    fn ends(&self, op: Op, name: &str, state: CommandState) {
        let mut fleet = self.fleet();
        let of = |it: &&mut Command| it.op == op && it.host == Some(host(name)) && !it.state.is_final();
        let command = fleet.commands.values_mut().find(of).expect("it runs");
        command.state = state;
        command.finished_at = Some(self.world.clock.now());
        self.sync.publish(vec![StateChange::Command(Arc::new(command_view(command)))]);
    }

    /// A whole stage on some hosts.
    async fn stage(&self, op: Op, names: &[&str]) {
        for name in names {
            self.begun(&format!("{op} {name}")).await;
            self.ends(op, name, Success);
        }
    }

    /// The run's actor dies.
    async fn kill(&self, id: RunId) {
        for _ in 0..200 {
            if let [actor] = &self.actor.get_children()[..] {
                return actor.kill();
            }
            // It died before, and is being started again.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{id} has no actor");
    }

    fn states(run: &Run, name: &str) -> Vec<CommandState> {
        run.hosts[&host(name)].cells.iter().map(|cell| cell.state).collect()
    }

    fn each_once(&self) {
        let begun = self.fleet().begun.clone();
        let once: BTreeSet<_> = begun.iter().collect();
        assert_eq!(once.len(), begun.len(), "something began twice: {begun:?}");
    }
}

fn over(run: &Run) -> bool {
    run.record.is_over()
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_where_it_was_whenever_its_actor_dies() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], RunOptions::default()).await;
    for op in [Op::Pull, Op::Switch, Op::Test] {
        bench.begun(&format!("{op} a")).await;
        bench.kill(id).await;
        bench.begun(&format!("{op} b")).await;
        bench.ends(op, "a", Success);
        bench.kill(id).await;
        // It ended while nobody listened.
        bench.ends(op, "b", Success);
    }
    let run = bench.until(id, "over", over).await;
    assert_eq!(run.record.state, RunState::Complete);
    assert_eq!(bench.fleet().begun.len(), 6);
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_when_all_runs_were_started_again() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], RunOptions::default()).await;
    bench.begun("pull b").await;
    bench.actor.kill();
    // What ended meanwhile is known to the hosts.
    bench.ends(Op::Pull, "a", Success);
    let again = Actor::spawn(None, Runs, Args { world: Arc::clone(&bench.world) }).await.unwrap().0;
    bench.ends(Op::Pull, "b", Success);
    bench.stage(Op::Switch, &["a", "b"]).await;
    bench.stage(Op::Test, &["a", "b"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Complete);
    bench.each_once();
    drop(again);
}

#[tokio::test(start_paused = true)]
async fn a_run_hears_of_what_ended_while_sync_was_away() {
    let bench = Bench::new().await;
    let id = bench.start(&["a"], RunOptions::default()).await;
    bench.begun("pull a").await;
    bench.slot.sitting().unwrap().kill();
    bench.slot.vacate();
    bench.ends(Op::Pull, "a", Success);
    start_sync(&bench.world.store, &bench.slot).await;
    bench.sync.publish(vec![view("a", HostState::Online)]);
    assert!(bench.actor.cast(Msg::Republish).is_ok());
    bench.stage(Op::Switch, &["a"]).await;
    bench.stage(Op::Test, &["a"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Complete);
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn runs_are_exclusive_and_the_refusal_names_who_is_in_the_way() {
    let bench = Bench::new().await;
    let first = bench.start(&["a", "b"], RunOptions::default()).await;
    let second = bench.runs.start(Bench::draft(&["b", "c"], RunOptions::default())).await;
    let Started::Not(NotBegun::Hosts(refused)) = second else { panic!("{second:?}") };
    assert_eq!(refused.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(!bench.fleet().owners.contains_key(&host("c")), "none is taken");
    bench.stage(Op::Pull, &["a", "b"]).await;
    assert!(matches!(bench.runs.cancel(first, "user".into()).await, Changed::Done(_)));
    bench.stage(Op::Switch, &[]).await;
    for name in ["a", "b"] {
        if bench.fleet().begun.contains(&format!("switch {name}")) {
            bench.ends(Op::Switch, name, Success);
        }
    }
    let run = bench.until(first, "over", over).await;
    assert_eq!(run.record.state, RunState::Cancelled);
    assert_eq!(Bench::states(&run, "a")[2], Cancelled);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if bench.fleet().owners.is_empty() {
            break;
        }
    }
    assert!(bench.fleet().owners.is_empty(), "its hosts are everyone's again");
    bench.start(&["b", "c"], RunOptions::default()).await;
    assert!(matches!(bench.runs.cancel(first, "user".into()).await, Changed::NotOpen));
}

#[tokio::test(start_paused = true)]
async fn an_offline_host_is_waited_for_and_skipped_in_time() {
    let bench = Bench::new().await;
    bench.sync.publish(vec![view("b", HostState::Offline)]);
    // The state says that it is there, and it is not.
    bench.fleet().away.insert(host("c"));
    let began = Instant::now();
    let id = bench.start(&["a", "b", "c"], RunOptions::default()).await;
    bench.stage(Op::Pull, &["a"]).await;
    let run = bench.until(id, "b is passed over", |run| Bench::states(run, "b")[0] == Skipped).await;
    assert!(began.elapsed() >= Duration::from_secs(89), "{:?}", began.elapsed());
    assert_eq!(Bench::states(&run, "b"), [Skipped; 3]);
    let run = bench.until(id, "c too", |run| Bench::states(run, "c")[0] == Skipped).await;
    assert_eq!(Bench::states(&run, "c"), [Skipped; 3]);
    bench.stage(Op::Switch, &["a"]).await;
    bench.stage(Op::Test, &["a"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Partial);
    bench.each_once();
}

fn canary() -> RunOptions {
    RunOptions { canary: Some(Canary { hosts: vec![host("a")], tag: None }), soak_s: 600, ..RunOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn the_others_follow_after_the_soak_also_when_the_run_dies_in_it() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], canary()).await;
    for op in [Op::Pull, Op::Switch, Op::Test] {
        bench.stage(op, &["a"]).await;
    }
    bench.until(id, "it soaks", |run| run.record.soak.is_some()).await;
    let soaks = Instant::now();
    bench.kill(id).await;
    for _ in 0..20_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if bench.fleet().begun.iter().any(|begun| begun == "pull b") {
            break;
        }
    }
    bench.begun("pull b").await;
    assert!((590..=605).contains(&soaks.elapsed().as_secs()), "{:?}", soaks.elapsed());
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn a_halted_run_waits_for_a_person_whatever_dies() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], canary()).await;
    bench.stage(Op::Pull, &["a"]).await;
    bench.stage(Op::Switch, &["a"]).await;
    bench.begun("test a").await;
    bench.ends(Op::Test, "a", Error);
    bench.until(id, "halted", |run| run.record.state == RunState::Halted).await;
    bench.kill(id).await;
    tokio::time::sleep(Duration::from_hours(24)).await;
    let refused = bench.runs.decide(id, Decision::Continue, "user".into()).await;
    assert!(matches!(refused, Changed::Done(_)), "{refused:?}");
    bench.stage(Op::Pull, &["b"]).await;
    let again = bench.runs.decide(id, Decision::Continue, "user".into()).await;
    assert!(matches!(&again, Changed::NotNow(why) if why.code == "not_halted"), "{again:?}");
    bench.stage(Op::Switch, &["b"]).await;
    bench.stage(Op::Test, &["b"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Partial);
    let events = bench.disk.lock().unwrap().events.clone();
    assert_eq!(events, ["run_started", "run_halted", "run_decided", "run_finished"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_back_is_a_stage_of_the_run() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], canary()).await;
    bench.stage(Op::Pull, &["a"]).await;
    bench.stage(Op::Switch, &["a"]).await;
    bench.begun("test a").await;
    bench.ends(Op::Test, "a", Error);
    bench.until(id, "halted", |run| run.record.state == RunState::Halted).await;
    let decided = bench.runs.decide(id, Decision::Rollback, "user".into()).await;
    let Changed::Done(shown) = decided else { panic!("{decided:?}") };
    assert_eq!(shown.ops.last(), Some(&Op::Rollback));
    bench.begun("rollback a").await;
    bench.kill(id).await;
    bench.ends(Op::Rollback, "a", Success);
    let run = bench.until(id, "over", over).await;
    assert_eq!(
        (run.record.state, Bench::states(&run, "a")),
        (RunState::Failed, vec![Success, Success, Error, Success])
    );
    assert_eq!(Bench::states(&run, "b"), [Cancelled, Cancelled, Cancelled, Skipped]);
    assert!(!Bench::states(&run, "b").contains(&Pending));
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn what_everyone_sees_is_what_is_on_the_disk() {
    let bench = Bench::new().await;
    let id = bench.start(&["a"], RunOptions::default()).await;
    bench.begun("pull a").await;
    let seen = async || -> Arc<FleetState> { bench.sync.snapshot().await.unwrap().state };
    for _ in 0..100 {
        if seen().await.runs[&id].hosts[&host("a")][0] == Executing {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shown = Arc::clone(&seen().await.runs[&id]);
    assert_eq!(shown.hosts[&host("a")], [Executing, Pending, Pending]);
    assert_eq!(shown.waits.len(), 1);
    let on_disk = bench.disk.lock().unwrap().run(id).unwrap();
    assert_eq!(on_disk.view(shown.waits.clone()), *shown);
}
