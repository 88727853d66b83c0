//! The agent itself: one task that owns the journal, the facts and the deliveries, and dials until it is told to go.
//!
//! ```text
//! dial ─→ session (one link) ─→ trouble ─→ backoff ─→ dial …
//!            │  commands in, output and results out
//!            └─→ journal ─→ runner (another process) ─→ files ─→ deliveries
//! ```
//!
//! When it dies nothing is lost: commands run on in their runners, and the next process reads the journal.

pub mod commands;
pub mod deliveries;
pub mod first_clone;
pub mod legacy;
pub mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_protocol::{InstanceId, Time};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::config::Config;
use crate::config::machine::find;
use crate::facts::{Facts, Identity, system};
use crate::journal::{Journal, JournalError};
use crate::launch::{self, Launcher};
use crate::link::backoff::{Backoff, SETTLED, Trouble};
use crate::link::dial::Dialler;
use crate::service::{self, Origin};
use commands::Commands;
use first_clone::FirstClone;
use session::SessionEnd;

/// How often old command folders are looked at.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// How long the lock of the state directory is tried, and how often.
const TAKE_OVER: Duration = Duration::from_secs(2);
const TAKE_OVER_RETRY: Duration = Duration::from_millis(50);

/// Journals that nobody has read for so long are stopped: whoever followed them is gone.
const JOURNALS_ALONE: Duration = Duration::from_mins(10);

/// Why the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It was told to.
    Shutdown,
    /// A new process is to take its place.
    Restart,
}

/// The agent can't begin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No state directory.
    #[error("the state directory {0} can't be made")]
    StateDir(PathBuf, #[source] std::io::Error),
    /// Another agent works there.
    #[error("another agent uses the state directory {0}: stop it, or name another NIXFLEET_STATE_DIR")]
    Taken(PathBuf),
    /// The system refuses something that always works.
    #[error("the agent can't be set up")]
    System(#[from] std::io::Error),
}

/// Signals that end the agent.
#[derive(Debug)]
pub struct Ending {
    term: Signal,
    int: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits until one comes.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// Everything that the agent owns.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    identity: Identity,
    facts: Facts,
    commands: Commands,
    first_clone: FirstClone,
    origin: Origin,
    prune_at: Instant,
    /// Held while we live: two agents on one journal would run everything twice.
    _lock: std::fs::File,
}

/// Takes the lock of the state directory. An agent that was killed in the moment in which it started a program leaves
/// the lock with that program's first instant: so it is tried for a while.
fn own(state_dir: &std::path::Path) -> Result<Option<std::fs::File>, AgentError> {
    let until = std::time::Instant::now() + TAKE_OVER;
    loop {
        let lock = crate::durable::try_lock(&state_dir.join("agent.lock"))?;
        if lock.is_some() || std::time::Instant::now() >= until {
            return Ok(lock);
        }
        std::thread::sleep(TAKE_OVER_RETRY);
    }
}

impl Agent {
    /// Reads the journal and settles what happened while no agent was there.
    pub fn new(config: Config) -> Result<Self, AgentError> {
        let state_dir = config.host.state_dir.clone();
        crate::durable::private_dir(&state_dir).map_err(|error| AgentError::StateDir(state_dir.clone(), error))?;
        let lock = own(&state_dir)?.ok_or_else(|| AgentError::Taken(state_dir.clone()))?;
        let journal = Journal::open(&state_dir)?;
        let path = config.host.environment.get("PATH").cloned().unwrap_or_default();
        let launcher = Launcher::here(config.host.sudo.clone(), path, config.host.environment.get("XDG_RUNTIME_DIR"))?;
        let identity = Identity {
            journal: journal.id(),
            instance: InstanceId::from_uuid(Uuid::new_v4()),
            boot: system::boot_id(&config.host.root),
        };
        info!(journal = %identity.journal, instance = %identity.instance, "the journal is open");
        let origin = Origin::of([
            launcher.program.clone(),
            std::env::args_os().next().map(PathBuf::from).unwrap_or_default(),
            config.host.root.join("run/current-system/sw/bin/nixfleet-agent"),
        ]);
        let facts = Facts::new(config.host.clone(), &launcher.program);
        let first_clone = FirstClone::new(config.host.clone(), launcher.clone());
        let commands = Commands::new(journal, launcher, config.host.clone(), &identity, facts.program().clone())?;
        Ok(Self { config, identity, facts, commands, first_clone, origin, prune_at: Instant::now(), _lock: lock })
    }

    /// Lives until it is told to go.
    pub async fn run(mut self) -> Result<Departure, AgentError> {
        let mut ending = Ending::new()?;
        let mut dialler = Dialler::new(self.config.url.clone(), self.config.token.clone(), self.config.ca_file.clone());
        let mut backoff = Backoff::default();
        let mut trouble_since: Option<Instant> = None;
        loop {
            self.prune();
            let attempt = tokio::select! {
                attempt = dialler.dial() => attempt,
                () = ending.asked() => return Ok(Departure::Shutdown),
            };
            let trouble = match attempt {
                Ok(link) => {
                    debug!(dashboard = %self.config.url, "connected");
                    let (end, registered_for) = session::run(&mut self, link, &mut ending).await;
                    if registered_for.is_some_and(|span| span >= SETTLED) {
                        backoff.settle();
                        trouble_since = None;
                    }
                    match end {
                        SessionEnd::Leaving(departure) => return Ok(departure),
                        SessionEnd::MoreToName => {
                            debug!("naming more results");
                            continue;
                        }
                        SessionEnd::Lost(trouble, why) => {
                            warn!(dashboard = %self.config.url, why, "the link is down");
                            trouble
                        }
                    }
                }
                Err(error) => {
                    let trouble = error.trouble();
                    match trouble {
                        Trouble::Unauthorised | Trouble::NotWelcome => error!(%error, "not connected"),
                        Trouble::Refused | Trouble::Restarting | Trouble::Lost => warn!(%error, "not connected"),
                    }
                    trouble
                }
            };
            let since = trouble_since.get_or_insert_with(Instant::now).elapsed();
            if since >= JOURNALS_ALONE {
                self.commands.stop_journals();
            }
            let wait = backoff.after(trouble, since, random());
            debug!(?wait, "dialling again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = ending.asked() => return Ok(Departure::Shutdown),
            }
        }
    }

    fn prune(&mut self) {
        if Instant::now() < self.prune_at {
            return;
        }
        self.prune_at = Instant::now() + PRUNE_EVERY;
        match self.commands.journal_mut().prune(Time::now()) {
            Ok(0) => {}
            Ok(count) => info!(count, "old commands were deleted"),
            Err(error) => warn!(error = %crate::chain(&error), "old commands can't be deleted"),
        }
    }
}

/// A number in `0.0..1.0`, from the system's randomness.
fn random() -> f64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The upper 32 bits of a version 4 UUID are random.
    f64::from(u32::try_from(high >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// Runs an agent to its end; gives the code to exit with.
pub async fn live(config: Config, variables: &BTreeMap<String, String>) -> Result<u8, AgentError> {
    match Agent::new(config)?.run().await? {
        Departure::Shutdown => {
            info!("shutting down; commands that run go on");
            Ok(0)
        }
        Departure::Restart => {
            if service::is_managed(variables, std::process::id(), &service::parent()) {
                info!(code = service::RESTART, "making room for a new agent");
                return Ok(service::RESTART);
            }
            info!("executing the agent anew");
            // By the name that we were started with: there the new binary is.
            let name = std::env::args_os().next().unwrap_or_default();
            let path = variables.get("PATH").map_or("", String::as_str);
            let program = find(path, &name.to_string_lossy()).map_or_else(launch::own_program, Ok)?;
            Err(service::execute_anew(&program).into())
        }
    }
}
