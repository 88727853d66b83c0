//! Reads `nix --log-format internal-json`: lines for people into the log, "X of Y" into the progress.
//!
//! Numbers never go backwards within one run of nix: it revises its expectations all the time. Half of its lines
//! repeat, so the progress is written at most ten times a second.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::text::plain;
use serde::Deserialize;
use serde_json::Value;

use super::process::Reader;
use crate::durable;
use crate::record::ProgressRecord;

/// Nix counts these as they are in its source; in `start` they are types of activities …
mod activity {
    pub(super) const COPY_PATHS: u64 = 103;
    pub(super) const BUILDS: u64 = 104;
    pub(super) const BUILD: u64 = 105;
    pub(super) const SUBSTITUTE: u64 = 108;
}

/// … and in `result` the same numbers are types of results.
mod result {
    pub(super) const BUILD_LOG_LINE: u64 = 101;
    pub(super) const PROGRESS: u64 = 105;
}

/// Messages up to this level are for people: error, warning, notice, info.
const SHOWN: u64 = 3;
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Line {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    level: u64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    fields: Vec<Value>,
}

/// Done and expected of one kind of work; both only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counter {
    done: u64,
    expected: u64,
}

impl Counter {
    fn raise(&mut self, done: u64, expected: u64) {
        self.expected = self.expected.max(expected).max(done);
        self.done = self.done.max(done).min(self.expected);
    }
}

/// What is known of one run of nix.
#[derive(Debug)]
pub struct NixLog {
    path: PathBuf,
    activities: BTreeMap<u64, (u64, String)>,
    builds: Counter,
    copies: Counter,
    has_built: bool,
    error: Option<String>,
    written: Option<(Instant, ProgressRecord)>,
    /// A line of JSON that was too long for one piece.
    dropped: bool,
}

impl NixLog {
    /// Writes progress to this file.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            activities: BTreeMap::new(),
            builds: Counter::default(),
            copies: Counter::default(),
            has_built: false,
            error: None,
            written: None,
            dropped: false,
        }
    }

    /// Whether anything was built or fetched: before that, a failure is one of the evaluation.
    pub const fn has_built(&self) -> bool {
        self.has_built
    }

    /// The first line of the last error, without colours.
    pub fn error(&self) -> Option<String> {
        self.error.clone()
    }

    fn take(&mut self, line: Line) -> Option<String> {
        match line.action.as_str() {
            "msg" if line.level <= SHOWN => {
                if line.level == 0 {
                    let first = line.msg.lines().map(plain).find(|text| !text.trim().is_empty()).unwrap_or_default();
                    self.error = Some(first.trim().chars().take(500).collect());
                }
                Some(line.msg.replace('\n', " "))
            }
            "start" => self.start(line),
            "stop" => {
                self.activities.remove(&line.id);
                None
            }
            "result" if line.kind == result::BUILD_LOG_LINE => {
                line.fields.first().and_then(Value::as_str).map(str::to_owned)
            }
            "result" if line.kind == result::PROGRESS => {
                let number = |n: usize| line.fields.get(n).and_then(Value::as_u64).unwrap_or_default();
                match self.activities.get(&line.id).map(|(kind, _)| *kind) {
                    Some(activity::BUILDS) => self.builds.raise(number(0), number(1)),
                    Some(activity::COPY_PATHS) => self.copies.raise(number(0), number(1)),
                    Some(_) | None => {}
                }
                None
            }
            _ => None,
        }
    }

    fn start(&mut self, line: Line) -> Option<String> {
        let name = match line.kind {
            activity::BUILD | activity::SUBSTITUTE => {
                self.has_built = true;
                line.fields.first().and_then(Value::as_str).map(package).unwrap_or_default()
            }
            _ => String::new(),
        };
        self.activities.insert(line.id, (line.kind, name));
        (line.level <= SHOWN && !line.text.is_empty()).then_some(line.text)
    }

    fn progress(&self) -> ProgressRecord {
        let names = |kind: u64| {
            let names: Vec<&str> = self
                .activities
                .values()
                .filter(|(of, name)| *of == kind && !name.is_empty())
                .map(|(_, name)| name.as_str())
                .take(3)
                .collect();
            plain(&names.join(", "))
        };
        let copying = self.copies.done < self.copies.expected && names(activity::BUILD).is_empty();
        let (phase, counter, kind) = if copying {
            ("copy", self.copies, activity::SUBSTITUTE)
        } else if self.builds.expected > 0 {
            ("build", self.builds, activity::BUILD)
        } else {
            return ProgressRecord { phase: "evaluate".into(), ..ProgressRecord::default() };
        };
        ProgressRecord {
            phase: phase.into(),
            done: Some(counter.done),
            expected: Some(counter.expected),
            text: names(kind),
            passed: None,
        }
    }

    fn write_progress(&mut self) {
        if self.written.as_ref().is_some_and(|(at, _)| at.elapsed() < PAUSE) {
            return;
        }
        let progress = self.progress();
        let changed = self.written.as_ref().is_none_or(|(_, last)| *last != progress);
        if changed && let Ok(bytes) = serde_json::to_vec(&progress) {
            let _ = durable::write_lightly(&self.path, &bytes);
            self.written = Some((Instant::now(), progress));
        }
    }
}

impl Reader for NixLog {
    fn line(&mut self, _: Stream, text: &str) -> Option<String> {
        let Some(json) = text.strip_prefix("@nix ") else {
            // The rest of a message that was cut is no text for people.
            return if std::mem::take(&mut self.dropped) { None } else { Some(text.to_owned()) };
        };
        self.dropped = false;
        let Ok(line) = serde_json::from_str::<Line>(json) else {
            self.dropped = true;
            return None;
        };
        let shown = self.take(line);
        self.write_progress();
        shown
    }
}

/// The name of a package in a store path: without the directory, the hash and `.drv`.
fn package(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    name.strip_suffix(".drv").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What three versions of nix really print.
    const SAMPLES: [(&str, [&str; 3]); 4] = [
        (
            "build",
            [
                include_str!("../../tests/data/nix/internal-json-build-2.8.0.txt"),
                include_str!("../../tests/data/nix/internal-json-build-2.26.3.txt"),
                include_str!("../../tests/data/nix/internal-json-build-2.34.8.txt"),
            ],
        ),
        (
            "builderr",
            [
                include_str!("../../tests/data/nix/internal-json-builderr-2.8.0.txt"),
                include_str!("../../tests/data/nix/internal-json-builderr-2.26.3.txt"),
                include_str!("../../tests/data/nix/internal-json-builderr-2.34.8.txt"),
            ],
        ),
        (
            "evalerr",
            [
                include_str!("../../tests/data/nix/internal-json-evalerr-2.8.0.txt"),
                include_str!("../../tests/data/nix/internal-json-evalerr-2.26.3.txt"),
                include_str!("../../tests/data/nix/internal-json-evalerr-2.34.8.txt"),
            ],
        ),
        (
            "substitute",
            [
                include_str!("../../tests/data/nix/internal-json-substitute-2.8.0.txt"),
                include_str!("../../tests/data/nix/internal-json-substitute-2.26.3.txt"),
                include_str!("../../tests/data/nix/internal-json-substitute-2.34.8.txt"),
            ],
        ),
    ];

    /// Reads a sample; checks on the way that nothing ever goes backwards.
    fn read(sample: &str) -> (NixLog, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = NixLog::new(dir.path().join("progress.json"));
        let mut shown = Vec::new();
        let (mut builds, mut copies) = (Counter::default(), Counter::default());
        for line in sample.lines() {
            shown.extend(log.line(Stream::Stderr, line));
            for (before, now) in [(&mut builds, log.builds), (&mut copies, log.copies)] {
                assert!(now.done >= before.done && now.expected >= before.expected && now.done <= now.expected);
                *before = now;
            }
        }
        (log, shown)
    }

    #[test]
    fn the_samples_of_all_versions_are_understood() {
        for (what, versions) in SAMPLES {
            for (version, sample) in versions.into_iter().enumerate() {
                let (log, shown) = read(sample);
                assert!(shown.iter().all(|line| !line.starts_with("@nix")), "{what} {version}");
                assert_eq!(log.has_built(), what != "evalerr", "{what} {version}");
                assert_eq!(log.error().is_some(), what.ends_with("err"), "{what} {version}: {:?}", log.error());
                if what.ends_with("err") {
                    assert!(log.error().unwrap().starts_with("error:"), "{:?}", log.error());
                }
                if what == "build" {
                    // The newest counts one more than it builds, for a moment; the highest is kept.
                    assert!(log.builds.done == 6 && log.builds.expected <= 7, "{version} {:?}", log.builds);
                }
            }
        }
    }

    #[test]
    fn store_paths_are_shown_as_names() {
        for (path, name) in [
            ("/nix/store/abc123-curl-8.2.0.drv", "curl-8.2.0"),
            ("/nix/store/abc123-nixos-system-h1", "nixos-system-h1"),
            ("odd", "odd"),
        ] {
            assert_eq!(package(path), name);
        }
    }
}
