//! The agent over TLS against the daemon's own TLS: real certificates, a switch, a restart of the daemon in the
//! middle of it, and an authority that nobody trusts.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::fleet::{ADMIN, PASSWORD, PATIENCE, free_port, processes_in, signal};
use crate::repository::Repository;

/// A daemon that speaks TLS, and an agent that checks it.
struct Secured {
    dir: tempfile::TempDir,
    repository: Repository,
    port: u16,
    authority: String,
    daemon: Option<Child>,
    agent: Option<Child>,
}

/// A certificate authority with a certificate and key for the loopback address, as PEM.
pub(crate) fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (authority, certificate, key.serialize_pem())
}

impl Secured {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("nixfleet-story-tls-").tempdir().unwrap();
        let repository = Repository::new(dir.path());
        let (authority, certificate, key) = certificates();
        for (name, text) in [("ca.pem", &authority), ("cert.pem", &certificate), ("key.pem", &key)] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("other.pem"), certificates().0).unwrap();
        let mut story = Self { dir, repository, port: free_port(), authority, daemon: None, agent: None };
        story.start_daemon();
        story
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn start_daemon(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet"));
        command
            .arg("serve")
            .env("NIXFLEET_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("NIXFLEET_DATA_DIR", self.path("data"))
            .env("NIXFLEET_PASSWORD_HASH", bcrypt::hash(PASSWORD, 4).unwrap())
            .env("NIXFLEET_ADMIN_TOKEN", ADMIN)
            .env("NIXFLEET_REPO_URL", self.repository.url())
            .env("NIXFLEET_REMOTE_INTERVAL", "1s")
            .env("NIXFLEET_AUTO_TEST", "0")
            .env("NIXFLEET_TLS_CERT", self.path("cert.pem"))
            .env("NIXFLEET_TLS_KEY", self.path("key.pem"));
        self.daemon = Some(spawn(command, &self.dir.path().join("daemon.log")));
        self.wait("the daemon is ready", |story| story.get("/readyz").is_some_and(|(status, _)| status == 200));
    }

    fn start_agent(&mut self, token: &str, authority: &str) {
        let program = Path::new(env!("CARGO_BIN_EXE_nixfleet")).with_file_name("nixfleet-agent");
        let mut command = Command::new(program);
        command
            .env("NIXFLEET_URL", format!("wss://127.0.0.1:{}/ws", self.port))
            .env("NIXFLEET_CA_FILE", self.path(authority))
            .env("NIXFLEET_TOKEN", token)
            .env("NIXFLEET_REPO_URL", self.repository.url())
            .env("NIXFLEET_STATE_DIR", self.path("agent"))
            .env("NIXFLEET_HOSTNAME", "hsb0")
            .env("NIXFLEET_PLATFORM", "script")
            .env("NIXFLEET_INTERVAL", "1");
        self.agent = Some(spawn(command, &self.dir.path().join("agent.log")));
    }

    /// One request over TLS, checked against the story's authority. `None` while nobody answers.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        // HTTP/1.0: the answer ends with the connection, in one piece.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        // A connection that ends without a farewell has said what it had to say.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()))))
    }

    fn get(&self, path: &str) -> Option<(u16, Value)> {
        self.ask("GET", path, "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, &body.to_string()).unwrap_or_else(|| panic!("POST {path}: no answer"))
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    fn wait(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(
                started.elapsed() < PATIENCE,
                "waited too long until {what}\n{}\n{}",
                self.log("daemon.log"),
                self.log("agent.log")
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn kill(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        kill(&mut self.daemon);
        kill(&mut self.agent);
        for process in processes_in(self.dir.path()) {
            signal(process, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn an_agent_over_tls_trusts_its_authority_alone_and_outlives_a_restart_of_the_daemon() {
    let mut story = Secured::new();
    story.repository.script(
        "switch",
        "echo begun; while [ ! -e \"$NIXFLEET_REPO/../../go\" ]; do sleep 0.05; done; seq 1 2000; echo the end",
    );
    story.repository.push("a switch that waits");
    let (status, made) = story.post("/api/v1/tokens", &json!({ "kind": "host", "host": "hsb0", "name": "hsb0" }));
    assert_eq!(status, 201, "{made}");
    let token = made["token"].as_str().unwrap().to_owned();
    // An authority that did not sign the daemon's certificate: no link, and a clear word.
    story.start_agent(&token, "other.pem");
    story.wait("the agent says why it is not connected", |story| {
        let log = story.log("agent.log");
        log.contains("no TLS with wss://127.0.0.1") && log.contains("name it in NIXFLEET_CA_FILE")
    });
    let (_, host) = story.get("/api/v1/hosts/hsb0").unwrap();
    assert!(host["state"] != "online" && host["generation"].is_null(), "it came as far as a register: {host:#}");
    kill(&mut story.agent);
    story.start_agent(&token, "ca.pem");
    story.wait("the host is online", |story| {
        story
            .get("/api/v1/hosts/hsb0")
            .is_some_and(|(_, host)| host["state"] == "online" && !host["generation"].is_null())
    });
    let (status, command) = story.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true }));
    assert_eq!(status, 202, "{command}");
    let id = command["id"].as_str().unwrap().to_owned();
    let log = |story: &Secured| {
        story.get(&format!("/api/v1/commands/{id}/log?raw=1")).map(|(_, text)| text.to_string()).unwrap_or_default()
    };
    story.wait("it began", |story| log(story).contains("begun"));
    kill(&mut story.daemon);
    fs::write(story.dir.path().join("go"), "").unwrap();
    story.start_daemon();
    story.wait("it is over", |story| {
        story.get(&format!("/api/v1/commands/{id}")).is_some_and(|(_, command)| !command["finished_at"].is_null())
    });
    let command = story.get(&format!("/api/v1/commands/{id}")).unwrap().1;
    assert_eq!((&command["state"], &command["exit_code"]), (&json!("SUCCESS"), &json!(0)), "{command:#}");
    let text = log(&story);
    assert!(text.contains("2000") && text.contains("the end"), "the whole log is there");
}
