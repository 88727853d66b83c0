//! Reads what a garbage collection prints: how many paths went, and what that freed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nixfleet_protocol::agent::Stream;

use super::closures::size;
use super::process::Reader;
use crate::durable;
use crate::record::ProgressRecord;

/// How often progress is written at most.
const PAUSE: Duration = Duration::from_millis(100);

/// What was heard of one collection.
#[derive(Debug)]
pub struct GarbageLog {
    progress: PathBuf,
    deleted: u64,
    freed: Option<(u64, u64)>,
    written: Option<Instant>,
}

impl GarbageLog {
    /// Writes progress to this file.
    pub const fn new(progress: PathBuf) -> Self {
        Self { progress, deleted: 0, freed: None, written: None }
    }

    /// Paths and bytes, when nix has said so at its end.
    pub const fn freed(&self) -> Option<(u64, u64)> {
        self.freed
    }

    fn write_progress(&mut self) {
        if self.written.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.written = Some(Instant::now());
        let record = ProgressRecord {
            phase: "collect".into(),
            done: Some(self.deleted),
            text: "store paths removed".into(),
            ..ProgressRecord::default()
        };
        if let Ok(bytes) = serde_json::to_vec(&record) {
            // Only for people who watch; the next one tells more.
            let _ = durable::write_lightly(&self.progress, &bytes);
        }
    }
}

impl Reader for GarbageLog {
    fn line(&mut self, _: Stream, text: &str, _: bool) -> Option<String> {
        if text.starts_with("deleting '") {
            self.deleted += 1;
            self.write_progress();
        } else if let Some(freed) = freed(text) {
            self.freed = Some(freed);
        }
        Some(text.to_owned())
    }

    fn captures(&self) -> bool {
        false
    }

    fn tick(&mut self) {
        if self.deleted > 0 {
            self.write_progress();
        }
    }
}

/// `12 store paths deleted, 3.46 MiB freed`.
fn freed(line: &str) -> Option<(u64, u64)> {
    let (paths, rest) = line.trim().split_once(" store paths deleted, ")?;
    let bytes = size(rest.strip_suffix(" freed")?)?;
    Some((paths.parse().ok()?, u64::try_from(bytes).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_stands_in_the_last_line() {
        for (line, read) in [
            ("12 store paths deleted, 3.50 MiB freed", Some((12, 3_670_016))),
            ("0 store paths deleted, 0.00 MiB freed", Some((0, 0))),
            ("7 store paths deleted, 1.5 KiB freed", Some((7, 1536))),
            ("deleting '/nix/store/x'", None),
            ("note: currently hard linking saves -0.00 MiB", None),
            ("x store paths deleted, 1.5 KiB freed", None),
        ] {
            assert_eq!(freed(line), read, "{line}");
        }
        let dir = tempfile::tempdir().unwrap();
        let mut log = GarbageLog::new(dir.path().join("progress.json"));
        for line in ["deleting '/nix/store/a'", "deleting '/nix/store/b'", "2 store paths deleted, 1.00 MiB freed"] {
            assert_eq!(log.line(Stream::Stdout, line, false).as_deref(), Some(line));
        }
        assert_eq!((log.deleted, log.freed()), (2, Some((2, 1_048_576))));
        assert!(dir.path().join("progress.json").exists());
    }
}
