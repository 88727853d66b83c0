//! The daemon is killed and started again: when all agents are back, and how much memory that takes.

use std::time::{Duration, Instant};

use crate::Bench;
use crate::agents::Agents;
use crate::daemon::Daemon;
use crate::measure::mib;
use crate::report::Table;

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    for (count, quick, promised, most) in
        [(1_000, 200, "≤ 5 s, peak ≤ twice the normal", 5), (10_000, 1_000, "≤ 60 s, peak ≤ twice the normal", 60)]
    {
        let count = bench.count(count, quick);
        let mut daemon = Daemon::start(bench, &format!("reconnect-{count}")).await?;
        let agents = Agents::start(daemon.port, count, Duration::from_secs(30), &bench.repository.head).await?;
        tokio::time::sleep(Duration::from_secs(if bench.quick { 3 } else { 40 })).await;
        let normal = daemon.memory()?.resident;
        for how in ["kill -9", "SIGTERM"] {
            let registered = agents.registered();
            let begun = Instant::now();
            if how == "kill -9" {
                daemon.crash()?;
            } else {
                daemon.restart()?;
            }
            // All have noticed that it went before any can be back.
            while agents.registered() < registered + count || agents.online() < count {
                anyhow::ensure!(begun.elapsed() < Duration::from_mins(3), "{} of {count} are back", agents.online());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let took = begun.elapsed();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let peak = daemon.memory()?.peak;
            let text = format!("{:.2} s; peak {:.1} MiB, normal {:.1}", took.as_secs_f64(), mib(peak), mib(normal));
            let reached = took.as_secs_f64() <= f64::from(most) && peak <= normal * 2;
            table.row(format!("{count} agents back after {how} of the daemon"), promised, text, reached);
            tokio::time::sleep(Duration::from_secs(if bench.quick { 1 } else { 12 })).await;
        }
        drop(agents);
        daemon.kill()?;
    }
    Ok(())
}
