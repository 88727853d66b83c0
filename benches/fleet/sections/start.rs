//! The start of a daemon with a large past.

use std::time::{Duration, Instant};

use nixfleet::actors::store::{Batch, Write};
use nixfleet_model::event::NewEvent;
use nixfleet_model::host::HostRecord;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Category, Level};

use crate::Bench;
use crate::commits::open;
use crate::daemon::Daemon;
use crate::http::Http;
use crate::report::Table;

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let (hosts, events) = (bench.count(10_000, 1_000), bench.count(1_000_000, 50_000));
    let data = bench.dir.path().join("start").join("data");
    std::fs::create_dir_all(&data)?;
    fill(&data, hosts, events).await?;
    let mut best = Vec::new();
    let mut memory = None;
    for _ in 0..3 {
        let begun = Instant::now();
        let mut daemon = Daemon::launch(bench, "start")?;
        // The listener opens last: who is answered is served by a tree that stands.
        let mut http = loop {
            match Http::connect(daemon.port).await {
                Ok(http) => break http,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        http.get("/api/v1/hosts").await?;
        best.push(begun.elapsed());
        daemon.ready().await?;
        memory = Some(daemon.memory()?);
        daemon.kill()?;
    }
    best.sort_unstable();
    let text = format!(
        "median {:.2} s of 3, most {:.2} s; memory then {}",
        best[1].as_secs_f64(),
        best[2].as_secs_f64(),
        memory.map(crate::daemon::Memory::text).unwrap_or_default()
    );
    table.row(
        format!("start to the first answer, {hosts} hosts and {events} events"),
        "≤ 1 s",
        text,
        best[1] <= Duration::from_secs(1),
    );
    Ok(())
}

/// Hosts and events as a long life leaves them.
async fn fill(data: &std::path::Path, hosts: usize, events: usize) -> anyhow::Result<()> {
    let (store, stop) = open(data.to_owned()).await?;
    for from in (0..hosts).step_by(1_000) {
        let writes = (from..(from + 1_000).min(hosts)).map(|number| -> anyhow::Result<_> {
            Ok(Write::PutHost(Box::new(HostRecord::new(crate::agents::name(number).parse()?, Time::now()))))
        });
        store.commit_once(Batch { writes: writes.collect::<anyhow::Result<_>>()?, ..Batch::default() }).await?;
    }
    let event = NewEvent::new(Time::now(), Category::Audit, Level::Info, "user", "tested", "x".repeat(100));
    for _ in 0..events / 1_000 {
        store.commit_once(Batch { events: vec![event.clone(); 1_000], ..Batch::default() }).await?;
    }
    stop.await;
    Ok(())
}
