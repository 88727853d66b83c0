//! `nixfleet`: the daemon and its tools.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nixfleet::daemon;

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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => daemon::serve(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            nixfleet::say::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
