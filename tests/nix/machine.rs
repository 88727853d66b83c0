//! A NixOS host of a story: its root, its own store, and the verbs that the stories add to those of the fleet.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::configuration::Configuration;
use crate::fleet::Fleet;

/// The host's name.
pub(crate) const HOST: &str = "hsb0";

/// A fleet of one NixOS host.
pub(crate) struct Machine {
    pub(crate) fleet: Fleet,
    root: TempDir,
}

impl Machine {
    /// A host with this configuration pushed and checked out, on which nothing was ever switched. Nothing where there
    /// is no nix: then the story is skipped, under this name.
    pub(crate) fn new(story: &str, configuration: &Configuration) -> Option<Self> {
        if Command::new("nix").arg("--version").output().is_err() {
            skip(story, "nix is not installed");
            return None;
        }
        // Below the target directory: newer versions of nix want no store below a directory that everybody can write.
        let root = tempfile::Builder::new().prefix("nix-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for dir in
            ["run", "bin", "home", "etc", "nix/store", "nix/var/nix/profiles", "nix/var/nix/gcroots", "nix/var/log"]
        {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let tool = include_str!("nixos-rebuild").replace("@ROOT@", &root.path().display().to_string());
        let path = root.path().join("bin/nixos-rebuild");
        fs::write(&path, tool).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // As on NixOS: what runs, and what was booted, is no garbage.
        for system in ["current-system", "booted-system"] {
            symlink(root.path().join("run").join(system), root.path().join("nix/var/nix/gcroots").join(system))
                .unwrap();
        }
        let mut machine = Self { fleet: Fleet::new(), root };
        machine.lock(configuration);
        machine.push(configuration, "a NixOS configuration");
        let env = machine.environment();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        machine.fleet.add_host(HOST, &env);
        // The daemon polls the repository, and may know of its first commit only.
        machine.expect_lights("🟢🟢🟢⚪⚪");
        Some(machine)
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap();
        let mut env = vec![
            ("NIXFLEET_PLATFORM", "nixos".to_owned()),
            ("NIXFLEET_ROOT", self.path("").display().to_string()),
            ("NIXFLEET_PATH", format!("{}:{path}", self.path("bin").display())),
        ];
        env.extend(self.nix_environment());
        env
    }

    /// What makes nix use the story's own store. The features are left to those who need them.
    fn nix_environment(&self) -> Vec<(&'static str, String)> {
        let within = |path: &str| self.path(path).display().to_string();
        let config = "sandbox = false\nbuild-users-group =\nsubstituters =\nflake-registry =\n";
        vec![
            ("HOME", within("home")),
            ("NIX_CONFIG", config.to_owned()),
            ("NIX_CONF_DIR", within("etc")),
            ("NIX_LOG_DIR", within("nix/var/log")),
            ("NIX_STATE_DIR", within("nix/var/nix")),
            ("NIX_STORE_DIR", within("nix/store")),
        ]
    }

    /// A path below the host's root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        // Without links in it: the store does not like them.
        fs::canonicalize(self.root.path()).unwrap().join(path)
    }

    /// Runs a program with the host's store; what it prints.
    pub(crate) fn ask(&self, argv: &[&str]) -> String {
        let run = Command::new(argv[0]).args(&argv[1..]).envs(self.nix_environment()).output().unwrap();
        assert!(run.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    }

    /// Commits the lock that belongs to a configuration, as an operator does.
    fn lock(&mut self, configuration: &Configuration) {
        let dir = self.path("lock");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("flake.nix"), configuration.flake(&self.path(""), HOST)).unwrap();
        let flake = format!("path:{}", dir.display());
        self.ask(&["nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock", &flake]);
        // A flake without inputs needs no lock; the fleet has one all the same.
        let none = "{\n  \"nodes\": {\n    \"root\": {}\n  },\n  \"root\": \"root\",\n  \"version\": 7\n}\n";
        let lock = fs::read_to_string(dir.join("flake.lock")).unwrap_or_else(|_| none.to_owned());
        self.fleet.repository.write("flake.lock", &lock);
    }

    /// Pushes a configuration.
    pub(crate) fn push(&self, configuration: &Configuration, subject: &str) -> String {
        self.fleet.repository.write("flake.nix", &configuration.flake(&self.path(""), HOST));
        self.fleet.repository.push(subject)
    }

    /// Pushes a configuration and brings the checkout there.
    pub(crate) fn bring(&self, configuration: &Configuration, subject: &str) -> String {
        let commit = self.push(configuration, subject);
        self.run("pull", "SUCCESS");
        commit
    }

    /// Runs an op to its end and expects its state.
    pub(crate) fn run(&self, op: &str, state: &str) -> Value {
        let command = self.fleet.run(HOST, op, state);
        self.is_whole(&command);
        command
    }

    /// The same with arguments.
    pub(crate) fn run_with(&self, op: &str, args: &Value, state: &str) -> Value {
        let (status, body) = self.fleet.post(&format!("/api/v1/hosts/{HOST}/ops/{op}"), &json!({ "args": args }));
        assert_eq!(status, 202, "{op}: {body}");
        let command = self.fleet.ended(body["id"].as_str().unwrap());
        assert_eq!(command["state"], state, "{command:#}\n{}", self.fleet.logs());
        self.is_whole(&command);
        command
    }

    /// The log of a command reaches to where its result says, and no line of nix's own log is in it.
    pub(crate) fn is_whole(&self, command: &Value) {
        let id = command["id"].as_str().unwrap();
        let log = self.fleet.log(id);
        assert!(log.iter().all(|(stream, line)| stream != "mark" && !line.starts_with("@nix")), "{log:?}");
        let kept = fs::metadata(self.fleet.state_dir(HOST).join("commands").join(id).join("output.log"));
        if let Ok(kept) = kept {
            assert_eq!(command["log_bytes"].as_u64(), Some(kept.len()), "{command:#}");
        }
    }

    /// All lines of a command's log, notes too.
    pub(crate) fn lines(&self, command: &Value) -> String {
        let log = self.fleet.log(command["id"].as_str().unwrap());
        log.into_iter().map(|(_, line)| line + "\n").collect()
    }

    /// The store path of the system that runs.
    pub(crate) fn running(&self) -> Option<PathBuf> {
        fs::canonicalize(self.path("run/current-system")).ok()
    }

    /// The store path of the system that the profile names.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        fs::canonicalize(self.path("nix/var/nix/profiles/system")).ok()
    }

    /// The numbers of the generations.
    pub(crate) fn generations(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = fs::read_dir(self.path("nix/var/nix/profiles"))
            .unwrap()
            .filter_map(|link| {
                let name = link.unwrap().file_name().into_string().unwrap();
                name.strip_prefix("system-")?.strip_suffix("-link")?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// The running system was booted.
    pub(crate) fn boot(&self) {
        let booted = self.path("run/booted-system");
        let _ = fs::remove_file(&booted);
        symlink(self.running().unwrap(), booted).unwrap();
    }

    /// Waits for the lights.
    pub(crate) fn expect_lights(&self, lights: &str) {
        self.fleet.expect_lights(HOST, lights);
    }

    /// The host as the API has it.
    pub(crate) fn host(&self) -> Value {
        self.fleet.get(&format!("/api/v1/hosts/{HOST}")).1
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What is in a store can't be written, and so not be removed.
        let _ = Command::new("chmod").arg("-R").arg("u+w").arg(self.root.path()).status();
    }
}

/// Says that a story can't be told here.
fn skip(story: &str, reason: &str) {
    let line = format!("nix::{story}: {reason}");
    println!("SKIPPED {line}");
    if let Some(list) = std::env::var_os("NIXFLEET_SKIPPED_TESTS") {
        let mut list = fs::File::options().create(true).append(true).open(Path::new(&list)).unwrap();
        list.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
