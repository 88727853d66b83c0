//! The machine: what it is, and how many files this process may open.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nixfleet_protocol::Time;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::measure::Sample;

/// A socket for each of 10,000 agents and 1,000 tabs, and some more. The daemon inherits it.
const WANTED: u64 = 16_384;

/// Raises the limit of open files as far as it goes.
pub(crate) fn raise_open_files() -> anyhow::Result<()> {
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    let reached = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(reached >= WANTED, "{reached} open files are allowed, {WANTED} are needed: ulimit -n {WANTED}");
    Ok(())
}

/// One line: the date, the processors, the memory, the disk at this moment.
pub(crate) fn describe(dir: &Path) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let gib = kib.unwrap_or(0_u64) / 1024 / 1024;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let date = Time::now().to_string();
    format!(
        "{}: {count} × {}, {gib} GiB, Linux {}; load {}; who sleeps wakes late by {}; {}",
        date.split('T').next().unwrap_or(&date),
        model.trim_start_matches(['\t', ' ', ':']).trim(),
        kernel.trim(),
        load.split(' ').next().unwrap_or("?"),
        late().milliseconds(),
        fdatasync(dir)
            .map_or_else(|error| error.to_string(), |sample| format!("fdatasync of 4 KiB {}", sample.milliseconds())),
    )
}

/// How late the machine wakes who wants to sleep for a millisecond: what any latency on it has in it.
fn late() -> Sample {
    let mut sample = Sample::default();
    let wanted = Duration::from_millis(1);
    for _ in 0..500 {
        let begun = Instant::now();
        std::thread::sleep(wanted);
        sample.push(begun.elapsed().saturating_sub(wanted));
    }
    sample
}

/// What the disk did over as long a time as something else is measured: 8 KiB at the end of a file that grows and
/// `fdatasync`, each millisecond. About as much as a group of commits writes at 20,000 records a second; sled waits for
/// the disk once more before that (`sync_file_range`).
pub(crate) fn disk_for(dir: &Path, span: Duration) -> anyhow::Result<Sample> {
    let file = tempfile::tempfile_in(dir)?;
    let (mut sample, mut at, start) = (Sample::default(), 0, Instant::now());
    while start.elapsed() < span {
        let begun = Instant::now();
        file.write_all_at(&[1; 8192], at)?;
        file.sync_data()?;
        sample.push(begun.elapsed());
        at += 8192;
        std::thread::sleep(Duration::from_millis(1).saturating_sub(begun.elapsed()));
    }
    Ok(sample)
}

/// What the disk can do now: 4 KiB and `fdatasync`, one after the other. No commit is faster.
pub(crate) fn fdatasync(dir: &Path) -> anyhow::Result<Sample> {
    let file = tempfile::tempfile_in(dir)?;
    let mut sample = Sample::default();
    for at in 0..1_000 {
        file.write_all_at(&[1; 4096], (at % 512) * 4096)?;
        let begun = Instant::now();
        file.sync_data()?;
        sample.push(begun.elapsed());
    }
    Ok(sample)
}
