//! Runs one program in a process group of its own and writes what it prints into the log.
//!
//! Who uses it: the execution of a plan. While the program runs it looks ten times a second for the wish to stop, and
//! then goes on reading what is printed until the stop is through ([`super::stopping`]). When the program has ended
//! and something that it left behind holds its pipes open, what is in them is read, and then nobody waits.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nixfleet_protocol::agent::{Signal, Stream};
use nixfleet_protocol::text::plain;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};

use super::handed_over::Units;
use super::lines::Lines;
use super::log::LogFile;
use super::stopping::{Help, Stopping, Wish};
use crate::journal::entry::{Entry, GROUP};
use crate::ops::step::Invocation;

/// How often the wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// After the program's end: a pipe that says nothing for so long is given up …
const QUIET: Duration = Duration::from_millis(250);
/// … and so is one that never falls silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// One read from a pipe. A Linux pipe holds as much.
const READ: usize = 64 * 1024;
/// How much output of a program is kept for us to parse.
const CAPTURED: usize = 1024 * 1024;

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code; 128 and the signal's number when it was killed by somebody else.
    Exited(i32),
    /// A person stopped it.
    Stopped,
    /// It took longer than its limit.
    TimedOut,
}

/// What a program left.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Why it ended.
    pub end: End,
    /// Its standard output, when that was asked for.
    pub captured: Vec<u8>,
    /// The last line that looks like a reason.
    pub reason: Option<String>,
}

/// Sees each line before the log does.
pub trait Reader {
    /// Given the stream and a line, or with `partial` a piece of one that goes on: what the log is to have instead,
    /// in one line or several; `None` drops it.
    fn line(&mut self, stream: Stream, text: &str, partial: bool) -> Option<String>;

    /// Whether standard output is kept for us instead of being logged.
    fn captures(&self) -> bool {
        true
    }

    /// Called ten times a second, whether lines come or not: what was held back may be told now.
    fn tick(&mut self) {}
}

/// Everything that a program needs beside its argument vector.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The command's folder.
    pub entry: &'a Entry,
    /// Where programs work that name no directory.
    pub work_dir: &'a Path,
    /// The environment.
    pub environment: &'a BTreeMap<String, String>,
    /// Whether it is to be stopped.
    pub wish: &'a Wish,
    /// Who helps to stop what is beyond us.
    pub help: &'a Help,
    /// What the program hands its work to, where that is no process of ours.
    pub units: Option<&'a Units>,
}

impl Surroundings<'_> {
    fn stopping(&self, group: i32, why: End) -> Stopping {
        Stopping::begin(group, self.entry.id(), why, self.help.clone())
    }
}

/// Runs a program to its end. With a reader that captures, standard output is kept, and only standard error is logged.
pub async fn run(
    invocation: &Invocation,
    around: &Surroundings<'_>,
    log: &mut LogFile,
    mut reader: Option<&mut dyn Reader>,
) -> io::Result<Ended> {
    let mut child = spawn(invocation, around)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    // Only for an agent that must clean up after us.
    let _ = std::fs::write(around.entry.file(GROUP), pid.to_string());
    let mut out = Pipe::new(child.stdout.take(), Stream::Stdout);
    out.last = invocation.last_lines.map(Tail::of);
    let mut err = Pipe::new(child.stderr.take(), Stream::Stderr);
    let mut ended = Ended { end: End::Exited(0), captured: Vec::new(), reason: None };
    let deadline = invocation.limit.map(|limit| Instant::now() + limit);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut status, mut stopping) = (None, None::<Stopping>);
    loop {
        tokio::select! {
            biased;
            // Reading first: what is printed is in the log before the end is looked at.
            count = out.read(), if out.open => out.take(count, log, &mut ended, &mut reader),
            count = err.read(), if err.open => err.take(count, log, &mut ended, &mut reader),
            gone = child.wait(), if status.is_none() => {
                status = Some(gone?);
                if stopping.is_none() {
                    break;
                }
                look.reset_immediately();
            }
            _ = look.tick() => {
                if let Some(reader) = &mut reader {
                    reader.tick();
                }
                let asked = around.wish.asked();
                if asked.is_some() && stopping.is_none() {
                    log.note("stopping");
                    stopping = Some(around.stopping(pid, End::Stopped));
                }
                if let Some(stopping) = &mut stopping {
                    if asked == Some(Signal::Kill) {
                        stopping.at_once();
                    }
                    if stopping.go_on(status.is_some(), log).await {
                        break;
                    }
                }
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() && stopping.is_none() => {
                log.note("the time limit is over");
                stopping = Some(around.stopping(pid, End::TimedOut));
                look.reset_immediately();
            }
        }
    }
    if stopping.is_some()
        && let Some(units) = around.units
    {
        // Before its pipes are given up: what writes into a broken pipe dies in the middle of its work.
        units.stop(log).await;
    }
    drain(&mut out, &mut err, log, &mut ended, &mut reader).await;
    let by_itself = End::Exited(status.map_or(1, code));
    ended.end = stopping.and_then(|stopping| stopping.end()).unwrap_or(by_itself);
    Ok(ended)
}

fn spawn(invocation: &Invocation, around: &Surroundings<'_>) -> io::Result<Child> {
    let (program, arguments) = invocation
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty argument vector"))?;
    let path = around.environment.get("PATH").map_or("", String::as_str);
    let found = crate::config::machine::find(path, program)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{program} is not there or not executable")))?;
    Command::new(found)
        .args(arguments)
        .current_dir(invocation.dir.as_deref().unwrap_or(around.work_dir))
        .env_clear()
        .envs(around.environment)
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{program} can't be started: {error}")))
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// The signal that ended a program, by the code that a shell makes of it; `None` for a code of its own.
pub fn ending_signal(code: i32) -> Option<&'static str> {
    match code {
        129 => Some("SIGHUP"),
        130 => Some("SIGINT"),
        137 => Some("SIGKILL"),
        143 => Some("SIGTERM"),
        _ => None,
    }
}

async fn drain(
    out: &mut Pipe<tokio::process::ChildStdout>,
    err: &mut Pipe<tokio::process::ChildStderr>,
    log: &mut LogFile,
    ended: &mut Ended,
    reader: &mut Option<&mut dyn Reader>,
) {
    let patience = Instant::now() + PATIENCE;
    while (out.open || err.open) && Instant::now() < patience {
        let more = async {
            tokio::select! {
                count = out.read(), if out.open => (true, count),
                count = err.read(), if err.open => (false, count),
            }
        };
        match timeout(QUIET, more).await {
            Ok((true, count)) => out.take(count, log, ended, reader),
            Ok((false, count)) => err.take(count, log, ended, reader),
            Err(_) => break,
        }
    }
    for (open, stream) in [(out.open, "output"), (err.open, "error output")] {
        if open {
            log.note(&format!("something that was left running holds the {stream} open; it is not waited for"));
        }
    }
    out.end(log, ended, reader);
    err.end(log, ended, reader);
    log.flush();
}

/// One of the two pipes, with the line that is being put together.
struct Pipe<P> {
    source: Option<P>,
    stream: Stream,
    open: bool,
    lines: Lines,
    block: Vec<u8>,
    /// Only the end of it is wanted.
    last: Option<Tail>,
}

impl<P: AsyncRead + Unpin> Pipe<P> {
    fn new(pipe: Option<P>, stream: Stream) -> Self {
        Self { open: pipe.is_some(), source: pipe, stream, lines: Lines::default(), block: vec![0; READ], last: None }
    }

    /// How many bytes came; nothing is the end, and so is an error. May be dropped and called again.
    async fn read(&mut self) -> usize {
        match &mut self.source {
            Some(pipe) => pipe.read(&mut self.block).await.unwrap_or(0),
            None => 0,
        }
    }

    fn take(&mut self, count: usize, log: &mut LogFile, ended: &mut Ended, reader: &mut Option<&mut dyn Reader>) {
        if count == 0 {
            self.open = false;
            return;
        }
        let bytes = &self.block[..count];
        if self.stream == Stream::Stdout && reader.as_ref().is_some_and(|reader| reader.captures()) {
            let room = CAPTURED.saturating_sub(ended.captured.len());
            ended.captured.extend_from_slice(&bytes[..count.min(room)]);
            return;
        }
        let stream = self.stream;
        if let Some(last) = &mut self.last {
            self.lines.push(bytes, |text, partial| last.add(text, partial));
            return;
        }
        self.lines.push(bytes, |text, partial| write(stream, text, partial, log, ended, reader));
        log.flush();
    }

    fn end(&mut self, log: &mut LogFile, ended: &mut Ended, reader: &mut Option<&mut dyn Reader>) {
        let stream = self.stream;
        if let Some(mut last) = self.last.take() {
            self.lines.finish(|text, partial| last.add(text, partial));
            for (text, partial) in last.lines {
                write(stream, &text, partial, log, ended, reader);
            }
            return;
        }
        self.lines.finish(|text, partial| write(stream, text, partial, log, ended, reader));
    }
}

/// The last lines of a program that can't be told how many are wanted.
#[derive(Debug)]
struct Tail {
    most: usize,
    lines: VecDeque<(String, bool)>,
    bytes: usize,
}

impl Tail {
    fn of(most: u64) -> Self {
        Self { most: usize::try_from(most).unwrap_or(usize::MAX), lines: VecDeque::new(), bytes: 0 }
    }

    fn add(&mut self, text: &str, partial: bool) {
        self.lines.push_back((text.to_owned(), partial));
        self.bytes += text.len();
        while self.lines.len() > self.most || self.bytes > CAPTURED {
            self.bytes -= self.lines.pop_front().map_or(self.bytes, |(text, _)| text.len());
        }
    }
}

fn write(
    stream: Stream,
    text: &str,
    partial: bool,
    log: &mut LogFile,
    ended: &mut Ended,
    reader: &mut Option<&mut dyn Reader>,
) {
    let seen = match reader {
        Some(reader) => match reader.line(stream, text, partial) {
            Some(seen) => std::borrow::Cow::Owned(seen),
            None => return,
        },
        None => std::borrow::Cow::Borrowed(text),
    };
    if stream == Stream::Stderr {
        note_reason(&seen, &mut ended.reason);
    }
    let mut lines = seen.split('\n').peekable();
    while let Some(line) = lines.next() {
        log.add(stream, line, partial && lines.peek().is_none());
    }
}

/// Keeps the first `fatal:` or `error:` of a program, else its last words.
fn note_reason(text: &str, reason: &mut Option<String>) {
    let is_verdict = |text: &str| text.starts_with("fatal:") || text.starts_with("error:");
    let text = plain(text);
    let text = text.trim();
    if text.is_empty() || reason.as_deref().is_some_and(is_verdict) && !text.starts_with("fatal:") {
        return;
    }
    *reason = Some(text.chars().take(500).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_plain_and_the_first_verdict() {
        for (lines, reason) in [
            (vec!["building", "\u{1b}[31;1merror:\u{1b}[0m no such file", "exit"], "error: no such file"),
            (vec!["error: one", "fatal: two", "error: three"], "fatal: two"),
            (vec!["first", "\u{1b}[1mlast\u{1b}[0m", "\u{1b}[0m"], "last"),
        ] {
            let mut noted = None;
            for line in &lines {
                note_reason(line, &mut noted);
            }
            assert_eq!(noted.as_deref(), Some(reason));
        }
    }

    #[test]
    fn of_a_long_output_its_last_lines_are_kept() {
        let mut tail = Tail::of(3);
        for n in 0..10 {
            tail.add(&n.to_string(), false);
        }
        assert_eq!(tail.lines.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["7", "8", "9"]);
        let mut large = Tail::of(100);
        for _ in 0..100 {
            large.add(&"x".repeat(64 * 1024), true);
        }
        assert!(large.bytes <= CAPTURED && !large.lines.is_empty());
    }
}
