//! The real agent: its memory at rest and after its commands printed much, and how fast lines come through.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Bench;
use crate::daemon::{Daemon, Memory, memory};
use crate::http::Http;
use crate::measure::mib;
use crate::report::Table;
use crate::tabs::Watcher;

const HOST: &str = "real";

pub(super) async fn run(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let daemon = Daemon::start(bench, "agent").await?;
    let mut http = Http::connect(daemon.port).await?;
    let mut agent = Agent::start(bench, daemon.port, &http.token(HOST).await?)?;
    until(&mut http, &format!("/api/v1/hosts/{HOST}"), |host| {
        host["state"] == "online" && !host["generation"].is_null()
    })
    .await?;
    let rest = Duration::from_secs(if bench.quick { 3 } else { 60 });
    tokio::time::sleep(rest).await;
    let at_rest = agent.memory()?;
    let text = format!("{}, most {:.1}", at_rest.text(), mib(at_rest.peak));
    table.row("memory of an agent at rest", "≤ 5 MiB", text, mib(at_rest.resident) <= 5.0);
    bench.repository.set_lines(1)?;
    output(&mut http, daemon.port, 1).await?;
    let mut twenty = Vec::new();
    for _ in 0..5 {
        bench.repository.set_lines(20_000)?;
        let run = output(&mut http, daemon.port, 20_000).await?;
        twenty.push(run);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    twenty.sort_by_key(|run| run.took);
    let (alone, run) = (command_alone(20_000)?, &twenty[2]);
    let text = format!(
        "{} arrive, median {:.3} s of 5 (most {:.3}; the command alone {:.3})",
        run.lines,
        run.took.as_secs_f64(),
        twenty[4].took.as_secs_f64(),
        alone.as_secs_f64()
    );
    let whole = twenty.iter().all(|run| run.lines == 20_000);
    table.row(
        "20,000 lines, from the click to the last line in a tab",
        "all, ≤ 0.25 s",
        text,
        whole && run.took.as_secs_f64() <= 0.25,
    );
    tokio::time::sleep(rest).await;
    let after = agent.memory()?;
    let text = format!("{}, most {:.1}", after.text(), mib(after.peak));
    table.row("memory of an agent after 20,000 lines", "≤ 6 MiB", text, mib(after.resident) <= 6.0);
    let million = bench.count(1_000_000, 100_000);
    bench.repository.set_lines(million)?;
    let before = daemon.memory()?;
    let run = output(&mut http, daemon.port, million).await?;
    tokio::time::sleep(rest).await;
    let (after, daemon_after) = (agent.memory()?, daemon.memory()?);
    let text = format!(
        "{} arrive in {:.1} s; daemon {:.1} → {:.1} MiB (most {:.1})",
        run.lines,
        run.took.as_secs_f64(),
        mib(before.resident),
        mib(daemon_after.resident),
        mib(daemon_after.peak)
    );
    table.row(format!("{million} lines at once"), "all, memory flat", text, run.lines == million);
    let text = format!("{}, most {:.1}", after.text(), mib(after.peak));
    table.row(format!("memory of an agent after {million} lines"), "≤ 6 MiB", text, mib(after.resident) <= 6.0);
    agent.process.kill()?;
    agent.process.wait()?;
    daemon.kill()
}

struct Agent {
    process: Child,
}

impl Agent {
    fn start(bench: &Bench, port: u16, token: &str) -> anyhow::Result<Self> {
        let dir = bench.dir.path().join("real-agent");
        std::fs::create_dir_all(&dir)?;
        let log = File::options().create(true).append(true).open(dir.join("log"))?;
        let process = Command::new(&bench.binaries.agent)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NIXFLEET_URL", format!("ws://127.0.0.1:{port}/ws"))
            .env("NIXFLEET_TOKEN", token)
            .env("NIXFLEET_REPO_URL", &bench.repository.url)
            .env("NIXFLEET_STATE_DIR", &dir)
            .env("NIXFLEET_HOSTNAME", HOST)
            .env("NIXFLEET_PLATFORM", "script")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { process })
    }

    fn memory(&self) -> anyhow::Result<Memory> {
        memory(self.process.id())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

struct Run {
    lines: usize,
    took: Duration,
}

/// A switch, its log followed by a tab, to the last line.
async fn output(http: &mut Http, port: u16, expected: usize) -> anyhow::Result<Run> {
    let mut tab = Watcher::open(port).await?;
    let clicked = Instant::now();
    let made = http.post(&format!("/api/v1/hosts/{HOST}/ops/switch"), &json!({ "force": true })).await?;
    let id = made["id"].as_str().context("no command")?.to_owned();
    tab.follow(&id).await?;
    let (mut lines, mut last) = (0, clicked);
    loop {
        let (at, frame) = tab.next().await?;
        if frame["type"] != "log" {
            continue;
        }
        let came = frame["payload"]["lines"].as_array().context("no lines")?;
        let of_command =
            came.iter().filter(|line| line["line"].as_str().is_some_and(|line| line.starts_with("line "))).count();
        if of_command > 0 {
            (lines, last) = (lines + of_command, at);
        }
        if frame["payload"]["over"] == true {
            break;
        }
    }
    ensure!(lines <= expected, "{lines} lines came of {expected}");
    until(http, &format!("/api/v1/hosts/{HOST}"), |host| host["command"].is_null()).await?;
    Ok(Run { lines, took: last - clicked })
}

/// How long the command takes that prints them, with nobody between.
fn command_alone(lines: usize) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let format = "line %.0f of the output of a fast command";
    Command::new("seq").args(["-f", format, &lines.to_string()]).stdout(Stdio::piped()).output()?;
    Ok(begun.elapsed())
}

async fn until(http: &mut Http, path: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds(&serde_json::from_str(&http.get(path).await?.text()?).unwrap_or_default()) {
        ensure!(begun.elapsed() < Duration::from_mins(1), "waited for {path} in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
