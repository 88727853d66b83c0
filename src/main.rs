//! `nixfleet`: the daemon and its tools.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nixfleet::cli::output;
use nixfleet::{daemon, demo};

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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => daemon::serve(args).map_err(anyhow::Error::from),
        Command::Demo(args) => run_demo(args),
    };
    outcome.unwrap_or_else(|error| {
        output::note(&format!("nixfleet: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run_demo(args: demo::DemoArgs) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(demo::run(args))?;
    Ok(ExitCode::SUCCESS)
}
