//! A client of the browser's side of `/ws`: keeps the state as the protocol says, and says when it can't.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::fleet::{ADMIN, Fleet, PATIENCE, lights_of};

/// An open tab that applies what it is sent.
pub(crate) struct Tab {
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
    /// Its version.
    pub(crate) version: u64,
    /// Its epoch.
    pub(crate) epoch: String,
    /// The hosts by name.
    pub(crate) hosts: BTreeMap<String, Value>,
    /// Lines of logs that it follows, with their offsets.
    pub(crate) lines: BTreeMap<String, Vec<(u64, String)>>,
    /// Logs that were said to be over.
    pub(crate) over: Vec<String>,
    /// How often the full state came.
    pub(crate) states: u32,
    /// The host whose lights are noted, and every set of them that was ever shown.
    watched: Option<String>,
    pub(crate) lights_seen: Vec<String>,
}

impl Tab {
    /// Opens a tab and takes its `init`.
    pub(crate) fn open(fleet: &Fleet) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let port = fleet.port;
        let socket = runtime.block_on(async {
            let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request().unwrap();
            request.headers_mut().insert("Authorization", format!("Bearer {ADMIN}").parse().unwrap());
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio_tungstenite::client_async(request, stream).await.unwrap().0
        });
        let mut tab = Self {
            runtime,
            socket,
            version: 0,
            epoch: String::new(),
            hosts: BTreeMap::new(),
            lines: BTreeMap::new(),
            over: Vec::new(),
            states: 0,
            watched: None,
            lights_seen: Vec::new(),
        };
        tab.until("init", |tab| tab.states > 0);
        tab
    }

    /// Reads until something holds.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "the tab waited too long until {what}");
            self.read(Duration::from_millis(200));
        }
    }

    /// Reads until a host's lights are these.
    pub(crate) fn expect_lights(&mut self, host: &str, lights: &str) {
        let started = Instant::now();
        while self.hosts.get(host).map(lights_of).as_deref() != Some(lights) {
            let shown = self.hosts.get(host).map(lights_of);
            assert!(started.elapsed() < PATIENCE, "the tab's lights of {host} are {shown:?}, not {lights}");
            self.read(Duration::from_millis(200));
        }
    }

    /// Notes every set of lights of a host from now on.
    pub(crate) fn watch_lights(&mut self, host: &str) {
        self.watched = Some(host.to_owned());
    }

    /// Asks for a log from an offset on.
    pub(crate) fn follow(&mut self, command: &str, offset: u64) {
        self.send(&json!({ "type": "follow_log", "payload": { "command_id": command, "offset": offset } }));
    }

    /// The texts of a followed log, without the runner's notes.
    pub(crate) fn text(&self, command: &str) -> Vec<&str> {
        self.lines.get(command).into_iter().flatten().map(|(_, line)| line.as_str()).collect()
    }

    /// Reads a followed log to its end, however long it is: as long as something comes.
    pub(crate) fn follow_to_the_end(&mut self, command: &str) {
        let (mut seen, mut last) = (0, Instant::now());
        while !self.over.iter().any(|over| over == command) {
            self.read(Duration::from_millis(200));
            let lines = self.lines.get(command).map_or(0, Vec::len);
            if lines > seen {
                (seen, last) = (lines, Instant::now());
            }
            assert!(last.elapsed() < PATIENCE, "nothing came after line {seen}");
        }
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: &Value) {
        self.runtime.block_on(self.socket.send(Message::text(frame.to_string()))).unwrap();
    }

    /// Takes one frame, or nothing within the limit.
    fn read(&mut self, limit: Duration) {
        let next = self.runtime.block_on(async { tokio::time::timeout(limit, self.socket.next()).await });
        let Ok(next) = next else { return };
        let Some(Ok(message)) = next else { panic!("the tab's socket ended: {next:?}") };
        let Message::Text(text) = message else { return };
        let frame: Value = serde_json::from_str(text.as_str()).unwrap();
        for field in ["type", "version", "epoch", "payload"] {
            assert!(!frame[field].is_null(), "a frame without {field}: {frame}");
        }
        let version = frame["version"].as_u64().unwrap();
        match frame["type"].as_str().unwrap() {
            "init" | "full_state" => self.take_state(&frame, version),
            "delta" => {
                assert_eq!(version, self.version + 1, "deltas come without gaps");
                assert_eq!(frame["epoch"], self.epoch);
                self.version = version;
                self.apply(&frame["payload"]["change"]);
            }
            "deltas" => {
                for delta in frame["payload"]["deltas"].as_array().unwrap() {
                    assert_eq!(delta["version"].as_u64().unwrap(), self.version + 1);
                    self.version += 1;
                    self.apply(&delta["change"]);
                }
            }
            "sync" => assert_eq!(version, self.version, "the beacon names the version that the tab has"),
            "log" => {
                let command = frame["payload"]["command_id"].as_str().unwrap().to_owned();
                let lines = self.lines.entry(command.clone()).or_default();
                for line in frame["payload"]["lines"].as_array().unwrap() {
                    if line["stream"] != "note" {
                        lines.push((line["offset"].as_u64().unwrap(), line["line"].as_str().unwrap().to_owned()));
                    }
                }
                if frame["payload"]["over"] == true {
                    self.over.push(command);
                }
            }
            other => panic!("unknown frame {other}"),
        }
    }

    fn take_state(&mut self, frame: &Value, version: u64) {
        frame["epoch"].as_str().unwrap().clone_into(&mut self.epoch);
        self.version = version;
        self.states += 1;
        self.hosts = frame["payload"]["state"]["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|host| (host["id"].as_str().unwrap().to_owned(), host.clone()))
            .collect();
    }

    fn apply(&mut self, change: &Value) {
        match change["type"].as_str().unwrap() {
            "host_added" | "host_updated" => {
                if self.watched.as_deref() == change["id"].as_str() {
                    let lights = lights_of(&change["host"]);
                    if !self.lights_seen.contains(&lights) {
                        self.lights_seen.push(lights);
                    }
                }
                self.hosts.insert(change["id"].as_str().unwrap().to_owned(), change["host"].clone());
            }
            "host_removed" => {
                self.hosts.remove(change["id"].as_str().unwrap());
            }
            _ => {}
        }
    }
}
