//! The builder of the stories: a daemon, agents and a repository in a directory of their own, and the verbs of
//! a story: push, submit, kill, start, wait until. All waiting is for a condition, with a limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::repository::Repository;

/// How long anything may take before a story fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The API token of the stories.
pub(crate) const ADMIN: &str = "story-admin-token-0123456789abcdef0123456789abcdef";
/// The password of the stories.
pub(crate) const PASSWORD: &str = "correct horse";

/// A small fleet.
pub(crate) struct Fleet {
    pub(crate) repository: Repository,
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
    pub(crate) daemon: Option<Child>,
    daemon_env: Vec<(String, String)>,
    pub(crate) agents: BTreeMap<String, Agent>,
}

/// A host's agent.
pub(crate) struct Agent {
    pub(crate) process: Option<Child>,
    token: String,
    env: Vec<(String, String)>,
    /// What starts its binary: nothing, or a program and its arguments.
    under: Vec<String>,
}

impl Fleet {
    /// A running daemon with a repository and no hosts.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same, with more settings for the daemon.
    pub(crate) fn with(env: &[(&str, &str)]) -> Self {
        Self::beside(|_, _| env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The same, where the settings depend on the repository and on the daemon's port.
    pub(crate) fn beside(env: impl FnOnce(&Repository, u16) -> Vec<(String, String)>) -> Self {
        let dir = tempfile::Builder::new().prefix("nixfleet-story-").tempdir().unwrap();
        let repository = Repository::new(dir.path());
        let port = free_port();
        let mut daemon_env = vec![
            ("NIXFLEET_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
            ("NIXFLEET_DATA_DIR".to_owned(), dir.path().join("data").display().to_string()),
            ("NIXFLEET_PASSWORD_HASH".to_owned(), bcrypt::hash(PASSWORD, 4).unwrap()),
            ("NIXFLEET_ADMIN_TOKEN".to_owned(), ADMIN.to_owned()),
            ("NIXFLEET_REPO_URL".to_owned(), repository.url()),
            ("NIXFLEET_REMOTE_INTERVAL".to_owned(), "1s".to_owned()),
            // Stories say themselves when tests run; `auto_tests.rs` is about those that do by themselves.
            ("NIXFLEET_AUTO_TEST".to_owned(), "0".to_owned()),
            ("NIXFLEET_LOG".to_owned(), "nixfleet=debug,info".to_owned()),
        ];
        daemon_env.extend(env(&repository, port));
        let mut fleet = Self { repository, port, dir, daemon: None, daemon_env, agents: BTreeMap::new() };
        fleet.start_daemon();
        fleet
    }

    /// Makes a token for a host and starts its agent.
    pub(crate) fn host(mut self, name: &str) -> Self {
        self.add_host(name, &[]);
        self
    }

    /// The same, with more settings for the agent.
    pub(crate) fn add_host(&mut self, name: &str, env: &[(&str, &str)]) {
        self.add_host_under(name, env, &[]);
        self.wait(&format!("{name} is online and has its checkout"), |fleet| {
            let host = fleet.get(&format!("/api/v1/hosts/{name}")).1;
            host["state"] == "online" && !host["generation"].is_null()
        });
    }

    /// Starts another machine that calls itself as a host does, with the token of that host.
    pub(crate) fn add_rival(&mut self, name: &str, of: &str) {
        let env = vec![("NIXFLEET_HOSTNAME".to_owned(), of.to_owned())];
        let token = self.agents[of].token.clone();
        self.agents.insert(name.to_owned(), Agent { process: None, token, env, under: Vec::new() });
        self.start_agent(name);
    }

    /// The same, with a program that starts the agent, such as `ip netns exec`; waits for nothing.
    pub(crate) fn add_host_under(&mut self, name: &str, env: &[(&str, &str)], under: &[&str]) {
        let made = self.post("/api/v1/tokens", &json!({ "kind": "host", "host": name, "name": name }));
        assert_eq!(made.0, 201, "{}", made.1);
        let token = made.1["token"].as_str().unwrap().to_owned();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let under = under.iter().map(|word| (*word).to_owned()).collect();
        self.agents.insert(name.to_owned(), Agent { process: None, token, env, under });
        self.start_agent(name);
    }

    /// Where everything lies.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The daemon's data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The state directory of an agent.
    pub(crate) fn state_dir(&self, host: &str) -> PathBuf {
        self.dir.path().join("agents").join(host)
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start_daemon(&mut self) {
        self.launch_daemon();
        self.wait("the daemon is ready", |fleet| fleet.try_get("/readyz").is_some_and(|(status, _)| status == 200));
    }

    /// The daemon's process.
    pub(crate) fn daemon_id(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// Whether the daemon's process goes on.
    pub(crate) fn daemon_lives(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().unwrap().is_none())
    }

    /// Starts the daemon.
    pub(crate) fn launch_daemon(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet"));
        command.arg("serve").envs(self.daemon_env.iter().map(|(name, value)| (name, value)));
        self.daemon = Some(spawn(command, &self.dir.path().join("daemon.log")));
    }

    /// `kill -9` of the daemon.
    pub(crate) fn kill_daemon(&mut self) {
        kill(self.daemon.take());
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop_daemon(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        signal(daemon.id(), rustix::process::Signal::TERM);
        assert!(ended_well(daemon.wait().unwrap()), "the daemon ends well when it is asked to\n{}", self.logs());
    }

    /// Starts a host's agent.
    pub(crate) fn start_agent(&mut self, host: &str) {
        let state_dir = self.state_dir(host);
        fs::create_dir_all(&state_dir).unwrap();
        let agent = &self.agents[host];
        let mut words: Vec<_> = agent.under.iter().map(Into::into).collect();
        words.push(agent_binary().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env("NIXFLEET_URL", format!("ws://127.0.0.1:{}/ws", self.port))
            .env("NIXFLEET_TOKEN", &agent.token)
            .env("NIXFLEET_REPO_URL", self.repository.url())
            .env("NIXFLEET_STATE_DIR", &state_dir)
            .env("NIXFLEET_HOSTNAME", host)
            .env("NIXFLEET_PLATFORM", "script")
            .env("NIXFLEET_INTERVAL", "1")
            .env("NIXFLEET_LOG", "debug")
            .envs(agent.env.iter().map(|(name, value)| (name, value)));
        let process = spawn(command, &self.dir.path().join(format!("agent-{host}.log")));
        self.agents.get_mut(host).unwrap().process = Some(process);
    }

    /// `kill -9` of an agent.
    pub(crate) fn kill_agent(&mut self, host: &str) {
        kill(self.agents.get_mut(host).unwrap().process.take());
    }

    /// A signal to an agent.
    pub(crate) fn signal_agent(&self, host: &str, which: rustix::process::Signal) {
        signal(self.agents[host].process.as_ref().unwrap().id(), which);
    }

    /// One GET of the API.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.try_get(path).unwrap_or_else(|| panic!("GET {path}: no answer\n{}", self.logs()))
    }

    /// One GET of the API; nothing while the daemon is away.
    pub(crate) fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        Api::at(self.port).get(path)
    }

    /// One GET, as text.
    pub(crate) fn text(&self, path: &str) -> (u16, String) {
        Api::at(self.port).text("GET", path, None).unwrap_or_else(|| panic!("GET {path}: no answer"))
    }

    /// One POST to the API.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = Api::at(self.port).post(path, body);
        answer.unwrap_or_else(|| panic!("POST {path}: no answer\n{}", self.logs()))
    }

    /// One DELETE; the status.
    pub(crate) fn delete(&self, path: &str) -> u16 {
        let answer = Api::at(self.port).text("DELETE", path, None);
        answer.unwrap_or_else(|| panic!("DELETE {path}: no answer")).0
    }

    /// Asks for an op and expects that it is accepted; the command's id.
    pub(crate) fn submit(&self, host: &str, op: &str) -> String {
        let (status, body) = self.post(&format!("/api/v1/hosts/{host}/ops/{op}"), &json!({}));
        assert_eq!(status, 202, "{op} on {host}: {body}");
        body["id"].as_str().unwrap().to_owned()
    }

    /// A command as the API has it.
    pub(crate) fn command(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/commands/{id}")).1
    }

    /// Waits for a command's end.
    pub(crate) fn ended(&self, id: &str) -> Value {
        let mut last = Value::Null;
        self.wait(&format!("command {id} is over"), |fleet| {
            let Some((200, command)) = fleet.try_get(&format!("/api/v1/commands/{id}")) else { return false };
            last = command;
            !last["finished_at"].is_null()
        });
        last
    }

    /// Runs an op to its end and expects its state.
    pub(crate) fn run(&self, host: &str, op: &str, state: &str) -> Value {
        let command = self.ended(&self.submit(host, op));
        assert_eq!(command["state"], state, "{command:#}\n{}", self.log_text(command["id"].as_str().unwrap()));
        command
    }

    /// The lines of a command's log, without the runner's notes.
    pub(crate) fn output(&self, id: &str) -> Vec<String> {
        self.log(id).into_iter().filter(|(stream, _)| stream != "note").map(|(_, line)| line).collect()
    }

    /// The lines of a command's log, with their streams.
    pub(crate) fn log(&self, id: &str) -> Vec<(String, String)> {
        self.text(&format!("/api/v1/commands/{id}/log?from=0"))
            .1
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| (line["stream"].as_str().unwrap().to_owned(), line["line"].as_str().unwrap().to_owned()))
            .collect()
    }

    fn log_text(&self, id: &str) -> String {
        self.text(&format!("/api/v1/commands/{id}/log?raw=1")).1
    }

    /// The five lights of a host, as in the specification's table.
    pub(crate) fn lights(&self, host: &str) -> String {
        self.try_get(&format!("/api/v1/hosts/{host}")).map(|(_, host)| lights_of(&host)).unwrap_or_default()
    }

    /// Waits until a host's lights are these.
    pub(crate) fn expect_lights(&self, host: &str, lights: &str) {
        let started = Instant::now();
        while self.lights(host) != lights {
            assert!(
                started.elapsed() < PATIENCE,
                "lights of {host} are {}, not {lights}\n{:#}\n{}",
                self.lights(host),
                self.get(&format!("/api/v1/hosts/{host}")).1,
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a condition.
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "waited too long until {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The ends of all logs, for a story that fails.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let mut files: Vec<_> = fs::read_dir(self.dir.path()).unwrap().flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
            let log = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            writeln!(text, "--- {}\n{end}", file.display()).unwrap();
        }
        text
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        kill(self.daemon.take());
        for agent in self.agents.values_mut() {
            kill(agent.process.take());
        }
        // Commands outlive their agents: that is the product. A story ends them by the directory they run in.
        for process in processes_in(self.dir.path()) {
            signal(process, rustix::process::Signal::KILL);
        }
    }
}

/// The five lights of a host of the API.
pub(crate) fn lights_of(host: &Value) -> String {
    ["agent", "git", "lock", "system", "tests"]
        .iter()
        .map(|light| match host["lights"][light]["status"].as_str() {
            Some("ok") => '🟢',
            Some("outdated") => '🟡',
            Some("error") => '🔴',
            Some("working") => '🔵',
            Some("unknown") => '⚪',
            _ => '?',
        })
        .collect()
}

/// Processes whose environment or command line names this directory.
pub(crate) fn processes_in(dir: &Path) -> Vec<u32> {
    let needle = dir.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let names = |file: &str| {
            fs::read(entry.path().join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&needle))
        };
        if pid != std::process::id() && (names("cmdline") || names("environ")) {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal; the process may be gone.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Whether a process ended as it was asked to: with success, or by the signal when it had just begun and did not listen
/// for signals yet.
pub(crate) fn ended_well(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.success() || status.signal() == Some(rustix::process::Signal::TERM.as_raw())
}

fn kill(process: Option<Child>) {
    if let Some(mut process) = process {
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    // What is meant for the tests is nothing for the programs.
    for name in ["RUST_LOG", "NIXFLEET_SEED", "NIXFLEET_HARNESS_FOR", "NIXFLEET_SKIPPED_TESTS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A port that nobody listens on now. Below those that outgoing connections get: a daemon that is away for a moment
/// must find its own again.
pub(crate) fn free_port() -> u16 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let first = (std::process::id().wrapping_mul(97) ^ now) % 20_000;
    (first..first + 20_000)
        .map(|n| u16::try_from(10_000 + n % 20_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// The agent's binary, beside the daemon's.
fn agent_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_nixfleet")).with_file_name("nixfleet-agent");
    assert!(path.exists(), "{} is missing: cargo build -p nixfleet-agent", path.display());
    path
}
