//! Memory of the daemon with no, few, many and very many agents, and what their heartbeats cost.

use std::time::{Duration, Instant};

use crate::Bench;
use crate::agents::Agents;
use crate::daemon::Daemon;
use crate::measure::{mib, share};
use crate::report::Table;

struct Case {
    agents: usize,
    quick: usize,
    interval: u64,
    promised: &'static str,
    most_mib: f64,
}

const CASES: [Case; 4] = [
    Case { agents: 0, quick: 0, interval: 5, promised: "≤ 8 MiB", most_mib: 8.0 },
    Case { agents: 50, quick: 50, interval: 5, promised: "≤ 10 MiB", most_mib: 10.0 },
    Case { agents: 1_000, quick: 200, interval: 5, promised: "≤ 30 MiB", most_mib: 30.0 },
    Case { agents: 10_000, quick: 1_000, interval: 30, promised: "≤ 230 MiB", most_mib: 230.0 },
];

/// 2,000 a second are what 10,000 agents send at an interval of 5 s.
const BEATS_A_MILLISECOND: usize = 2;

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let mut idle = 0;
    for case in CASES.iter().filter(|case| bench.agents.is_none_or(|only| only == case.agents)) {
        let count = bench.count(case.agents, case.quick);
        let daemon = Daemon::start(bench, &format!("memory-{count}")).await?;
        let interval = Duration::from_secs(case.interval);
        let agents = if count == 0 {
            None
        } else {
            Some(Agents::start(daemon.port, count, interval, &bench.repository.head).await?)
        };
        // What the start took is over, and every host has written its facts once.
        let rest = if bench.quick { Duration::from_secs(3) } else { Duration::from_secs(70) };
        tokio::time::sleep(rest).await;
        let span = if bench.quick { interval } else { interval.max(Duration::from_secs(30)) * 2 };
        let (busy, beats) = (daemon.processor()?, agents.as_ref().map_or(0, Agents::beats));
        tokio::time::sleep(span).await;
        let busy = daemon.processor()?.saturating_sub(busy);
        let beats = agents.as_ref().map_or(0, Agents::beats) - beats;
        let memory = daemon.memory()?;
        let what = if count == 0 {
            "memory of the daemon, idle".to_owned()
        } else {
            format!("memory of the daemon, {count} agents")
        };
        let text = if count == 0 {
            idle = memory.resident;
            memory.text()
        } else if idle == 0 {
            // This case alone was asked for.
            memory.text()
        } else {
            let each = share(memory.resident.saturating_sub(idle), count as u64);
            format!("{}, {each:.1} KiB an agent", memory.text())
        };
        table.row(what, case.promised, text, mib(memory.resident) <= case.most_mib);
        if let Some(agents) = agents.as_ref().filter(|_| count >= 1_000 || bench.quick) {
            let each = busy.as_secs_f64() * 1000.0 / f64::from(u32::try_from(beats.max(1))?);
            let core = busy.as_secs_f64() / span.as_secs_f64();
            let load = format!("{count} agents every {} s", case.interval);
            // So few of them that each wakes an idle process: the price of waking is in it.
            table.note(format!("processor time for one heartbeat, {load}"), format!("{each:.3} ms"));
            let (each, rate) = busy_beats(&daemon, agents, bench).await?;
            let what = format!("processor time for one heartbeat, {count} agents, {rate:.0} a second in all");
            table.row(what, "≤ 0.03 ms", format!("{each:.3} ms"), each <= 0.03);
            if count == case.agents && count >= 10_000 {
                table.row(format!("share of one core, {load}"), "< 50 %", format!("{:.1} %", core * 100.0), core < 0.5);
            }
        }
        drop(agents);
        daemon.kill()?;
    }
    Ok(())
}

/// Heartbeats at the rate of a fleet of ten thousand: the time of one in milliseconds, and how many there were in a
/// second.
async fn busy_beats(daemon: &Daemon, agents: &Agents, bench: &Bench) -> anyhow::Result<(f64, f64)> {
    let span = Duration::from_secs(if bench.quick { 3 } else { 15 });
    let (busy, beats, begun) = (daemon.processor()?, agents.beats(), Instant::now());
    let mut number = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < span {
        pace.tick().await;
        for _ in 0..BEATS_A_MILLISECOND {
            agents.beat(number as usize, number)?;
            number += 1;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let busy = daemon.processor()?.saturating_sub(busy).as_secs_f64() * 1000.0;
    let beats = f64::from(u32::try_from(agents.beats() - beats)?);
    Ok((busy / beats.max(1.0), beats / begun.elapsed().as_secs_f64()))
}
