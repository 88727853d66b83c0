//! A dashboard for tests: speaks the protocol, keeps what it was told, and checks that every offset joins.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nixfleet_protocol::CommandId;
use nixfleet_protocol::agent::{
    AgentMessage, Command, DashboardMessage, Heartbeat, KillCommand, Output, OutputAck, Register, Registered, Signal,
    Status, StatusAck, Stream,
};
use nixfleet_protocol::codec::{Decoded, decode_agent, encode};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::world::LONG;

/// What the dashboard has on its disk of one command.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) end: u64,
    /// Acknowledged so far: in steps, as a dashboard does that shares its flushes.
    acknowledged: u64,
    pub(crate) output: Vec<Output>,
    pub(crate) accepted: usize,
    pub(crate) status: Option<Status>,
    pub(crate) statuses: usize,
    pub(crate) progress: Vec<String>,
}

impl Kept {
    /// The lines of the command itself.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut long = String::new();
        for output in self.output.iter().filter(|output| matches!(output.stream, Stream::Stdout | Stream::Stderr)) {
            long.push_str(&output.line);
            if !output.partial {
                lines.push(std::mem::take(&mut long));
            }
        }
        lines
    }

    pub(crate) fn text(&self) -> String {
        self.output.iter().flat_map(|output| [output.line.as_str(), "\n"]).collect()
    }

    pub(crate) fn result(&self) -> &Status {
        self.status.as_ref().expect("the command has no result")
    }
}

pub(crate) struct Dashboard {
    listener: TcpListener,
    port: u16,
    pub(crate) kept: BTreeMap<CommandId, Kept>,
    pub(crate) heartbeats: Vec<Heartbeat>,
    pub(crate) rejected: Vec<nixfleet_protocol::agent::CommandRejected>,
    /// What is acknowledged.
    pub(crate) acks_output: bool,
    pub(crate) acks_status: bool,
    pub(crate) legacy: bool,
}

pub(crate) struct Link {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) register: Register,
}

impl Dashboard {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self {
            listener,
            port,
            kept: BTreeMap::new(),
            heartbeats: Vec::new(),
            rejected: Vec::new(),
            acks_output: true,
            acks_status: true,
            legacy: false,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port)
    }

    pub(crate) fn of(&self, id: CommandId) -> &Kept {
        self.kept.get(&id).expect("nothing is known of this command")
    }

    pub(crate) async fn raw(&self) -> TcpStream {
        timeout(LONG, self.listener.accept()).await.expect("no agent dials").unwrap().0
    }

    /// The next agent that dials, up to its register.
    pub(crate) async fn dialled(&mut self) -> Link {
        let tcp = self.raw().await;
        tcp.set_nodelay(true).unwrap();
        let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
        let first = timeout(LONG, socket.next()).await.expect("no register").unwrap().unwrap();
        let Decoded::Message(AgentMessage::Register(register)) = decode_agent(first.to_text().unwrap()) else {
            panic!("the first message is no register: {first}");
        };
        Link { socket, register: *register }
    }

    /// … and registered, with the offsets that we have.
    pub(crate) async fn registered(&mut self) -> Link {
        let mut link = self.dialled().await;
        let offsets = link
            .register
            .running
            .iter()
            .chain(&link.register.results)
            .filter_map(|id| Some((*id, self.kept.get(id)?.end)))
            .collect();
        let registered =
            Registered { host_id: "h1".into(), protocol: (!self.legacy).then_some(3), server_version: None, offsets };
        self.send(&mut link, DashboardMessage::Registered(registered)).await;
        link
    }

    pub(crate) async fn send(&self, link: &mut Link, message: DashboardMessage) {
        link.socket.send(Message::text(encode(&message))).await.unwrap();
    }

    pub(crate) async fn order(&self, link: &mut Link, id: CommandId, op: &str) {
        let command = Command { command: op.into(), command_id: Some(id), args: None, hard_limit_s: Some(60) };
        self.send(link, DashboardMessage::Command(command)).await;
    }

    pub(crate) async fn order_with(&self, link: &mut Link, id: CommandId, op: &str, args: serde_json::Value) {
        let command = Command { command: op.into(), command_id: Some(id), args: Some(args), hard_limit_s: Some(60) };
        self.send(link, DashboardMessage::Command(command)).await;
    }

    pub(crate) async fn stop(&self, link: &mut Link, id: CommandId) {
        let kill = KillCommand { signal: Signal::Term, pid: 0, command_id: Some(id) };
        self.send(link, DashboardMessage::KillCommand(kill)).await;
    }

    /// Reads one frame. `None`: the link ended; the close frame is given back where there was one.
    pub(crate) async fn read(&mut self, link: &mut Link) -> Result<AgentMessage, Option<CloseFrame>> {
        loop {
            match link.socket.next().await {
                Some(Ok(Message::Text(text))) => match decode_agent(text.as_str()) {
                    Decoded::Message(message) => {
                        self.keep(link, &message).await;
                        return Ok(message);
                    }
                    junk @ (Decoded::UnknownType(_) | Decoded::Malformed(_)) => panic!("the agent sent {junk:?}"),
                },
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    async fn keep(&mut self, link: &mut Link, message: &AgentMessage) {
        match message {
            AgentMessage::Accepted(accepted) => self.kept.entry(accepted.command_id).or_default().accepted += 1,
            AgentMessage::Output(output) => {
                let Some(id) = output.command_id else { return };
                let kept = self.kept.entry(id).or_default();
                let (offset, end) = (output.offset.unwrap(), output.end.unwrap());
                assert!(end > offset, "an output without length");
                if offset < kept.end {
                    return;
                }
                assert_eq!(offset, kept.end, "an output that does not join");
                kept.end = end;
                kept.output.push(output.clone());
                if self.acks_output && end - kept.acknowledged > 32 * 1024 {
                    kept.acknowledged = end;
                    let ack = OutputAck { command_id: id, offset: end };
                    self.send(link, DashboardMessage::OutputAck(ack)).await;
                }
            }
            AgentMessage::Status(status) => {
                let Some(id) = status.command_id else { return };
                let kept = self.kept.entry(id).or_default();
                assert_eq!(status.output_end, Some(kept.end), "a result before the end of the output");
                kept.statuses += 1;
                kept.status = Some((**status).clone());
                if self.acks_status {
                    self.send(link, DashboardMessage::StatusAck(StatusAck { command_id: id })).await;
                }
            }
            AgentMessage::Heartbeat(heartbeat) => self.heartbeats.push((**heartbeat).clone()),
            AgentMessage::CommandRejected(rejected) => self.rejected.push(rejected.clone()),
            AgentMessage::Progress(progress) => {
                self.kept.entry(progress.command_id).or_default().progress.push(progress.phase.clone());
            }
            AgentMessage::Register(_) | AgentMessage::OperationProgress(_) | AgentMessage::TestProgress(_) => {}
        }
    }

    /// Reads until something is so.
    pub(crate) async fn until(&mut self, link: &mut Link, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !so(self) {
            let Ok(read) = timeout_at(deadline, self.read(link)).await else { panic!("waited in vain: {what}") };
            if let Err(close) = read {
                panic!("the link ended while waiting for {what}: {close:?}");
            }
        }
    }

    pub(crate) async fn until_ended(&mut self, link: &mut Link, id: CommandId) {
        self.until(link, "the result", |dashboard| dashboard.kept.get(&id).is_some_and(|kept| kept.status.is_some()))
            .await;
    }

    pub(crate) async fn until_line(&mut self, link: &mut Link, id: CommandId, text: &str) {
        self.until(link, text, |dashboard| dashboard.kept.get(&id).is_some_and(|kept| kept.text().contains(text)))
            .await;
    }

    /// Orders something and waits for its end.
    pub(crate) async fn run(&mut self, link: &mut Link, op: &str) -> CommandId {
        let id = crate::world::new_id();
        self.order(link, id, op).await;
        self.until_ended(link, id).await;
        id
    }

    /// Reads whatever comes for a while.
    pub(crate) async fn listen_for(&mut self, link: &mut Link, span: Duration) {
        let deadline = Instant::now() + span;
        while let Ok(read) = timeout_at(deadline, self.read(link)).await {
            if read.is_err() {
                return;
            }
        }
    }

    /// Reads until the agent closes the link.
    pub(crate) async fn until_closed(&mut self, link: &mut Link) -> Option<CloseFrame> {
        let closed = async {
            loop {
                if let Err(frame) = self.read(link).await {
                    return frame;
                }
            }
        };
        timeout(LONG, closed).await.expect("the agent keeps the link")
    }
}
