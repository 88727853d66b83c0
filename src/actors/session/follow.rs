//! Follows a command's log for a tab: what is on disk, or the last lines of it, then what is added, until the command
//! is over. Waits for the socket: a slow tab reads slowly, and nothing is kept in memory. Who asked for the last lines
//! only is led to them again when it falls far behind; who asked for all is sent all.
//!
//! To a page it also tells how the command stands, above the log: at once, and when that changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::view::command_view;
use nixfleet_protocol::api::{Command, LogLine};
use nixfleet_protocol::browser::{FollowLog, LogFrame};
use nixfleet_protocol::sgr::Pen;
use nixfleet_protocol::{CommandId, HostId};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::actors::host::log::index::{From, Indexes, Joined};
use crate::actors::host::log::{self, LogEnd};
use crate::actors::hosts::HostsHandle;
use crate::actors::store::StoreHandle;
use crate::actors::sync::{self, Render, Snapshot, SyncHandle};

/// Bytes of a log that are read at a time. A frame of them is up to eight times as large where lines are short, and a
/// delta waits for one frame at most.
const CHUNK: usize = 16 * 1024;
/// How long to wait before looking again where nobody tells of news: the host's actor is being restarted; or what
/// stands above the log may have changed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The same where the command is over: only what is offered next can change, with its host.
const LOOK_AT_HOST: Duration = Duration::from_secs(1);
/// So many bytes behind, a tab that wants the last lines is led to them.
const FAR_BEHIND: u64 = 1024 * 1024;
/// How often is looked for the state that follows on a log's end, which sync may be told of a moment later.
const LAST_LOOKS: u32 = 10;

/// What following needs.
#[derive(Clone)]
pub(super) struct Follow {
    pub(super) sync: SyncHandle,
    pub(super) hosts: HostsHandle,
    pub(super) store: StoreHandle,
    pub(super) data_dir: PathBuf,
    pub(super) lines: mpsc::Sender<Utf8Bytes>,
    /// Who reads a file now, of all tabs: their number must not slow those who write.
    pub(super) turns: Arc<Semaphore>,
    /// For a page: what stands above the log.
    pub(super) render: Option<Arc<dyn Render>>,
    pub(super) indexes: Indexes,
}

/// Where a command stands, as far as its log goes.
enum Standing {
    /// Nobody knows it, or it has no host and so no log.
    NoLog,
    /// It is over.
    Over(HostId),
    /// It goes on; with who tells of news, unless the host's actor is being restarted.
    Open(HostId, Option<watch::Receiver<LogEnd>>),
}

/// The tab is gone, or the file can't be read: there is no more to do.
struct Gone;

/// How far one tab is with one log.
struct Followed {
    command: CommandId,
    offset: u64,
    /// Number of the line that begins, or goes on, at the offset.
    line: u64,
    last: Option<u64>,
    /// Where it is to begin, until it has begun.
    begin: Option<From>,
    /// For a page: how the next line begins to be written, and that line, where it is not whole yet.
    pen: Pen,
    open: Option<LogLine>,
    head: String,
    /// For the frames' version and epoch.
    now: Snapshot,
}

impl Follow {
    /// Sends the log from where it is wanted on, to its end.
    pub(super) async fn run(self, wanted: FollowLog) {
        let Ok(now) = self.sync.snapshot().await else { return };
        let FollowLog { command_id: command, offset, line, last } = wanted;
        let at = Followed {
            command,
            offset,
            line: 1,
            last,
            begin: Some(line.map_or(From::Offset(offset), From::Line)),
            pen: Pen::default(),
            open: None,
            head: String::new(),
            now,
        };
        // Whoever reads notices by the socket's end, or asks again.
        if self.go(at).await.is_err() {
            tracing::trace!(%command, "no longer followed");
        }
    }

    async fn go(&self, mut at: Followed) -> Result<(), Gone> {
        loop {
            let (host, mut news) = match self.standing(at.command).await {
                Standing::NoLog => return self.over(at).await,
                Standing::Over(host) => (host, None),
                Standing::Open(host, news) => (host, Some(news)),
            };
            let path = log::log_path(&self.data_dir, &host, at.command);
            loop {
                // Whether it was over is looked at before the file is read: what comes later wakes us again.
                let (over, end) = match &mut news {
                    None => (true, 0),
                    Some(None) => (false, 0),
                    Some(Some(news)) => {
                        let end = *news.borrow_and_update();
                        (end.over, end.bytes)
                    }
                };
                self.tell_head(&mut at).await?;
                let first = at.begin.is_some();
                self.send_to_end(&mut at, &path, end).await?;
                if first && at.last == Some(0) {
                    // So that it knows how long the log is.
                    self.send(at.frame(&at.nothing())).await?;
                }
                if over {
                    return self.over(at).await;
                }
                let told = match &mut news {
                    Some(Some(news)) => loop {
                        tokio::select! {
                            changed = news.changed() => break changed.is_ok(),
                            () = tokio::time::sleep(LOOK_AGAIN), if self.render.is_some() => {
                                self.tell_head(&mut at).await?;
                            }
                        }
                    },
                    Some(None) | None => false,
                };
                if !told {
                    break;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn standing(&self, command: CommandId) -> Standing {
        let known = match self.sync.snapshot().await {
            Ok(now) => now.state.commands.get(&command).map(|known| (known.host.clone(), known.state)),
            Err(_) => None,
        };
        let known = match known {
            Some(known) => Some(known),
            None => self.stored(command).await.map(|stored| (stored.host, stored.state)),
        };
        match known {
            None | Some((None, _)) => Standing::NoLog,
            Some((Some(host), state)) if state.is_final() => Standing::Over(host),
            Some((Some(host), _)) => {
                let news = self.hosts.follow_log(host.clone(), command).await.ok().flatten();
                Standing::Open(host, news)
            }
        }
    }

    /// A command that is older than those in the state.
    async fn stored(&self, command: CommandId) -> Option<Command> {
        match self.store.command(command).await {
            Ok(stored) => stored.as_ref().map(command_view),
            Err(error) => {
                tracing::warn!(%command, %error, "command can't be looked up");
                None
            }
        }
    }

    async fn send_to_end(&self, at: &mut Followed, path: &Path, end: u64) -> Result<(), Gone> {
        loop {
            // A place first: what waits in memory for a tab that does not read is what the socket's task holds, however
            // many logs it follows.
            let Ok(place) = self.lines.reserve().await else { return Err(Gone) };
            let Ok(turn) = self.turns.acquire().await else { return Err(Gone) };
            self.find_place(at, path, end).await?;
            let (path, from) = (path.to_owned(), at.offset);
            let read = tokio::task::spawn_blocking(move || log::read(&path, from, CHUNK)).await.map_err(|_| Gone)?;
            match read {
                Ok(read) if read.next > from => {
                    drop(turn);
                    at.offset = read.next;
                    let frame = match &self.render {
                        Some(render) => at.rows(render.as_ref(), read.lines),
                        None => at.lines(read.lines),
                    };
                    place.send(frame);
                }
                Ok(_) => return Ok(()),
                Err(error) => return Err(at.unreadable(&error)),
            }
        }
    }

    /// Where to begin, once; and where to go on, where the tab is far behind and wants the end.
    async fn find_place(&self, at: &mut Followed, path: &Path, end: u64) -> Result<(), Gone> {
        let far = at.last.is_some() && end.saturating_sub(at.offset) > FAR_BEHIND;
        let from = match at.begin.take() {
            Some(From::Offset(0)) if at.last.is_none() => return Ok(()),
            Some(from) => from,
            None if far => From::Offset(at.offset),
            None => return Ok(()),
        };
        let (indexes, path, last) = (self.indexes.clone(), path.to_owned(), at.last.unwrap_or(u64::MAX));
        let place = move || indexes.place(&path, from, last);
        match tokio::task::spawn_blocking(place).await.map_err(|_| Gone)? {
            Ok(place) => {
                if !matches!(from, From::Offset(offset) if offset >= place.offset) {
                    at.open = None;
                }
                (at.line, at.pen) = (place.line, place.pen);
                at.offset = at.offset.max(place.offset);
                Ok(())
            }
            Err(error) => Err(at.unreadable(&error)),
        }
    }

    /// Tells a page how the command stands, where that is news.
    async fn tell_head(&self, at: &mut Followed) -> Result<(), Gone> {
        let Some(head) = self.head(at).await else { return Ok(()) };
        at.head.clone_from(&head);
        self.send(at.frame(&LogFrame { head: Some(head), ..at.nothing() })).await
    }

    async fn head(&self, at: &Followed) -> Option<String> {
        let render = self.render.as_ref()?;
        let now = self.sync.snapshot().await.ok()?;
        let head = match now.state.commands.get(&at.command) {
            Some(command) => render.log_head(&now.state, command),
            None => render.log_head(&now.state, &self.stored(at.command).await?),
        };
        (head != at.head).then_some(head)
    }

    /// Tells the end. What is offered next goes by how the host is, so a page is told of that for as long as it looks.
    async fn over(&self, mut at: Followed) -> Result<(), Gone> {
        if self.render.is_some() {
            for _ in 0..LAST_LOOKS {
                match self.standing(at.command).await {
                    Standing::NoLog | Standing::Over(_) => break,
                    Standing::Open(..) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            }
        }
        let head = self.head(&at).await;
        if let Some(head) = &head {
            at.head.clone_from(head);
        }
        self.send(at.frame(&LogFrame { head, over: true, ..at.nothing() })).await?;
        while self.render.is_some() && self.is_recent(at.command).await {
            tokio::time::sleep(LOOK_AT_HOST).await;
            self.tell_head(&mut at).await?;
        }
        Ok(())
    }

    /// Whether the command is among those in the state: for older ones nothing is offered that could change.
    async fn is_recent(&self, command: CommandId) -> bool {
        self.sync.snapshot().await.is_ok_and(|now| now.state.commands.contains_key(&command))
    }

    async fn send(&self, frame: Utf8Bytes) -> Result<(), Gone> {
        self.lines.send(frame).await.map_err(|_| Gone)
    }
}

impl Followed {
    /// Lines as they are.
    fn lines(&mut self, lines: Vec<LogLine>) -> Utf8Bytes {
        let line = self.line;
        self.line += lines.iter().map(|line| u64::from(!line.partial)).sum::<u64>();
        self.frame(&LogFrame { line, lines, ..self.nothing() })
    }

    /// Lines as a page has them. One that goes on comes again, whole.
    fn rows(&mut self, render: &dyn Render, records: Vec<LogLine>) -> Utf8Bytes {
        let mut joined = Joined { lines: self.open.take().into_iter().collect() };
        for record in records {
            joined.push(record);
        }
        let line = self.line;
        let html = render.log_rows(self.command, line, &joined.lines, self.pen);
        self.open = joined.lines.pop_if(|line| line.partial);
        for line in &joined.lines {
            self.pen.pass(&line.line);
            self.line += 1;
        }
        self.frame(&LogFrame { line, html: Some(html), ..self.nothing() })
    }

    fn nothing(&self) -> LogFrame {
        LogFrame { command_id: self.command, line: self.line, lines: Vec::new(), html: None, head: None, over: false }
    }

    fn frame(&self, payload: &LogFrame) -> Utf8Bytes {
        sync::frame("log", self.now.version, self.now.epoch, payload)
    }

    fn unreadable(&self, error: &std::io::Error) -> Gone {
        tracing::warn!(command = %self.command, %error, "log can't be read");
        Gone
    }
}
