//! The first clone of our own checkout: made by a runner after the agent has connected, in the background.
//!
//! It works in `<state dir>/clone`, like a command that nobody ordered. A failure is shown in the dashboard in
//! git's own words and tried again, each time later; a `pull` that works ends the trouble.

use std::fs;
use std::time::Duration;

use nixfleet_protocol::agent::Signal;
use nixfleet_protocol::{CommandId, InstanceId, Op, Time};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::durable;
use crate::facts::git;
use crate::journal::entry::{Entry, ORDER, STARTED, Standing};
use crate::launch::{self, Launched, Launcher};
use crate::record::{HostSettings, Order};

/// The pause before the second try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// A clone that takes longer than this hangs: it is stopped, and tried again.
const LONGEST: Duration = Duration::from_mins(30);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// The first clone, if one is needed.
#[derive(Debug)]
pub struct FirstClone {
    host: HostSettings,
    launcher: Launcher,
    running: Option<Entry>,
    since: Option<Instant>,
    launched: Option<Launched>,
    /// A command took its place.
    aside: bool,
    again_at: Option<Instant>,
    failures: u32,
    error: String,
}

impl FirstClone {
    /// Of this host.
    pub const fn new(host: HostSettings, launcher: Launcher) -> Self {
        Self {
            host,
            launcher,
            running: None,
            since: None,
            launched: None,
            aside: false,
            again_at: None,
            failures: 0,
            error: String::new(),
        }
    }

    /// What is wrong with the checkout, in git's words; empty when all is well.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// Whether a runner is at it.
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Makes room: a command was ordered that brings the checkout by itself.
    pub fn stand_aside(&mut self) {
        if self.running.is_some() && !self.aside {
            self.aside = true;
            self.stop();
        }
    }

    fn stop(&self) {
        if let Some(entry) = &self.running
            && let Err(error) = entry.ask_to_stop(Signal::Term)
        {
            warn!(%error, "the clone can't be stopped");
        }
    }

    /// Starts it when there is nothing checked out yet.
    pub fn begin(&mut self) {
        if self.running.is_some() {
            return;
        }
        if git::head(&self.host.checkout).is_some() {
            self.error.clear();
            return;
        }
        if self.host.repo_url.is_none() {
            self.error = format!("{} is no git checkout with a commit", self.host.checkout.display());
            return;
        }
        if let Err(error) = self.start() {
            self.failed(format!("the clone can't be started: {error}"));
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        let dir = self.host.state_dir.join("clone");
        // A runner of the process before us may still be at it.
        if durable::is_locked(&dir.join(STARTED))? {
            if let Ok(Some(order)) = durable::read_json::<Order>(&dir.join(ORDER)) {
                self.running = Some(Entry::at(dir, order.id));
                self.since = Some(Instant::now());
                self.aside = false;
            }
            return Ok(());
        }
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        durable::private_dir(&dir)?;
        let id = CommandId::from_uuid(Uuid::now_v7());
        let order = Order {
            id,
            word: "pull".into(),
            ops: vec![Op::Pull],
            args: None,
            legacy: false,
            instance: InstanceId::from_uuid(Uuid::nil()),
            boot: None,
            accepted_at: Time::now(),
            agent: None,
            started_as: String::new(),
            host: self.host.clone(),
        };
        durable::write_json(&dir.join(ORDER), &order)?;
        let entry = Entry::at(dir, id);
        info!(checkout = %self.host.checkout.display(), "cloning");
        self.launched = Some(self.launcher.launch(&entry, false)?);
        self.running = Some(entry);
        self.since = Some(Instant::now());
        self.aside = false;
        Ok(())
    }

    fn failed(&mut self, error: String) {
        warn!(error, "the repository can't be cloned");
        self.error = error;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.again_at = Some(Instant::now() + pause);
    }

    /// Looks how it is going; begins again when it is time. True when something changed that people should see.
    pub fn look(&mut self) -> bool {
        let failed = self.launched.as_mut().and_then(Launched::failed);
        let Some(entry) = &self.running else {
            if !self.error.is_empty() && git::head(&self.host.checkout).is_some() {
                self.error.clear();
                return true;
            }
            if self.again_at.is_some_and(|at| Instant::now() >= at) {
                self.again_at = None;
                self.begin();
            }
            return false;
        };
        match entry.outcome() {
            Ok(Some(outcome)) if outcome.exit_code == 0 => {
                info!("cloned");
                (self.running, self.failures) = (None, 0);
                self.error.clear();
                true
            }
            Ok(Some(_)) if self.aside => {
                self.running = None;
                self.again_at = Some(Instant::now() + FIRST_PAUSE);
                false
            }
            Ok(Some(outcome)) => {
                self.running = None;
                self.failed(outcome.message);
                true
            }
            Ok(None) => {
                if self.since.is_some_and(|since| since.elapsed() > LONGEST) {
                    self.since = None;
                    self.stop();
                }
                let why = match entry.standing() {
                    Ok(Standing::Abandoned) => "the clone was interrupted".to_owned(),
                    Ok(Standing::Startable) if failed.is_some() => {
                        let said = launch::last_words(entry).unwrap_or_default();
                        format!("the clone was not begun: {said}")
                    }
                    Ok(Standing::Startable | Standing::Running | Standing::Ended) | Err(_) => return false,
                };
                self.running = None;
                self.failed(why);
                true
            }
            Err(error) => {
                let error = format!("the clone's result can't be read: {error}");
                self.running = None;
                self.failed(error);
                true
            }
        }
    }
}
