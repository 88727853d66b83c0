//! An agent that a story plays itself, frame by frame: what no agent of ours would ever send, and a neighbour
//! that tells whether it is disturbed.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::fleet::{ADMIN, Fleet, PATIENCE};
use crate::tab::Tab;

/// Opens a socket at the daemon's `/ws` with a token.
pub(crate) fn dial(fleet: &Fleet, token: &str, query: &str) -> WebSocket<TcpStream> {
    let mut request = format!("ws://127.0.0.1:{}/ws{query}", fleet.port).into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", fleet.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(request, stream).unwrap().0
}

/// A token of a host's own.
pub(crate) fn token_for(fleet: &Fleet, host: &str) -> String {
    let made = fleet.post("/api/v1/tokens", &json!({ "kind": "host", "host": host, "name": host }));
    assert_eq!(made.0, 201, "{}", made.1);
    made.1["token"].as_str().unwrap().to_owned()
}

/// An agent of the story's own hand, of the new kind.
pub(crate) struct Played {
    name: String,
    token: String,
    pub(crate) socket: WebSocket<TcpStream>,
}

impl Played {
    /// A new host, connected and let in.
    pub(crate) fn new(fleet: &Fleet, name: &str) -> Self {
        Self::saying(fleet, name, &json!({}))
    }

    /// The same; these fields stand in its register too.
    pub(crate) fn saying(fleet: &Fleet, name: &str, more: &Value) -> Self {
        let token = token_for(fleet, name);
        let socket = dial(fleet, &token, "");
        let mut agent = Self { name: name.to_owned(), token, socket };
        agent.register(more);
        agent
    }

    /// Comes again, on a socket of its own.
    pub(crate) fn again(&mut self, fleet: &Fleet, more: &Value) {
        self.socket = dial(fleet, &self.token, "");
        self.register(more);
    }

    /// Opens a socket and says nothing.
    pub(crate) fn stranger(fleet: &Fleet, name: &str) -> Self {
        let token = token_for(fleet, name);
        let socket = dial(fleet, &token, "");
        Self { name: name.to_owned(), token, socket }
    }

    /// Registers, and waits until it is let in.
    pub(crate) fn register(&mut self, more: &Value) {
        let mut payload = json!({
            "hostname": self.name,
            "agent_version": "3.0.0",
            "protocol": 3,
            "journal": "0190b6a8-0000-7000-8000-000000000001",
            "instance": "0190b6a8-0000-7000-8000-000000000002",
            "generation": "0123456789abcdef0123456789abcdef01234567",
            "heartbeat_interval": 5,
            "platform": "script",
        });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.say("register", &payload);
        self.hear("registered");
    }

    /// Sends a frame in good form.
    pub(crate) fn say(&mut self, kind: &str, payload: &Value) {
        self.send(Message::text(json!({ "type": kind, "payload": payload }).to_string()));
    }

    /// Sends whatever it is. A link that is being closed may not take it: the close code tells.
    pub(crate) fn send(&mut self, message: Message) {
        if let Err(error) = self.socket.send(message) {
            println!("{}: not sent: {error}", self.name);
        }
    }

    /// Reads until a frame of this type comes; its payload.
    pub(crate) fn hear(&mut self, kind: &str) -> Value {
        loop {
            let message = self.socket.read().unwrap();
            if let Message::Close(frame) = &message {
                panic!("{} was closed before {kind} came: {frame:?}", self.name);
            }
            let Message::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(text.as_str()).unwrap();
            if frame["type"] == kind {
                return frame["payload"].clone();
            }
        }
    }

    /// Reads until the end; the close code.
    pub(crate) fn closed(&mut self) -> Option<u16> {
        closed(&mut self.socket)
    }

    /// The dashboard's command, once it is asked for; accepted.
    pub(crate) fn accept(&mut self) -> String {
        let command = self.hear("command")["command_id"].as_str().unwrap().to_owned();
        self.say("accepted", &json!({ "command_id": command }));
        command
    }
}

/// Reads until the end of a socket; the close code.
pub(crate) fn closed(socket: &mut WebSocket<TcpStream>) -> Option<u16> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
            Ok(_) => {}
            Err(error) => {
                println!("ended without a close frame: {error}");
                return None;
            }
        }
    }
}

/// One frame of a message, as it is.
pub(crate) fn piece(bytes: impl Into<Vec<u8>>, first: bool, last: bool) -> Message {
    let kind = if first { Data::Text } else { Data::Continue };
    Message::Frame(Frame::message(bytes.into(), OpCode::Data(kind), last))
}

/// A host that does nothing wrong, and a tab that looks at it. What happens to others must not touch it.
pub(crate) struct Neighbour {
    agent: Played,
    tab: Tab,
    beats: u32,
    slowest: Duration,
}

impl Neighbour {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let agent = Played::new(fleet, "neighbour");
        let tab = Tab::open(fleet);
        Self { agent, tab, beats: 0, slowest: Duration::ZERO }
    }

    /// Its heartbeat comes through: from the agent to the tab, and the API answers.
    pub(crate) fn lives(&mut self, fleet: &Fleet) {
        self.beats += 1;
        let load = f64::from(self.beats);
        let began = Instant::now();
        self.agent.say("heartbeat", &json!({ "metrics": { "cpu": 1, "ram": 2, "swap": 3, "load": load } }));
        self.tab.until("the neighbour's heartbeat is seen", |tab| tab.hosts["neighbour"]["metrics"]["load"] == load);
        self.slowest = self.slowest.max(began.elapsed());
        assert_eq!(fleet.get("/health").0, 200);
    }

    /// How many of its heartbeats were seen.
    pub(crate) fn beats(&self) -> u32 {
        self.beats
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        println!("neighbour: {} heartbeats seen, the slowest after {:?}", self.beats, self.slowest);
    }
}

/// What the daemon holds in memory, and how much more it was than at the beginning.
pub(crate) struct Memory {
    pid: u32,
    before: u64,
    most: u64,
}

impl Memory {
    /// As it is now.
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let pid = fleet.daemon_id();
        let before = resident(pid);
        Self { pid, before, most: before }
    }

    /// Looks.
    pub(crate) fn look(&mut self) {
        self.most = self.most.max(resident(self.pid));
    }

    /// It was never this much more.
    pub(crate) fn grew_less_than(mut self, mebibytes: u64) {
        self.look();
        let grew = (self.most - self.before) >> 20;
        println!("memory: {} MiB before, {grew} MiB more at most", self.before >> 20);
        assert!(grew < mebibytes, "the daemon grew by {grew} MiB, from {} MiB", self.before >> 20);
    }
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A tab of the story's own hand, that behaves as it likes; its `init` is read.
pub(crate) fn wild_tab(fleet: &Fleet, query: &str) -> WebSocket<TcpStream> {
    let mut socket = dial(fleet, ADMIN, query);
    loop {
        if let Message::Text(text) = socket.read().unwrap()
            && text.contains("\"init\"")
        {
            return socket;
        }
    }
}
