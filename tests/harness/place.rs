//! What the machine must have for some faults: small file systems, network namespaces, clocks of one's own. What it
//! has not is named as skipped, with the reason, and the plan goes on without it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What this machine can do.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Mount a tmpfs.
    pub(crate) mounts: bool,
    /// Make network namespaces and pairs of interfaces.
    pub(crate) namespaces: bool,
    /// The library that gives a process a wall clock of its own.
    pub(crate) clocks: Option<PathBuf>,
}

/// Where Debian's `libfaketime` lies.
const CLOCKS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// This machine, looked at once. What it can't do is named.
pub(crate) fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let probe = tempfile::tempdir().unwrap();
        let mounts = Mount::tmpfs(probe.path(), "1m").is_some();
        let namespace = Namespace::make(999);
        let rates = namespace.as_ref().is_some_and(|namespace| namespace.throttle(1000) && namespace.unthrottle());
        let namespaces = namespace.is_some();
        let clocks = CLOCKS.iter().map(PathBuf::from).find(|path| path.exists());
        for (can, test, reason) in [
            (mounts, "full_disks", "mounting a tmpfs needs root"),
            (namespaces, "network_namespaces", "ip netns (iproute2) needs to be there, and root"),
            (rates, "throttled_interfaces", "tc (iproute2) and the kernel's sch_tbf need to be there, and root"),
            (clocks.is_some(), "clock_jumps", "libfaketime is not there; on Debian: apt-get install faketime"),
        ] {
            if !can {
                skipped(&format!("harness::{test}"), reason);
            }
        }
        Machine { mounts, namespaces, clocks }
    })
}

/// Tells of something that can't run here: by name and reason, never silently.
fn skipped(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    if let Some(list) = std::env::var_os("NIXFLEET_SKIPPED_TESTS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(format!("{test}: {reason}\n").as_bytes()).unwrap();
    }
}

fn done(program: &str, words: &[&str]) -> bool {
    let ran =
        Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

/// A small file system of its own.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts a tmpfs; nothing where that is not allowed.
    pub(crate) fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={size}");
        let words = ["-t", "tmpfs", "-o", &size, "tmpfs", at.to_str().unwrap()];
        done("mount", &words).then(|| Self { at: at.to_owned() })
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let file = File::create(self.filler()).unwrap();
        let room = statvfs(&self.at).unwrap();
        let mut bytes = room.f_bavail * room.f_frsize;
        // What others take meanwhile is not there to be taken.
        while bytes > 4096 && fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
            bytes -= bytes / 16;
        }
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        if self.filler().exists() {
            fs::remove_file(self.filler()).unwrap();
        }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Copies what is in it to where it stays.
    pub(crate) fn keep(&self, to: &Path) {
        done("cp", &["-a", self.at.to_str().unwrap(), to.to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: processes that are still there are ended by the fleet.
        done("umount", &["-l", self.at.to_str().unwrap()]);
    }
}

/// A network namespace with one pair of interfaces: this machine's end and the host's.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: String,
    /// This machine's address on it.
    pub(crate) address: String,
    interface: String,
}

impl Namespace {
    /// Makes one; `number` tells it from others of this process. Nothing where that is not possible.
    pub(crate) fn make(number: usize) -> Option<Self> {
        let unique = format!("{:x}{number:x}", std::process::id());
        let name = format!("nixfleet-{unique}");
        // An interface's name has 15 characters at most.
        let (interface, inside) = (format!("nfa{unique}"), format!("nfb{unique}"));
        let place = (std::process::id() as usize).wrapping_mul(31).wrapping_add(number) % 16_000;
        let subnet = format!("10.{}.{}", 192 + place / 250, 1 + place % 250);
        let (address, other) = (format!("{subnet}.1"), format!("{subnet}.2/24"));
        let own = format!("{address}/24");
        if !done("ip", &["netns", "add", &name]) {
            return None;
        }
        let namespace = Self { name: name.clone(), address, interface: interface.clone() };
        let made = done("ip", &["link", "add", &interface, "type", "veth", "peer", "name", &inside, "netns", &name])
            && done("ip", &["address", "add", &own, "dev", &interface])
            && done("ip", &["link", "set", &interface, "up"])
            && done("ip", &["-n", &name, "address", "add", &other, "dev", &inside])
            && done("ip", &["-n", &name, "link", "set", &inside, "up"])
            && done("ip", &["-n", &name, "link", "set", "lo", "up"]);
        made.then_some(namespace)
    }

    /// Pulls the plug.
    pub(crate) fn unplug(&self) {
        done("ip", &["link", "set", &self.interface, "down"]);
    }

    /// Puts it in again.
    pub(crate) fn plug(&self) {
        done("ip", &["link", "set", &self.interface, "up"]);
    }

    /// Lets only so many kbit through in a second. `false`: this kernel can't.
    pub(crate) fn throttle(&self, kbit: u64) -> bool {
        let rate = format!("{kbit}kbit");
        let words = ["qdisc", "replace", "dev", &self.interface, "root", "tbf", "rate", &rate, "burst", "16kbit"];
        done("tc", &[&words[..], &["latency", "400ms"]].concat())
    }

    /// Lets all through again.
    pub(crate) fn unthrottle(&self) -> bool {
        done("tc", &["qdisc", "del", "dev", &self.interface, "root"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        done("ip", &["link", "del", &self.interface]);
        done("ip", &["netns", "del", &self.name]);
    }
}

/// The wall clock of one process, and of those that are started in its place. The monotonic clock stays true.
#[derive(Debug)]
pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    pub(crate) fn new(file: PathBuf) -> Self {
        let clock = Self { file };
        clock.jump(0);
        clock
    }

    /// Jumps to so many seconds from the true time.
    pub(crate) fn jump(&self, to: i64) {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{to:+}\n")).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    /// What the process needs in its environment.
    pub(crate) fn environment(&self, library: &Path) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}
