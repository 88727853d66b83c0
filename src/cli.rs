//! `fleet`, the operator's command line: a client of the dashboard's API. One file for each subcommand.
//!
//! Exit codes: 0 done, 1 a host failed, 2 usage, 3 cannot reach or log in, 4 blocked.

pub mod client;
pub mod output;
mod selection;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::client::{Client, ClientError};
use self::selection::NoSuchHost;

/// Run a fleet of NixOS and macOS machines from the command line.
#[derive(Debug, Parser)]
#[command(name = "fleet", version, propagate_version = true)]
struct Fleet {
    #[command(flatten)]
    dashboard: Dashboard,
    #[command(subcommand)]
    command: Command,
}

/// Where the dashboard is, and who we are.
#[derive(Clone, Args)]
struct Dashboard {
    /// Address of the dashboard.
    #[arg(long, env = "FLEET_URL", global = true, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// API token; `FLEET_TOKEN` is safer, arguments are seen by everyone on the machine.
    #[arg(long, env = "FLEET_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// File with the API token.
    #[arg(long, env = "FLEET_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One line a host: lights, commit, last seen, running command.
    Status(status::StatusArgs),
}

/// Why a subcommand did not do what it should.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    NoSuchHost(#[from] NoSuchHost),
    #[error("the token file {} can't be read: {source}", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Client(ClientError::BadUrl(_)) | Self::NoSuchHost(_) | Self::TokenFile { .. } => 2,
            Self::Client(ClientError::Problem(problem)) if problem.status == 409 => 4,
            // Too many requests: nothing is wrong with this one, and it may be sent again later.
            Self::Client(ClientError::Problem(problem)) if problem.status == 429 => 3,
            Self::Client(ClientError::Problem(problem)) if problem.status < 500 => 2,
            Self::Client(_) => 3,
        }
    }
}

impl Dashboard {
    fn client(&self) -> Result<Client, Failure> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(
                std::fs::read_to_string(path).map_err(|source| Failure::TokenFile { path: path.clone(), source })?,
            ),
            (None, None) => None,
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let client = Client::new(&self.url, token)?;
        if client.is_exposed() {
            output::note(&format!("fleet: the token goes to {} unencrypted; use https", client.url()));
        }
        Ok(client)
    }
}

/// The whole program. Usage errors exit with 2 by clap itself.
pub fn main() -> ExitCode {
    let fleet = Fleet::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("fleet: can't start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&fleet)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&format!("fleet: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

async fn run(fleet: &Fleet) -> Result<(), Failure> {
    let client = fleet.dashboard.client()?;
    match &fleet.command {
        Command::Status(args) => status::run(&client, args, fleet.dashboard.json).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn what_a_script_does_next_is_told_by_the_exit_code() {
        for (status, code) in [(400, 2), (404, 2), (409, 4), (429, 3), (500, 3), (503, 3)] {
            let problem = serde_json::from_value(serde_json::json!({
                "type": "about:blank", "title": "", "status": status, "detail": "",
            }));
            let failure = super::Failure::Client(super::ClientError::Problem(problem.unwrap()));
            assert_eq!(failure.code(), code, "{status}");
        }
    }

    #[test]
    fn the_arguments_make_sense() {
        super::Fleet::command().debug_assert();
    }
}
