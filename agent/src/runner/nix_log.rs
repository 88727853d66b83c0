//! Reads `nix --log-format internal-json`: lines for people into the log, "X of Y" into the progress.
//!
//! Nix revises its expectations all the time. Within one realisation neither done nor expected ever goes back here;
//! the next realisation starts over. Half of nix's lines repeat, so the progress is written at most ten times a
//! second, and once more at the end. The tools that activate pass nix's log through, between lines of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::text::{plain, plain_cut};
use serde::Deserialize;
use serde_json::Value;

use super::masked::masked;
use super::process::Reader;
use crate::durable;
use crate::record::{ProgressRecord, Stage};

/// Nix counts these as they are in its source; in `start` they are types of activities …
mod activity {
    pub(super) const FILE_TRANSFER: u64 = 101;
    pub(super) const REALISE: u64 = 102;
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
/// A message of nix that is longer is no message any more.
const LONGEST: usize = 4 * 1024 * 1024;
/// Names in the progress.
const NAMED: usize = 3;
/// Activities that are remembered; nix has some hundred open at a time.
const OPEN: usize = 20_000;
/// The longest sentence, in characters.
const SENTENCE: usize = 500;

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
    raw_msg: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    fields: Vec<Value>,
}

impl Line {
    fn text_field(&self) -> Option<&str> {
        self.fields.first().and_then(Value::as_str)
    }

    fn number_field(&self, n: usize) -> u64 {
        self.fields.get(n).and_then(Value::as_u64).unwrap_or_default()
    }
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
        self.done = self.done.max(done);
    }
}

/// The work of one realisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    /// Nix expects to build everything until it knows what it can copy, so builds count from the first one on.
    builds: Counter,
    building: bool,
    /// What nix said last of its builds.
    announced: (u64, u64),
    copies: Counter,
    /// What nix said last of its copies.
    copying: (u64, u64),
}

impl Work {
    fn announce_builds(&mut self, done: u64, expected: u64) {
        self.announced = (done, expected);
        if self.building || done > 0 {
            self.begin_to_build();
        }
    }

    fn begin_to_build(&mut self) {
        self.building = true;
        let (done, expected) = self.announced;
        self.builds.raise(done, expected);
    }
}

/// What is open.
#[derive(Debug)]
struct Activity {
    kind: u64,
    name: String,
    /// Bytes of a download of something that is built elsewhere.
    bytes: u64,
}

/// Whose output is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Of nix alone.
    Nix,
    /// Of a tool that activates too: what it prints itself is what it does.
    Activation,
}

/// A message that comes in several pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Joined {
    /// None does.
    #[default]
    Nothing,
    /// These came.
    Pieces(String),
    /// It is too long, and left out to its end.
    TooLong,
}

/// What is known of one run of nix, or of a tool that runs nix.
#[derive(Debug)]
pub struct NixLog {
    path: PathBuf,
    source: Source,
    activities: BTreeMap<u64, Activity>,
    work: Work,
    /// How many realisations began.
    realisations: u64,
    /// Something was to be built or copied: what fails now is no evaluation any more.
    realises: bool,
    downloaded: u64,
    failed: bool,
    error: Option<String>,
    /// The error came from the evaluation, by its words.
    evaluating: bool,
    saying: String,
    written: Option<(Instant, ProgressRecord)>,
    joined: Joined,
}

impl NixLog {
    /// Of nix itself, whose standard output is kept. Writes progress to this file.
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            source: Source::Nix,
            activities: BTreeMap::new(),
            work: Work {
                builds: Counter { done: 0, expected: 0 },
                building: false,
                announced: (0, 0),
                copies: Counter { done: 0, expected: 0 },
                copying: (0, 0),
            },
            realisations: 0,
            realises: false,
            downloaded: 0,
            failed: false,
            error: None,
            evaluating: false,
            saying: String::new(),
            written: None,
            joined: Joined::Nothing,
        }
    }

    /// Of a tool that builds with nix and then activates. All that it prints is for people.
    pub const fn of_activation(path: PathBuf) -> Self {
        let mut log = Self::new(path);
        log.source = Source::Activation;
        log
    }

    /// What failed, when nix failed.
    pub fn stage(&self) -> Stage {
        // An evaluation may build something on its way, and fail when that is done.
        if self.failed || self.realises && !self.evaluating && self.has_work() {
            Stage::Build
        } else {
            Stage::Evaluation
        }
    }

    /// Whether something is begun, or announced and not done.
    fn has_work(&self) -> bool {
        let begun = |activity: &Activity| matches!(activity.kind, activity::BUILD | activity::SUBSTITUTE);
        let missing = |(done, expected): (u64, u64)| done < expected;
        missing(self.work.announced) || missing(self.work.copying) || self.activities.values().any(begun)
    }

    /// The first error in one line, without colours.
    pub fn error(&self) -> Option<String> {
        self.error.clone()
    }

    /// Bytes that were downloaded from substituters.
    pub fn downloaded(&self) -> u64 {
        self.downloaded + self.activities.values().map(|activity| activity.bytes).sum::<u64>()
    }

    fn take(&mut self, line: &Line) -> Option<String> {
        match line.action.as_str() {
            "msg" if line.level <= SHOWN => {
                if line.level == 0 {
                    self.failed_with(line);
                }
                Some(line.msg.clone())
            }
            "start" => self.start(line),
            "stop" => {
                if let Some(activity) = self.activities.remove(&line.id) {
                    self.downloaded += activity.bytes;
                }
                None
            }
            "result" if line.kind == result::BUILD_LOG_LINE => {
                let text = line.text_field()?;
                let name = self.activities.get(&line.id).map(|activity| activity.name.as_str());
                Some(match name.filter(|name| !name.is_empty()) {
                    Some(name) => format!("{name}> {text}"),
                    None => text.to_owned(),
                })
            }
            "result" if line.kind == result::PROGRESS => {
                self.came_further(line);
                None
            }
            _ => None,
        }
    }

    fn came_further(&mut self, line: &Line) {
        let Some(activity) = self.activities.get_mut(&line.id) else { return };
        let (done, expected) = (line.number_field(0), line.number_field(1));
        match activity.kind {
            activity::BUILDS => self.work.announce_builds(done, expected),
            activity::COPY_PATHS => {
                self.work.copying = (done, expected);
                self.work.copies.raise(done, expected);
            }
            activity::FILE_TRANSFER => {
                if activity.name.contains("/nar/") {
                    activity.bytes = activity.bytes.max(done);
                }
                return;
            }
            _ => return,
        }
        self.failed |= line.number_field(3) > 0;
    }

    fn start(&mut self, line: &Line) -> Option<String> {
        let name = match line.kind {
            activity::BUILD => {
                self.realises = true;
                self.work.begin_to_build();
                line.text_field().map(package).unwrap_or_default()
            }
            activity::SUBSTITUTE => {
                self.realises = true;
                line.text_field().map(package).unwrap_or_default()
            }
            activity::FILE_TRANSFER => line.text_field().unwrap_or_default().to_owned(),
            activity::REALISE => {
                self.realises = true;
                self.work = Work::default();
                self.realisations += 1;
                String::new()
            }
            _ => String::new(),
        };
        if self.activities.len() < OPEN {
            self.activities.insert(line.id, Activity { kind: line.kind, name, bytes: 0 });
        }
        (line.level <= SHOWN && !line.text.is_empty()).then(|| line.text.clone())
    }

    fn failed_with(&mut self, line: &Line) {
        // Nix goes on after such a one.
        if line.msg.contains("(ignored)") {
            return;
        }
        let text = plain(&line.msg);
        self.evaluating =
            ["--show-trace", "… while ", "while evaluating", "while calling"].iter().any(|word| text.contains(word));
        if self.error.is_none() {
            self.error = Some(summary(line));
        }
    }

    fn progress(&self) -> ProgressRecord {
        let Work { builds, building, copies, .. } = self.work;
        let open = |kind: u64| self.activities.values().any(|activity| activity.kind == kind);
        let activates = self.source == Source::Activation;
        let between = activates && !open(activity::REALISE);
        if between || !building && copies.expected == 0 {
            let phase = if activates { "activate" } else { "evaluate" };
            return ProgressRecord { phase: phase.into(), text: self.saying.clone(), ..ProgressRecord::default() };
        }
        let count = |(what, counter): (&str, Counter)| {
            (counter.expected > 0).then(|| format!("{} of {} {what}", counter.done, counter.expected))
        };
        let mut text =
            [("builds", builds), ("copies", copies)].into_iter().filter_map(count).collect::<Vec<_>>().join(", ");
        let names: Vec<&str> = self
            .activities
            .values()
            .filter(|activity| matches!(activity.kind, activity::BUILD | activity::SUBSTITUTE))
            .map(|activity| activity.name.as_str())
            .filter(|name| !name.is_empty())
            .take(NAMED)
            .collect();
        if !names.is_empty() {
            text = format!("{text}: {}", names.join(", "));
        }
        ProgressRecord {
            phase: if building { "build" } else { "copy" }.into(),
            done: Some(builds.done.saturating_add(copies.done)),
            expected: Some(builds.expected.saturating_add(copies.expected)),
            text: plain_cut(&text, SENTENCE),
            passed: None,
        }
    }

    fn write_progress(&mut self) {
        if self.written.as_ref().is_none_or(|(at, _)| at.elapsed() >= PAUSE) {
            self.finish();
        }
    }

    /// Writes what was held back.
    pub fn finish(&mut self) {
        let progress = self.progress();
        let changed = self.written.as_ref().is_none_or(|(_, last)| *last != progress);
        if changed && let Ok(bytes) = serde_json::to_vec(&progress) {
            // For people who watch; when it can't be written the next one tells more.
            let _ = durable::write_lightly(&self.path, &bytes);
            self.written = Some((Instant::now(), progress));
        }
    }

    /// A message of nix, whole; the pieces of one that is not whole yet are kept.
    fn whole<'a>(&mut self, text: &'a str, partial: bool) -> Option<Cow<'a, str>> {
        let joined = match std::mem::take(&mut self.joined) {
            Joined::Nothing if !partial => return Some(text.into()),
            Joined::Nothing => Joined::Pieces(text.to_owned()),
            Joined::Pieces(pieces) if pieces.len() + text.len() <= LONGEST => Joined::Pieces(pieces + text),
            Joined::Pieces(_) | Joined::TooLong => Joined::TooLong,
        };
        match joined {
            joined if partial => {
                self.joined = joined;
                None
            }
            Joined::Pieces(message) => Some(message.into()),
            Joined::Nothing | Joined::TooLong => None,
        }
    }
}

impl Reader for NixLog {
    fn line(&mut self, stream: Stream, text: &str, partial: bool) -> Option<String> {
        if stream != Stream::Stderr || self.joined == Joined::Nothing && !text.starts_with("@nix ") {
            if self.source == Source::Activation {
                self.saying = plain_cut(&masked(text), SENTENCE);
                self.write_progress();
            }
            return Some(text.to_owned());
        }
        let message = self.whole(text, partial)?;
        let line: Line = serde_json::from_str(message.strip_prefix("@nix ")?).ok()?;
        let shown = self.take(&line);
        self.write_progress();
        shown
    }

    fn captures(&self) -> bool {
        self.source == Source::Nix
    }

    fn tick(&mut self) {
        self.write_progress();
    }
}

/// An error in one line: what is wrong, and not where.
fn summary(line: &Line) -> String {
    let text = if line.raw_msg.trim().is_empty() { &line.msg } else { &line.raw_msg };
    let mut lines = text.lines().map(plain).map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    let mut said = lines.next().unwrap_or_default();
    if said == "error:" {
        // The trace comes first, the error itself last.
        let last = lines.by_ref().filter(|line| line.starts_with("error:")).last();
        said = last.unwrap_or(said);
    }
    if let Some(reason) = lines.next().filter(|line| line.starts_with("Reason:")) {
        said = format!("{said} {reason}");
    }
    let said = said.trim_end_matches(';');
    let said = if said.starts_with("error:") { said.to_owned() } else { format!("error: {said}") };
    said.chars().take(SENTENCE).collect()
}

/// The name of a package in a store path: without the directory, the hash and `.drv`.
fn package(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    name.strip_suffix(".drv").unwrap_or(name).to_owned()
}

#[cfg(test)]
#[path = "nix_log_tests.rs"]
mod nix_log_tests;
