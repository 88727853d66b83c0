//! `nixfleet restore FILE`: puts a backup in the place of what the data directory has. Only while no daemon runs.

use std::path::PathBuf;

use clap::Args;

use super::progress::Progress;
use super::{AdminError, DataDir};
use crate::actors::store::restore::{self, Restored};
use crate::cli::output;

/// `nixfleet restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// Take the place of a store that is there. It is kept, in a folder beside it.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: DataDir,
}

/// Runs it.
pub fn run(args: RestoreArgs) -> Result<(), AdminError> {
    let RestoreArgs { file, force, place } = args;
    let dir = place.find()?;
    let mut progress = Progress::new("read");
    let restored = restore::restore(&dir, &file, force, |bytes| progress.at(bytes));
    progress.end();
    let Restored { head, totals, kept } = restored.map_err(|error| AdminError::Refused(error.to_string()))?;
    output::note(&format!(
        "{} is as it was at {}: {} records and {} logs",
        dir.display(),
        head.made_at,
        totals.records,
        totals.logs
    ));
    for missing in &totals.missing {
        output::note(&format!("was not in the backup: {missing}"));
    }
    if let Some(kept) = kept {
        output::note(&format!("What was there before is in {}; remove it when you don't need it.", kept.display()));
    }
    output::note("Everyone has to log in again. Tokens are those of the backup: revoke what was revoked since.");
    Ok(())
}
