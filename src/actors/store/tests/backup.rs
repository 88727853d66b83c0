//! Backup and restore: what comes back is what there was at one moment, or nothing changes.

use std::fs::{self, File};
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::restore::{CantRestore, restore, verify};
use super::super::{BadBackup, backup, check};
use super::*;
use crate::actors::host::log::{self, log_path, sealed::sealed_path};
use crate::actors::host::tail::{Seal, seal};

fn write_log(dir: &Path, on: &str, number: u128, lines: usize) {
    let path = log_path(dir, &host(on), id(number));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lines: Vec<String> = (0..lines).map(|line| format!("{line} o {}\n", Uuid::new_v4())).collect();
    fs::write(path, lines.concat()).unwrap();
}

fn log_of(dir: &Path, on: &str, number: u128) -> log::LogLines {
    log::read(&log_path(dir, &host(on), id(number)), 0, 1 << 20).unwrap()
}

/// A store with all kinds of records, and logs in each form.
async fn filled(dir: &Path) -> Running {
    let store = Running::open(dir).await;
    let mut long = a_command(2, Some("hsb0"), CommandState::Success);
    long.details = Some("d".repeat(30_000));
    let session = LoginSession {
        id: "id".to_owned(),
        user: "user".to_owned(),
        csrf: "c".repeat(5000),
        created_at: at(1),
        last_seen: at(1),
        expires_at: at(2),
        address: "192.0.2.7".to_owned(),
        browser: "Firefox".to_owned(),
    };
    let batch = Batch {
        writes: vec![
            put_host("hsb0"),
            put_host("hsb1"),
            put_command(a_command(1, Some("hsb0"), CommandState::Executing)),
            put_command(long),
            put_command(a_command(3, Some("hsb1"), CommandState::Error)),
            Write::PutToken([1; 32], a_token("a", TokenKind::Host(host("hsb0")))),
            Write::PutSession([2; 32], session),
            Write::PutSetting("totp", b"step 5".to_vec()),
        ],
        events: vec![an_event("one"), an_event("two")],
        changes: vec![],
    };
    store.handle.commit(batch).await.unwrap();
    store.handle.raise_mark(1_000_000).await.unwrap();
    write_log(dir, "hsb0", 1, 100);
    write_log(dir, "hsb0", 2, 9000);
    write_log(dir, "hsb1", 3, 200);
    assert_eq!(seal(dir, &host("hsb0"), id(2)).unwrap(), Seal::Done);
    store
}

async fn back_up(store: &StoreHandle, dir: &Path, file: &Path, logs: bool) -> Totals {
    let export = store.export(backup::head(logs)).await.unwrap();
    let (dir, out) = (dir.to_owned(), File::create(file).unwrap());
    tokio::task::spawn_blocking(move || backup::write(export, &dir, out)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back_as_another_store_without_the_logins() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, data) = (other.path().join("backup"), other.path().join("data"));
    let store = filled(dir.path()).await;
    let before = store.handle.load().await.unwrap();
    let written = back_up(&store.handle, dir.path(), &file, true).await;
    assert_eq!((written.logs, written.missing.len()), (3, 0));
    let (head, read) = verify(&file, |_| {}).unwrap();
    assert!(head.logs && read == written);
    // What comes later is not in it.
    store.handle.commit(writes(vec![put_host("later")])).await.unwrap();
    store.stop().await;

    let restored = restore(&data, &file, false, |_| {}).unwrap();
    assert!(restored.kept.is_none());
    let store = Running::open(&data).await;
    let after = store.handle.load().await.unwrap();
    assert_eq!(after.warnings, Vec::<String>::new());
    assert_ne!(after.epoch, before.epoch);
    assert_eq!((after.hosts, after.open, after.recent), (before.hosts, before.open, before.recent));
    assert_eq!(after.events[0].action, "store_restored");
    assert_eq!(after.events[1..], before.events[..]);
    let access = store.handle.access().await.unwrap();
    assert_eq!((access.tokens.len(), access.sessions.len()), (1, 0));
    assert_eq!(store.handle.setting("totp").await.unwrap().unwrap(), b"step 5");
    assert_eq!(store.handle.raise_mark(0).await.unwrap(), 1_000_000);
    for (on, number) in [("hsb0", 1), ("hsb0", 2), ("hsb1", 3)] {
        let lines = log_of(&data, on, number);
        assert!(!lines.lines.is_empty() && lines == log_of(dir.path(), on, number), "{number}");
    }
    let report = store.handle.check(data.clone()).await.unwrap();
    assert!(report.whole, "{report:?}");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment_while_commits_go_on() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(dir.path()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let committing: Vec<_> = (0..4_u128)
        .map(|one| {
            let (handle, stop) = (store.handle.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut count = 0_u128;
                while !stop.load(Ordering::SeqCst) {
                    count += 1;
                    // A host and a command that belong together.
                    let mut record = host_record(&format!("pair{one}"));
                    record.chosen.comment = Some(count.to_string());
                    let mut command = a_command(1000 + one, Some("hsb1"), CommandState::Success);
                    command.message = Some(count.to_string());
                    let batch = Batch {
                        writes: vec![put_command(command), Write::PutHost(Box::new(record))],
                        events: vec![an_event("pair")],
                        changes: vec![],
                    };
                    handle.commit(batch).await.unwrap();
                }
                count
            })
        })
        .collect();
    for round in 0..5 {
        let (file, data) = (other.path().join(format!("b{round}")), other.path().join(format!("d{round}")));
        back_up(&store.handle, dir.path(), &file, false).await;
        restore(&data, &file, false, |_| {}).unwrap();
        let restored = Running::open(&data).await;
        let loaded = restored.handle.load().await.unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        for one in 0..4_u128 {
            let command = restored.handle.command(id(1000 + one)).await.unwrap();
            let record = loaded.hosts.iter().find(|host| host.id.as_str() == format!("pair{one}"));
            let (ours, theirs) = (command.and_then(|it| it.message), record.and_then(|it| it.chosen.comment.clone()));
            assert_eq!(ours, theirs, "all of a commit, or nothing of it");
        }
        restored.stop().await;
    }
    stop.store(true, Ordering::SeqCst);
    for one in committing {
        assert!(one.await.unwrap() > 0);
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_overwrites_nothing_without_being_told_and_keeps_what_was_there() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("backup");
    let store = filled(dir.path()).await;
    back_up(&store.handle, dir.path(), &file, true).await;
    let running = restore(dir.path(), &file, true, |_| {}).unwrap_err();
    assert!(running.to_string().contains("in use by another NixFleet"), "{running}");
    store.handle.commit(writes(vec![put_host("later")])).await.unwrap();
    write_log(dir.path(), "hsb0", 9, 5);
    store.stop().await;

    let refused = restore(dir.path(), &file, false, |_| {}).unwrap_err();
    assert!(matches!(refused, CantRestore::Occupied { .. }), "{refused}");
    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.load().await.unwrap().hosts.len(), 3, "nothing changed");
    store.stop().await;

    let kept = restore(dir.path(), &file, true, |_| {}).unwrap().kept.unwrap();
    let store = Running::open(dir.path()).await;
    assert_eq!(store.handle.load().await.unwrap().hosts.len(), 2);
    assert!(log_of(dir.path(), "hsb0", 9).lines.is_empty());
    store.stop().await;
    let store = Running::open(&kept).await;
    assert_eq!(store.handle.load().await.unwrap().hosts.len(), 3);
    assert_eq!(log_of(&kept, "hsb0", 9).lines.len(), 5);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_is_named_and_the_rest_is_in_the_backup() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, data) = (other.path().join("backup"), other.path().join("data"));
    let store = filled(dir.path()).await;
    let path = sealed_path(&log_path(dir.path(), &host("hsb0"), id(2)));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = store.handle.check(dir.path().to_owned()).await.unwrap();
    assert!(!report.whole && report.problems[0].contains("the compressed log is damaged"), "{report:?}");
    let totals = back_up(&store.handle, dir.path(), &file, true).await;
    assert!(totals.missing.len() == 1 && totals.missing[0].contains("hsb0"), "{totals:?}");
    store.stop().await;
    let restored = restore(&data, &file, false, |_| {}).unwrap();
    assert_eq!(restored.totals, totals);
    assert_eq!(log_of(&data, "hsb1", 3), log_of(dir.path(), "hsb1", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("file"), dir.path().join("data"));
    for content in [b"".to_vec(), b"hello".to_vec(), zstd::bulk::compress(b"hello, this is some text", 1).unwrap()] {
        fs::write(&file, content).unwrap();
        let error = restore(&data, &file, false, |_| {}).unwrap_err();
        assert!(matches!(&error, CantRestore::Backup { why: BadBackup::Foreign, .. }), "{error}");
        assert!(!data.exists(), "nothing was made");
    }
    assert!(restore(&data, &dir.path().join("none"), false, |_| {}).unwrap_err().to_string().contains("No such file"));
}

/// Not a test of its own: a process that restores, and dies at a step of it.
#[test]
fn child_that_restores() {
    let Some(dir) = std::env::var_os("NIXFLEET_TEST_RESTORE_IN") else { return };
    let dir = Path::new(&dir);
    restore(&dir.join("data"), &dir.join("backup"), true, |_| {}).unwrap();
    println!("restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_of_restoring_leaves_the_old_or_the_new() {
    for (step, new) in [("made", false), ("ready", true), ("moved", true), ("placed", true), ("done", true)] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let store = filled(&data).await;
        back_up(&store.handle, &data, &dir.path().join("backup"), true).await;
        store.handle.commit(writes(vec![put_host("later")])).await.unwrap();
        write_log(&data, "hsb0", 9, 5);
        store.stop().await;
        let output = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "actors::store::tests::backup::child_that_restores", "--nocapture"])
            .env("NIXFLEET_TEST_RESTORE_IN", dir.path())
            .env("NIXFLEET_TEST_DIE_REPLACING", step)
            .output()
            .unwrap();
        assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("restored\n"), "{step}");
        let store = Running::open(&data).await;
        let hosts = store.handle.load().await.unwrap().hosts.len();
        let lines = log_of(&data, "hsb0", 9).lines.len();
        assert_eq!((hosts, lines), if new { (2, 0) } else { (3, 5) }, "{step}: all of it old, or all of it new");
        assert!(!log_of(&data, "hsb0", 2).lines.is_empty(), "{step}");
        store.stop().await;
        let report = check::stopped(&data).unwrap();
        assert!(report.whole, "{step}: {report:?}");
    }
}

fn a_backup() -> &'static [u8] {
    static BACKUP: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BACKUP.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = filled(dir.path()).await;
            let file = dir.path().join("backup");
            back_up(&store.handle, dir.path(), &file, true).await;
            store.stop().await;
            fs::read(file).unwrap()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_backup_that_was_cut_or_changed_is_refused(at in any::<u32>(), bit in 0..9_u32) {
        let mut bytes = a_backup().to_vec();
        let at = at as usize % bytes.len();
        if bit == 8 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        // Some bits of zstd's own headers mean nothing: then it reads as it was.
        if let Ok((_, totals)) = verify(file.path(), |_| {}) {
            prop_assert!(bit < 8 && totals.logs == 3);
        }
    }
}
