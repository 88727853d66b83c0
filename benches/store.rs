//! Durable commits of the store: how many a second, and how long each takes from the message to the answer.
//! `cargo bench --bench store`, with `--dir DIR` for another disk than that of the temporary directory.
//!
//! Each commit is one command record of some 300 bytes with its index, answered when it is on disk.

#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::os::unix::fs::FileExt;
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

/// How long each load lasts.
const SPAN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip_while(|arg| arg != "--dir");
    let parent = args.nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("durable commits, one record of about 300 bytes each, in {}", parent.display());
    let (p50, p99) = raw(&parent)?;
    println!("this disk alone, 4 KiB and fdatasync, one after the other: p50 {p50:.2} ms, p99 {p99:.2} ms");
    println!("{:>10} {:>12} {:>9} {:>9} {:>9}", "asked/s", "reached/s", "p50 ms", "p99 ms", "max ms");
    for rate in [500, 5_000, 20_000, 40_000] {
        let dir = tempfile::tempdir_in(&parent)?;
        let (handle, stop) = open(dir.path().to_owned()).await?;
        let (reached, mut took) = load(&handle, rate).await?;
        took.sort_unstable();
        let ms = |share: usize| took[(took.len() * share / 1000).min(took.len() - 1)].as_secs_f64() * 1000.0;
        println!("{rate:>10} {reached:>12.0} {:>9.2} {:>9.2} {:>9.2}", ms(500), ms(990), ms(1000));
        stop.await;
    }
    start(&parent).await
}

/// What the disk can do now, without a store: no commit is faster.
fn raw(parent: &Path) -> anyhow::Result<(f64, f64)> {
    let file = tempfile::tempfile_in(parent)?;
    let mut took = Vec::new();
    for at in 0..2_000 {
        file.write_all_at(&[1; 4096], (at % 512) * 4096)?;
        let begun = Instant::now();
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_unstable_by(f64::total_cmp);
    Ok((took[1_000], took[1_980]))
}

/// Commits spread evenly in bunches of a millisecond, each answered on its own.
async fn load(handle: &StoreHandle, rate: usize) -> anyhow::Result<(f64, Vec<Duration>)> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let begun = Instant::now();
    let mut sent = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < SPAN {
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
                let _ = sender.send(committed.map(|()| asked.elapsed()));
            });
        }
    }
    drop(sender);
    let mut took = Vec::with_capacity(sent);
    while let Some(one) = receiver.recv().await {
        took.push(one?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let reached = took.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((reached, took))
}

/// How long a store of a large fleet takes to open.
async fn start(parent: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(parent)?;
    let (handle, stop) = open(dir.path().to_owned()).await?;
    for from in (0..10_000).step_by(1_000) {
        let hosts = (from..from + 1_000).map(|number| -> anyhow::Result<_> {
            Ok(Write::PutHost(Box::new(HostRecord::new(format!("host{number}").parse()?, Time::now()))))
        });
        handle.commit_once(Batch { writes: hosts.collect::<anyhow::Result<_>>()?, ..Batch::default() }).await?;
    }
    for from in (0..100_000).step_by(1_000) {
        let commands = (from..from + 1_000).map(|number| Write::PutCommand(Box::new(command(number))));
        handle.commit_once(Batch { writes: commands.collect(), ..Batch::default() }).await?;
    }
    let event = NewEvent::new(Time::now(), Category::Audit, Level::Info, "user", "tested", "x".repeat(100));
    for _ in 0..1_000 {
        handle.commit_once(Batch { events: vec![event.clone(); 1_000], ..Batch::default() }).await?;
    }
    stop.await;
    let begun = Instant::now();
    let (handle, stop) = open(dir.path().to_owned()).await?;
    let opened = begun.elapsed();
    let begun = Instant::now();
    let loaded = handle.load().await?;
    println!(
        "\nopen with 10,000 hosts, 100,000 commands, 1,000,000 events: {} ms; load of {} hosts: {} ms",
        opened.as_millis(),
        loaded.hosts.len(),
        begun.elapsed().as_millis()
    );
    stop.await;
    Ok(())
}

async fn open(dir: PathBuf) -> anyhow::Result<(StoreHandle, impl Future<Output = ()>)> {
    let args = Args { dir, publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, join) = Actor::spawn(None, Store, args).await?;
    let slot = Slot::new("store");
    slot.seat(actor.clone());
    let stop = async move {
        actor.stop(None);
        // It ends either way; this is no test.
        let _ = join.await;
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
