//! How long a change takes: from an agent's frame to a tab's delta, from a click to the agent's frame.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Bench;
use crate::agents::{Agents, News, name};
use crate::daemon::Daemon;
use crate::http::Http;
use crate::machine;
use crate::measure::Sample;
use crate::report::Table;
use crate::tabs::Watcher;

/// What is not shown within this time was overtaken by newer facts of the same host.
const SUPERSEDED: Duration = Duration::from_secs(2);

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    for (count, quick, clicked, most) in [(50, 50, "p99 ≤ 5 ms", 5), (1_000, 200, "p99 ≤ 10 ms", 10)] {
        let count = bench.count(count, quick);
        let daemon = Daemon::start(bench, &format!("latency-{count}")).await?;
        let mut agents = Agents::start(daemon.port, count, Duration::from_secs(5), &bench.repository.head).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let load = format!("{count} agents, a heartbeat every 5 s each");
        let facts = facts(&mut agents, daemon.port, bench.count(1_000, 100)).await?;
        let within = facts.p99() <= Duration::from_millis(2);
        table.row(format!("agent's facts to a tab's delta; {load}"), "p99 ≤ 2 ms", facts.milliseconds(), within);
        let (clicks, results) = clicks(&mut agents, daemon.port, bench.count(600, 50)).await?;
        let disk = machine::fdatasync(bench.dir.path())?.milliseconds();
        let within = results.p99() <= Duration::from_millis(5);
        let text = format!("{} (the disk's fdatasync: {disk})", results.milliseconds());
        table.row(format!("agent's result to a tab's delta, durable; {load}"), "p99 ≤ 5 ms", text, within);
        let within = clicks.p99() <= Duration::from_millis(most);
        table.row(
            format!("click to the agent's command frame, durable; {load}"),
            clicked,
            clicks.milliseconds(),
            within,
        );
        drop(agents);
        daemon.kill()?;
    }
    Ok(())
}

/// Heartbeats, one after the other, each told from the others by its load.
async fn facts(agents: &mut Agents, port: u16, count: usize) -> anyhow::Result<Sample> {
    let mut tab = Watcher::open(port).await?;
    let (mut sample, mut superseded) = (Sample::default(), 0);
    for number in 1000..1000 + u32::try_from(count)? {
        agents.beat(number as usize, number)?;
        let sent = loop {
            if let News::Beat(beaten, at) = agents.news.recv().await.context("no agents")?
                && beaten == number
            {
                break at;
            }
        };
        let shown = tokio::time::timeout(SUPERSEDED, async {
            loop {
                let (at, frame) = tab.next().await?;
                if frame["payload"]["change"]["host"]["metrics"]["load"] == f64::from(number) {
                    return anyhow::Ok(at);
                }
            }
        });
        match shown.await {
            Ok(at) => sample.push(at?.saturating_duration_since(sent)),
            // The agent's own next heartbeat came right behind it, and facts that are newer take its place.
            Err(_) => superseded += 1,
        }
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    ensure!(superseded * 100 <= count, "{superseded} of {count} heartbeats were never shown");
    Ok(sample)
}

/// Clicks on Test, one after the other, on one host after the other: to the agent's frame, and from its result to
/// the tab.
async fn clicks(agents: &mut Agents, port: u16, count: usize) -> anyhow::Result<(Sample, Sample)> {
    let mut tab = Watcher::open(port).await?;
    let mut http = Http::connect(port).await?;
    let (mut clicks, mut results) = (Sample::default(), Sample::default());
    let mut ended = HashMap::new();
    for number in 0..count {
        // Of four agents the first speaks v3; the v2 ones name no command.
        let host = name(number % 10 * 4);
        let clicked = Instant::now();
        let made = http.post(&format!("/api/v1/hosts/{host}/ops/test"), &json!({})).await?;
        let id = made["id"].as_str().context("no command")?.to_owned();
        loop {
            let (at, frame) = tab.next().await?;
            while let Ok(news) = agents.news.try_recv() {
                match news {
                    News::Ordered(command, at) if command.to_string() == id => {
                        clicks.push(at.saturating_duration_since(clicked));
                    }
                    News::Ended(command, at) => drop(ended.insert(command.to_string(), at)),
                    News::Ordered(..) | News::Beat(..) => {}
                }
            }
            let change = &frame["payload"]["change"];
            if change["type"] == "command_finished" && change["command"]["id"] == Value::String(id.clone()) {
                let sent = ended.remove(&id).context("a command ended before its agent said so")?;
                results.push(at.saturating_duration_since(sent));
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    Ok((clicks, results))
}
