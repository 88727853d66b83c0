//! `nixfleet`: the daemon and its tools.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nixfleet::cli::output;
use nixfleet::{admin, daemon, demo};

/// Fleet manager for NixOS and macOS machines.
#[derive(Parser)]
#[command(name = "nixfleet", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(daemon::ServeArgs),
    /// Run a whole fleet on this machine, with nothing to configure.
    Demo(demo::DemoArgs),
    /// Make the hash of a password, for `NIXFLEET_PASSWORD_HASH`.
    HashPassword,
    /// Make a token for a host or for the API.
    Token(admin::token::TokenArgs),
    /// Write everything, as it is at this moment, into one file; while the daemon runs too.
    Backup(admin::backup::BackupArgs),
    /// Put a backup in the place of what the data directory has.
    Restore(admin::restore::RestoreArgs),
    /// Read everything that is stored, and say what is damaged or missing.
    Check(admin::check::CheckArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            output::note(&format!("nixfleet: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => daemon::serve(args)?,
        Command::Demo(args) => runtime()?.block_on(demo::run(args))?,
        Command::HashPassword => admin::hash_password::run()?,
        Command::Token(args) => runtime()?.block_on(admin::token::run(args))?,
        Command::Backup(args) => runtime()?.block_on(admin::backup::run(args))?,
        Command::Restore(args) => admin::restore::run(args)?,
        Command::Check(args) => return Ok(admin::check::run(args)),
    }
    Ok(ExitCode::SUCCESS)
}

/// For the tools; the daemon makes its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
