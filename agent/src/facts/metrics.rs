//! The host's load: from the files of `StaSysMo` where they are, else from the system itself.

use std::fs;
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::Metrics;

/// Reads the load; remembers the processor's counters between two calls.
#[derive(Debug)]
pub struct Load {
    stasysmo: PathBuf,
    proc: PathBuf,
    last: Option<(u64, u64)>,
}

impl Load {
    /// Below this root.
    pub fn new(root: &Path) -> Self {
        let stasysmo = if cfg!(target_os = "macos") { "tmp/stasysmo" } else { "dev/shm/stasysmo" };
        Self { stasysmo: root.join(stasysmo), proc: root.join("proc"), last: None }
    }

    /// The load now; `None` where nothing can be read.
    pub fn read(&mut self) -> Option<Metrics> {
        let metrics = if self.stasysmo.is_dir() { self.stasysmo_metrics() } else { self.proc_metrics() };
        (metrics != Metrics::default()).then_some(metrics)
    }

    fn stasysmo_metrics(&self) -> Metrics {
        let value = |name: &str| {
            let text = fs::read_to_string(self.stasysmo.join(name)).ok()?;
            text.trim().trim_end_matches('%').trim().parse::<f64>().ok().filter(|value| value.is_finite())
        };
        Metrics { cpu: value("cpu"), ram: value("ram"), swap: value("swap"), load: value("load") }
    }

    fn proc_metrics(&mut self) -> Metrics {
        let file = |name: &str| fs::read_to_string(self.proc.join(name)).unwrap_or_default();
        let (ram, swap) = memory(&file("meminfo"));
        let load = file("loadavg").split_whitespace().next().and_then(|word| word.parse().ok());
        let counters = processor(&file("stat"));
        let cpu = match (self.last, counters) {
            (Some((busy, all)), Some((busy_now, all_now))) if all_now > all => {
                Some(percent(busy_now.saturating_sub(busy), all_now - all))
            }
            _ => None,
        };
        self.last = counters;
        Metrics { cpu, ram, swap, load }
    }
}

/// Busy and all ticks of the processor since the boot.
fn processor(stat: &str) -> Option<(u64, u64)> {
    let ticks: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let all: u64 = ticks.iter().take(8).sum();
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or_default();
    Some((all - idle, all))
}

/// Used memory and swap, percent.
fn memory(meminfo: &str) -> (Option<f64>, Option<f64>) {
    let kib = |name: &str| -> Option<u64> {
        meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let used = |total: Option<u64>, free: Option<u64>| match (total, free) {
        (Some(total), Some(free)) if total > 0 => Some(percent(total.saturating_sub(free), total)),
        (Some(0), _) => Some(0.0),
        _ => None,
    };
    (used(kib("MemTotal"), kib("MemAvailable")), used(kib("SwapTotal"), kib("SwapFree")))
}

/// With one digit behind the point: more is noise on the wire.
#[expect(clippy::cast_precision_loss, reason = "tenths of a percent need no 52 bits")]
fn percent(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_read_proc_metrics_or_stasysmo_metrics() {
        let dir = tempfile::tempdir().unwrap();
        let mut load = Load::new(dir.path());
        assert_eq!(load.read(), None);
        let proc = dir.path().join("proc");
        fs::create_dir(&proc).unwrap();
        fs::write(proc.join("meminfo"), "MemTotal: 1000 kB\nMemAvailable: 250 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
            .unwrap();
        fs::write(proc.join("loadavg"), "0.50 0.40 0.30 1/100 7\n").unwrap();
        fs::write(proc.join("stat"), "cpu  10 0 10 80 0 0 0 0 0 0\n").unwrap();
        assert_eq!(load.read().unwrap(), Metrics { cpu: None, ram: Some(75.0), swap: Some(0.0), load: Some(0.5) });
        fs::write(proc.join("stat"), "cpu  30 0 20 150 0 0 0 0 0 0\n").unwrap();
        assert_eq!(load.read().unwrap().cpu, Some(30.0));
        let stasysmo = dir.path().join("dev/shm/stasysmo");
        fs::create_dir_all(&stasysmo).unwrap();
        fs::write(stasysmo.join("cpu"), "12\n").unwrap();
        assert_eq!(load.read().unwrap(), Metrics { cpu: Some(12.0), ..Metrics::default() });
    }
}
