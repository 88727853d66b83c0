//! A command's log: as lines of JSON or as plain text, from an offset on, and as long as the command runs. The
//! reader sets the pace: the file is read when the socket has taken what was read before.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::HeaderName;
use hyper::{StatusCode, header};
use nixfleet_protocol::api::{Command, LogLine};
use nixfleet_protocol::{CommandId, HostId};
use tokio::sync::mpsc;

use super::super::answer::{Answer, Content};
use super::super::problem::Refused;
use super::super::{App, Asked};
use super::commands;
use crate::actors::handles::Handles;
use crate::actors::host::log;

/// How much is read at a time.
const PIECE: usize = 64 * 1024;
/// How long to wait for a host's actor that is being restarted.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

struct Reader {
    handles: Handles,
    host: HostId,
    command: CommandId,
    path: PathBuf,
    offset: u64,
    raw: bool,
    out: mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>,
}

/// `GET /api/v1/commands/{id}/log?from=&follow=1&raw=1`.
pub(in crate::web) async fn log(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let id: CommandId = asked.matched.id("id")?;
    let from = asked.query.read::<u64>("from")?.unwrap_or(0);
    let (follow, raw) = (asked.query.is_on("follow"), asked.query.is_on("raw"));
    let command = commands::find(app, id).await?;
    let mut answer = Answer::empty(StatusCode::OK);
    answer.set(header::CONTENT_TYPE, if raw { "text/plain; charset=utf-8" } else { "application/x-ndjson" });
    if raw {
        answer.set_text(header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", file_name(&command)));
    }
    // Proxies must not hold lines back.
    answer.set(HeaderName::from_static("x-accel-buffering"), "no");
    let Some(host) = command.host.clone() else { return Ok(answer) };
    let (out, pieces) = mpsc::channel(2);
    let reader = Reader {
        handles: app.handles.clone(),
        path: log::log_path(&app.data_dir, &host, id),
        host,
        command: id,
        offset: from,
        raw,
        out,
    };
    if asked.method != hyper::Method::HEAD {
        tokio::spawn(reader.run(follow));
    }
    let stream = futures_util::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    answer.content = Content::Stream(StreamBody::new(stream).boxed_unsync());
    Ok(answer)
}

/// What a downloaded log is called: `switch-hsb0-2026-11-21.log`. All of it is of letters, digits and hyphens.
fn file_name(command: &Command) -> String {
    let host = command.host.as_ref().map(|host| format!("-{host}")).unwrap_or_default();
    let day = command.created_at.to_string();
    format!("{}{host}-{}.log", command.op, day.get(..10).unwrap_or_default())
}

impl Reader {
    async fn run(mut self, follow: bool) {
        if !follow {
            self.send_to_end().await;
            return;
        }
        loop {
            let asked = self.handles.hosts.follow_log(self.host.clone(), self.command).await;
            let Ok(Some(mut news)) = asked else {
                // Over, or its actor is being restarted: the record knows.
                if self.is_over().await {
                    self.send_to_end().await;
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_AGAIN) => continue,
                    () = self.out.closed() => return,
                }
            };
            loop {
                let over = news.borrow_and_update().over;
                if !self.send_to_end().await || over {
                    return;
                }
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { break },
                    () = self.out.closed() => return,
                }
            }
        }
    }

    async fn is_over(&self) -> bool {
        if let Ok(snapshot) = self.handles.sync.snapshot().await
            && let Some(command) = snapshot.state.commands.get(&self.command)
        {
            return command.state.is_final();
        }
        match self.handles.store.command(self.command).await {
            Ok(found) => found.is_none_or(|command| command.state.is_final()),
            Err(_) => false,
        }
    }

    /// Sends what the file has. `false`: the reader is gone, or the file can't be read.
    async fn send_to_end(&mut self) -> bool {
        loop {
            let (path, from) = (self.path.clone(), self.offset);
            let read = tokio::task::spawn_blocking(move || log::read(&path, from, PIECE)).await;
            let lines = match read {
                Ok(Ok(lines)) => lines,
                Ok(Err(error)) => return self.broken(error).await,
                Err(error) => return self.broken(std::io::Error::other(error)).await,
            };
            if lines.lines.is_empty() {
                return true;
            }
            self.offset = lines.next;
            let piece = if self.raw { plain(&lines.lines) } else { ndjson(&lines.lines) };
            if self.out.send(Ok(Frame::data(piece.into()))).await.is_err() {
                return false;
            }
        }
    }

    /// The reader must see that this is not the end: the connection breaks.
    async fn broken(&self, error: std::io::Error) -> bool {
        tracing::warn!(command = %self.command, %error, "log can't be read");
        if self.out.send(Err(error)).await.is_err() {
            tracing::debug!("and nobody reads it");
        }
        false
    }
}

fn ndjson(lines: &[LogLine]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.len() * 128);
    for line in lines {
        // Writing to memory can't fail, and a line has only fields that JSON knows.
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
        }
    }
    text
}

fn plain(lines: &[LogLine]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.len() * 80);
    for line in lines {
        text.extend_from_slice(line.line.as_bytes());
        if !line.partial {
            text.push(b'\n');
        }
    }
    text
}
