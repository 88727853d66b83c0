//! The store's actor dies and is started again; who waits does not notice more than that it took longer.

use ractor::{ActorProcessingErr, SupervisionEvent};

use super::super::writer::DIE;
use super::*;

/// Starts the store again when it fails, as the root does.
struct Parent;

struct Child {
    dir: std::path::PathBuf,
    slot: Slot<Msg>,
    deaths: usize,
}

impl Child {
    async fn start(&self, myself: &ActorRef<()>) -> Result<(), ActorProcessingErr> {
        let args = Args { dir: self.dir.clone(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
        let (actor, _) = Actor::spawn_linked(None, Store, args, myself.get_cell()).await?;
        self.slot.seat(actor);
        Ok(())
    }
}

impl Actor for Parent {
    type Msg = ();
    type State = Child;
    type Arguments = (std::path::PathBuf, Slot<Msg>);

    async fn pre_start(&self, myself: ActorRef<()>, (dir, slot): Self::Arguments) -> Result<Child, ActorProcessingErr> {
        let child = Child { dir, slot, deaths: 0 };
        child.start(&myself).await?;
        Ok(child)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        child: &mut Child,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            assert!(error.to_string().contains("writer died"), "{error}");
            child.deaths += 1;
            child.slot.vacate();
            if let Err(error) = child.start(&myself).await {
                // A hanging test would say less.
                println!("the store does not open again: {error}");
                std::process::exit(1);
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_commit_gets_it_through_deaths_of_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let slot = Slot::new("store");
    let (parent, join) = Actor::spawn(None, Parent, (dir.path().to_owned(), slot.clone())).await.unwrap();
    let handle = StoreHandle::new(slot);
    let mut waiting = Vec::new();
    for number in 1..=200_u128 {
        let handle = handle.clone();
        waiting.push(tokio::spawn(async move {
            for step in 0..5 {
                let command = a_command(number * 100 + step, Some("hsb0"), CommandState::Success);
                handle.commit(writes(vec![put_command(command)])).await.unwrap();
            }
        }));
    }
    for _ in 0..3 {
        let died = handle.commit_once(writes(vec![Write::PutSetting(DIE, vec![])])).await;
        assert!(matches!(died, Err(StoreError::Unanswered(Unanswered::Gone(_)))), "{died:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for one in waiting {
        one.await.unwrap();
    }
    // A read does not wait through a restart, and says so; a commit does.
    handle.commit(writes(vec![put_host("hsb0")])).await.unwrap();
    let loaded = handle.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(handle.commands(None, None, 1000).await.unwrap().len(), 1000);
    parent.stop(None);
    join.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_before_a_stop_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let commits: Vec<_> = (1..=100)
        .map(|number| {
            let handle = store.handle.clone();
            let batch = writes(vec![put_command(a_command(number, None, CommandState::Pending))]);
            tokio::spawn(async move { handle.commit_once(batch).await })
        })
        .collect();
    let mut done = 0;
    store.handle.probe(Duration::from_secs(5)).await.unwrap();
    store.stop().await;
    for commit in commits {
        done += usize::from(commit.await.unwrap().is_ok());
    }
    let store = Running::open(dir.path()).await;
    assert!(store.handle.load().await.unwrap().open.len() >= done);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_store_tells_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    for name in ["a", "b", "a"] {
        store.handle.commit(writes(vec![put_host(name)])).await.unwrap();
    }
    let snapshot = ractor::call_t!(store.actor, |reply| Msg::Inspect { reply }, 5000).unwrap();
    assert_eq!(snapshot["hosts"], 2);
    assert_eq!(snapshot["written"], 3);
    assert_eq!(snapshot["queue"], 0);
    assert_eq!(snapshot["health"], serde_json::Value::Null);
    assert!(snapshot["bytes"].as_u64().unwrap() > 0 && snapshot["commit_p99_us"].as_u64().unwrap() > 0);
    assert_eq!(*store.health.lock().unwrap(), vec![None]);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_again_has_its_events_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let batch = Batch {
        writes: vec![put_host("hsb0")],
        events: vec![an_event("one"), an_event("two"), an_event("two")],
        ..Batch::default()
    };
    store.handle.commit_once(batch.clone()).await.unwrap();
    store.handle.commit_once(Batch { events: vec![an_event("between")], ..Batch::default() }).await.unwrap();
    // Nobody heard the answer; in this life of the store, and after its death.
    let (one, other) = tokio::join!(store.handle.commit_again(batch.clone()), store.handle.commit_again(batch.clone()));
    one.unwrap();
    other.unwrap();
    store.stop().await;
    let store = Running::open(dir.path()).await;
    store.handle.commit_again(batch).await.unwrap();
    let new = Batch { events: vec![an_event("new")], ..Batch::default() };
    let (first, second) = tokio::join!(store.handle.commit_once(new.clone()), store.handle.commit_again(new));
    first.unwrap();
    second.unwrap();
    let told: Vec<_> =
        store.handle.events(None, 100).await.unwrap().iter().map(|event| event.message.clone()).collect();
    assert_eq!(told, ["new", "between", "two", "two", "one"]);
    store.stop().await;
}
