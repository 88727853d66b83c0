//! The daemon's own tools: `nixfleet hash-password`, `token`, `backup`, `restore` and `check`. They speak to the running daemon through
//! `control.sock` in the data directory; when none runs they open the store themselves.

mod alone;
pub mod backup;
pub mod check;
pub mod control;
pub mod hash_password;
mod progress;
pub mod restore;
pub mod token;

use std::io;
use std::path::PathBuf;

/// Why a tool did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Asked(String),
    /// A file, a socket or the terminal.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The password can't be hashed.
    #[error("the password can't be hashed")]
    Hash(#[from] bcrypt::BcryptError),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] crate::config::LoadError),
    /// An actor did not start: mostly the store, because a daemon holds it.
    #[error("{0}")]
    Start(#[from] ractor::SpawnErr),
    /// The daemon, or the store, says no.
    #[error("{0}")]
    Refused(String),
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> AdminError {
    let what = what.into();
    move |source| AdminError::System { what, source }
}

/// Where the daemon keeps everything.
#[derive(Debug, clap::Args)]
pub struct DataDir {
    /// The daemon's data directory [default: as the daemon finds it].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The daemon's configuration file. Also `NIXFLEET_CONFIG`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DataDir {
    /// The directory.
    pub fn find(self) -> Result<PathBuf, AdminError> {
        match self.data_dir {
            Some(dir) => Ok(dir),
            None => Ok(crate::config::data_dir(self.config)?),
        }
    }
}
