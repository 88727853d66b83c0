//! The process is killed at a random moment: every acknowledged record is there, and every commit is there as
//! a whole or not at all.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::actors::host::log::{self, log_path, sealed::sealed_path};
use crate::actors::host::tail::seal;

/// Where the child commits; without it, it is no child.
const DIR: &str = "NIXFLEET_STORE_TEST_CHILD";
/// With it, it compacts again and again, and writes and compresses logs.
const UPKEEP: &str = "NIXFLEET_STORE_TEST_UPKEEP";
/// Acknowledged numbers from here on are logs.
const LOGS: u64 = 1 << 40;
/// Lines of each.
const LINES: usize = 500;

fn acknowledge(number: u64) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("ack {number}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn log_id(number: u64) -> CommandId {
    id(u128::from(number) << 64)
}

/// Writes a log, has it on disk, says so, and compresses it; then the next one.
fn write_logs(dir: &Path) {
    for number in LOGS.. {
        let path = log_path(dir, &host("hsb0"), log_id(number));
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        if path.exists() || sealed_path(&path).exists() {
            continue;
        }
        let lines: Vec<String> = (0..LINES).map(|line| format!("{line} o {}\n", Uuid::new_v4())).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        for on_disk in [&path, parent, parent.parent().unwrap(), dir] {
            std::fs::File::open(on_disk).unwrap().sync_all().unwrap();
        }
        acknowledge(number);
        seal(dir, &host("hsb0"), log_id(number)).unwrap();
    }
}

/// Not a test of its own: what the child runs until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Running::open(Path::new(&dir)).await;
    let next = Arc::new(AtomicU64::new(first_free(&store.handle).await));
    let mut tasks = Vec::new();
    if std::env::var_os(UPKEEP).is_some() {
        let logs = dir.clone();
        std::thread::spawn(move || write_logs(Path::new(&logs)));
        let handle = store.handle.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                handle.compact().await.unwrap();
            }
        }));
    }
    for _ in 0..8 {
        let (handle, next) = (store.handle.clone(), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                handle.commit_once(batch(number)).await.unwrap();
                acknowledge(number);
            }
        }));
    }
    futures_util::future::join_all(tasks).await;
}

async fn first_free(store: &StoreHandle) -> u64 {
    let newest = store.commands(None, None, 1).await.unwrap();
    newest.first().map_or(1, |command| u64::try_from(command.id.uuid().as_u128()).unwrap() + 1)
}

/// A commit over many trees; every seventh has a record of several parts.
fn batch(number: u64) -> Batch {
    let mut command = a_command(number.into(), Some("hsb0"), CommandState::Executing);
    if number.is_multiple_of(7) {
        command.details = Some("d".repeat(10_000));
    }
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Batch {
        writes: vec![put_command(command), put_host("hsb0"), Write::PutToken(hash, a_token("t", TokenKind::Enrol))],
        events: vec![an_event(&number.to_string())],
        changes: vec![],
    }
}

/// A child that commits, and what it has acknowledged.
pub(super) struct Committing {
    pub(super) child: Child,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    reading: std::thread::JoinHandle<()>,
}

impl Committing {
    pub(super) fn start(dir: &Path) -> Self {
        Self::started(Process::new(std::env::current_exe().unwrap()).env_remove(UPKEEP), dir)
    }

    /// One that also compacts, and compresses logs.
    pub(super) fn start_with_upkeep(dir: &Path) -> Self {
        Self::started(Process::new(std::env::current_exe().unwrap()).env(UPKEEP, "1"), dir)
    }

    fn started(process: &mut Process, dir: &Path) -> Self {
        let mut child = process
            .args(["--exact", "actors::store::tests::kill::child_that_commits_until_it_is_killed", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let (out, theirs) = (child.stdout.take().unwrap(), Arc::clone(&acknowledged));
        let reading = std::thread::spawn(move || {
            let mut lines = BufReader::new(out);
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                // A line that was cut off by the kill says nothing.
                if let Some(number) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix('\n')) {
                    theirs.lock().unwrap().insert(number.parse().unwrap());
                }
                line.clear();
            }
        });
        Self { child, acknowledged, reading }
    }

    /// Waits until so many are acknowledged.
    pub(super) fn wait_for(&self, count: usize) {
        let begun = std::time::Instant::now();
        while self.acknowledged.lock().unwrap().len() < count {
            assert!(begun.elapsed() < Duration::from_mins(1), "the child does not commit");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What is acknowledged up to now.
    pub(super) fn so_far(&self) -> BTreeSet<u64> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// SIGKILL. Gives all that was acknowledged.
    pub(super) fn kill(mut self) -> BTreeSet<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reading.join().unwrap();
        Arc::try_unwrap(self.acknowledged).unwrap().into_inner().unwrap()
    }
}

/// What of these is not there. Panics where a commit is there in part.
pub(super) async fn missing(dir: &Path, acknowledged: &BTreeSet<u64>) -> BTreeSet<u64> {
    let store = Running::open(dir).await;
    let loaded = store.handle.load().await.unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let open: BTreeSet<u64> =
        loaded.open.iter().map(|command| u64::try_from(command.id.uuid().as_u128()).unwrap()).collect();
    for command in &loaded.open {
        let number = command.id.uuid().as_u128();
        assert_eq!(command.details.is_some(), number.is_multiple_of(7));
    }
    let tokens: BTreeSet<u64> = store
        .handle
        .access()
        .await
        .unwrap()
        .tokens
        .iter()
        .map(|(hash, _)| u64::from_be_bytes(hash[..8].try_into().unwrap()))
        .collect();
    let (mut events, mut before) = (BTreeSet::new(), None);
    loop {
        let page = store.handle.events(before, 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        events.extend(page.iter().map(|event| event.message.parse::<u64>().unwrap()));
    }
    assert_eq!(open, tokens, "all of a commit, or nothing of it");
    assert_eq!(open, events, "all of a commit, or nothing of it");
    store.stop().await;
    let there = |number: u64| {
        let log = log::read(&log_path(dir, &host("hsb0"), log_id(number)), 0, 1 << 20);
        log.is_ok_and(|log| log.lines.len() == LINES)
    };
    acknowledged
        .iter()
        .copied()
        .filter(|number| if *number >= LOGS { !there(*number) } else { !open.contains(number) })
        .collect()
}

/// Random enough for a moment.
pub(super) fn some_millis(most: u64) -> Duration {
    Duration::from_millis(u64::from(Uuid::new_v4().as_bytes()[0]) * most / 255)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_compacts_and_compresses_nothing_acknowledged_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..8 {
        let committing = Committing::start_with_upkeep(dir.path());
        committing.wait_for(20);
        std::thread::sleep(some_millis(200));
        acknowledged.extend(committing.kill());
        let missing = missing(dir.path(), &acknowledged).await;
        assert!(missing.is_empty(), "round {round}: {missing:?} of {} are gone", acknowledged.len());
    }
    let logs = acknowledged.iter().filter(|number| **number >= LOGS).count();
    println!("{} commits and {logs} logs, acknowledged and there", acknowledged.len() - logs);
    assert!(logs > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_ten_times_every_acknowledged_record_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..10 {
        let committing = Committing::start(dir.path());
        committing.wait_for(1);
        std::thread::sleep(some_millis(150));
        acknowledged.extend(committing.kill());
        let missing = missing(dir.path(), &acknowledged).await;
        assert!(missing.is_empty(), "round {round}: {} of {} are gone", missing.len(), acknowledged.len());
    }
    println!("{} commits, acknowledged and there", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_opening_leaves_a_store_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let store = Running::open(dir.path()).await;
    store.handle.commit(writes(vec![put_host("hsb0")])).await.unwrap();
    store.stop().await;
    // What sled is writing when it is killed, or when the disk has no room for it.
    for half in [&b""[..], b"half a snapshot, longer than its checksum"] {
        std::fs::write(dir.path().join("store/snap.7FFFFFFFFFFFFFFF.generating"), half).unwrap();
        let store = Running::open(dir.path()).await;
        assert_eq!(store.handle.load().await.unwrap().hosts.len(), 1);
        store.stop().await;
    }
}
