//! `nixfleet backup FILE`: a copy of everything, of one moment, while the daemon runs or while none does.
//!
//! The daemon sends it through its socket, and this writes it: so it belongs to who asked, and lies where they may
//! write. It is written beside its place, read once to its end, and only then put there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::control::{self, Request};
use super::progress::Progress;
use super::{AdminError, DataDir, alone, system};
use crate::actors::store::restore::verify;
use crate::actors::store::{Totals, backup};
use crate::cli::output;

/// `nixfleet backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where to write it.
    file: PathBuf,
    /// Without the output of commands: a small file, with every record.
    #[arg(long)]
    no_logs: bool,
    /// Overwrite a file that is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: DataDir,
}

/// Runs it.
pub async fn run(args: BackupArgs) -> Result<(), AdminError> {
    let BackupArgs { file, no_logs, force, place } = args;
    let dir = place.find()?;
    occupied(&file, force)?;
    let partial = beside(&file);
    let made = make(&dir, &partial, !no_logs).await;
    let totals = match made.and_then(|totals| put(&partial, &file, force).map(|()| totals)) {
        Ok(totals) => totals,
        Err(error) => {
            if let Err(error) = fs::remove_file(&partial)
                && error.kind() != io::ErrorKind::NotFound
            {
                output::note(&format!("{} is left over: {error}", partial.display()));
            }
            return Err(error);
        }
    };
    for missing in &totals.missing {
        output::note(&format!("not in the backup, and `nixfleet check` says more: {missing}"));
    }
    let Totals { records, logs, bytes, .. } = totals;
    output::note(&format!("{}: {records} records and {logs} logs, {}", file.display(), output::size(bytes)));
    Ok(())
}

fn occupied(file: &Path, force: bool) -> Result<(), AdminError> {
    if file.exists() && !force {
        return Err(AdminError::Asked(format!("{} is there already; --force overwrites it", file.display())));
    }
    Ok(())
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

async fn make(dir: &Path, partial: &Path, logs: bool) -> Result<Totals, AdminError> {
    let shown = partial.display().to_string();
    let out = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(partial)
        .map_err(system(shown.clone()))?;
    let progress = Progress::new("written");
    let mut counted = BufWriter::with_capacity(256 * 1024, progress.over(&out));
    if !control::stream(dir, &Request::Backup { logs }, &mut counted)? {
        let store = alone::open(dir).await?;
        let export = store.handle.export(backup::head(logs)).await;
        let export = export.map_err(|error| AdminError::Refused(error.to_string()));
        let written = export.and_then(|export| backup::write(export, dir, &mut counted).map_err(system(shown.clone())));
        store.close().await;
        written?;
    }
    counted.flush().map_err(system(shown.clone()))?;
    drop(counted);
    out.sync_all().map_err(system(shown))?;
    progress.end();
    let mut progress = Progress::new("verified");
    let verified = verify(partial, |bytes| progress.at(bytes));
    progress.end();
    verified.map(|(_, totals)| totals).map_err(|error| {
        AdminError::Refused(format!("the backup that was made can't be read back: {error}; nothing was kept"))
    })
}

/// Puts it in its place, over what is there only where that was asked for.
fn put(partial: &Path, file: &Path, force: bool) -> Result<(), AdminError> {
    let shown = || file.display().to_string();
    if force {
        fs::rename(partial, file).map_err(system(shown()))?;
    } else {
        match fs::hard_link(partial, file) {
            Ok(()) => fs::remove_file(partial).map_err(system(shown()))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => occupied(file, false)?,
            // A file system without links: there the look before is all there is.
            Err(_) => {
                occupied(file, false)?;
                fs::rename(partial, file).map_err(system(shown()))?;
            }
        }
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(system(shown()))
}
