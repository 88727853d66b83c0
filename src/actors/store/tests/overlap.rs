//! Groups overlap: one is synced while the next is planned. What was promised of one after the other still holds.

use std::time::Duration;

use super::super::disk::BAD_SYNC;
use super::*;

/// Commits many batches at once, one event each, and gives how each ended, in order.
async fn flood(store: &Running, numbers: std::ops::Range<u128>) -> Vec<Result<(), StoreError>> {
    let commits = numbers.map(|number| {
        let (handle, published) = (store.handle.clone(), Arc::clone(&store.published));
        tokio::spawn(async move {
            let message = format!("number {number}");
            let batch = Batch {
                writes: vec![put_command(a_command(number, Some("hsb0"), CommandState::Success))],
                events: vec![an_event(&message)],
                changes: Vec::new(),
            };
            let committed = handle.commit_once(batch).await;
            let said = |change: &StateChange| matches!(change, StateChange::Event(event) if event.message == message);
            let is_published = published.lock().unwrap().iter().any(said);
            assert_eq!(committed.is_ok(), is_published, "published before it is answered, and not when it failed");
            committed
        })
    });
    let mut ended = Vec::new();
    for commit in commits.collect::<Vec<_>>() {
        ended.push(commit.await.unwrap());
    }
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_at_once_are_published_in_order_and_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    for round in 0..20 {
        let ended = flood(&store, round * 100..round * 100 + 100).await;
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    }
    let numbers: Vec<u64> = store
        .published()
        .iter()
        .filter_map(|change| if let StateChange::Event(event) = change { Some(event.id.0) } else { None })
        .collect();
    assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
    store.stop().await;

    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.events(None, 1).await.unwrap()[0].id.0, 2000);
    assert!(store.handle.command(id(1999)).await.unwrap().is_some());
    assert_eq!(store.handle.load().await.unwrap().warnings, Vec::<String>::new());
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_refuses_what_was_written_behind_it_and_it_goes_on_when_the_disk_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    assert!(flood(&store, 0..100).await.iter().all(Result::is_ok));
    std::fs::write(dir.path().join(BAD_SYNC), "").unwrap();
    for round in 1..4 {
        let ended = flood(&store, round * 100..round * 100 + 100).await;
        assert!(ended.iter().all(|it| matches!(it, Err(StoreError::CantWrite(_)))), "{ended:?}");
    }
    assert!(matches!(store.health.lock().unwrap().last(), Some(Some(_))), "it says that it can't write");

    std::fs::remove_file(dir.path().join(BAD_SYNC)).unwrap();
    tokio::time::timeout(Duration::from_mins(1), async {
        while store.handle.commit_once(writes(vec![put_host("hsb0")])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it goes on");
    assert!(flood(&store, 400..500).await.iter().all(Result::is_ok));
    store.stop().await;
    let store = Running::open(dir.path()).await;
    assert_eq!(
        store.handle.load().await.unwrap().warnings,
        Vec::<String>::new(),
        "its counts are those of its records"
    );
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sync_that_failed_it_goes_on_in_files_that_are_written_anew() {
    use std::os::unix::fs::MetadataExt as _;

    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    assert!(flood(&store, 0..100).await.iter().all(Result::is_ok));
    // Held open, so that its number is not given to another file.
    let before = std::fs::File::open(dir.path().join("store/db")).unwrap();
    std::fs::write(dir.path().join(BAD_SYNC), "").unwrap();
    assert!(store.handle.commit_once(writes(vec![put_host("hsb0")])).await.is_err());
    std::fs::remove_file(dir.path().join(BAD_SYNC)).unwrap();
    store.handle.commit(writes(vec![put_host("hsb0")])).await.unwrap();
    let after = std::fs::metadata(dir.path().join("store/db")).unwrap();
    assert_ne!(before.metadata().unwrap().ino(), after.ino(), "nobody trusts what the system took for written");
    assert!(store.handle.command(id(99)).await.unwrap().is_some());
    assert!(flood(&store, 100..200).await.iter().all(Result::is_ok));
    store.stop().await;
    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.events(None, 1).await.unwrap()[0].id.0, 200);
    assert_eq!(store.handle.load().await.unwrap().warnings, Vec::<String>::new());
    store.stop().await;
}
