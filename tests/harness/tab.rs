//! A browser's tab, without a browser: it applies deltas, follows logs, comes back with `resume` after each break, and
//! writes down whatever the protocol does not allow.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::accounts::row;
use crate::dice::Dice;
use crate::fleet::ADMIN;
use crate::ledger::Row;

/// Logs that a tab reads along at once.
const FOLLOWS: usize = 4;
/// How long the last state and the ends of logs may take.
const LAST: Duration = Duration::from_mins(1);

/// What a tab saw.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What the protocol does not allow.
    pub(crate) findings: Vec<String>,
    /// Deltas that were applied.
    pub(crate) deltas: u64,
    /// Logs that were followed, from their beginnings.
    pub(crate) logs: BTreeMap<String, Vec<Row>>,
}

/// When tabs end.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// All is quiet: the tab asks for the whole state once more, compares, and reports.
    pub(crate) quiet: AtomicBool,
    /// The round is lost anyway: nothing is waited for.
    pub(crate) lost: AtomicBool,
}

/// Starts a tab.
pub(crate) fn start(port: u16, dice: Dice, end: &Arc<End>) -> JoinHandle<Report> {
    let end = Arc::clone(end);
    thread::spawn(move || {
        let mut tab = Tab { port, dice, ..Tab::default() };
        while !end.quiet.load(Ordering::Acquire) {
            tab.live(&end.quiet);
        }
        tab.last_look(&end.lost);
        tab.report
    })
}

type Socket = WebSocket<TcpStream>;

#[derive(Default)]
struct Tab {
    port: u16,
    dice: Dice,
    version: u64,
    epoch: String,
    hosts: BTreeMap<String, Value>,
    commands: BTreeMap<String, Value>,
    /// Logs that go on, with the offset to go on from.
    following: BTreeMap<String, u64>,
    /// The answer to the last question for the state has come.
    compared: bool,
    asked: bool,
    report: Report,
}

impl Tab {
    fn find(&mut self, what: String) {
        self.report.findings.push(what);
    }

    /// One connection, until it breaks or all is over. Sometimes the tab is closed by its person.
    fn live(&mut self, over: &AtomicBool) {
        let Some(mut socket) = self.dial() else {
            thread::sleep(Duration::from_millis(30));
            return;
        };
        let closes = Instant::now() + Duration::from_millis(self.dice.between(200, 8000));
        while !over.load(Ordering::Acquire) && Instant::now() < closes {
            if !self.read(&mut socket) {
                return;
            }
            if self.dice.once_in(200) {
                // A tab in the background reads nothing for a while.
                thread::sleep(Duration::from_millis(self.dice.below(700)));
            }
        }
    }

    /// Compares what it has with the whole state, and reads its logs to their ends.
    fn last_look(&mut self, lost: &AtomicBool) {
        let until = Instant::now() + LAST;
        while Instant::now() < until && !lost.load(Ordering::Acquire) {
            let Some(mut socket) = self.dial() else { continue };
            let mut settled = Instant::now();
            while Instant::now() < until && !lost.load(Ordering::Acquire) {
                let before = self.version;
                if !self.read(&mut socket) {
                    break;
                }
                if before != self.version {
                    settled = Instant::now();
                }
                if !self.asked && settled.elapsed() > Duration::from_millis(150) && self.following.is_empty() {
                    self.asked = send(&mut socket, &json!({ "type": "get_state", "payload": {} }));
                }
                if self.compared {
                    return;
                }
            }
            self.asked = false;
        }
        let open: Vec<_> = self.following.keys().cloned().collect();
        self.find(format!("no last state within {LAST:?}; logs that did not end: {open:?}"));
    }

    fn dial(&mut self) -> Option<Socket> {
        let by_frame = self.dice.once_in(2);
        let known = !self.epoch.is_empty();
        let query =
            if known && !by_frame { format!("?epoch={}&version={}", self.epoch, self.version) } else { String::new() };
        let mut request = format!("ws://127.0.0.1:{}/ws{query}", self.port).into_client_request().unwrap();
        request.headers_mut().insert("Authorization", format!("Bearer {ADMIN}").parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut socket, _) = tungstenite::client(request, stream).ok()?;
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        for (id, offset) in self.following.clone() {
            follow(&mut socket, &id, offset);
        }
        Some(socket)
    }

    /// Takes one frame. `false`: the connection is gone.
    fn read(&mut self, socket: &mut Socket) -> bool {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return true,
            Err(tungstenite::Error::Io(error)) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
            Ok(Message::Close(_)) | Err(_) => return false,
        };
        let mut frame: Value = match serde_json::from_str(text.as_str()) {
            Ok(frame) => frame,
            Err(error) => {
                self.find(format!("a frame that is no JSON: {error}"));
                return false;
            }
        };
        let (version, epoch) = (frame["version"].as_u64().unwrap(), frame["epoch"].as_str().unwrap().to_owned());
        if !self.epoch.is_empty() && epoch != self.epoch {
            self.find(format!("the epoch changed from {} to {epoch}", self.epoch));
        }
        self.epoch = epoch;
        let kind = frame["type"].as_str().unwrap().to_owned();
        let mut payload = frame["payload"].take();
        match kind.as_str() {
            "init" | "full_state" => self.whole(&kind, version, &payload["state"]),
            "delta" => self.delta(version, payload["change"].take(), socket),
            "deltas" => {
                for delta in payload["deltas"].as_array_mut().unwrap() {
                    let version = delta["version"].as_u64().unwrap();
                    self.delta(version, delta["change"].take(), socket);
                }
                if self.version != version {
                    self.find(format!("deltas to {version} end at {}", self.version));
                }
            }
            "sync" => {
                if version != self.version {
                    self.find(format!("the beacon says {version}, the tab has {}", self.version));
                }
            }
            "log" => self.lines(&payload),
            other => self.find(format!("an unknown frame {other}")),
        }
        true
    }

    fn whole(&mut self, kind: &str, version: u64, state: &Value) {
        if version < self.version {
            self.find(format!("{kind}: the version went from {} to {version}", self.version));
        }
        let by_id = |list: &Value| -> BTreeMap<String, Value> {
            let all = list.as_array().unwrap().iter();
            all.map(|one| (one["id"].as_str().unwrap().to_owned(), one.clone())).collect()
        };
        let (hosts, commands) = (by_id(&state["hosts"]), by_id(&state["commands"]));
        if self.asked && kind == "full_state" {
            if version != self.version {
                self.find(format!("the state is {version}, the tab that was told everything has {}", self.version));
            }
            self.compare(&hosts, &commands);
            self.compared = true;
        }
        (self.version, self.hosts, self.commands) = (version, hosts, commands);
    }

    fn compare(&mut self, hosts: &BTreeMap<String, Value>, commands: &BTreeMap<String, Value>) {
        if *hosts != self.hosts {
            let other = hosts.iter().find(|(id, host)| self.hosts.get(*id) != Some(host));
            let other = other.map(|(id, host)| format!("{host}\nand not\n{:?}", self.hosts.get(id)));
            self.find(format!("the tab's hosts are not the state's: {other:?}"));
        }
        let other = commands.iter().find(|(id, command)| self.commands.get(*id) != Some(command));
        if let Some((id, command)) = other {
            let mine = self.commands.get(id).cloned();
            self.find(format!("the tab's command {id} is\n{mine:?}\nand not\n{command}"));
        }
    }

    fn delta(&mut self, version: u64, mut change: Value, socket: &mut Socket) {
        if version != self.version + 1 {
            self.find(format!("a delta {version} behind {}", self.version));
        }
        self.version = version;
        self.report.deltas += 1;
        let kind = change["type"].as_str().unwrap().to_owned();
        let id = change["id"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "host_added" | "host_updated" => drop(self.hosts.insert(id, change["host"].take())),
            "host_removed" => drop(self.hosts.remove(&id)),
            "command_started" | "command_progress" | "command_finished" => {
                if kind == "command_started" && self.wants(&id) {
                    self.following.insert(id.clone(), 0);
                    self.report.logs.insert(id.clone(), Vec::new());
                    follow(socket, &id, 0);
                }
                self.commands.insert(id, change["command"].take());
            }
            _ => {}
        }
    }

    fn wants(&mut self, id: &str) -> bool {
        self.following.len() < FOLLOWS && !self.report.logs.contains_key(id) && self.dice.once_in(2)
    }

    fn lines(&mut self, payload: &Value) {
        let id = payload["command_id"].as_str().unwrap().to_owned();
        let Some(mut at) = self.following.get(&id).copied() else { return };
        for line in payload["lines"].as_array().unwrap() {
            let row = row(line);
            if row.offset != at {
                self.find(format!("the log of {id}: a line at {} behind {at}", row.offset));
            }
            at = row.end;
            self.report.logs.entry(id.clone()).or_default().push(row);
        }
        self.following.insert(id.clone(), at);
        if payload["over"] == true {
            self.following.remove(&id);
        }
    }
}

fn send(socket: &mut Socket, frame: &Value) -> bool {
    // One that is gone is noticed by the next read.
    socket.send(Message::text(frame.to_string())).is_ok()
}

fn follow(socket: &mut Socket, id: &str, offset: u64) {
    send(socket, &json!({ "type": "follow_log", "payload": { "command_id": id, "offset": offset } }));
}
