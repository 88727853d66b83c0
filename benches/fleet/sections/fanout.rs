//! One change, many tabs: when the last of them has it, and whether any is left out.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::Bench;
use crate::agents::{Agents, News};
use crate::daemon::Daemon;
use crate::measure::{Sample, mib, ms};
use crate::report::Table;
use crate::tabs::{self, Counter, Seen, View, Watcher};

/// No heartbeat comes for so long: that was the last one.
const QUIET: Duration = Duration::from_secs(5);

struct Case {
    tabs: usize,
    rate: u64,
    stalled: bool,
    promised: &'static str,
    most: Duration,
}

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let fifty = Duration::from_millis(50);
    for case in [
        Case {
            tabs: bench.count(1_000, 100),
            rate: 100,
            stalled: false,
            promised: "p99 ≤ 50 ms, none lost",
            most: fifty,
        },
        Case { tabs: bench.count(1_000, 100), rate: 100, stalled: true, promised: "changes nothing", most: fifty },
        Case {
            tabs: bench.count(100, 20),
            rate: 1_000,
            stalled: false,
            promised: "p99 ≤ 3 ms, none lost",
            most: Duration::from_millis(3),
        },
    ] {
        one(bench, table, &case).await?;
    }
    Ok(())
}

async fn one(bench: &Bench, table: &mut Table, case: &Case) -> anyhow::Result<()> {
    let daemon = Daemon::start(bench, &format!("fanout-{}-{}-{}", case.tabs, case.rate, case.stalled)).await?;
    let mut agents = Agents::start(daemon.port, 50, Duration::from_mins(5), &bench.repository.head).await?;
    let beginning = Instant::now();
    let mut counters = Vec::with_capacity(case.tabs);
    for number in 0..case.tabs {
        // Half of them pages, half of them programs.
        let view = if number % 2 == 0 { View::Html } else { View::Json };
        counters.push(Counter::open(daemon.port, view, beginning).await?);
    }
    let stalled = if case.stalled { Some(tabs::open(daemon.port, View::Json).await?) } else { None };
    let mut watcher = Watcher::open(daemon.port).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = daemon.memory()?;
    let (busy, begun) = (daemon.processor()?, Instant::now());
    let span = Duration::from_secs(if bench.quick { 3 } else { 10 });
    let total = u32::try_from(case.rate * span.as_secs())?;
    // The watcher is a tab among the others, and the only one that knows which version is whose heartbeat.
    let watching = tokio::spawn(async move {
        let (mut versions, mut last) = (HashMap::new(), Instant::now());
        while versions.len() < total as usize {
            // Some never come: newer facts of their host overtook them.
            let Ok(next) = tokio::time::timeout_at(last + QUIET, watcher.next()).await else { break };
            let (at, frame) = next?;
            let load = frame["payload"]["change"]["host"]["metrics"]["load"].as_f64();
            if let (Some(load), Some(version)) = (load, frame["version"].as_u64())
                && load >= 1000.0
            {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number that we sent")]
                versions.insert(load as u32, version);
                last = at;
            }
        }
        anyhow::Ok(versions)
    });
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / case.rate));
    for number in 0..total {
        pace.tick().await;
        agents.beat(number as usize, 1000 + number)?;
    }
    let (busy, lasted) = (daemon.processor()?.saturating_sub(busy), begun.elapsed());
    let versions = watching.await??;
    let overtaken = total as usize - versions.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = daemon.memory()?;
    let mut sent = HashMap::new();
    while let Ok(news) = agents.news.try_recv() {
        if let News::Beat(number, at) = news
            && let Some(version) = versions.get(&number)
        {
            sent.insert(*version, at);
        }
    }
    let mut seen = Vec::with_capacity(counters.len());
    for counter in counters {
        seen.push(counter.close().await?);
    }
    drop(stalled);
    let sample = sample(&seen, &sent, beginning);
    let lost: u64 = seen.iter().map(|tab| tab.lost + tab.states).sum();
    let whole = sample.len() == case.tabs * sent.len();
    let bytes: u64 = seen.iter().map(|tab| tab.bytes).sum::<u64>()
        / seen.iter().map(|tab| tab.arrivals.len() as u64).sum::<u64>().max(1);
    let text = format!(
        "{}, most {} ms; {} lost, {overtaken} of {total} heartbeats overtaken; {bytes} bytes each; {:.0} % of a core; memory {:.1} → {:.1} MiB",
        sample.milliseconds(),
        ms(sample.at(1000)),
        lost + u64::from(!whole),
        busy.as_secs_f64() / lasted.as_secs_f64() * 100.0,
        mib(before.resident),
        mib(after.resident),
    );
    let what = format!(
        "deltas to {} tabs, {} changes a second{}",
        case.tabs,
        case.rate,
        if case.stalled { ", one tab stalled" } else { "" }
    );
    table.row(what, case.promised, text, sample.p99() <= case.most && lost == 0 && whole);
    drop(agents);
    daemon.kill()
}

/// From the agent's heartbeat to each tab's delta of it.
fn sample(seen: &[Seen], sent: &HashMap<u64, Instant>, beginning: Instant) -> Sample {
    let mut sample = Sample::default();
    for tab in seen {
        sample.extend(tab.arrivals.iter().zip(tab.first..).filter_map(|(arrived, version)| {
            let sent = sent.get(&version)?;
            Some((beginning + Duration::from_micros(u64::from(*arrived))).saturating_duration_since(*sent))
        }));
    }
    sample
}
