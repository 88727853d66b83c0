//! Memory of the daemon with no, few, many and very many agents, and what their heartbeats cost.

use std::time::Duration;

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
        if count >= 1_000 || (bench.quick && count > 0) {
            let each = busy.as_secs_f64() * 1000.0 / f64::from(u32::try_from(beats.max(1))?);
            let core = busy.as_secs_f64() / span.as_secs_f64();
            let load = format!("{count} agents every {} s", case.interval);
            table.row(
                format!("processor time for one heartbeat, {load}"),
                "≤ 0.03 ms",
                format!("{each:.3} ms"),
                each <= 0.03,
            );
            if count == case.agents && count >= 10_000 {
                table.row(format!("share of one core, {load}"), "< 50 %", format!("{:.1} %", core * 100.0), core < 0.5);
            }
        }
        drop(agents);
        daemon.kill()?;
    }
    Ok(())
}
