//! The first load of the page.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Bench;
use crate::agents::Agents;
use crate::daemon::Daemon;
use crate::http::Http;
use crate::measure::{Sample, share};
use crate::report::Table;

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    for (count, quick) in [(50, 50), (1_000, 200)] {
        let count = bench.count(count, quick);
        let daemon = Daemon::start(bench, &format!("page-{count}")).await?;
        let agents = Agents::start(daemon.port, count, Duration::from_secs(5), &bench.repository.head).await?;
        let mut http = Http::log_in(daemon.port).await?;
        let mut sample = Sample::default();
        let (mut html, mut text) = (0, String::new());
        for _ in 0..bench.count(100, 20) {
            let begun = Instant::now();
            let page = http.get("/").await?;
            sample.push(begun.elapsed());
            ensure!(page.status.is_success(), "GET /: {}", page.status);
            html = page.body.len();
            text = page.text()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut all = html;
        for asset in assets(&text) {
            let answer = http.get(asset).await?;
            ensure!(answer.status.is_success(), "GET {asset}: {}", answer.status);
            all += answer.body.len();
        }
        let kb = |bytes: usize| format!("{:.1} kB", share(bytes as u64, 1000));
        let measured =
            format!("{}; {} over the wire, {} with all that it loads", sample.milliseconds(), kb(html), kb(all));
        let what = format!("HTML of the page with {count} hosts");
        if count == 50 {
            table.row(
                what,
                "≤ 20 ms, ≤ 100 kB over the wire",
                measured,
                sample.p99().as_millis() <= 20 && all <= 100_000,
            );
        } else {
            table.note(what, measured);
        }
        drop(agents);
        daemon.kill()?;
    }
    Ok(())
}

/// What the page loads, each once.
fn assets(html: &str) -> Vec<&str> {
    let mut all: Vec<_> = ["href=\"", "src=\""]
        .iter()
        .flat_map(|attribute| html.split(attribute).skip(1))
        .filter_map(|rest| rest.split(['"', '#']).next())
        .filter(|path| path.starts_with("/static/"))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
