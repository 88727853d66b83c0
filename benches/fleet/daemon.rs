//! The daemon that is measured: the release binary, a process of its own, with a data directory of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::Bench;
use crate::http::Http;
use crate::measure::mib;

/// The API token.
pub(crate) const ADMIN: &str = "bench-admin-token-0123456789abcdef0123456789abcdef";
/// What all old agents come with.
pub(crate) const SHARED: &str = "bench-shared-token-0123456789abcdef0123456789abcdef";
/// The password.
pub(crate) const PASSWORD: &str = "correct horse";
/// How long a start may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running daemon. Killed when it is dropped.
pub(crate) struct Daemon {
    pub(crate) port: u16,
    process: Child,
    binary: PathBuf,
    dir: PathBuf,
    env: Vec<(&'static str, String)>,
}

/// Resident memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it: its own pages, and those of files (the binary) that it has touched.
    pub(crate) resident: u64,
    /// Its own pages alone.
    pub(crate) anonymous: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Memory {
    /// For people.
    pub(crate) fn text(self) -> String {
        format!("{:.1} MiB ({:.1} anonymous)", mib(self.resident), mib(self.anonymous))
    }
}

impl Daemon {
    /// Starts one over a new data directory, and waits until it is ready.
    pub(crate) async fn start(bench: &Bench, name: &str) -> anyhow::Result<Self> {
        let mut daemon = Self::launch(bench, name)?;
        daemon.ready().await?;
        Ok(daemon)
    }

    /// Starts one over a data directory of this name.
    pub(crate) fn launch(bench: &Bench, name: &str) -> anyhow::Result<Self> {
        let dir = bench.dir.path().join(name);
        fs::create_dir_all(&dir)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let env = vec![
            ("NIXFLEET_LISTEN", format!("127.0.0.1:{port}")),
            ("NIXFLEET_DATA_DIR", dir.join("data").display().to_string()),
            ("NIXFLEET_PASSWORD_HASH", bcrypt::hash(PASSWORD, 4)?),
            ("NIXFLEET_ADMIN_TOKEN", ADMIN.to_owned()),
            ("NIXFLEET_AGENT_TOKEN", SHARED.to_owned()),
            ("NIXFLEET_REPO_URL", bench.repository.url.clone()),
            ("NIXFLEET_LOG", "warn".to_owned()),
        ];
        let process = spawn(&bench.binaries.daemon, &dir, &env)?;
        Ok(Self { port, process, binary: bench.binaries.daemon.clone(), dir, env })
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Ok(mut http) = Http::connect(self.port).await
                && http.get("/readyz").await.is_ok_and(|answer| answer.status.is_success())
            {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the daemon ended: {status}; see {}", self.dir.join("log").display());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the daemon is not ready after {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `kill -9`, and started again at once, on the same port.
    pub(crate) fn crash(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(&self.binary, &self.dir, &self.env)?;
        Ok(())
    }

    /// SIGTERM, its end, and started again.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, Signal::TERM)?;
        self.process.wait()?;
        self.process = spawn(&self.binary, &self.dir, &self.env)?;
        Ok(())
    }

    /// The end of it, at once.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        memory(self.process.id())
    }

    /// Processor time that it has used so far.
    pub(crate) fn processor(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            // A thread may end meanwhile; its share is small.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// The memory of any process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory { resident: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")? })
}

fn spawn(binary: &Path, dir: &Path, env: &[(&'static str, String)]) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new(binary);
    command.arg("serve").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    child.with_context(|| binary.display().to_string())
}
