//! `nixfleet check`: reads everything that is stored, and says what is not as it was written. Asks the daemon that
//! runs; where none does, it opens the store itself. Changes nothing.
//!
//! Ends with 0: all is whole; 1: something is damaged or missing; 2: it could not be looked at.

use std::process::ExitCode;

use clap::Args;

use super::control::{self, Reply, Request};
use super::{AdminError, DataDir};
use crate::actors::store::check::{self, Report};
use crate::cli::output;

/// `nixfleet check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The whole report, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: DataDir,
}

/// Runs it.
pub fn run(args: CheckArgs) -> ExitCode {
    let json = args.json;
    match look(args.place) {
        Ok(report) => {
            if json {
                output::json(&report);
            } else {
                show(&report);
            }
            ExitCode::from(u8::from(!report.whole))
        }
        Err(error) => {
            output::note(&format!("nixfleet: {error}"));
            ExitCode::from(2)
        }
    }
}

fn look(place: DataDir) -> Result<Report, AdminError> {
    let dir = place.find()?;
    match control::ask(&dir, &Request::Check)? {
        Some(Reply::Checked(report)) => Ok(*report),
        Some(Reply::Refused(why)) => Err(AdminError::Refused(why)),
        Some(Reply::Made { .. } | Reply::Tokens(_) | Reply::Done | Reply::Stream) => {
            Err(AdminError::Refused("the daemon's answer makes no sense".to_owned()))
        }
        None => check::stopped(&dir).map_err(AdminError::Refused),
    }
}

fn show(report: &Report) {
    let Report { whole, problems, notes, records, logs, disk } = report;
    for (name, count) in records {
        output::line(&format!("{count:>10}  {name}"));
    }
    output::line(&format!("{:>10}  logs, {} of them compressed", logs.plain + logs.compressed, logs.compressed));
    let size = output::size;
    output::line(&format!(
        "{:>10}  store ({} of it live), {} logs, {} free",
        size(disk.store),
        size(disk.live),
        size(disk.logs),
        size(disk.free)
    ));
    for note in notes {
        output::line(&format!("note: {note}"));
    }
    for problem in problems {
        output::line(&format!("PROBLEM: {problem}"));
    }
    output::line(if *whole {
        "All is as it was written."
    } else {
        "What is lost comes back from a backup only: stop the daemon, then `nixfleet restore FILE --force`."
    });
}
