//! Values that are larger than sled may get in one piece.

use super::super::plan::{Counts, Plan};
use super::super::record::VALUE;
use super::super::trees::{Tree, Trees};
use super::*;

fn with_details(number: u128, bytes: usize) -> Command {
    let mut command = a_command(number, Some("hsb0"), CommandState::Success);
    command.details = Some((0..bytes).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap())).collect());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_come_back_and_no_blob_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let sizes = [3_900, 4_000, 4_100, 8_192, 16 * 1024, 64 * 1024, 128 * 1024, 1024 * 1024];
    let all: Vec<Command> = (1..).zip(sizes).map(|(number, bytes)| with_details(number, bytes)).collect();
    // One after the other, and all at once.
    for command in &all {
        store.handle.commit(writes(vec![put_command(command.clone())])).await.unwrap();
    }
    store.handle.commit(writes(all.iter().cloned().map(put_command).collect())).await.unwrap();
    let mut event = an_event("large");
    event.details = Some(format!("\"{}\"", "x".repeat(128 * 1024)));
    store.handle.commit(Batch { events: vec![event.clone()], ..Batch::default() }).await.unwrap();
    store.handle.commit(writes(vec![Write::PutSetting("large", vec![7; 100_000])])).await.unwrap();
    store.stop().await;

    let store = Running::open(dir.path()).await;
    let loaded = store.handle.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.recent, all.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(*loaded.events[0], event.numbered(EventId(1)));
    assert_eq!(store.handle.setting("large").await.unwrap().unwrap(), vec![7; 100_000]);
    assert_eq!(std::fs::read_dir(dir.path().join("store/blobs")).unwrap().count(), 0);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_what_was_overwritten_or_removed_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let session = |bytes| LoginSession {
        id: "id".to_owned(),
        user: "u".repeat(bytes),
        csrf: String::new(),
        created_at: at(1),
        last_seen: at(1),
        expires_at: at(1),
        address: "192.0.2.7".to_owned(),
        browser: "Firefox".to_owned(),
    };
    for batch in [
        vec![put_command(with_details(1, 50_000)), Write::PutSession([1; 32], session(50_000))],
        vec![put_command(with_details(1, 10_000)), Write::RemoveSession([1; 32])],
    ] {
        store.handle.commit(writes(batch)).await.unwrap();
    }
    assert_eq!(store.handle.command(id(1)).await.unwrap().unwrap(), with_details(1, 10_000));
    store.stop().await;
    let db = sled_of(dir.path());
    let parts = db.open_tree(Tree::Parts.name()).unwrap();
    assert_eq!(parts.len(), 2, "10,000 bytes and the rest of the record less the first {VALUE}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_long_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    let batch = writes(vec![put_host("not-alone"), put_command(with_details(1, 17 << 20))]);
    let error = store.handle.commit(batch).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert!(store.handle.load_host(host("not-alone")).await.unwrap().is_none(), "all or nothing");
    store.handle.commit(writes(vec![put_host("next")])).await.unwrap();
    store.stop().await;
}

#[test]
fn a_batch_that_is_refused_leaves_the_others_of_its_group_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let trees = Trees::over(sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap()).unwrap();
    let good = writes(vec![put_command(with_details(1, 10_000)), put_host("a")]);
    let bad = writes(vec![
        put_command(with_details(1, 20)),
        Write::RemoveHost(host("a")),
        put_host("b"),
        put_command(with_details(2, 17 << 20)),
    ]);
    let plan = |batches: &[&Batch]| {
        let mut plan = Plan::new(&trees, Counts::default());
        let refused = batches.iter().filter(|batch| plan.add(batch, false).is_err()).count();
        let finished = plan.finish().unwrap();
        (refused, finished.by_tree, finished.counts, finished.records)
    };
    let (refused, by_tree, counts, records) = plan(&[&good]);
    assert_eq!((refused, counts.hosts, counts.commands), (0, 1, 1));
    assert_eq!(plan(&[&good, &bad]), (1, by_tree, counts, records));
}
