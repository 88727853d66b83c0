//! The writer of one command's log: a task with a queue. The host's actor puts lines in, in the order in which they
//! came; the task writes what waits at once, makes it durable once, and tells the actor how far the log is.
//!
//! The queue needs no bound of its own: each line holds its permit of the link until it is on disk, and the link
//! is not read while all permits are out. When the actor dies the queue ends, and the task after what is in it.
//! A disk that can't be written is tried again; until then nothing is acknowledged. A log that can't be read is no such
//! disk: it is put aside, and begins anew. Its agent has what was in it until the result is acknowledged, and sends it
//! again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_protocol::agent::Output;
use nixfleet_protocol::{CommandId, Time};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::log::LogEnd;
use super::tail::{self, Tail};

/// Entries that are written at once.
const BATCH: usize = 4096;
/// How soon a disk that can't be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a writer tells.
#[derive(Clone, Debug)]
pub enum News {
    /// What there was of the log can't be read, and why; it was put aside.
    Damaged(String),
    /// The log on disk reaches to here.
    Grew(u64),
    /// Everything that was put in before the question is on disk, to here.
    Flushed(u64),
}

#[derive(Debug)]
enum Entry {
    Line(Box<(Output, Time)>, OwnedSemaphorePermit),
    Flush,
}

/// A writer, for the actor that feeds it.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::UnboundedSender<Entry>,
    end: watch::Sender<LogEnd>,
}

impl Writer {
    /// Starts a writer. The file is made with the first line.
    pub(super) fn start(command: CommandId, path: PathBuf, tell: impl Fn(News) + Send + 'static) -> Self {
        let (queue, entries) = mpsc::unbounded_channel();
        let end = watch::Sender::new(LogEnd::default());
        tokio::spawn(write(command, path, entries, end.clone(), tell));
        Self { queue, end }
    }

    /// Puts a line in.
    pub(super) fn line(&self, output: Output, now: Time, permit: OwnedSemaphorePermit) {
        if self.queue.send(Entry::Line(Box::new((output, now)), permit)).is_err() {
            tracing::error!("the log writer is gone");
        }
    }

    /// Asks for [`News::Flushed`].
    pub(super) fn flush(&self) {
        if self.queue.send(Entry::Flush).is_err() {
            tracing::error!("the log writer is gone");
        }
    }

    /// How far the log is, and will be.
    pub(super) fn follow(&self) -> watch::Receiver<LogEnd> {
        self.end.subscribe()
    }

    /// The same for who watches those that follow.
    pub(super) fn end(&self) -> watch::Sender<LogEnd> {
        self.end.clone()
    }

    /// The command is over: those who follow are told.
    pub(super) fn over(self) {
        self.end.send_modify(|end| end.over = true);
    }
}

async fn write(
    command: CommandId,
    path: PathBuf,
    mut entries: mpsc::UnboundedReceiver<Entry>,
    end: watch::Sender<LogEnd>,
    tell: impl Fn(News),
) {
    let mut tail: Option<Tail> = None;
    let mut batch = Vec::new();
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        let mut lines = Vec::with_capacity(batch.len());
        let mut permits = Vec::with_capacity(batch.len());
        let mut flushes = 0;
        for entry in batch.drain(..) {
            match entry {
                Entry::Line(line, permit) => {
                    lines.push(*line);
                    permits.push(permit);
                }
                Entry::Flush => flushes += 1,
            }
        }
        let mut said = false;
        let bytes = loop {
            let (tried, from, kept) = attempt(tail.take(), path.clone(), lines).await;
            (tail, lines) = (from, kept);
            match tried {
                Ok((bytes, damage)) => {
                    if let Some(why) = damage {
                        tracing::error!(%command, why, "log can't be read, it was put aside");
                        tell(News::Damaged(why));
                    }
                    break bytes;
                }
                Err(error) => {
                    // Once for each batch: a disk that is full for a night would fill the log too.
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(%command, %error, "log can't be written, tried again until it can");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        drop(permits);
        let grew = end.send_if_modified(|end| {
            let grew = end.bytes < bytes;
            end.bytes = end.bytes.max(bytes);
            grew
        });
        if grew || !lines.is_empty() {
            tell(News::Grew(bytes));
        }
        for _ in 0..flushes {
            tell(News::Flushed(bytes));
        }
    }
}

/// How far the log is now, and why what there was of it was put aside, if it was.
type Written = (u64, Option<String>);
type Attempt = (io::Result<Written>, Option<Tail>, Vec<(Output, Time)>);

/// Opens what is not open, and appends; off the runtime's threads.
async fn attempt(tail: Option<Tail>, path: PathBuf, lines: Vec<(Output, Time)>) -> Attempt {
    let blocking = tokio::task::spawn_blocking(move || {
        let mut tail = tail;
        let tried = append(&mut tail, &path, &lines);
        (tried, tail, lines)
    });
    match blocking.await {
        Ok(attempt) => attempt,
        // A panic in there lost the lines with it; the agent has them, and sends what was not acknowledged.
        Err(error) => (Err(io::Error::other(error)), None, Vec::new()),
    }
}

fn append(tail: &mut Option<Tail>, path: &Path, lines: &[(Output, Time)]) -> io::Result<Written> {
    let mut damage = None;
    if tail.is_none() {
        let open = || if lines.is_empty() { Tail::open(path) } else { Tail::make(path).map(Some) };
        // One that was compressed stays so until there is something to add.
        let sealed = |open: &Option<Tail>| if open.is_none() { tail::end_of(path) } else { Ok(0) };
        let opened = open().and_then(|open| sealed(&open).map(|end| (open, end)));
        let (opened, end) = match opened {
            Err(error) if tail::is_damage(&error) => {
                tail::put_aside(path)?;
                damage = Some(error.to_string());
                (open()?, 0)
            }
            other => other?,
        };
        *tail = opened;
        if tail.is_none() {
            return Ok((end, damage));
        }
    }
    let Some(tail) = tail else { return Ok((0, damage)) };
    tail.append(lines.iter())?;
    Ok((tail.end(), damage))
}
