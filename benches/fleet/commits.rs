//! Durable commits of the store: how many a second, and how long each takes from the message to the answer. The
//! store's actor runs in this process. Each commit is one command's record of some 300 bytes with its index,
//! answered when it is on disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixfleet::actors::slot::Slot;
use nixfleet::actors::store::{Args, Batch, Store, StoreHandle, Write};
use nixfleet_model::command::{Command, Life};
use nixfleet_protocol::api::CommandState;
use nixfleet_protocol::{CommandId, HostId, Op, Time};
use ractor::Actor;
use uuid::Uuid;

use crate::Bench;
use crate::machine::fdatasync;
use crate::measure::{Sample, ms};
use crate::report::Table;

/// The rate that was promised.
const PROMISED: usize = 20_000;

pub(crate) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let span = Duration::from_secs(if bench.quick { 2 } else { 5 });
    for (parent, disk) in [(bench.dir.path(), "disk"), (Path::new("/dev/shm"), "memory (tmpfs)")] {
        if !parent.exists() {
            continue;
        }
        for rate in [500, 5_000, PROMISED, 40_000] {
            let alone = fdatasync(parent)?;
            let dir = tempfile::tempdir_in(parent)?;
            let (handle, stop) = open(dir.path().to_owned()).await?;
            let (reached, sample) = load(&handle, rate, span).await?;
            stop.await;
            let text = format!(
                "{reached:.0} a second; {}, most {} ms (fdatasync alone: {})",
                sample.milliseconds(),
                ms(sample.at(1000)),
                alone.milliseconds()
            );
            let what = format!("durable commits on {disk}, {rate} asked a second");
            if rate == PROMISED && disk == "disk" {
                let quick = sample.p99() <= Duration::from_millis(2);
                table.row(what, "≥ 20,000 a second, p99 ≤ 2 ms", text, reached >= 19_900.0 && quick);
            } else {
                table.note(what, text);
            }
        }
    }
    Ok(())
}

/// Commits spread evenly in bunches of a millisecond, each answered on its own.
async fn load(handle: &StoreHandle, rate: usize, span: Duration) -> anyhow::Result<(f64, Sample)> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let begun = Instant::now();
    let mut sent = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < span {
        ticks.tick().await;
        let due = usize::try_from(begun.elapsed().as_micros())? * rate / 1_000_000;
        while sent < due {
            let batch = Batch { writes: vec![Write::PutCommand(Box::new(command(sent)))], ..Batch::default() };
            let (handle, sender) = (handle.clone(), sender.clone());
            sent += 1;
            let asked = Instant::now();
            tokio::spawn(async move {
                let committed = handle.commit_once(batch).await;
                // The receiver lives until all have answered.
                drop(sender.send(committed.map(|()| asked.elapsed())));
            });
        }
    }
    drop(sender);
    let (mut sample, mut count) = (Sample::default(), 0_u32);
    while let Some(one) = receiver.recv().await {
        sample.push(one?);
        count += 1;
    }
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
