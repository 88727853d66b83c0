//! The store gives back room, by a copy that takes its place; a crash at any point leaves one whole store.

use std::process::Command as Process;

use super::super::folder::Folder;
use super::*;
use proptest::prelude::*;

/// So many updates of a thousand records: `NIXFLEET_CHURN=1000000` for the whole story.
fn updates() -> u64 {
    std::env::var("NIXFLEET_CHURN").ok().and_then(|text| text.parse().ok()).unwrap_or(40_000)
}

fn churned(number: u64) -> Command {
    let mut command = a_command((number % 1000).into(), Some("hsb0"), CommandState::Success);
    command.message = Some(format!("{number} {}", "m".repeat(200)));
    command
}

/// Updates in commits of 500, with an event for each hundred.
async fn churn(store: &StoreHandle, updates: u64) {
    for from in (0..updates).step_by(500) {
        let batch = Batch {
            writes: (from..(from + 500).min(updates)).map(churned).map(put_command).collect(),
            events: (0..5).map(|_| an_event("churn")).collect(),
            changes: vec![],
        };
        store.commit(batch).await.unwrap();
    }
}

async fn all(store: &StoreHandle) -> (Vec<Command>, Vec<HostRecord>, Vec<(SecretHash, Token)>, usize) {
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let mut events = 0;
    let mut before = None;
    loop {
        let page = store.events(before, 1000).await.unwrap();
        events += page.len();
        match page.last() {
            Some(last) => before = Some(last.id),
            None => break,
        }
    }
    (store.commands(None, None, 1000).await.unwrap(), loaded.hosts, store.access().await.unwrap().tokens, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_many_updates_the_disk_is_given_back_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    store
        .handle
        .commit(writes(vec![put_host("hsb0"), Write::PutToken([1; 32], a_token("t", TokenKind::Enrol))]))
        .await
        .unwrap();
    churn(&store.handle, updates()).await;
    let before = all(&store.handle).await;
    let epoch = store.handle.load().await.unwrap().epoch;
    let measured = store.handle.measure().await.unwrap();

    // Commits go on while it is compacted, and not one is lost.
    let handle = store.handle.clone();
    let more = tokio::spawn(async move {
        for number in 5000..5200_u128 {
            handle
                .commit(writes(vec![put_command(a_command(number, Some("hsb1"), CommandState::Success))]))
                .await
                .unwrap();
        }
    });
    let reading = store.handle.clone();
    let reads = tokio::spawn(async move {
        for _ in 0..200 {
            assert!(reading.command(id(1)).await.unwrap().is_some(), "reads wait, and do not fail");
        }
    });
    let compacted = store.handle.compact().await.unwrap();
    more.await.unwrap();
    reads.await.unwrap();
    println!("{} updates: {measured:?} {compacted:?}", updates());
    assert!(compacted.after < compacted.before, "{compacted:?}");
    assert!(compacted.after < 16 << 20, "{compacted:?}");
    let mut after = all(&store.handle).await;
    assert!(store.handle.commands(Some(host("hsb1")), None, 1000).await.unwrap().len() == 200);
    after.0.retain(|command| command.host != Some(host("hsb1")));
    // The list is cut at a thousand.
    assert_eq!(after.0.len() + 200, before.0.len());
    assert!(after.0.iter().all(|command| before.0.contains(command)));
    assert_eq!((&after.1, &after.2, after.3), (&before.1, &before.2, before.3));
    assert!(!dir.path().join("next").exists());
    store.stop().await;

    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.load().await.unwrap().epoch, epoch, "it is the same store");
    let report = store.handle.check(dir.path().to_owned()).await.unwrap();
    assert!(report.whole, "{report:?}");
    assert!(report.records["commands"] >= 1200 && report.disk.live > 0);
    // And once more, on what was compacted.
    churn(&store.handle, 1000).await;
    store.handle.compact().await.unwrap();
    store.stop().await;
}

/// Not a test of its own: a process that compacts, and dies at a step of it.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_compacts() {
    let Some(dir) = std::env::var_os("NIXFLEET_TEST_COMPACT_IN") else { return };
    let store = Running::open(Path::new(&dir)).await;
    let compacted = store.handle.compact().await.unwrap();
    println!("compacted: {compacted:?}");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_leaves_a_whole_store() {
    for step in ["copied", "made", "ready", "moved", "placed", "done"] {
        let dir = tempfile::tempdir().unwrap();
        let store = Running::open(dir.path()).await;
        churn(&store.handle, 3000).await;
        let before = all(&store.handle).await;
        store.stop().await;
        for times in 1..=2 {
            let output = Process::new(std::env::current_exe().unwrap())
                .args(["--exact", "actors::store::tests::compaction::child_that_compacts", "--nocapture"])
                .env("NIXFLEET_TEST_COMPACT_IN", dir.path())
                .env("NIXFLEET_TEST_DIE_REPLACING", step)
                .output()
                .unwrap();
            assert!(!output.status.success(), "{step}: it died");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("compacted:"), "{step}, {times}");
        }
        let store = Running::open(dir.path()).await;
        assert!(all(&store.handle).await == before, "{step}");
        assert!(store.handle.check(dir.path().to_owned()).await.unwrap().whole);
        assert!(!dir.path().join("next").exists(), "{step}: nothing is left over");
        store.handle.compact().await.unwrap();
        store.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_a_copy_nothing_happens() {
    let name = "without_room_for_a_copy_nothing_happens";
    let mounted = match super::mounts::Mounted::tmpfs("size=12m") {
        Ok(mounted) => mounted,
        Err(reason) => return super::mounts::skipped(name, &reason),
    };
    let dir = mounted.path().join("data");
    let store = Running::open(&dir).await;
    churn(&store.handle, 500).await;
    let error = store.handle.compact().await.unwrap_err().to_string();
    assert!(error.contains("no room"), "{error}");
    assert!(!dir.join("next").exists());
    churn(&store.handle, 500).await;
    assert_eq!(store.health.lock().unwrap().last().unwrap(), &None, "it is no trouble of the store");
    store.stop().await;
}

/// How often: `NIXFLEET_FLIPS=1000` for a long look.
fn flips() -> u32 {
    std::env::var("NIXFLEET_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// A store with so many hosts and commands in it that every tree has several pages.
async fn filled(dir: &Path) -> Folder {
    let store = Running::open(dir).await;
    let mut batch = Batch::default();
    for number in 0..300_u128 {
        let mut record = host_record(&format!("h{number}"));
        record.chosen.comment = Some("c".repeat(500));
        batch.writes.push(Write::PutHost(Box::new(record)));
        let mut command = a_command(number, Some(&format!("h{number}")), CommandState::Success);
        command.details = (number % 10 == 0).then(|| "d".repeat(9000));
        batch.writes.push(put_command(command));
        batch.writes.push(Write::PutToken([u8::try_from(number % 256).unwrap(); 32], a_token("t", TokenKind::Enrol)));
        batch.events.push(an_event("filled"));
    }
    store.handle.commit(batch).await.unwrap();
    store.stop().await;
    Folder::take(dir).unwrap()
}

fn copied(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from.join("store")).unwrap().flatten() {
        std::fs::create_dir_all(dir.path().join("store")).unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), dir.path().join("store").join(entry.file_name())).unwrap();
        }
    }
    dir
}

proptest! {
    #![proptest_config(ProptestConfig { cases: flips(), failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// Bits flip in sled's file. Whatever it does to sled: what is missing is said, by the start or by the check;
    /// nothing panics through, nothing hangs.
    #[test]
    fn flipped_bits_never_lose_anything_in_silence(places in proptest::collection::vec((any::<u32>(), 0..8_u32), 1..12)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let original = tempfile::tempdir().unwrap();
            drop(filled(original.path()).await);
            let dir = copied(original.path());
            let db = dir.path().join("store/db");
            let mut bytes = std::fs::read(&db).unwrap();
            // Where there is something: most of a new file is empty.
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for (place, bit) in &places {
                bytes[*place as usize % used] ^= 1 << bit;
            }
            std::fs::write(&db, bytes).unwrap();

            let looked = tokio::time::timeout(Duration::from_mins(1), async {
                let there = dir.path().to_owned();
                let report = tokio::task::spawn_blocking(move || check::stopped(&there)).await.unwrap().unwrap();
                let opened = Running::try_open(dir.path()).await;
                (report, opened)
            });
            let (report, opened) = looked.await.expect("it does not hang");
            let Ok(store) = opened else {
                return assert!(!report.whole, "it does not open, and the check finds nothing: {report:?}");
            };
            let loaded = store.handle.load().await;
            let commands = store.handle.commands(None, None, 1000).await;
            let events = store.handle.events(None, 1000).await;
            let tokens = store.handle.access().await;
            let whole = loaded.as_ref().is_ok_and(|loaded| loaded.hosts.len() == 300 && loaded.hosts.iter().all(|host| host.chosen.comment.as_ref().is_some_and(|comment| comment.len() == 500)))
                && commands.as_ref().is_ok_and(|commands| commands.len() == 300)
                && events.as_ref().is_ok_and(|events| events.len() == 300)
                && tokens.as_ref().is_ok_and(|access| access.tokens.len() == 256);
            let said = loaded.as_ref().map_or(1, |loaded| loaded.warnings.len());
            assert!(whole || !report.whole, "lost in silence: {report:?}");
            assert!(whole || said > 0 || events.is_ok_and(|events| events.len() != 300), "the start said nothing: {report:?}");
            store.stop().await;
        });
    }
}
