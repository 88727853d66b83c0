//! The demo's processes: kept running as a service manager would keep them, and all of them gone at the end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::output::note;

/// How long after a death a process is started again.
const AGAIN: Duration = Duration::from_secs(3);
/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// An agent that ends so wants to be started again at once: its binary was replaced.
const RESTARTING: i32 = 101;

/// A program of the demo.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) log: PathBuf,
}

/// What passes from our own environment: nothing that configures the product.
const INHERITED: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "SHELL", "TZ"];

impl Program {
    fn start(&self) -> std::io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log).map_err(|error| {
            std::io::Error::other(format!("its log {} can't be opened: {error}", self.log.display()))
        })?;
        Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Of its own, so that Ctrl-C reaches the demo alone, and the demo ends them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// All that run.
pub(super) struct Processes {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Processes {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), stop: watch::Sender::new(false), pids: Arc::default() }
    }

    /// Starts a program and keeps it running.
    pub(super) fn keep(&mut self, program: Program) {
        self.tasks.spawn(keep(program, self.stop.subscribe(), Arc::clone(&self.pids)));
    }

    /// The process of a program, as long as it runs.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.pids.lock().ok()?.get(name).copied()
    }

    /// Ends them all.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn keep(program: Program, mut stop: watch::Receiver<bool>, pids: Arc<Mutex<BTreeMap<String, u32>>>) {
    let seat = |pid: Option<u32>| {
        if let Ok(mut pids) = pids.lock() {
            match pid {
                Some(pid) => drop(pids.insert(program.name.clone(), pid)),
                None => drop(pids.remove(&program.name)),
            }
        }
    };
    while !*stop.borrow_and_update() {
        let pause = match program.start() {
            Ok(mut child) => {
                seat(child.id());
                let ended = tokio::select! {
                    ended = child.wait() => Some(ended),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                seat(None);
                match ended {
                    None => return end(child).await,
                    Some(Ok(status)) if status.code() == Some(RESTARTING) => Duration::ZERO,
                    Some(Ok(status)) => {
                        note(&format!("{} {}; it is started again in 3 s", program.name, how(status)));
                        AGAIN
                    }
                    Some(Err(error)) => {
                        note(&format!("{} was lost: {error}", program.name));
                        AGAIN
                    }
                }
            }
            Err(error) => {
                note(&format!("{} ({}) can't be started: {error}", program.name, program.path.display()));
                AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "was killed".to_owned(),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        (Some(code), None) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Asks a process to end; after a while it is not asked.
async fn end(mut child: Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return };
    if kill_process(pid, Signal::TERM).is_ok() && tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        tracing::debug!(?pid, "did not end when asked to");
    }
    // What it left in its group goes with it; mostly there is nothing.
    if kill_process_group(pid, Signal::KILL).is_ok() {
        drop(child.wait().await);
    }
}
