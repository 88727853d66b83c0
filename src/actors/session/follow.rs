//! Follows a command's log for a tab: what is on disk, then what is added, until the command is over. Waits
//! for the socket: a slow tab reads slowly, and nothing is skipped or kept in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::api::LogLine;
use nixfleet_protocol::browser::LogFrame;
use nixfleet_protocol::{CommandId, HostId};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::actors::host::log::{self, LogEnd};
use crate::actors::hosts::HostsHandle;
use crate::actors::store::StoreHandle;
use crate::actors::sync::{self, Snapshot, SyncHandle};

/// Bytes of a log that are read at a time. A frame of them is up to eight times as large where lines are short, and a
/// delta waits for one frame at most.
const CHUNK: usize = 16 * 1024;
/// How long to wait before looking again where nobody tells of news: the host's actor is being restarted.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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

impl Follow {
    /// Sends the log from `offset` on, to its end.
    pub(super) async fn run(self, command: CommandId, mut offset: u64) {
        let Ok(now) = self.sync.snapshot().await else { return };
        loop {
            let (host, mut news) = match self.standing(command).await {
                Standing::NoLog => {
                    self.over(&now, command).await;
                    return;
                }
                Standing::Over(host) => (host, None),
                Standing::Open(host, news) => (host, Some(news)),
            };
            loop {
                // Whether it was over is looked at before the file is read: what comes later wakes us again.
                let over = match &mut news {
                    None => true,
                    Some(None) => false,
                    Some(Some(news)) => news.borrow_and_update().over,
                };
                if !self.send_to_end(&now, command, &host, &mut offset).await {
                    return;
                }
                if over {
                    self.over(&now, command).await;
                    return;
                }
                let told = match &mut news {
                    Some(Some(news)) => news.changed().await.is_ok(),
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
            None => match self.store.command(command).await {
                Ok(stored) => stored.map(|stored| (stored.host, stored.state)),
                Err(error) => {
                    tracing::warn!(%command, %error, "command can't be looked up");
                    None
                }
            },
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

    /// `false`: the tab is gone, or the file can't be read.
    async fn send_to_end(&self, now: &Snapshot, command: CommandId, host: &HostId, offset: &mut u64) -> bool {
        loop {
            // A place first: what waits in memory for a tab that does not read is what the socket's task holds, however
            // many logs it follows.
            let Ok(place) = self.lines.reserve().await else { return false };
            let Ok(turn) = self.turns.acquire().await else { return false };
            let (path, from) = (log::log_path(&self.data_dir, host, command), *offset);
            match tokio::task::spawn_blocking(move || log::read(&path, from, CHUNK)).await {
                Ok(Ok(read)) if read.next > from => {
                    drop(turn);
                    *offset = read.next;
                    place.send(frame(now, command, read.lines, false));
                }
                Ok(Ok(_)) => return true,
                Ok(Err(error)) => {
                    tracing::warn!(%command, %error, "log can't be read");
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    /// Tells the end.
    async fn over(&self, now: &Snapshot, command: CommandId) {
        if self.lines.send(frame(now, command, Vec::new(), true)).await.is_err() {
            tracing::trace!(%command, "the tab is gone");
        }
    }
}

fn frame(now: &Snapshot, command_id: CommandId, lines: Vec<LogLine>, over: bool) -> Utf8Bytes {
    let payload = LogFrame { command_id, lines, over };
    sync::frame("log", now.version, now.epoch, &payload)
}
