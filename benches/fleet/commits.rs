//! Durable commits of the store: how many a second, and how long each takes from the message to the answer, which
//! comes when it is on disk. The store's actor runs in this process.
//!
//! What was promised counts records, in commits as a host's actor makes them when a command begins and when it ends: the
//! command, the host, an event. Beside them stands the worst case, where each record (a command's, of some 300 bytes,
//! with its index) is a commit of its own. Beside each figure stands what the disk alone did in as long a time: no commit
//! is faster, and some disks stop for a tenth of a second now and then.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixfleet::actors::slot::Slot;
use nixfleet::actors::store::{Args, Batch, Store, StoreHandle, Write};
use nixfleet_model::command::{Command, Life};
use nixfleet_model::event::NewEvent;
use nixfleet_model::host::HostRecord;
use nixfleet_protocol::api::{Category, CommandState, Level};
use nixfleet_protocol::{CommandId, HostId, Op, Time};
use ractor::Actor;
use uuid::Uuid;

use crate::Bench;
use crate::machine::disk_for;
use crate::measure::{Sample, ms};
use crate::report::Table;

/// Records a second that were promised.
const PROMISED: usize = 20_000;

/// What one commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A command, its host, an event.
    Whole,
    /// A command.
    Lone,
}

impl Kind {
    fn records(self) -> usize {
        match self {
            Self::Whole => 3,
            Self::Lone => 1,
        }
    }

    fn batch(self, number: usize) -> Batch {
        let mut batch = Batch { writes: vec![Write::PutCommand(Box::new(command(number)))], ..Batch::default() };
        if let (Self::Whole, Some(host)) = (self, host(number)) {
            let event = NewEvent::new(
                Time::from_millis(1),
                Category::Audit,
                Level::Info,
                "user",
                "command_finished",
                format!("Switch on {host} succeeded after 12 s."),
            );
            batch.events.push(event.on(host.clone()));
            batch.writes.push(Write::PutHost(Box::new(HostRecord::new(host, Time::from_millis(1)))));
        }
        batch
    }
}

const CASES: [(Kind, usize); 6] = [
    (Kind::Whole, 500),
    (Kind::Whole, PROMISED),
    (Kind::Lone, 500),
    (Kind::Lone, 5_000),
    (Kind::Lone, PROMISED),
    (Kind::Lone, 40_000),
];

pub(crate) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let span = Duration::from_secs(if bench.quick { 2 } else { 5 });
    for (parent, disk) in [(bench.dir.path(), "disk"), (Path::new("/dev/shm"), "memory (tmpfs)")] {
        if !parent.exists() {
            continue;
        }
        for (kind, rate) in CASES {
            let there = parent.to_owned();
            let alone = tokio::task::spawn_blocking(move || disk_for(&there, span)).await??;
            let dir = tempfile::tempdir_in(parent)?;
            let (handle, stop) = open(dir.path().to_owned()).await?;
            let (reached, sample) = load(&handle, kind, rate / kind.records(), span).await?;
            stop.await;
            #[expect(clippy::cast_precision_loss, reason = "one or three")]
            let reached = reached * kind.records() as f64;
            let text = format!(
                "{reached:.0} a second; {}, most {} ms (the disk alone: {}, most {} ms)",
                sample.milliseconds(),
                ms(sample.at(1000)),
                alone.milliseconds(),
                ms(alone.at(1000)),
            );
            let each = match kind {
                Kind::Whole => "three to a commit",
                Kind::Lone => "each a commit of its own",
            };
            let what = format!("durable records on {disk}, {each}, {rate} asked a second");
            if (kind, rate) == (Kind::Whole, PROMISED) && disk == "disk" {
                let quick = sample.p99() <= Duration::from_millis(2);
                table.row(what, "≥ 20,000 a second, p99 ≤ 2 ms", text, reached >= 19_900.0 && quick);
            } else {
                table.note(what, text);
            }
        }
    }
    Ok(())
}

/// Commits spread evenly in bunches of a millisecond, each answered on its own. A thread of its own keeps the pace: the
/// timers of the runtime, which has the store to run, give bunches of two milliseconds and more.
async fn load(handle: &StoreHandle, kind: Kind, rate: usize, span: Duration) -> anyhow::Result<(f64, Sample)> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let begun = Instant::now();
    let (store, runtime) = (handle.clone(), tokio::runtime::Handle::current());
    let pace = std::thread::spawn(move || {
        let mut sent = 0;
        while begun.elapsed() < span {
            let due = usize::try_from(begun.elapsed().as_micros()).unwrap_or_default() * rate / 1_000_000;
            while sent < due {
                let batch = kind.batch(sent);
                let (store, sender) = (store.clone(), sender.clone());
                sent += 1;
                let asked = Instant::now();
                runtime.spawn(async move {
                    let committed = store.commit_once(batch).await;
                    // The receiver lives until all have answered.
                    drop(sender.send(committed.map(|()| asked.elapsed())));
                });
            }
            let now = begun.elapsed();
            let next = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or_default() + 1);
            std::thread::sleep(next.saturating_sub(now));
        }
    });
    let (mut sample, mut count) = (Sample::default(), 0_u32);
    while let Some(one) = receiver.recv().await {
        sample.push(one?);
        count += 1;
    }
    pace.join().map_err(|_| anyhow::anyhow!("the thread that keeps the pace panicked"))?;
    Ok((f64::from(count) / begun.elapsed().as_secs_f64(), sample))
}

/// A store over a directory, and what ends it.
pub(crate) async fn open(dir: PathBuf) -> anyhow::Result<(StoreHandle, impl Future<Output = ()>)> {
    let args = Args { dir, publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, join) = Actor::spawn(None, Store, args).await?;
    let slot = Slot::new("store");
    slot.seat(actor.clone());
    let stop = async move {
        actor.stop(None);
        // It ends either way; this is no test.
        drop(join.await);
    };
    Ok((StoreHandle::new(slot), stop))
}

fn command(number: usize) -> Command {
    Command {
        id: CommandId::from_uuid(Uuid::from_u128(number as u128)),
        host: host(number),
        op: Op::Switch,
        args: "{}".to_owned(),
        state: CommandState::Success,
        code: None,
        message: Some("m".repeat(240)),
        actor: "user".to_owned(),
        force: false,
        run_id: None,
        created_at: Time::from_millis(1),
        sent_at: None,
        started_at: None,
        finished_at: None,
        exit_code: Some(0),
        log_bytes: 1,
        progress: None,
        details: None,
        life: Life::default(),
    }
}

fn host(number: usize) -> Option<HostId> {
    format!("host{}", number % 100).parse().ok()
}
