//! The actor over a remote and a store that do as the test says.

use std::collections::VecDeque;
use std::sync::Mutex;

use nixfleet_model::remote::{Desired, Relation};
use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{Op, Time};
use tokio::sync::{Notify, Semaphore};

use super::state::AT_LEISURE;
use super::*;
use crate::actors::slot::answer;
use crate::actors::store::{self, Batch, Write};

mod ops;

/// A remote whose answers are set, and which is slow when told so.
struct Fake {
    answers: Mutex<VecDeque<Result<&'static str, &'static str>>>,
    always: Mutex<Result<&'static str, &'static str>>,
    reads: Mutex<Vec<Vec<Commit>>>,
    known: Mutex<Vec<(Commit, Relation)>>,
    /// Each read takes one permit; by default there are plenty.
    gate: Semaphore,
    read: Notify,
}

impl Fake {
    fn new(always: Result<&'static str, &'static str>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::default(),
            always: Mutex::new(always),
            reads: Mutex::default(),
            known: Mutex::default(),
            gate: Semaphore::new(1_000_000),
            read: Notify::new(),
        })
    }

    fn reads(&self) -> usize {
        self.reads.lock().unwrap().len()
    }

    fn set(&self, always: Result<&'static str, &'static str>) {
        *self.always.lock().unwrap() = always;
    }
}

fn desired(head: &str) -> Desired {
    Desired {
        commit: commit(head),
        subject: format!("subject of {head}"),
        author: "Someone".to_owned(),
        committed_at: Time::from_millis(1),
        lock_hash: None,
    }
}

fn commit(text: &str) -> Commit {
    text.parse().unwrap()
}

impl Source for Fake {
    fn read(&self, interest: Vec<Commit>) -> source::Later<'_, Result<Answer, Unreadable>> {
        self.reads.lock().unwrap().push(interest.clone());
        self.read.notify_one();
        let outcome = self.answers.lock().unwrap().pop_front().unwrap_or(*self.always.lock().unwrap());
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            assert_ne!(outcome, Err("panic"), "told to");
            let head = outcome.map_err(|why| Unreadable(why.to_owned()))?;
            let known = self.known.lock().unwrap().clone();
            let find = |commit: &Commit| known.iter().find(|(known, _)| known == commit).map(|(_, relation)| *relation);
            let relate = |commit: Commit| (commit.clone(), find(&commit).unwrap_or(Relation::Foreign));
            Ok(Answer { desired: desired(head), relations: interest.into_iter().map(relate).collect() })
        })
    }

    fn relate(&self, _head: Commit, commits: Vec<Commit>) -> source::Later<'_, Related> {
        let known = self.known.lock().unwrap().clone();
        Box::pin(async move {
            let (here, unknown): (Vec<_>, Vec<_>) =
                commits.into_iter().partition(|commit| known.iter().any(|(known, _)| known == commit));
            let here = known.into_iter().filter(|(commit, _)| here.contains(commit));
            Related { relations: here.collect(), unknown }
        })
    }
}

/// A store in memory.
struct FakeStore(Arc<Mutex<Vec<Batch>>>);

impl Actor for FakeStore {
    type Msg = store::Msg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<store::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<store::Msg>,
        message: store::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let mut batches = self.0.lock().unwrap();
        if let store::Msg::Commit { batch, reply, .. } = message {
            batches.push(batch);
            answer(reply, Ok(()));
        } else if let store::Msg::Probe { reply } = message {
            answer(reply, Ok(()));
        } else if let store::Msg::Command { id, reply } = message {
            let mut written = batches.iter().flat_map(|batch| &batch.writes).filter_map(|write| {
                if let Write::PutCommand(command) = write { Some((**command).clone()) } else { None }
            });
            answer(reply, Ok(written.rfind(|command| command.id == id)));
        } else if let store::Msg::Load { reply, .. } = message {
            let mut loaded = Loaded::default();
            for write in batches.iter().flat_map(|batch| &batch.writes) {
                if let Write::PutRemote(remote) = write {
                    loaded.remote = Some((**remote).clone());
                }
                if let Write::PutCommand(command) = write {
                    loaded.open.retain(|open| open.id != command.id);
                    loaded.open.extend((!command.state.is_final()).then(|| (**command).clone()));
                }
            }
            answer(reply, Ok(loaded));
        }
        Ok(())
    }
}

struct Bench {
    fake: Arc<Fake>,
    forge: Option<Arc<dyn Forge>>,
    batches: Arc<Mutex<Vec<Batch>>>,
    published: Arc<Mutex<Vec<StateChange>>>,
    told: Arc<Mutex<Vec<Arc<RemoteState>>>>,
    store: Slot<store::Msg>,
    slot: Slot<Msg>,
    handle: RemoteHandle,
    interval: Duration,
}

impl Bench {
    async fn new(fake: Arc<Fake>) -> Self {
        Self::every(Duration::from_secs(30), fake).await
    }

    async fn every(interval: Duration, fake: Arc<Fake>) -> Self {
        Self::with(interval, fake, None).await
    }

    async fn with(interval: Duration, fake: Arc<Fake>, forge: Option<Arc<dyn Forge>>) -> Self {
        let (store, slot) = (Slot::new("store"), Slot::new("remote"));
        let batches = Arc::new(Mutex::default());
        let (keeper, _) = Actor::spawn(None, FakeStore(Arc::clone(&batches)), ()).await.unwrap();
        store.seat(keeper);
        let handle = RemoteHandle::new(slot.clone());
        let bench = Self {
            fake,
            forge,
            batches,
            published: Arc::default(),
            told: Arc::default(),
            store,
            slot,
            handle,
            interval,
        };
        bench.start().await;
        bench
    }

    async fn start(&self) {
        let (published, told) = (Arc::clone(&self.published), Arc::clone(&self.told));
        let source: Arc<dyn Source> = Arc::clone(&self.fake) as _;
        let args = Args {
            settings: Settings {
                location: Some("/srv/c.git".to_owned()),
                branch: "main".to_owned(),
                interval: self.interval,
                source: Some(source),
                forge: self.forge.clone(),
            },
            store: StoreHandle::new(self.store.clone()),
            publish: Box::new(move |changes| published.lock().unwrap().extend(changes)),
            tell: Box::new(move |state| told.lock().unwrap().push(state)),
        };
        let (actor, _) = Actor::spawn(None, Remote, args).await.unwrap();
        self.slot.seat(actor);
    }

    async fn ask(&self) {
        self.handle.ask(Duration::from_secs(5)).await.unwrap();
    }

    async fn inspect(&self) -> serde_json::Value {
        self.slot.call(|reply| Msg::Inspect { reply }, Duration::from_secs(5)).await.unwrap()
    }

    fn now(&self) -> Arc<RemoteState> {
        Arc::clone(self.told.lock().unwrap().last().unwrap())
    }

    fn events(&self) -> Vec<String> {
        let batches = self.batches.lock().unwrap();
        batches.iter().flat_map(|batch| &batch.events).map(|event| event.action.clone()).collect()
    }

    fn commands(&self) -> Vec<CommandState> {
        let batches = self.batches.lock().unwrap();
        let writes = batches.iter().flat_map(|batch| &batch.writes);
        writes
            .filter_map(|write| if let Write::PutCommand(command) = write { Some(command.state) } else { None })
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_head_is_durable_before_it_is_told() {
    let bench = Bench::new(Fake::new(Ok("aaaaaaa"))).await;
    bench.ask().await;
    assert_eq!(bench.now().desired, Some(desired("aaaaaaa")));
    assert_eq!(bench.events(), ["remote_moved"]);
    {
        let batches = bench.batches.lock().unwrap();
        let first = batches.first().unwrap();
        assert!(matches!(&first.writes[..], [Write::PutRemote(_)]));
        assert!(
            matches!(&first.changes[..], [StateChange::Remote(remote)] if remote.commit == Some(commit("aaaaaaa")))
        );
    }
    bench.fake.set(Ok("bbbbbbb"));
    bench.ask().await;
    assert_eq!(bench.now().desired, Some(desired("bbbbbbb")));
    assert_eq!(bench.events(), ["remote_moved", "remote_moved"]);
}

#[tokio::test(start_paused = true)]
async fn it_asks_every_interval_and_stores_only_what_changed() {
    let bench = Bench::new(Fake::new(Ok("aaaaaaa"))).await;
    bench.ask().await;
    let (reads, commits) = (bench.fake.reads(), bench.batches.lock().unwrap().len());
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert_eq!(bench.fake.reads(), reads + 3);
    assert_eq!(bench.batches.lock().unwrap().len(), commits);
    assert!(!bench.published.lock().unwrap().is_empty(), "when it was read goes out without the disk");
}

#[tokio::test(start_paused = true)]
async fn a_question_is_not_answered_by_an_older_poll() {
    let fake = Fake::new(Ok("aaaaaaa"));
    let bench = Bench::new(Arc::clone(&fake)).await;
    bench.ask().await;
    fake.gate.forget_permits(usize::MAX);
    let handles: Vec<_> = (0..5).map(|_| bench.handle.clone()).collect();
    let first = tokio::spawn({
        let handle = bench.handle.clone();
        async move { handle.ask(Duration::from_mins(1)).await }
    });
    let before = fake.reads();
    while fake.reads() == before {
        fake.read.notified().await;
    }
    // It reads the old head already; now there is a push, and five want to know.
    fake.set(Ok("bbbbbbb"));
    let late: Vec<_> = handles
        .into_iter()
        .map(|handle| tokio::spawn(async move { handle.ask(Duration::from_mins(1)).await }))
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.inspect().await["waiting"], 6);
    fake.gate.add_permits(1);
    first.await.unwrap().unwrap();
    assert_eq!(bench.now().desired, Some(desired("aaaaaaa")));
    assert!(late.iter().all(|late| !late.is_finished()));
    fake.gate.add_permits(1);
    for late in late {
        late.await.unwrap().unwrap();
    }
    assert_eq!(bench.now().desired, Some(desired("bbbbbbb")));
    assert_eq!(fake.reads(), before + 2, "one poll for all five");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_remote_costs_nobody_anything() {
    let fake = Fake::new(Ok("aaaaaaa"));
    let bench = Bench::new(Arc::clone(&fake)).await;
    bench.ask().await;
    fake.gate.forget_permits(usize::MAX);
    assert!(bench.handle.ask(Duration::from_secs(5)).await.is_err());
    fake.known.lock().unwrap().push((commit("1234567"), Relation::Behind(3)));
    bench.handle.interest(commit("1234567"));
    assert_eq!(bench.inspect().await["polling"], true);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.now().relation(&commit("1234567")), Relation::Behind(3));
}

#[tokio::test(start_paused = true)]
async fn a_failed_poll_is_retried_and_then_taken_seriously() {
    let bench = Bench::every(Duration::from_millis(1), Fake::new(Ok("aaaaaaa"))).await;
    bench.ask().await;
    bench.fake.answers.lock().unwrap().extend([Err("once"), Ok("aaaaaaa")]);
    bench.ask().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(bench.now().failing, None, "one failed poll is no red fleet");
    bench.fake.set(Err("the server is gone"));
    // The wall clock goes on although the timers don't wait: let the answer get too old.
    std::thread::sleep(Duration::from_millis(20));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(bench.now().failing.as_ref().unwrap().why, "the server is gone");
    assert_eq!(bench.now().desired, Some(desired("aaaaaaa")), "the last good answer is kept");
    bench.fake.set(Ok("aaaaaaa"));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(bench.now().failing, None);
    assert_eq!(bench.events(), ["remote_moved", "remote_unreadable", "remote_readable"]);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_panics_costs_one_poll() {
    let fake = Fake::new(Ok("aaaaaaa"));
    fake.answers.lock().unwrap().push_back(Err("panic"));
    let bench = Bench::new(fake).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.now().desired, Some(desired("aaaaaaa")));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_not_known_here_has_the_remote_asked_before_it_is_foreign() {
    let fake = Fake::new(Ok("aaaaaaa"));
    let bench = Bench::new(Arc::clone(&fake)).await;
    bench.ask().await;
    let reads = fake.reads();
    bench.handle.interest(commit("7654321"));
    bench.handle.interest(commit("7654321"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.reads(), reads + 1);
    assert_eq!(bench.now().relation(&commit("7654321")), Relation::Foreign);
    bench.handle.interest(commit("7654321"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.reads(), reads + 1, "it was told once");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_commit_at_a_dead_remote_makes_no_storm() {
    let fake = Fake::new(Ok("aaaaaaa"));
    let bench = Bench::new(Arc::clone(&fake)).await;
    bench.ask().await;
    fake.set(Err("gone"));
    let reads = fake.reads();
    bench.handle.interest(commit("7654321"));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(fake.reads() <= reads + 4, "{}", fake.reads() - reads);
}

#[tokio::test(start_paused = true)]
async fn refresh_git_is_a_command_with_a_record_and_events() {
    let bench = Bench::new(Fake::new(Ok("aaaaaaa"))).await;
    bench.ask().await;
    let Submitted::Accepted(command) = bench.handle.submit(Wanted::new(Op::RefreshGit, "user")).await else {
        panic!("not accepted")
    };
    assert_eq!((command.state, command.host.clone()), (CommandState::Pending, None));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.commands(), [CommandState::Pending, CommandState::Executing, CommandState::Success]);
    assert!(bench.events().ends_with(&["command_started".to_owned(), "command_finished".to_owned()]));
    bench.fake.set(Err("the server is gone"));
    bench.handle.submit(Wanted::new(Op::RefreshGit, "user")).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(bench.commands().last(), Some(&CommandState::Error));
    // A remote that says nothing at all.
    bench.fake.gate.forget_permits(usize::MAX);
    bench.handle.submit(Wanted::new(Op::RefreshGit, "user")).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(
        bench.commands()[6..],
        [CommandState::Pending, CommandState::Executing, CommandState::RunningWarning, CommandState::Error]
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_actor_comes_back_from_the_store() {
    let fake = Fake::new(Ok("aaaaaaa"));
    let bench = Bench::new(Arc::clone(&fake)).await;
    bench.ask().await;
    fake.gate.forget_permits(usize::MAX);
    // An answer that was on its way is the last one.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let read_at = bench.now().read_at.unwrap();
    bench.handle.submit(Wanted::new(Op::RefreshGit, "user")).await;
    let old = bench.slot.sitting().unwrap();
    old.kill_and_wait(None).await.unwrap();
    bench.told.lock().unwrap().clear();
    bench.start().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.now().desired, Some(desired("aaaaaaa")), "at once, while the remote is silent");
    // What is on disk may be a little older than what was told: it is written at leisure.
    let restored = bench.now().read_at.unwrap();
    assert!(restored <= read_at && read_at.since(restored) < AT_LEISURE, "with its age: {restored:?} {read_at:?}");
    fake.gate.add_permits(1_000);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.commands().last(), Some(&CommandState::Success), "the open refresh went on");
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_store_that_is_not_there_yet() {
    let bench = Bench::new(Fake::new(Ok("aaaaaaa"))).await;
    let keeper = bench.store.sitting().unwrap();
    bench.store.vacate();
    bench.slot.sitting().unwrap().kill_and_wait(None).await.unwrap();
    bench.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.inspect().await["loaded"], false);
    bench.store.seat(keeper);
    bench.ask().await;
    assert_eq!(bench.now().desired, Some(desired("aaaaaaa")));
}

#[tokio::test(start_paused = true)]
async fn without_a_remote_it_says_so() {
    let store = Slot::new("store");
    let batches: Arc<Mutex<Vec<Batch>>> = Arc::default();
    let (keeper, _) = Actor::spawn(None, FakeStore(Arc::clone(&batches)), ()).await.unwrap();
    store.seat(keeper);
    let args = Args {
        settings: Settings::none("main", Duration::from_secs(30)),
        store: StoreHandle::new(store),
        publish: Box::new(|_| ()),
        tell: Box::new(|_| ()),
    };
    let slot = Slot::new("remote");
    slot.seat(Actor::spawn(None, Remote, args).await.unwrap().0);
    let handle = RemoteHandle::new(slot);
    handle.ask(Duration::from_secs(5)).await.unwrap();
    handle.submit(Wanted::new(Op::RefreshGit, "user")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let last = batches.lock().unwrap().pop().unwrap();
    let [.., Write::PutCommand(command)] = &last.writes[..] else { panic!("{last:?}") };
    assert_eq!(command.state, CommandState::Error);
    assert!(command.message.as_ref().unwrap().contains("NIXFLEET_REPO_URL"));
}
