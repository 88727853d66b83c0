//! A host for a test: a remote repository, a state directory, and agents that can be started and killed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nixfleet_protocol::CommandId;
use uuid::Uuid;

use crate::dashboard::Dashboard;

/// Everything a test waits for comes within this, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) fn new_id() -> CommandId {
    CommandId::from_uuid(Uuid::now_v7())
}

pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let run = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn executable(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The processes that carry a word in their environment or arguments.
pub(crate) fn processes_with(word: &str) -> Vec<i32> {
    let has = |path: PathBuf| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(word));
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<i32>().ok()?, entry.path())))
        .filter(|(_, path)| !fs::read_to_string(path.join("stat")).unwrap_or_default().contains(") Z "))
        .filter(|(_, path)| has(path.join("environ")) || has(path.join("cmdline")))
        .map(|(pid, _)| pid)
        .collect()
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) dashboard: Dashboard,
    environment: Vec<(String, String)>,
}

impl World {
    /// A host `h1` whose remote has one commit with a `switch` that says hello.
    pub(crate) async fn new() -> Self {
        let world = Self {
            dir: tempfile::Builder::new().prefix("nixfleet-agent-").tempdir().unwrap(),
            dashboard: Dashboard::listen().await,
            environment: Vec::new(),
        };
        fs::create_dir(world.work()).unwrap();
        git(&world.work(), &["init", "--quiet"]);
        git(world.dir.path(), &["init", "--quiet", "--bare", "remote.git"]);
        world.commit(&[("hosts/h1/switch", "#!/bin/sh\necho hello from the switch\n"), ("flake.lock", "{}")]);
        world
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.path("work")
    }

    pub(crate) fn checkout(&self) -> PathBuf {
        self.path("state/repo")
    }

    pub(crate) fn folder(&self, id: CommandId) -> PathBuf {
        self.path("state/commands").join(id.to_string())
    }

    /// Commits files (those with `#!` are executable) and pushes them; gives the commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.work().join(name);
            if text.starts_with("#!") {
                executable(&path, text);
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        git(&self.work(), &["add", "--all"]);
        git(&self.work(), &["commit", "--quiet", "--allow-empty", "-m", "a change"]);
        git(&self.work(), &["push", "--quiet", "../remote.git", "HEAD:refs/heads/main", "--force"]);
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    pub(crate) fn agent_command(&self) -> Command {
        // Another build of the agent, a release for instance, can be put to the same tests.
        let binary = std::env::var_os("NIXFLEET_AGENT_BINARY");
        let mut command = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_nixfleet-agent").into()));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.dir.path())
            .env("USER", "test")
            .env("NIXFLEET_URL", self.dashboard.url())
            .env("NIXFLEET_TOKEN", "a-token-for-tests")
            .env("NIXFLEET_REPO_URL", self.path("remote.git").display().to_string())
            .env("NIXFLEET_STATE_DIR", self.path("state"))
            .env("NIXFLEET_HOSTNAME", "h1")
            .env("NIXFLEET_PLATFORM", "script")
            .env("NIXFLEET_INTERVAL", "1")
            .env("NIXFLEET_LOG", "debug");
        for (name, value) in &self.environment {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        command
    }

    pub(crate) fn start(&self) -> AgentProcess {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("agent.log")).unwrap();
        let child = self.agent_command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        AgentProcess { child }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("agent.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the agent's last words:");
            for line in tail.into_iter().rev() {
                eprintln!("  {line}");
            }
        }
        // Runners and their commands outlive their agent on purpose.
        for pid in processes_with(self.dir.path().to_str().unwrap()) {
            if pid != i32::try_from(std::process::id()).unwrap() {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(pid).unwrap(),
                    rustix::process::Signal::KILL,
                );
            }
        }
    }
}

/// Everything below a directory belongs to nobody.
fn give_away(path: &Path) {
    let meta = path.symlink_metadata().unwrap();
    if meta.file_type().is_symlink() {
        return;
    }
    if meta.permissions().mode() & 0o4000 != 0 {
        return;
    }
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if meta.is_dir() {
        let mode = if path.ends_with("state") { 0o700 } else { 0o755 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::read_dir(path).unwrap().flatten().for_each(|entry| give_away(&entry.path()));
    }
}

const NOBODY: u32 = 65534;

/// An agent that is not root, whoever runs the tests; everything in the world that is there by now belongs to it.
pub(crate) struct Nobody(PathBuf);

pub(crate) fn as_nobody(world: &World) -> Nobody {
    let agent = world.path("agent-for-tests");
    if !agent.exists() {
        fs::copy(world.agent_command().get_program(), &agent).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        give_away(world.dir.path());
    }
    Nobody(agent)
}

impl Nobody {
    /// Starts it in a process group of its own, as service managers do.
    pub(crate) fn start(&self, world: &World) -> AgentProcess {
        let described = world.agent_command();
        let mut command = Command::new(&self.0);
        command.env_clear().envs(described.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(world.path("agent.log")).unwrap();
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        AgentProcess { child: command.spawn().unwrap() }
    }
}

pub(crate) struct AgentProcess {
    child: Child,
}

impl AgentProcess {
    /// Resident memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LONG, "the agent does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sudo that really makes root of nobody: a script in `bin`, around a setuid copy of `setpriv`. Where the tests are
/// not root, or the file system honours no setuid, there is none.
pub(crate) fn real_sudo(world: &World) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let root = world.path("bin/become-root");
    fs::create_dir_all(root.parent().unwrap()).unwrap();
    let found = Command::new("sh").args(["-c", "command -v setpriv"]).output().unwrap();
    let program = String::from_utf8(found.stdout).unwrap().trim().to_owned();
    if program.is_empty() || fs::copy(&program, &root).is_err() {
        return false;
    }
    executable(
        &world.path("bin/our-sudo"),
        &format!(
            "#!/bin/sh\n[ \"$1\" = -n ] && shift\n[ \"$1\" = -- ] && shift\n\
             exec {} --reuid=0 --regid=0 --clear-groups -- \"$@\"\n",
            root.display()
        ),
    );
    give_away(world.dir.path());
    fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&root, Some(0), Some(0)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o4755)).unwrap();
    let who = Command::new(world.path("bin/our-sudo")).args(["id", "-u"]).uid(NOBODY).gid(NOBODY).output().unwrap();
    who.stdout == b"0\n"
}
