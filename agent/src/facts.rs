//! What the agent knows of its host, made into `register` and `heartbeat`.
//!
//! The agent owns one [`Facts`]. All of it is small reads of files, made when a message needs them; what a program
//! must be asked (`systemctl`) is asked by a task of its own, at most once a minute, so a slow program never
//! blocks the link. Absent means unchanged: what was said already on this link is left out.

pub mod git;
pub mod hash;
pub mod installed;
pub mod lights;
pub mod lock_local;
pub mod metrics;
pub mod system;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_protocol::agent::{AgentProgram, Deployed, Disk, Heartbeat, Register, UpdateStatus};
use nixfleet_protocol::{BootId, CommandId, InstanceId, JournalId, LockHash, Time};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::ops::deployed::DeployedRecord;
use crate::ops::situation;
use crate::record::HostSettings;
use hash::RememberedHash;
use lights::{Last, Seen};
use lock_local::LockLocal;
use metrics::Load;

/// How often systemd is asked.
const UNITS_EVERY: Duration = Duration::from_mins(1);
/// More failed units than this are not reported.
const UNITS: usize = 50;

/// The facts of a host, and what was said of them.
#[derive(Debug)]
pub struct Facts {
    host: HostSettings,
    lock: RememberedHash,
    lock_local: LockLocal,
    load: Load,
    deployed: DeployedCache,
    units: watch::Sender<Option<Vec<String>>>,
    units_asked: Option<Instant>,
    program: AgentProgram,
    /// The lock's newest input, for the lock of this hash.
    lock_at: (Option<LockHash>, Option<Time>),
    said: Option<Heartbeat>,
}

/// What a register says beyond the host.
#[derive(Debug)]
pub struct Identity {
    /// The state directory's id.
    pub journal: JournalId,
    /// This process.
    pub instance: InstanceId,
    /// This boot.
    pub boot: Option<BootId>,
}

impl Facts {
    /// Of this host.
    pub fn new(host: HostSettings, program: &Path) -> Self {
        Self {
            lock: RememberedHash::default(),
            lock_local: LockLocal::default(),
            load: Load::new(&host.root),
            deployed: DeployedCache::default(),
            units: watch::Sender::new(None),
            units_asked: None,
            program: running(program),
            lock_at: (None, None),
            said: None,
            host,
        }
    }

    /// The agent that runs.
    pub const fn program(&self) -> &AgentProgram {
        &self.program
    }

    /// The first message of a link.
    pub fn register(
        &mut self,
        config: &Config,
        identity: &Identity,
        running: Vec<CommandId>,
        results: Vec<CommandId>,
    ) -> Register {
        self.said = None;
        let lock_hash = self.lock.of(&self.host.checkout.join("flake.lock"));
        Register {
            hostname: self.host.name.clone(),
            host_type: config.host_type,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            os_version: system::os_version(&self.host.root),
            nixpkgs_version: self.nixpkgs_version(config).unwrap_or_default(),
            generation: git::head(&self.host.checkout),
            theme_color: config.theme_color.clone(),
            heartbeat_interval: Some(config.interval),
            location: config.location,
            device_type: config.device_type,
            repo_url: self.host.repo_url.as_deref().map(crate::runner::masked::masked).unwrap_or_default(),
            repo_dir: self.host.checkout.display().to_string(),
            source_commit: self.program.source_commit.clone(),
            store_path: self.program.store_path.clone(),
            binary_hash: self.program.binary_hash.clone(),
            protocol: Some(nixfleet_protocol::PROTOCOL),
            journal: Some(identity.journal),
            instance: Some(identity.instance),
            boot_id: identity.boot.clone(),
            platform: Some(self.host.platform),
            tags: config.tags.clone(),
            mac_addresses: system::mac_addresses(&self.host.root),
            deployed: self.deployed.read(&self.host.state_dir),
            system_path: system::running_system(&self.host),
            system_revision: system::revision(&self.host),
            lock_local: self.lock_local.now(&self.host, lock_hash.as_ref()),
            lock_hash,
            running,
            results,
            features: self.features(),
        }
    }

    fn features(&self) -> Vec<String> {
        let mut features = crate::ops::features(self.host.platform, self.host.allow_exec);
        if self.runs_systemd() {
            features.push("systemd".into());
        }
        features
    }

    fn runs_systemd(&self) -> bool {
        self.host.root.join("run/systemd/system").is_dir()
    }

    fn nixpkgs_version(&self, config: &Config) -> Option<String> {
        config.nixpkgs_version.clone().or_else(|| system::nixpkgs_version(&self.host))
    }

    /// All facts, or with `brief` those that changed since the last heartbeat of this link.
    pub fn heartbeat(&mut self, config: &Config, repo_error: &str, running: Vec<CommandId>, brief: bool) -> Heartbeat {
        self.ask_for_units();
        let tests = self.host.checkout.join("hosts").join(&self.host.name).join("tests");
        let lock_hash = self.lock.of(&self.host.checkout.join("flake.lock"));
        let all = Heartbeat {
            generation: git::head(&self.host.checkout),
            nixpkgs_version: self.nixpkgs_version(config),
            metrics: self.load.read(),
            lock_local: self.lock_local.now(&self.host, lock_hash.as_ref()),
            lock_hash,
            deployed: self.deployed.read(&self.host.state_dir),
            system_path: system::running_system(&self.host),
            system_revision: system::revision(&self.host),
            generations: system::generations(&self.host).or_else(|| self.deployed.generations()),
            running: Some(running),
            disk: disk(&self.host),
            reboot_required: system::reboot_required(&self.host),
            failed_units: self.units.borrow().clone(),
            tests: u32::try_from(situation::tests(&tests).len()).ok(),
            repo_error: Some(repo_error.to_owned()),
            ..Heartbeat::default()
        };
        let sent = match &self.said {
            Some(said) if brief => changes(said, &all),
            Some(_) | None => all.clone(),
        };
        self.said = Some(all);
        sent
    }

    /// The compartments in the eyes of the agent, for dashboards of the old generation.
    pub fn update_status(&mut self, repo_error: &str, switch: Option<Last>, tests: Option<Last>) -> UpdateStatus {
        let lock = self.host.checkout.join("flake.lock");
        let hash = self.lock.of(&lock);
        if self.lock_at.0 != hash {
            let newest = std::fs::read(&lock).ok().and_then(|lock| lights::newest_input(&lock));
            self.lock_at = (hash, newest);
        }
        let seen = Seen {
            head: git::head(&self.host.checkout),
            remote: git::commit_of(&self.host.checkout, &format!("refs/remotes/origin/{}", self.host.branch)),
            repo_error: repo_error.to_owned(),
            lock_at: self.lock_at.1,
            has_lock: self.lock_at.0.is_some(),
            deployed: self.deployed.read(&self.host.state_dir),
            system_path: system::running_system(&self.host),
            switch,
            tests,
        };
        lights::update_status(&seen, Time::now())
    }

    fn ask_for_units(&mut self) {
        if !self.runs_systemd() || self.units_asked.is_some_and(|at| at.elapsed() < UNITS_EVERY) {
            return;
        }
        self.units_asked = Some(Instant::now());
        let units = self.units.clone();
        let path = self.host.environment.get("PATH").cloned().unwrap_or_default();
        tokio::spawn(async move {
            if let Some(failed) = failed_units(&path).await {
                units.send_replace(Some(failed));
            }
        });
    }
}

async fn failed_units(path: &str) -> Option<Vec<String>> {
    let systemctl = crate::config::machine::find(path, "systemctl")?;
    let run = tokio::process::Command::new(systemctl)
        .args(["list-units", "--failed", "--no-legend", "--plain", "--full"])
        .env_clear()
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(Duration::from_secs(20), run).await.ok()?.ok()?;
    if !run.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&run.stdout);
    Some(text.lines().filter_map(|line| line.split_whitespace().next()).take(UNITS).map(str::to_owned).collect())
}

/// A heartbeat without what was said already. The list of running commands is always said.
fn changes(said: &Heartbeat, now: &Heartbeat) -> Heartbeat {
    fn new<T: Clone + PartialEq>(said: Option<&T>, now: Option<&T>) -> Option<T> {
        if said == now { None } else { now.cloned() }
    }
    Heartbeat {
        generation: now.generation.clone(),
        nixpkgs_version: new(said.nixpkgs_version.as_ref(), now.nixpkgs_version.as_ref()),
        pending_command: now.pending_command.clone(),
        command_pid: now.command_pid,
        metrics: now.metrics,
        update_status: now.update_status.clone(),
        source_commit: new(said.source_commit.as_ref(), now.source_commit.as_ref()),
        store_path: new(said.store_path.as_ref(), now.store_path.as_ref()),
        binary_hash: new(said.binary_hash.as_ref(), now.binary_hash.as_ref()),
        lock_hash: new(said.lock_hash.as_ref(), now.lock_hash.as_ref()),
        deployed: new(said.deployed.as_ref(), now.deployed.as_ref()),
        system_path: new(said.system_path.as_ref(), now.system_path.as_ref()),
        system_revision: new(said.system_revision.as_ref(), now.system_revision.as_ref()),
        lock_local: new(said.lock_local.as_ref(), now.lock_local.as_ref()),
        generations: new(said.generations.as_ref(), now.generations.as_ref()),
        running: now.running.clone(),
        disk: new(said.disk.as_ref(), now.disk.as_ref()),
        reboot_required: new(said.reboot_required.as_ref(), now.reboot_required.as_ref()),
        failed_units: new(said.failed_units.as_ref(), now.failed_units.as_ref()),
        tests: new(said.tests.as_ref(), now.tests.as_ref()),
        repo_error: new(said.repo_error.as_ref(), now.repo_error.as_ref()),
    }
}

/// The commit that this binary was built from, where its build said so.
pub const SOURCE_COMMIT: Option<&str> = option_env!("NIXFLEET_SOURCE_COMMIT");

/// This very program, which lies here.
fn running(program: &Path) -> AgentProgram {
    AgentProgram {
        version: Some(env!("CARGO_PKG_VERSION").into()),
        source_commit: SOURCE_COMMIT.and_then(|commit| commit.parse().ok()),
        ..installed::program(program)
    }
}

/// `/nix/store/<hash>-<name>` of a path inside it.
fn store_path(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("/nix/store").ok()?;
    Some(Path::new("/nix/store").join(inside.components().next()?).display().to_string())
}

/// Free space where the store (else the state) lies, and of a boot file system of its own. In whole MiB, so that
/// a heartbeat does not repeat it for every written page.
pub fn disk(host: &HostSettings) -> Option<Disk> {
    const MIB: u64 = 1024 * 1024;
    let space = |path: PathBuf| -> io::Result<(u64, u64, u64)> {
        let stat = rustix::fs::statvfs(&path)?;
        Ok((stat.f_bavail * stat.f_frsize / MIB * MIB, stat.f_blocks * stat.f_frsize, stat.f_fsid))
    };
    let (store_free, store_total, _) =
        space(host.root.join("nix/store")).or_else(|_| space(host.state_dir.clone())).ok()?;
    let root = space(host.root.clone()).ok();
    let boot = space(host.root.join("boot")).ok().filter(|boot| root.is_none_or(|root| root.2 != boot.2));
    Some(Disk { store_free, store_total, boot_free: boot.map(|boot| boot.0), boot_total: boot.map(|boot| boot.1) })
}

/// The deployed record, read again only when its file changed.
#[derive(Debug, Default)]
struct DeployedCache {
    seen: Option<std::time::SystemTime>,
    record: DeployedRecord,
}

impl DeployedCache {
    fn read(&mut self, state_dir: &Path) -> Option<Deployed> {
        let changed = std::fs::metadata(state_dir.join("deployed.json")).and_then(|meta| meta.modified()).ok();
        if changed != self.seen {
            // One that can't be read says nothing new.
            if let Ok(record) = DeployedRecord::load(state_dir) {
                self.record = record;
                self.seen = changed;
            }
        }
        self.record.current().cloned()
    }

    /// The deployments as generations, for the platform that has no others.
    fn generations(&self) -> Option<Vec<nixfleet_protocol::agent::Generation>> {
        let last = self.record.history.len().checked_sub(1)?;
        let shown = self.record.history.iter().enumerate().skip(last.saturating_sub(19));
        Some(
            shown
                .map(|(n, deployed)| nixfleet_protocol::agent::Generation {
                    number: deployed.number.unwrap_or_default(),
                    commit: Some(deployed.commit.clone()),
                    at: Some(deployed.at),
                    current: n == last,
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_says_what_changed_and_always_what_runs() {
        let said =
            Heartbeat { tests: Some(3), running: Some(vec![]), reboot_required: Some(false), ..Heartbeat::default() };
        let now = Heartbeat { reboot_required: Some(true), ..said.clone() };
        let sent = changes(&said, &now);
        assert_eq!(sent, Heartbeat { reboot_required: Some(true), running: Some(vec![]), ..Heartbeat::default() });
    }

    #[test]
    fn the_package_of_a_binary_is_its_store_path() {
        for (path, package) in [
            ("/nix/store/abc-nixfleet-agent-0.1/bin/nixfleet-agent", Some("/nix/store/abc-nixfleet-agent-0.1")),
            ("/usr/bin/nixfleet-agent", None),
            ("/nix/store", None),
        ] {
            assert_eq!(store_path(Path::new(path)).as_deref(), package);
        }
    }
}
