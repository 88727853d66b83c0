//! How a command is stopped: the wish, the signals, and the help that is asked for where a signal of ours has no right.
//!
//! SIGTERM to the process group, three seconds later SIGKILL, again and again as long as somebody of it lives; then
//! everything of this command that left the group. What became another user (`sudo`, a setuid program) is signalled
//! through the configured sudo, what was handed to the service manager is stopped there ([`super::handed_over`]).
//! A stop that reached nobody is no stop: then the program's own end counts.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nixfleet_protocol::CommandId;
use nixfleet_protocol::agent::Signal;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::log::LogFile;
use super::process::End;
use super::remains::{self, Force, Reach};
use crate::config::machine::find;
use crate::journal::entry::Entry;
use crate::record::HostSettings;

/// How long a group may take to end by itself after SIGTERM.
const MERCY: Duration = Duration::from_secs(3);
/// How often SIGKILL is repeated.
const AGAIN: Duration = Duration::from_secs(1);
/// What was killed and does not go hangs in the kernel: nobody can end it, and it is not waited for any longer.
const LINGERS: Duration = Duration::from_secs(10);
/// The longest that a program which helps may take.
const HELP_WITHIN: Duration = Duration::from_secs(10);

/// The wish to stop, as a runner hears of it: by a file in the folder or, where not even an empty file can be made, by
/// a signal.
#[derive(Clone, Debug)]
pub struct Wish {
    entry: Entry,
    heard: Arc<AtomicBool>,
}

impl Wish {
    /// Listens from now on.
    pub fn listening(entry: &Entry) -> io::Result<Self> {
        let heard = Arc::new(AtomicBool::new(false));
        let (mut signals, flag) = (signal(SignalKind::user_defined1())?, Arc::clone(&heard));
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Ok(Self { entry: entry.clone(), heard })
    }

    /// What is wished for, if anything.
    pub fn asked(&self) -> Option<Signal> {
        self.entry.asked_to_stop().or_else(|| self.heard.load(Ordering::Relaxed).then_some(Signal::Term))
    }
}

/// What makes us root for a moment, and where programs are looked for.
#[derive(Clone, Debug)]
pub struct Help {
    root: bool,
    sudo: Vec<String>,
    path: String,
}

impl Help {
    /// As a host is configured.
    pub fn of(host: &HostSettings, environment: &BTreeMap<String, String>) -> Self {
        let path = environment.get("PATH").cloned().unwrap_or_default();
        Self { root: rustix::process::geteuid().is_root(), sudo: host.sudo.clone(), path }
    }

    /// Runs a program as root. An error says why it did not do its work; what it printed is given otherwise.
    pub async fn ask(self, argv: Vec<String>) -> Result<String, String> {
        let vector = if self.root { argv } else { [self.sudo, argv].concat() };
        let Some((program, arguments)) = vector.split_first() else { return Err("there is no program".into()) };
        let found = find(&self.path, program).ok_or_else(|| format!("{program} is not there"))?;
        let run = Command::new(found)
            .args(arguments)
            .env_clear()
            .env("PATH", &self.path)
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        match timeout(HELP_WITHIN, run).await {
            Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().to_owned();
                Err(if said.is_empty() { format!("{program} ended with {}", output.status) } else { said })
            }
            Ok(Err(error)) => Err(format!("{program} can't be started: {error}")),
            Err(_) => Err(format!("{program} does not come back")),
        }
    }

    const fn is_needed(&self) -> bool {
        !self.root
    }

    const fn is_there(&self) -> bool {
        !self.sudo.is_empty()
    }
}

/// A stop that is under way.
#[derive(Debug)]
pub struct Stopping {
    group: i32,
    id: CommandId,
    why: End,
    help: Help,
    force: Force,
    kill_at: Instant,
    signal_at: Instant,
    killed_at: Option<Instant>,
    /// A signal reached somebody of the command.
    reached: bool,
    helping: Option<JoinHandle<Result<String, String>>>,
    said: Option<String>,
}

impl Stopping {
    /// Begins to stop a group of this command.
    pub fn begin(group: i32, id: CommandId, why: End, help: Help) -> Self {
        let now = Instant::now();
        Self {
            group,
            id,
            why,
            help,
            force: Force::Ask,
            kill_at: now + MERCY,
            signal_at: now,
            killed_at: None,
            reached: false,
            helping: None,
            said: None,
        }
    }

    /// No mercy: a person said so.
    pub fn at_once(&mut self) {
        self.kill_at = self.kill_at.min(Instant::now());
    }

    /// Why it is stopped, unless it ended before anybody was reached.
    pub fn end(&self) -> Option<End> {
        self.reached.then_some(self.why)
    }

    /// Does what it is time for. `leader_ended`: the program itself was waited for; true when all is over then.
    pub async fn go_on(&mut self, leader_ended: bool, log: &mut LogFile) -> bool {
        let now = Instant::now();
        if now >= self.kill_at && self.force == Force::Ask {
            (self.force, self.signal_at) = (Force::Kill, now);
        }
        self.hear_of_help(log).await;
        if leader_ended {
            remains::reap(self.group);
        }
        let rest = if self.help.is_needed() { remains::beyond(self.group) } else { remains::Beyond::default() };
        let lives = remains::group_lives(self.group);
        if leader_ended && !lives && self.force == Force::Ask {
            // Nobody is left to be asked; who left the group is killed.
            (self.force, self.signal_at) = (Force::Kill, now);
        }
        // A helper is our child, and must not be taken for one of the command.
        if now >= self.signal_at && self.helping.is_none() {
            self.signal_at = if self.force == Force::Ask { self.kill_at } else { now + AGAIN };
            self.signal(lives, leader_ended);
            if !rest.is_empty() {
                self.ask_for_help(&rest, log);
            }
            if self.force == Force::Kill {
                self.killed_at.get_or_insert(now);
            }
        }
        let killed_for = self.killed_at.map(|at| at.elapsed());
        if !leader_ended || self.helping.is_some() {
            return false;
        }
        let Some(killed_for) = killed_for else { return false };
        // Of another user, in the group: as long as it lives, the command does.
        let waits = lives && rest.in_group;
        !waits && (!lives && rest.is_empty() || killed_for > LINGERS)
    }

    fn signal(&mut self, lives: bool, leader_ended: bool) {
        if (lives || !leader_ended) && remains::signal_group(self.group, self.force) == Reach::Somebody {
            self.reached = true;
        }
        // The program itself is waited for by another room: only then the rest of the family may be.
        if self.force == Force::Kill && leader_ended {
            remains::kill_all(self.id, None);
            remains::kill_family();
        }
    }

    fn ask_for_help(&mut self, rest: &remains::Beyond, log: &mut LogFile) {
        if !self.help.is_there() {
            return self.say("what runs as another user can't be stopped: no sudo is configured".into(), log);
        }
        let mut argv = ["kill", "-s", self.force.name(), "--"].map(str::to_owned).to_vec();
        argv.extend(rest.in_group.then(|| format!("-{}", self.group)));
        argv.extend(rest.others.iter().map(ToString::to_string));
        self.helping = Some(tokio::spawn(self.help.clone().ask(argv)));
    }

    async fn hear_of_help(&mut self, log: &mut LogFile) {
        let Some(helping) = self.helping.take_if(|helping| helping.is_finished()) else { return };
        match helping.await {
            Ok(Ok(_)) => self.reached = true,
            Ok(Err(why)) => self.say(format!("what runs as another user can't be stopped: {why}"), log),
            Err(error) => self.say(format!("what runs as another user can't be stopped: {error}"), log),
        }
    }

    /// Once: it is tried every second.
    fn say(&mut self, what: String, log: &mut LogFile) {
        if self.said.as_ref() != Some(&what) {
            log.note(&what);
            self.said = Some(what);
        }
    }
}
