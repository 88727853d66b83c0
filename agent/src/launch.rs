//! Starts a runner so that nothing that happens to the agent reaches it.
//!
//! Where systemd runs: a transient unit, outside our control group, of the system or of our user. Else a child that
//! makes a session of its own. An agent that is not root asks sudo where the op needs root. The vectors are pure.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nixfleet_protocol::CommandId;
use nixfleet_protocol::text::plain;
use tokio::process::{Child, Command};

use crate::journal::entry::Entry;

/// What a runner, or what starts it, says before there is a log.
pub const ERRORS: &str = "runner.err";

/// The word that makes the binary a runner.
pub const MODE: &str = "run-command";

/// What decides how a runner is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// Our own binary.
    pub program: PathBuf,
    /// systemd runs this machine, and we may give it units.
    pub systemd: bool,
    /// We are root.
    pub root: bool,
    /// The runtime directory of our user, when a service manager of ours is there.
    pub user_manager: Option<String>,
    /// What makes us root, as an argument vector.
    pub sudo: Vec<String>,
    /// Where programs are looked for.
    pub path: String,
}

impl Launcher {
    /// As this process stands.
    pub fn here(sudo: Vec<String>, path: String, runtime_dir: Option<&String>) -> io::Result<Self> {
        let root = rustix::process::geteuid().is_root();
        let systemd = Path::new("/run/systemd/system").is_dir();
        let user_manager = runtime_dir.filter(|dir| Path::new(dir).join("systemd/private").exists()).cloned();
        Ok(Self { program: own_program()?, systemd, root, user_manager, sudo, path })
    }

    /// The unit of a command.
    pub fn unit(id: CommandId) -> String {
        format!("nixfleet-command-{id}")
    }

    /// The argument vector that starts the runner of a folder.
    pub fn vector(&self, dir: &Path, id: CommandId, needs_root: bool) -> Vec<String> {
        let runner = [self.program.display().to_string(), MODE.to_owned(), dir.display().to_string()];
        let unit = |manager: &'static str| {
            [
                "systemd-run",
                manager,
                "--quiet",
                "--collect",
                &format!("--unit={}", Self::unit(id)),
                "--service-type=exec",
                // What a switch leaves running on purpose outlives it; a stop ends processes by itself.
                "--property=KillMode=process",
                "--property=OOMPolicy=continue",
                "--setenv=PATH",
                "--",
            ]
            .map(str::to_owned)
        };
        let sudo = if needs_root && !self.root { self.sudo.as_slice() } else { &[] };
        let mut vector = sudo.to_vec();
        if self.systemd && (self.root || needs_root) {
            vector.extend(unit("--system"));
        } else if self.systemd && self.user_manager.is_some() {
            vector.extend(unit("--user"));
        } else if !sudo.is_empty() {
            vector.push("--".into());
        }
        vector.extend(runner);
        vector
    }

    /// Starts it. What it says before it has a log goes into [`ERRORS`] of its folder.
    pub fn launch(&self, entry: &Entry, needs_root: bool) -> io::Result<Launched> {
        let vector = self.vector(entry.dir(), entry.id(), needs_root);
        let (name, arguments) =
            vector.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program"))?;
        let program = crate::config::machine::find(&self.path, name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there")))?;
        let errors = OpenOptions::new().create(true).append(true).mode(0o644).open(entry.file(ERRORS))?;
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", &self.path)
            .envs(self.user_manager.iter().map(|dir| ("XDG_RUNTIME_DIR", dir)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let direct = program == self.program;
        if !direct {
            // sudo passes on what ends it: what ends our group must not end the command. The runner itself makes a
            // session, which the leader of a group may not.
            command.process_group(0);
        }
        let name = if direct { "the runner".to_owned() } else { name.clone() };
        Ok(Launched { program: name, child: command.spawn()? })
    }
}

/// What was started: a runner, or what starts it. When this is dropped tokio reaps it when it ends, and never kills it.
#[derive(Debug)]
pub struct Launched {
    program: String,
    child: Child,
}

impl Launched {
    /// Its name and how it ended, if it ended without success.
    pub fn failed(&mut self) -> Option<(String, ExitStatus)> {
        let status = self.child.try_wait().ok().flatten()?;
        (!status.success()).then(|| (self.program.clone(), status))
    }
}

/// The last line that was said before there was a log.
pub fn last_words(entry: &Entry) -> Option<String> {
    let text = std::fs::read(entry.file(ERRORS)).ok()?;
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(plain(line).chars().take(500).collect())
}

/// The path of this binary; through `/proc` when its file was replaced meanwhile.
pub fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let link = Path::new("/proc/self/exe");
    Ok(if !path.exists() && link.exists() { link.to_owned() } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_runner_is_started_outside_of_the_agents_reach() {
        let id = CommandId::from_uuid(Uuid::from_u128(7));
        let dir = Path::new("/state/commands/x");
        let runner = ["/bin/nixfleet-agent", "run-command", "/state/commands/x"];
        let unit = format!("--unit=nixfleet-command-{id}");
        let systemd = [
            "systemd-run",
            "--system",
            "--quiet",
            "--collect",
            &unit,
            "--service-type=exec",
            "--property=KillMode=process",
            "--property=OOMPolicy=continue",
            "--setenv=PATH",
            "--",
        ];
        let for_user: Vec<&str> =
            systemd.iter().map(|word| if *word == "--system" { "--user" } else { word }).collect();
        let through_sudo = [&["sudo", "-n"], &systemd[..]].concat();
        // systemd, root, a manager of our user, needs root → what stands before the runner.
        for (on_systemd, root, user, needs_root, before) in [
            (true, true, false, true, &systemd[..]),
            (true, true, true, false, &systemd),
            (true, false, true, true, &through_sudo),
            (true, false, true, false, &for_user),
            (true, false, false, false, &[]),
            (false, true, false, true, &[]),
            (false, false, false, true, &["sudo", "-n", "--"]),
            (false, false, true, false, &[]),
        ] {
            let launcher = Launcher {
                program: "/bin/nixfleet-agent".into(),
                systemd: on_systemd,
                root,
                user_manager: user.then(|| "/run/user/1000".into()),
                sudo: vec!["sudo".into(), "-n".into()],
                path: String::new(),
            };
            let wanted: Vec<&str> = before.iter().chain(&runner).copied().collect();
            assert_eq!(launcher.vector(dir, id, needs_root), wanted, "{on_systemd} {root} {user} {needs_root}");
        }
    }
}
