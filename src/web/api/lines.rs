//! A log by its lines: a window of it, the lines that have a text, the line where a failure begins. Files are read on
//! the threads for that, a few at a time, so that a search in a long log slows nobody.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_protocol::CommandId;
use nixfleet_protocol::api::{LogFound, LogWindow};
use serde::Serialize;

use super::super::answer::Answer;
use super::super::pages::log_rows;
use super::super::problem::Refused;
use super::super::{App, Asked};
use super::commands;
use crate::actors::host::log::index::Indexes;
use crate::actors::host::log::{log_path, search};

/// The most lines of one window.
const MOST: u64 = 1_000;
/// Lines of a window where nothing is said.
const SOME: u64 = 400;
/// The longest text that is looked for, in bytes.
const LONGEST: usize = 1_000;

/// `GET /api/v1/commands/{id}/log/lines?line=&count=`, without `line` the last ones; with `view=html` as the page has them.
pub(in crate::web) async fn lines(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let line = asked.query.read::<u64>("line")?;
    let count = asked.query.read::<u64>("count")?.unwrap_or(SOME).min(MOST);
    let html = asked.query.get("view") == Some("html");
    let command: CommandId = asked.matched.id("id")?;
    let nothing = LogWindow { line: 1, count: 0, next: 0, lines: Vec::new(), html: html.then(String::new) };
    let window = move |indexes: &Indexes, path: &Path| {
        let (mut window, pen) = indexes.window(path, line, count)?;
        if html {
            window.html = Some(log_rows(command, window.line, &std::mem::take(&mut window.lines), pen));
        }
        Ok(window)
    };
    read(app, asked, nothing, window).await
}

/// `GET /api/v1/commands/{id}/log/search?text=&from=`: in the lines from `from` on.
pub(in crate::web) async fn search(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    let from = asked.query.read::<u64>("from")?.unwrap_or(1);
    let text = asked.query.get("text").unwrap_or_default().to_owned();
    if text.is_empty() || text.len() > LONGEST {
        return Err(Refused::bad(format!("text: what to look for, up to {LONGEST} bytes.")));
    }
    read(app, asked, LogFound::default(), move |indexes, path| search::search(indexes, path, &text, from)).await
}

/// `GET /api/v1/commands/{id}/log/first-error`: the line to look at first.
pub(in crate::web) async fn first_error(app: &App, asked: &Asked) -> Result<Answer, Refused> {
    read(app, asked, LogFound::default(), search::first_error).await
}

async fn read<T, F>(app: &App, asked: &Asked, nothing: T, read: F) -> Result<Answer, Refused>
where
    T: Serialize + Send + 'static,
    F: FnOnce(&Indexes, &Path) -> io::Result<T> + Send + 'static,
{
    let id: CommandId = asked.matched.id("id")?;
    let command = commands::find(app, id).await?;
    let Some(host) = &command.host else { return Answer::ok(&nothing) };
    let path: PathBuf = log_path(&app.data_dir, host, id);
    let indexes = app.indexes.clone();
    let _turn = app.reading.acquire().await.map_err(|_| Refused::unavailable("the dashboard stops"))?;
    match tokio::task::spawn_blocking(move || read(&indexes, &path)).await {
        Ok(Ok(found)) => Answer::ok(&found),
        Ok(Err(error)) => Err(unreadable(id, &error)),
        Err(error) => Err(unreadable(id, &io::Error::other(error))),
    }
}

fn unreadable(command: CommandId, error: &io::Error) -> Refused {
    tracing::warn!(%command, %error, "log can't be read");
    Refused::unavailable("the log can't be read, the dashboard's own log says why")
}
