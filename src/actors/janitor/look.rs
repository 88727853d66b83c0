//! One look: what is old goes, plain logs are compressed, the store is compacted where it is worth it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nixfleet_model::event::NewEvent;
use nixfleet_model::retention::{Sieve, Sketch, is_worth_compacting};
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{CommandId, EventId, HostId};
use serde::Serialize;

use super::Args;
use crate::actors::host::log::{damaged_path, log_path, sealed::sealed_path};
use crate::actors::host::tail::{Seal, seal};
use crate::actors::store::check::{disk_use, logs_in};
use crate::actors::store::{Batch, Compacted, StoreError, Write};

/// Records of a page, and removals of a commit: some milliseconds of the writer's time, so that others do not wait.
const PAGE: usize = 200;
/// Runs of a commit: each may have a record for every host of the fleet.
const RUNS: usize = 5;
/// A log that no command names may be one whose command is just being adopted.
const ORPHANED: Duration = Duration::from_hours(24);

/// What a look did, and found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Done {
    /// Commands that were removed.
    pub commands: u64,
    /// Runs that were removed.
    pub runs: u64,
    /// Events that were removed.
    pub events: u64,
    /// Logs that were removed, with their commands or because none names them.
    pub logs: u64,
    /// Logs that were compressed.
    pub sealed: u64,
    /// Bytes on the disk that logs gave back.
    pub freed: u64,
    /// Bytes on the disk that the logs take now.
    pub logs_size: u64,
    /// Bytes on the disk that the store takes now.
    pub store_size: u64,
    /// Bytes that may still be written.
    pub free: u64,
    /// What is missing and was not removed by anyone, in one sentence each.
    pub missing: Vec<String>,
    /// What a compaction gave.
    #[serde(skip)]
    pub compacted: Option<Compacted>,
}

/// Why a look ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum CantLook {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("logs: {0}")]
    Logs(#[from] io::Error),
}

pub(super) async fn look(args: Args, after_last: Option<u64>) -> Result<Done, CantLook> {
    let mut done = Done::default();
    let over = commands(&args, &mut done).await?;
    runs(&args, &mut done).await?;
    events(&args, &mut done).await?;
    logs(&args, over, &mut done).await?;
    compact(&args, after_last, &mut done).await?;
    tell(&args, &done).await?;
    Ok(done)
}

/// Removes old commands, newest page first. Gives those with a log that may be compressed.
async fn commands(args: &Args, done: &mut Done) -> Result<BTreeSet<CommandId>, CantLook> {
    let hosts = args.store.load().await?.hosts;
    let mut sieve = Sieve::new(args.clock.now(), args.retention, &hosts);
    drop(hosts);
    let (mut before, mut over) = (None, BTreeSet::new());
    loop {
        let page = args.store.standings(before, PAGE).await?;
        let (old, stays): (Vec<_>, Vec<_>) = page.commands.into_iter().partition(|command| sieve.goes(command));
        over.extend(stays.into_iter().filter(|it| it.state.is_final() && it.log_bytes > 0).map(|it| it.id));
        if !old.is_empty() {
            done.commands += old.len() as u64;
            let writes = old.iter().cloned().map(Write::RemoveCommand).collect();
            // The record first: a log without a command is found later, a command without its log would be a lie.
            args.store.commit(Batch { writes, ..Batch::default() }).await?;
            remove_logs(args, old, done).await?;
        }
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(over),
        }
    }
}

/// Removes old runs, some at a time.
async fn runs(args: &Args, done: &mut Done) -> Result<(), CantLook> {
    loop {
        let old = args.store.old_runs(args.clock.now(), args.retention, RUNS).await?;
        if old.is_empty() {
            return Ok(());
        }
        done.runs += old.len() as u64;
        let writes = old.into_iter().map(Write::RemoveRun).collect();
        args.store.commit(Batch { writes, ..Batch::default() }).await?;
    }
}

async fn remove_logs(args: &Args, old: Vec<Sketch>, done: &mut Done) -> Result<(), CantLook> {
    let data_dir = args.data_dir.clone();
    let (logs, freed) = blocking(move || {
        let (mut logs, mut freed) = (0, 0);
        for command in old {
            if let Some(host) = &command.host {
                let gone = remove_log(&log_path(&data_dir, host, command.id))?;
                logs += u64::from(gone.is_some());
                freed += gone.unwrap_or_default();
            }
        }
        Ok((logs, freed))
    })
    .await?;
    done.logs += logs;
    done.freed += freed;
    Ok(())
}

/// Removes a log in every form that it has. Gives the room that it took; none: there was none.
fn remove_log(plain: &Path) -> io::Result<Option<u64>> {
    let mut freed = None;
    let sealed = sealed_path(plain);
    for path in [damaged_path(plain), damaged_path(&sealed), plain.to_owned(), sealed] {
        let size = disk_use(&path);
        match std::fs::remove_file(&path) {
            Ok(()) => freed = Some(freed.unwrap_or_default() + size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(freed)
}

/// Removes old events, and counts those that there were when it began.
async fn events(args: &Args, done: &mut Done) -> Result<(), CantLook> {
    let (now, known) = (args.clock.now(), args.store.measure().await?);
    let (mut from, mut seen) = (EventId(0), 0);
    loop {
        let page = args.store.old_events(from..=known.last_event, now, args.retention, PAGE).await?;
        seen += page.seen;
        if !page.old.is_empty() {
            done.events += page.old.len() as u64;
            let writes = page.old.into_iter().map(Write::RemoveEvent).collect();
            args.store.commit(Batch { writes, ..Batch::default() }).await?;
        }
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    if seen != known.events {
        let said = known.events;
        let what = format!("the store should have {said} events and has {seen}: restore a backup if they matter");
        tracing::error!(what, "the store is not whole");
        done.missing.push(what);
    }
    Ok(())
}

/// Removes logs that no command names and folders of hosts that are gone; compresses what is plain and over.
async fn logs(args: &Args, over: BTreeSet<CommandId>, done: &mut Done) -> Result<(), CantLook> {
    let data_dir = args.data_dir.clone();
    let all = blocking(move || Ok(logs_in(&data_dir))).await?;
    for page in all.chunks(PAGE) {
        let known = args.store.known(page.iter().map(|(_, command, _)| *command).collect()).await?;
        let (named, orphaned): (Vec<_>, Vec<_>) =
            page.iter().cloned().partition(|(_, command, _)| known.contains(command));
        let (logs, freed) = blocking(move || remove_orphans(&orphaned)).await?;
        done.logs += logs;
        done.freed += freed;
        let (data_dir, over) =
            (args.data_dir.clone(), named.into_iter().filter(|it| over.contains(&it.1)).collect::<Vec<_>>());
        let (sealed, freed) = blocking(move || Ok(seal_all(&data_dir, &over))).await?;
        done.sealed += sealed;
        done.freed += freed;
    }
    let data_dir = args.data_dir.clone();
    (done.logs_size, done.free) = blocking(move || {
        remove_empty(&data_dir);
        let logs = logs_in(&data_dir);
        let size = logs.iter().map(|(_, _, path)| disk_use(path) + disk_use(&sealed_path(path))).sum();
        let stat = rustix::fs::statvfs(&data_dir)?;
        Ok((size, stat.f_bavail.saturating_mul(stat.f_frsize)))
    })
    .await?;
    Ok(())
}

type Log = (HostId, CommandId, PathBuf);

fn remove_orphans(orphaned: &[Log]) -> io::Result<(u64, u64)> {
    let (mut logs, mut freed) = (0, 0);
    for (host, command, path) in orphaned {
        let young = [path.clone(), sealed_path(path)].iter().any(|path| {
            let changed = std::fs::metadata(path).and_then(|meta| meta.modified());
            // A file from the future is as good as new.
            changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < ORPHANED))
        });
        if !young && let Some(size) = remove_log(path)? {
            tracing::info!(%host, %command, "log removed: no command names it");
            logs += 1;
            freed += size;
        }
    }
    Ok((logs, freed))
}

fn seal_all(data_dir: &Path, over: &[Log]) -> (u64, u64) {
    let (mut sealed, mut freed) = (0, 0);
    for (host, command, path) in over {
        let before = disk_use(path);
        match seal(data_dir, host, *command) {
            Ok(Seal::Done) => {
                sealed += 1;
                freed += before.saturating_sub(disk_use(&sealed_path(path)));
            }
            Ok(Seal::Nothing | Seal::InUse) => {}
            Err(error) => tracing::warn!(%host, %command, %error, "log can't be compressed"),
        }
    }
    (sealed, freed)
}

/// Folders with nothing in them, and what interrupted attempts left. A folder that is needed again is made again.
fn remove_empty(data_dir: &Path) {
    for folder in std::fs::read_dir(data_dir.join("logs")).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let left = file.file_name().to_str().is_some_and(|name| name.rsplit('.').next() == Some("new"));
            let old = file
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ORPHANED));
            if left
                && old
                && let Err(error) = std::fs::remove_file(file.path())
            {
                tracing::warn!(%error, file = %file.path().display(), "leftover can't be removed");
            }
        }
        match std::fs::remove_dir(folder.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => tracing::debug!(%error, folder = %folder.path().display(), "folder stays"),
        }
    }
}

async fn compact(args: &Args, after_last: Option<u64>, done: &mut Done) -> Result<(), CantLook> {
    let measured = args.store.measure().await?;
    done.store_size = measured.size;
    if !is_worth_compacting(measured.size, measured.live, after_last, args.compact_floor) {
        return Ok(());
    }
    match args.store.compact().await {
        Ok(compacted) => {
            done.store_size = compacted.after;
            done.compacted = Some(compacted);
        }
        Err(error) => tracing::warn!(%error, size = measured.size, live = measured.live, "not compacted"),
    }
    Ok(())
}

/// One event says what was removed. A look that removed nothing is no news.
async fn tell(args: &Args, done: &Done) -> Result<(), CantLook> {
    let mut said = Vec::new();
    let mut say = |count: u64, one: &str, many: &str| {
        if count > 0 {
            said.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    };
    say(done.commands, "command", "commands");
    say(done.runs, "run", "runs");
    say(done.logs, "log", "logs");
    say(done.events, "event", "events");
    let removed = said.join(", ");
    let compacted = done.compacted.map(|Compacted { before, after, .. }| {
        format!("the store was compacted from {} to {} MiB", before >> 20, after >> 20)
    });
    let removed = (!removed.is_empty()).then(|| format!("removed what is past its time: {removed}"));
    let sentences: Vec<_> = removed.into_iter().chain(compacted).collect();
    if sentences.is_empty() {
        return Ok(());
    }
    let mut event =
        NewEvent::new(args.clock.now(), Category::System, Level::Info, "system", "retention", sentences.join("; "));
    event.details = serde_json::to_string(done).ok();
    args.store.commit(Batch { events: vec![event], ..Batch::default() }).await?;
    Ok(())
}

/// Off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
