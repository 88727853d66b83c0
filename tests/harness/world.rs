//! The fleet of a round: the real daemon, real agents, a repository, and between each agent and the daemon a network
//! that can fail. What the faults act on and what the clients speak to.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::api::Api;
use crate::fleet::Fleet;
use crate::place::{Clock, Machine, Mount, Namespace};
use crate::plan::Who;
use crate::proxy::Proxy;
use crate::witness::{ACT, TESTS};

/// One host with what is around it.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its name.
    pub(crate) name: String,
    /// Its way to the daemon.
    pub(crate) proxy: Proxy,
    /// Its interface, where there are namespaces.
    pub(crate) namespace: Option<Namespace>,
    /// Its disk, where file systems can be mounted.
    pub(crate) disk: Option<Mount>,
    /// Its clock, where clocks can be had.
    pub(crate) clock: Option<Clock>,
}

/// Everything of a round. Mounts go first when it is dropped, then processes, then the network, then the folder.
pub(crate) struct World {
    /// The daemon's disk.
    pub(crate) disk: Option<Mount>,
    /// The hosts' disks are within.
    pub(crate) sites: Vec<Site>,
    /// The processes.
    pub(crate) fleet: Fleet,
    /// The daemon's clock.
    pub(crate) clock: Option<Clock>,
    /// How clients reach it.
    pub(crate) api: Api,
    /// Where the daemon's disk, the clocks and the witness lie.
    pub(crate) dir: TempDir,
    pushed: u32,
}

/// Hosts that get an interface of their own: making one costs more than a port.
const WITH_INTERFACE: usize = 2;

impl World {
    /// A fleet of so many hosts, all online.
    pub(crate) fn new(hosts: usize, machine: &Machine) -> Self {
        let dir = tempfile::Builder::new().prefix("nixfleet-harness-").tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("witness")).unwrap();
        let data = dir.path().join("data");
        let disk = machine.mounts.then(|| Mount::tmpfs(&data, "192m")).flatten();
        let (clock, mut environment) = clock_for(&dir, machine, "daemon").unzip();
        environment.get_or_insert_default().push(("NIXFLEET_DATA_DIR".to_owned(), data.display().to_string()));
        let fleet = Fleet::with(&pairs(environment.as_deref().unwrap_or_default()));
        let api = Api::at(fleet.port);
        let mut world = Self { disk, sites: Vec::new(), fleet, clock, api, dir, pushed: 0 };
        world.write_scripts(hosts);
        for number in 0..hosts {
            let name = name_of(number);
            let namespace = (machine.namespaces && number < WITH_INTERFACE).then(|| Namespace::make(number)).flatten();
            let ip = namespace.as_ref().map_or("127.0.0.1", |namespace| namespace.address.as_str());
            let proxy = Proxy::start(ip, world.fleet.port);
            let state_dir = world.fleet.state_dir(&name);
            let disk = machine.mounts.then(|| Mount::tmpfs(&state_dir, "96m")).flatten();
            let (clock, environment) = clock_for(&world.dir, machine, &name).unzip();
            let mut environment: Vec<(String, String)> = environment.unwrap_or_default();
            environment.push(("NIXFLEET_URL".to_owned(), format!("ws://{}/ws", proxy.address)));
            environment.push(("NIXFLEET_ALLOW_INSECURE".to_owned(), "1".to_owned()));
            let under: Vec<&str> =
                namespace.as_ref().map_or_else(Vec::new, |namespace| vec!["ip", "netns", "exec", &namespace.name]);
            world.fleet.add_host_under(&name, &pairs(&environment), &under);
            world.sites.push(Site { name, proxy, namespace, disk, clock });
        }
        world.fleet.wait("all hosts are online and have their checkouts", |fleet| {
            (0..hosts).all(|number| {
                let host = fleet.get(&format!("/api/v1/hosts/{}", name_of(number))).1;
                host["state"] == "online" && !host["generation"].is_null()
            })
        });
        world
    }

    fn write_scripts(&mut self, hosts: usize) {
        let witness = self.dir.path().join("witness");
        self.fleet.repository.script("act", &ACT.replace("@witness@", &witness.display().to_string()));
        self.fleet.repository.script("switch", "exec \"$NIXFLEET_REPO/act\" switch");
        for number in 0..hosts {
            for test in TESTS {
                let path = format!("hosts/{}/tests/{test}.sh", name_of(number));
                self.fleet.repository.script(&path, &format!("exec \"$NIXFLEET_REPO/act\" {test}"));
            }
        }
        self.push();
    }

    /// Somebody pushes a commit.
    pub(crate) fn push(&mut self) {
        self.pushed += 1;
        self.fleet.repository.write("motd", &format!("{}\n", self.pushed));
        if self.pushed.is_multiple_of(3) {
            let lock = format!("{{\"version\": 7, \"nodes\": {{\"n\": {}}}}}\n", self.pushed);
            self.fleet.repository.write("flake.lock", &lock);
        }
        self.fleet.repository.push(&format!("commit {}", self.pushed));
    }

    /// The name of a host.
    pub(crate) fn name(&self, who: Who) -> &str {
        match who {
            Who::Daemon => "daemon",
            Who::Agent(host) => &self.sites[host].name,
        }
    }

    /// The disk of somebody.
    pub(crate) fn disk_of(&self, who: Who) -> Option<&Mount> {
        match who {
            Who::Daemon => self.disk.as_ref(),
            Who::Agent(host) => self.sites[host].disk.as_ref(),
        }
    }

    /// The clock of somebody.
    pub(crate) fn clock_of(&self, who: Who) -> Option<&Clock> {
        match who {
            Who::Daemon => self.clock.as_ref(),
            Who::Agent(host) => self.sites[host].clock.as_ref(),
        }
    }

    /// The folder of a host's commands.
    pub(crate) fn commands_of(&self, host: &str) -> PathBuf {
        self.fleet.state_dir(host).join("commands")
    }

    /// A host's witness file.
    pub(crate) fn witness_of(&self, host: &str) -> PathBuf {
        self.dir.path().join("witness").join(host)
    }

    /// Whether the daemon says that all makes progress.
    pub(crate) fn is_ready(&self) -> bool {
        self.api.get("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// Waits for something; `false` when it did not come.
    pub(crate) fn waited(&mut self, limit: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let until = std::time::Instant::now() + limit;
        loop {
            if holds(self) {
                return true;
            }
            if std::time::Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Leaves all of it where it lies; the places to look at.
    pub(crate) fn keep(&mut self) -> Vec<PathBuf> {
        for site in &self.sites {
            if let Some(disk) = &site.disk {
                disk.keep(&self.dir.path().join(format!("state-of-{}", site.name)));
            }
        }
        if let Some(disk) = &self.disk {
            disk.keep(&self.dir.path().join("kept-data"));
        }
        self.fleet.keep();
        self.dir.disable_cleanup(true);
        vec![self.fleet.dir().to_owned(), self.dir.path().to_owned()]
    }
}

/// The name of host `number`.
pub(crate) fn name_of(number: usize) -> String {
    format!("host{number}")
}

fn clock_for(dir: &TempDir, machine: &Machine, name: &str) -> Option<(Clock, Vec<(String, String)>)> {
    let library = machine.clocks.as_deref()?;
    let clock = Clock::new(dir.path().join(format!("clock-{name}")));
    let environment = clock.environment(library);
    Some((clock, environment))
}

fn pairs(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("kept: {:?}", self.keep());
        }
    }
}
