//! A played agent of the old generation (v2), frame by frame as such agents speak: no ids, no journal, all fields of
//! a heartbeat each time, empty strings where it knows nothing, and the habits that go with it.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::fleet::{Fleet, PATIENCE};

/// An old agent with an open link.
pub(crate) struct OldAgent {
    socket: WebSocket<TcpStream>,
    /// What its heartbeats say.
    pub(crate) host: OldHost,
}

/// A host as its old agent sees it; outlives the links of its agents.
#[derive(Clone)]
pub(crate) struct OldHost {
    /// The hostname, as the agent spells it.
    pub(crate) name: String,
    /// Its token.
    pub(crate) token: String,
    /// The commit that is checked out; can be empty.
    pub(crate) generation: String,
    /// SHA-256 of the checkout's `flake.lock`.
    pub(crate) lock_hash: String,
    /// What runs; empty: nothing.
    pub(crate) pending: String,
    /// The word for System; empty after a restart.
    pub(crate) system: String,
    /// The journal of a state directory; only our agents have one.
    pub(crate) journal: Option<String>,
}

impl OldHost {
    /// A host with a token of its own, at the repository's head.
    pub(crate) fn new(fleet: &Fleet, name: &str, generation: &str) -> Self {
        let made = fleet.post("/api/v1/tokens", &json!({ "kind": "host", "host": name, "name": name }));
        assert_eq!(made.0, 201, "{}", made.1);
        let lock_hash = fleet.get("/api/v1/remote").1["lock_hash"].as_str().unwrap_or_default().to_owned();
        Self {
            name: name.to_owned(),
            token: made.1["token"].as_str().unwrap().to_owned(),
            generation: generation.to_owned(),
            lock_hash,
            pending: String::new(),
            system: String::new(),
            journal: None,
        }
    }

    /// Its agent connects, registers, and sends its first heartbeat; the close code when it is not let in.
    pub(crate) fn connect(&self, fleet: &Fleet) -> Result<OldAgent, u16> {
        let mut agent = OldAgent { socket: dial(fleet, &self.token), host: self.clone() };
        let mut register = json!({
            "hostname": self.name, "host_type": "nixos", "agent_version": "2.1.0", "os_version": "24.11",
            "nixpkgs_version": "24.11.20250101", "generation": self.generation, "theme_color": "#98b8d8",
            "heartbeat_interval": 5, "location": "home", "device_type": "server", "repo_url": "", "repo_dir": "/etc/nixos",
        });
        if let Some(journal) = &self.journal {
            register["protocol"] = json!(3);
            register["journal"] = json!(journal);
        }
        agent.say("register", &register);
        loop {
            match agent.socket.read().unwrap() {
                Message::Close(frame) => return Err(frame.unwrap().code.into()),
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                    assert_eq!(frame["type"], "registered", "the first frame");
                    break;
                }
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        agent.beat();
        Ok(agent)
    }

    /// The same, again and again, while the daemon is away.
    pub(crate) fn reconnect(&self, fleet: &Fleet) -> OldAgent {
        self.connect(fleet).unwrap_or_else(|code| panic!("{} was closed with {code}", self.name))
    }
}

impl OldAgent {
    /// Sends a frame.
    pub(crate) fn say(&mut self, kind: &str, payload: &Value) {
        self.raw(json!({ "type": kind, "payload": payload }).to_string());
    }

    /// Sends whatever this is.
    pub(crate) fn raw(&mut self, text: String) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// Sends a heartbeat: every field, empty where it knows nothing.
    pub(crate) fn beat(&mut self) {
        let host = &self.host;
        let seen = |status: &str| json!({ "status": status, "message": "", "checked_at": "" });
        let runs = !host.pending.is_empty();
        let beat = json!({
            "generation": host.generation, "nixpkgs_version": "24.11.20250101",
            "pending_command": if runs { json!(host.pending) } else { Value::Null },
            "command_pid": if runs { json!(4711) } else { Value::Null },
            "metrics": { "cpu": 3.5, "ram": 40.0, "swap": 0.0, "load": 0.2 },
            "update_status": {
                "git": seen("ok"), "lock": seen("ok"), "system": seen(&host.system), "tests": seen(""),
            },
            "lock_hash": host.lock_hash,
        });
        self.say("heartbeat", &beat);
    }

    /// Waits for the next frame of the dashboard. Since it is the next one, nothing came twice before it.
    fn next(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Waits for the next frame of a kind; its payload. For agents that know ids, which hear acknowledgements too.
    pub(crate) fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let mut frame = self.next();
            if frame["type"] == kind {
                return frame["payload"].take();
            }
        }
    }

    /// The next frame must be this command, in words that old agents know; it runs then.
    pub(crate) fn is_told_to(&mut self, word: &str) {
        let frame = self.next();
        assert_eq!(frame["type"], "command", "{frame}");
        assert_eq!(frame["payload"], json!({ "command": word }), "no fields that old agents do not know");
        word.clone_into(&mut self.host.pending);
        self.beat();
    }

    /// The next frame must be the wish to stop what runs.
    pub(crate) fn is_told_to_stop(&mut self) {
        let frame = self.next();
        assert_eq!(frame["type"], "kill_command", "{frame}");
        assert_eq!(frame["payload"], json!({ "signal": "SIGTERM", "pid": 0 }));
    }

    /// Prints a line, without the word of the command.
    pub(crate) fn prints(&mut self, line: &str) {
        self.say("output", &json!({ "line": line, "stream": "stdout", "command": "", "is_error": false }));
    }

    /// What runs ended: one status, then a heartbeat.
    pub(crate) fn ends(&mut self, exit_code: i32) {
        let word = if exit_code == 0 { "ok" } else { "error" };
        let command = std::mem::take(&mut self.host.pending);
        let generation = self.host.generation.clone();
        self.say(
            "status",
            &json!({ "status": word, "command": command, "exit_code": exit_code, "message": "", "generation": generation }),
        );
        self.beat();
    }

    /// The link breaks, and the process with it: what it knew of System and Tests is gone.
    pub(crate) fn dies(self) -> OldHost {
        OldHost { pending: String::new(), system: String::new(), ..self.host }
    }

    /// Reads on and answers pings, until it is closed; the close code.
    pub(crate) fn stays(mut self) -> std::thread::JoinHandle<Option<u16>> {
        std::thread::spawn(move || {
            while let Ok(message) = self.socket.read() {
                if let Message::Close(frame) = message {
                    return frame.map(|frame| u16::from(frame.code));
                }
            }
            None
        })
    }

    /// Reads until it is closed; the close code.
    pub(crate) fn closed(self) -> Option<u16> {
        self.stays().join().unwrap()
    }
}

fn dial(fleet: &Fleet, token: &str) -> WebSocket<TcpStream> {
    let mut request = format!("ws://127.0.0.1:{}/ws", fleet.port).into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", fleet.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("{error}"),
    }
}
