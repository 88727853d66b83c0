//! Runs git: argument vectors, an environment of our own, a limit on its silence and on its time. What
//! overruns is killed with everything that it started; so is what is no longer waited for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::Instant;

/// How long a call may say nothing, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) silence: Duration,
    pub(super) total: Duration,
}

impl Limits {
    /// For what reads the mirror on our own disk.
    pub(super) const LOCAL: Self = Self { silence: Duration::from_secs(20), total: Duration::from_secs(20) };
}

/// What a call may print before it is cut off: a `flake.lock` has kilobytes, the longest list of branches less.
const MOST_OUTPUT: usize = 16 << 20;
/// Of what it complains the end is kept.
const MOST_COMPLAINT: usize = 16 << 10;

/// Why a call of git gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// It could not be started at all.
    #[error("can't run {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    /// Too long silent, or too long at all.
    #[error("git {what} gave no answer within {} s and was stopped", after.as_secs_f32())]
    Overrun { what: String, after: Duration },
    /// More output than anything of ours has.
    #[error("git {what} printed more than {} MiB", MOST_OUTPUT >> 20)]
    TooMuch { what: String },
    /// It ran and failed; the words are its own, without progress.
    #[error("git {what} failed: {words}")]
    Failed { what: String, words: String },
    /// Its pipes broke.
    #[error("lost git {what}")]
    Lost { what: String, source: io::Error },
}

/// git, and the environment that it gets.
#[derive(Clone)]
pub(super) struct Git {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// Of our own environment git gets what finds programs, keys, proxies and certificates; nothing that
/// configures git itself.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
    "GIT_EXEC_PATH",
];

impl Git {
    /// The program with `settings` (name and value, secrets among them) that no argument list shows, the
    /// configuration file `config`, and ssh with `known_hosts` and perhaps a key.
    pub(super) fn new(
        program: PathBuf,
        settings: &[(String, String)],
        config: &Path,
        known_hosts: &Path,
        key: Option<&Path>,
    ) -> Self {
        let mut environment: Vec<(OsString, OsString)> = INHERITED
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (OsString::from(name), value)))
            .collect();
        let mut set = |name: &str, value: &OsStr| environment.push((name.into(), value.into()));
        set("LC_ALL", "C".as_ref());
        set("GIT_CONFIG_NOSYSTEM", "1".as_ref());
        set("GIT_CONFIG_GLOBAL", config.as_ref());
        set("GIT_TERMINAL_PROMPT", "0".as_ref());
        set("GIT_ASKPASS", "".as_ref());
        set("SSH_ASKPASS", "".as_ref());
        set("SSH_ASKPASS_REQUIRE", "never".as_ref());
        set("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh".as_ref());
        set("GIT_OPTIONAL_LOCKS", "0".as_ref());
        set("GIT_SSH_COMMAND", &ssh(known_hosts, key));
        set("GIT_CONFIG_COUNT", settings.len().to_string().as_ref());
        for (number, (name, value)) in settings.iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{number}"), name.as_ref());
            set(&format!("GIT_CONFIG_VALUE_{number}"), value.as_ref());
        }
        Self { program, environment }
    }

    /// Runs `git <arguments>` in `directory` and gives what it printed. The first argument names the call in
    /// errors. `hold` becomes its standard input: a lock on that file lives as long as git does, even if we don't.
    pub(super) async fn run(
        &self,
        directory: &Path,
        arguments: &[&OsStr],
        limits: Limits,
        hold: Option<File>,
    ) -> Result<Vec<u8>, GitError> {
        let what = || arguments.first().map_or_else(String::new, |first| first.to_string_lossy().into_owned());
        let lost = |source| GitError::Lost { what: what(), source };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(hold.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| GitError::Start { program: self.program.clone(), source })?;
        let mut group = Group::of(child.id());
        let mut output = Pipe::new(child.stdout.take());
        let mut complaint = Pipe::new(child.stderr.take());
        let end = Instant::now() + limits.total;
        let mut quiet = Instant::now() + limits.silence;
        while output.open() || complaint.open() {
            tokio::select! {
                read = output.more(), if output.open() => read.map_err(lost)?,
                read = complaint.more(), if complaint.open() => {
                    read.map_err(lost)?;
                    complaint.keep_end(MOST_COMPLAINT);
                }
                () = tokio::time::sleep_until(end.min(quiet)) => {
                    let after = if end < quiet { limits.total } else { limits.silence };
                    return Err(GitError::Overrun { what: what(), after });
                }
            }
            if output.taken.len() > MOST_OUTPUT {
                return Err(GitError::TooMuch { what: what() });
            }
            quiet = Instant::now() + limits.silence;
        }
        let Ok(status) = tokio::time::timeout_at(end.min(quiet), child.wait()).await else {
            return Err(GitError::Overrun { what: what(), after: limits.silence });
        };
        let status = status.map_err(lost)?;
        group.disarm();
        if status.success() {
            return Ok(output.taken);
        }
        let words = super::words::own_words(&String::from_utf8_lossy(&complaint.taken));
        Err(GitError::Failed { what: what(), words: if words.is_empty() { status.to_string() } else { words } })
    }
}

fn ssh(known_hosts: &Path, key: Option<&Path>) -> OsString {
    // git hands this to a shell, so paths are quoted for one.
    let mut command = OsString::from(
        "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
         -o ControlMaster=no -o ControlPath=none -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=",
    );
    command.push(quoted(known_hosts));
    if let Some(key) = key {
        command.push(" -o IdentitiesOnly=yes -i ");
        command.push(quoted(key));
    }
    command
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// A pipe of the child and what came out of it.
struct Pipe<R> {
    end: Option<R>,
    taken: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(end: Option<R>) -> Self {
        Self { end, taken: Vec::new() }
    }

    fn open(&self) -> bool {
        self.end.is_some()
    }

    async fn more(&mut self) -> io::Result<()> {
        let Some(end) = self.end.as_mut() else { return Ok(()) };
        if end.read_buf(&mut self.taken).await? == 0 {
            self.end = None;
        }
        Ok(())
    }

    fn keep_end(&mut self, most: usize) {
        if self.taken.len() > 2 * most {
            self.taken.drain(..self.taken.len() - most);
        }
    }
}

/// A process group that is killed when nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.take()
            && let Err(error) = kill_process_group(leader, Signal::KILL)
        {
            tracing::debug!(%error, "git was gone before it could be stopped");
        }
    }
}
