//! Carries out a plan. What lasts for a while (a frozen process, a silent link, a full disk) ends by itself when its
//! time is over, while the plan goes on: faults overlap.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::signal;
use crate::plan::{Fault, HostNumber, Step, Who};
use crate::told::{Tally, Told};
use crate::world::World;

/// How long a daemon may take to be ready again, on a machine that has other things to do.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// What ends a fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    Thaw(Who),
    Fair(HostNumber),
    Plug(HostNumber),
    Unthrottle(HostNumber),
    Free(Who),
    StartAgent(HostNumber),
}

/// A plan under way.
pub(crate) struct Storm<'a> {
    world: &'a mut World,
    told: &'a Told,
    undo: Vec<(Instant, Undo)>,
    /// Agents that do not run, because they were ended.
    away: BTreeSet<HostNumber>,
    /// What was done.
    pub(crate) tally: Tally,
    /// What was found on the way: a process that ended by itself.
    pub(crate) findings: Vec<String>,
    /// What was done, in words.
    pub(crate) done: Vec<String>,
}

impl<'a> Storm<'a> {
    /// Nothing happened yet.
    pub(crate) fn new(world: &'a mut World, told: &'a Told) -> Self {
        Self {
            world,
            told,
            undo: Vec::new(),
            away: BTreeSet::new(),
            tally: Tally::default(),
            findings: Vec::new(),
            done: Vec::new(),
        }
    }

    /// All steps, one after the other. Ends early when something was found.
    pub(crate) fn rage(&mut self, steps: &[Step]) {
        let began = Instant::now();
        for step in steps {
            self.sleep(Duration::from_millis(step.after));
            self.done.push(format!("{:>7} ms: {}", began.elapsed().as_millis(), step.fault));
            self.perform(&step.fault);
            self.look_at_processes();
            if !self.findings.is_empty() {
                return;
            }
        }
        // What lasts longer than the plan lasts as long as it was meant to.
        while let Some(last) = self.undo.iter().map(|(at, _)| *at).max() {
            self.sleep(last.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        }
    }

    /// All is well again: everyone runs, nothing stands in the way.
    pub(crate) fn calm(&mut self) {
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.end(undo);
        }
        for site in &self.world.sites {
            site.proxy.settle();
        }
        for host in std::mem::take(&mut self.away) {
            self.start_agent(host);
        }
        if !self.world.waited(READY_WITHIN, |world| world.is_ready()) {
            let said = self.world.api.get("/readyz");
            self.findings.push(format!("the daemon is not ready when all is well: {said:?}"));
        }
        self.look_at_processes();
    }

    /// Sleeps, and ends what is to end meanwhile.
    fn sleep(&mut self, span: Duration) {
        let until = Instant::now() + span;
        loop {
            let now = Instant::now();
            let due: Vec<Undo> = self.undo.extract_if(.., |(at, _)| *at <= now).map(|(_, undo)| undo).collect();
            for undo in due {
                self.end(undo);
            }
            if now >= until {
                return;
            }
            let next = self.undo.iter().map(|(at, _)| *at).min().unwrap_or(until).min(until);
            std::thread::sleep(next.saturating_duration_since(now));
        }
    }

    fn later(&mut self, for_ms: u64, undo: Undo) {
        self.undo.push((Instant::now() + Duration::from_millis(for_ms), undo));
    }

    fn end(&mut self, undo: Undo) {
        match undo {
            Undo::Thaw(who) => self.signal(who, Signal::CONT),
            Undo::Fair(host) => self.world.sites[host].proxy.fair(),
            Undo::Plug(host) => {
                if let Some(namespace) = &self.world.sites[host].namespace {
                    namespace.plug();
                }
            }
            Undo::Unthrottle(host) => {
                if let Some(namespace) = &self.world.sites[host].namespace {
                    namespace.unthrottle();
                }
            }
            Undo::Free(who) => {
                if let Some(disk) = self.world.disk_of(who) {
                    disk.free();
                }
            }
            Undo::StartAgent(host) => {
                if self.away.contains(&host) {
                    self.start_agent(host);
                }
            }
        }
    }

    fn perform(&mut self, fault: &Fault) {
        match *fault {
            Fault::KillDaemon { wait } => {
                self.kill_daemon();
                self.world.fleet.launch_daemon();
                if wait {
                    self.wait_until_ready();
                }
            }
            Fault::KillAgent { host, away } => {
                self.kill_agent(host);
                if away == 0 {
                    self.start_agent(host);
                } else {
                    self.later(away, Undo::StartAgent(host));
                }
            }
            Fault::KillRunner { host } => self.kill_runner(host),
            Fault::KillBoth { host, agent_first } => {
                self.kill_daemon();
                self.kill_agent(host);
                if agent_first {
                    self.start_agent(host);
                }
                self.world.fleet.launch_daemon();
                self.wait_until_ready();
                if !agent_first {
                    self.start_agent(host);
                }
            }
            Fault::KillAll => {
                self.kill_daemon();
                let hosts = 0..self.world.sites.len();
                hosts.clone().for_each(|host| self.kill_agent(host));
                self.world.fleet.launch_daemon();
                hosts.for_each(|host| self.start_agent(host));
                self.wait_until_ready();
            }
            Fault::Stop { who } => self.stop(who),
            Fault::Freeze { who, for_ms } => {
                self.signal(who, Signal::STOP);
                self.tally.freezes += 1;
                self.later(for_ms, Undo::Thaw(who));
            }
            Fault::Cut { host, after } => {
                self.world.sites[host].proxy.cut_after(after);
                self.tally.links += 1;
            }
            Fault::HalfOpen { host, for_ms } => {
                self.world.sites[host].proxy.half_open(for_ms);
                self.tally.links += 1;
            }
            Fault::Silence { host, for_ms } => {
                self.world.sites[host].proxy.silence();
                self.tally.links += 1;
                self.later(for_ms, Undo::Fair(host));
            }
            Fault::Slow { host, delay, rate, for_ms } => {
                self.world.sites[host].proxy.slow(Duration::from_millis(delay), rate);
                self.tally.links += 1;
                self.later(for_ms, Undo::Fair(host));
            }
            Fault::Unplug { host, for_ms } => {
                if let Some(namespace) = &self.world.sites[host].namespace {
                    namespace.unplug();
                    self.tally.links += 1;
                    self.later(for_ms, Undo::Plug(host));
                }
            }
            Fault::Throttle { host, kbit, for_ms } => {
                let namespace = self.world.sites[host].namespace.as_ref();
                if namespace.is_some_and(|namespace| namespace.throttle(kbit)) {
                    self.tally.links += 1;
                    self.later(for_ms, Undo::Unthrottle(host));
                }
            }
            Fault::Fill { who, for_ms } => {
                if let Some(disk) = self.world.disk_of(who) {
                    self.told.full.lock().unwrap().insert(self.world.name(who).to_owned());
                    disk.fill();
                    self.tally.disks += 1;
                    self.later(for_ms, Undo::Free(who));
                }
            }
            Fault::Jump { who, to } => {
                if let Some(clock) = self.world.clock_of(who) {
                    clock.jump(to);
                    self.tally.jumps += 1;
                }
            }
            Fault::Push => self.world.push(),
        }
    }

    fn kill_daemon(&mut self) {
        self.undo.retain(|(_, undo)| *undo != Undo::Thaw(Who::Daemon));
        self.world.fleet.kill_daemon();
        self.tally.daemon += 1;
    }

    fn kill_agent(&mut self, host: HostNumber) {
        self.undo.retain(|(_, undo)| *undo != Undo::Thaw(Who::Agent(host)) && *undo != Undo::StartAgent(host));
        if self.away.insert(host) {
            let name = self.world.sites[host].name.clone();
            self.world.fleet.kill_agent(&name);
            self.tally.agents += 1;
        }
    }

    fn start_agent(&mut self, host: HostNumber) {
        self.away.remove(&host);
        let name = self.world.sites[host].name.clone();
        self.world.fleet.start_agent(&name);
    }

    /// Kills what carries out the command that runs on a host; nothing where none runs.
    fn kill_runner(&mut self, host: HostNumber) {
        let commands = self.world.commands_of(&self.world.sites[host].name);
        for entry in std::fs::read_dir(commands).into_iter().flatten().flatten() {
            let dir = entry.path();
            let id = entry.file_name().to_string_lossy().into_owned();
            let claim = std::fs::read(dir.join("started")).ok().and_then(|text| serde_json::from_slice(&text).ok());
            let Some(pid) = claim.as_ref().and_then(|claim: &Value| claim["pid"].as_u64()) else { continue };
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if dir.join("result.json").exists() || !line.contains("run-command") || !line.contains(&id) {
                continue;
            }
            self.told.runners_killed.lock().unwrap().insert(id);
            signal(u32::try_from(pid).unwrap(), Signal::KILL);
            self.tally.runners += 1;
        }
    }

    fn stop(&mut self, who: Who) {
        // One that is frozen hears nothing.
        self.signal(who, Signal::CONT);
        match who {
            Who::Daemon => {
                self.world.fleet.stop_daemon();
                self.world.fleet.launch_daemon();
                self.wait_until_ready();
            }
            Who::Agent(host) if self.away.contains(&host) => return,
            Who::Agent(host) => {
                let name = self.world.sites[host].name.clone();
                self.world.fleet.stop_agent(&name);
                self.world.fleet.start_agent(&name);
            }
        }
        self.tally.stops += 1;
    }

    fn signal(&self, who: Who, which: Signal) {
        match who {
            Who::Daemon => self.world.fleet.signal_daemon(which),
            Who::Agent(host) if self.away.contains(&host) => {}
            Who::Agent(host) => self.world.fleet.signal_agent(&self.world.sites[host].name, which),
        }
    }

    fn wait_until_ready(&mut self) {
        let waits = |undo: &Undo| matches!(undo, Undo::Free(Who::Daemon) | Undo::Thaw(Who::Daemon));
        if self.undo.iter().any(|(_, undo)| waits(undo)) {
            return;
        }
        if !self.world.waited(READY_WITHIN, |world| world.is_ready() || !world.fleet.daemon_lives()) {
            self.findings.push("the daemon was not ready within a minute".to_owned());
        }
    }

    /// Nobody ends by himself.
    fn look_at_processes(&mut self) {
        if !self.world.fleet.daemon_lives() {
            self.findings.push("the daemon ended by itself".to_owned());
        }
        for host in 0..self.world.sites.len() {
            let name = self.world.sites[host].name.clone();
            if !self.away.contains(&host) && !self.world.fleet.agent_lives(&name) {
                self.findings.push(format!("the agent of {name} ended by itself"));
            }
        }
    }
}
