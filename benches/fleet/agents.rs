//! Simulated agents: each a light task with one socket that says what an agent says, and does nothing. Three of
//! four speak v3 with a token of their own, the fourth v2 with the shared one. Each comes from an address of its
//! own (127.x.y.z), as hosts do.
//!
//! Links come back as the protocol says: within two seconds after a restart, else with full jitter.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use nixfleet_protocol::agent::{
    Accepted, AgentMessage, DashboardMessage, DeviceType, Disk, Heartbeat, HostType, LegacyCompartment, Location,
    Metrics, Platform, Register, Status, UpdateStatus,
};
use nixfleet_protocol::codec::{self, Decoded};
use nixfleet_protocol::{CommandId, Commit, InstanceId, JournalId, Op, Time};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

use crate::daemon::SHARED;
use crate::http::Http;
use crate::measure::Dice;

/// Connections that make tokens side by side.
const CLERKS: usize = 16;

/// Something that happened at an agent.
#[derive(Debug)]
pub(crate) enum News {
    /// A heartbeat with this number (its `metrics.load`) is on its way.
    Beat(u32, Instant),
    /// A `command` frame came.
    Ordered(CommandId, Instant),
    /// The command's `status` is on its way.
    Ended(CommandId, Instant),
}

/// What all agents of a fleet share.
struct Shared {
    port: u16,
    head: Commit,
    interval: Duration,
    online: AtomicUsize,
    registered: AtomicUsize,
    beats: AtomicUsize,
    news: mpsc::UnboundedSender<News>,
}

/// Many agents. They end when this is dropped.
pub(crate) struct Agents {
    shared: Arc<Shared>,
    orders: Vec<mpsc::UnboundedSender<u32>>,
    /// What happens at them.
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    tasks: JoinSet<()>,
}

/// The name of an agent.
pub(crate) fn name(number: usize) -> String {
    format!("host{number:05}")
}

impl Agents {
    /// Makes their tokens, starts them, and waits until all are online.
    pub(crate) async fn start(port: u16, count: usize, interval: Duration, head: &str) -> anyhow::Result<Self> {
        let (sender, news) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            port,
            head: head.parse()?,
            interval,
            online: AtomicUsize::new(0),
            registered: AtomicUsize::new(0),
            beats: AtomicUsize::new(0),
            news: sender,
        });
        let tokens = tokens(port, count).await?;
        let mut agents = Self { shared, orders: Vec::with_capacity(count), news, tasks: JoinSet::new() };
        for (number, token) in tokens.into_iter().enumerate() {
            let (orders, taken) = mpsc::unbounded_channel();
            agents.orders.push(orders);
            agents.tasks.spawn(live(number, token, Arc::clone(&agents.shared), taken));
            // Nobody installs a thousand agents in one millisecond.
            if number % 50 == 49 {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
        agents.all_online(Duration::from_mins(3)).await?;
        Ok(agents)
    }

    /// Waits until all are online.
    pub(crate) async fn all_online(&self, limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while self.online() < self.orders.len() {
            ensure!(
                begun.elapsed() < limit,
                "{} of {} agents are online after {limit:?}",
                self.online(),
                self.orders.len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(begun.elapsed())
    }

    pub(crate) fn online(&self) -> usize {
        self.shared.online.load(Ordering::Relaxed)
    }

    /// Registers so far, in all.
    pub(crate) fn registered(&self) -> usize {
        self.shared.registered.load(Ordering::Relaxed)
    }

    /// Heartbeats so far, in all.
    pub(crate) fn beats(&self) -> usize {
        self.shared.beats.load(Ordering::Relaxed)
    }

    /// A heartbeat of one agent, now, with this number as its load.
    pub(crate) fn beat(&self, agent: usize, number: u32) -> anyhow::Result<()> {
        self.orders[agent % self.orders.len()].send(number).context("the agent is gone")
    }
}

/// A token for each v3 agent, the shared one for the others.
async fn tokens(port: u16, count: usize) -> anyhow::Result<Vec<String>> {
    let mut clerks = JoinSet::new();
    for clerk in 0..CLERKS {
        clerks.spawn(async move {
            let mut http = Http::connect(port).await?;
            let mut made = Vec::new();
            for number in (clerk..count).step_by(CLERKS) {
                made.push((number, if is_old(number) { SHARED.to_owned() } else { http.token(&name(number)).await? }));
            }
            anyhow::Ok(made)
        });
    }
    let mut tokens = vec![String::new(); count];
    while let Some(made) = clerks.join_next().await {
        for (number, token) in made?? {
            tokens[number] = token;
        }
    }
    Ok(tokens)
}

const fn is_old(number: usize) -> bool {
    number % 4 == 3
}

struct Agent {
    number: usize,
    shared: Arc<Shared>,
    instance: InstanceId,
    dice: Dice,
    /// The facts were said on this link.
    said: bool,
}

/// Links, one after the other, until the fleet is dropped.
async fn live(number: usize, token: String, shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<u32>) {
    let instance = InstanceId::from_uuid(Uuid::from_u128(number as u128 + 1));
    let mut agent = Agent { number, shared, instance, dice: Dice(number as u64), said: false };
    let (mut trouble, mut tries) = (Instant::now(), 0);
    loop {
        let mut registered = None;
        // Why it ended changes nothing: it comes again.
        if let Err(error) = agent.link(&token, &mut orders, &mut registered).await {
            tracing_free(&error);
        }
        if let Some(since) = registered {
            agent.shared.online.fetch_sub(1, Ordering::Relaxed);
            trouble = Instant::now();
            if Instant::now() - since > Duration::from_secs(10) {
                tries = 0;
            }
        }
        let within = if trouble.elapsed() < Duration::from_secs(10) {
            Duration::from_secs(2)
        } else {
            tries += 1;
            Duration::from_secs(1 << tries.min(6)).min(Duration::from_mins(1))
        };
        tokio::time::sleep(agent.dice.within(within)).await;
    }
}

/// Errors of links are part of the game; with this variable set they are shown.
#[expect(clippy::print_stderr, reason = "for whoever looks for a fault of the bench")]
fn tracing_free(error: &anyhow::Error) {
    if std::env::var_os("FLEET_BENCH_DEBUG").is_some() {
        eprintln!("link: {error:#}");
    }
}

impl Agent {
    async fn link(
        &mut self,
        token: &str,
        orders: &mut mpsc::UnboundedReceiver<u32>,
        registered: &mut Option<Instant>,
    ) -> anyhow::Result<()> {
        let mut socket = self.connect(token).await?;
        self.said = false;
        say(&mut socket, &AgentMessage::Register(Box::new(self.register()))).await?;
        let interval = self.shared.interval;
        let mut beat = tokio::time::interval_at(Instant::now() + self.dice.within(interval), interval);
        loop {
            tokio::select! {
                frame = socket.next() => match frame.context("closed")?? {
                    Message::Text(text) => match codec::decode_dashboard(text.as_str()) {
                        Decoded::Message(DashboardMessage::Registered(_)) => {
                            *registered = Some(Instant::now());
                            self.shared.online.fetch_add(1, Ordering::Relaxed);
                            self.shared.registered.fetch_add(1, Ordering::Relaxed);
                            self.beat(&mut socket, None).await?;
                        }
                        Decoded::Message(DashboardMessage::Command(command)) => {
                            self.obey(&mut socket, command.command_id).await?;
                        }
                        Decoded::Message(_) | Decoded::UnknownType(_) => {}
                        Decoded::Malformed(why) => bail!(why),
                    },
                    Message::Close(_) => bail!("closed"),
                    Message::Ping(_) => socket.flush().await?,
                    Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
                },
                Some(number) = orders.recv() => self.beat(&mut socket, Some(number)).await?,
                _ = beat.tick() => self.beat(&mut socket, None).await?,
            }
        }
    }

    async fn connect(&self, token: &str) -> anyhow::Result<WebSocketStream<TcpStream>> {
        let number = u32::try_from(self.number)? + 0x7f00_0100;
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::from_bits(number), 0)))?;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.shared.port))).await?;
        let mut request = format!("ws://127.0.0.1:{}/ws", self.shared.port).into_client_request()?;
        request.headers_mut().insert("Authorization", format!("Bearer {token}").parse()?);
        let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
        Ok(tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?.0)
    }

    /// What an agent does with an order that takes no time.
    async fn obey(&self, socket: &mut WebSocketStream<TcpStream>, id: Option<CommandId>) -> anyhow::Result<()> {
        let now = Instant::now();
        let Some(command_id) = id else {
            let status =
                Status { status: "ok".into(), command: "test".into(), exit_code: Some(0), ..Status::default() };
            return say(socket, &AgentMessage::Status(Box::new(status))).await;
        };
        // Whoever measures may have stopped listening.
        drop(self.shared.news.send(News::Ordered(command_id, now)));
        say(socket, &AgentMessage::Accepted(Accepted { command_id })).await?;
        let status = Status {
            status: "ok".to_owned(),
            command: "test".to_owned(),
            exit_code: Some(0),
            command_id: Some(command_id),
            started_at: Some(Time::now()),
            finished_at: Some(Time::now()),
            output_end: Some(0),
            ..Status::default()
        };
        drop(self.shared.news.send(News::Ended(command_id, Instant::now())));
        say(socket, &AgentMessage::Status(Box::new(status))).await
    }

    async fn beat(&mut self, socket: &mut WebSocketStream<TcpStream>, number: Option<u32>) -> anyhow::Result<()> {
        let heartbeat = AgentMessage::Heartbeat(Box::new(self.heartbeat(number)));
        self.shared.beats.fetch_add(1, Ordering::Relaxed);
        if let Some(number) = number {
            drop(self.shared.news.send(News::Beat(number, Instant::now())));
        }
        say(socket, &heartbeat).await
    }

    fn register(&self) -> Register {
        let old = is_old(self.number);
        let devices = [DeviceType::Server, DeviceType::Desktop, DeviceType::Laptop, DeviceType::Gaming];
        let base = Register {
            hostname: name(self.number),
            host_type: HostType::Nixos,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            os_version: "26.11".to_owned(),
            nixpkgs_version: "26.11.20261118.a1b2c3d".to_owned(),
            generation: Some(self.shared.head.clone()),
            theme_color: "#d97706".to_owned(),
            heartbeat_interval: u32::try_from(self.shared.interval.as_secs()).ok(),
            location: Location::Home,
            device_type: devices[self.number % devices.len()],
            repo_url: "https://git.example.org/fleet.git".to_owned(),
            repo_dir: "/var/lib/nixfleet-agent/repo".to_owned(),
            ..Register::default()
        };
        if old {
            return base;
        }
        Register {
            protocol: Some(3),
            journal: Some(JournalId::from_uuid(Uuid::from_u128(self.number as u128 + 1))),
            instance: Some(self.instance),
            platform: Some(Platform::Nixos),
            tags: vec!["bench".to_owned()],
            mac_addresses: vec!["02:00:00:00:00:01".to_owned()],
            system_path: Some("/nix/store/4k2z0cq7dk2h1v3m6x8p9q0r1s2t3u4v-nixos-system-26.11".to_owned()),
            features: Op::ALL.iter().map(|op| op.as_str()).chain(["tests", "systemd"]).map(str::to_owned).collect(),
            ..base
        }
    }

    fn heartbeat(&mut self, number: Option<u32>) -> Heartbeat {
        let mut percent = || Some(f64::from(u32::try_from(self.dice.roll(1000)).unwrap_or_default()) / 10.0);
        let metrics = Metrics {
            cpu: percent(),
            ram: percent(),
            swap: Some(0.0),
            load: number.map_or(Some(0.5), |it| Some(it.into())),
        };
        let base = Heartbeat {
            generation: Some(self.shared.head.clone()),
            nixpkgs_version: Some("26.11.20261118.a1b2c3d".to_owned()),
            metrics: Some(metrics),
            ..Heartbeat::default()
        };
        if is_old(self.number) {
            let ok = || Some(LegacyCompartment { status: "ok".to_owned(), ..LegacyCompartment::default() });
            return Heartbeat {
                update_status: Some(UpdateStatus { git: ok(), lock: ok(), system: ok(), tests: ok() }),
                ..base
            };
        }
        // Free space changes all the time.
        let disk = Disk {
            store_free: 212_000_000_000 + self.dice.roll(1000) * 4096,
            store_total: 512_000_000_000,
            boot_free: None,
            boot_total: None,
        };
        let now = Heartbeat { running: Some(Vec::new()), disk: Some(disk), ..base };
        if std::mem::replace(&mut self.said, true) {
            // Ours say nothing twice on one link.
            return Heartbeat { nixpkgs_version: None, ..now };
        }
        Heartbeat { reboot_required: Some(false), failed_units: Some(Vec::new()), ..now }
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: &AgentMessage) -> anyhow::Result<()> {
    Ok(socket.send(Message::text(codec::encode(message))).await?)
}
