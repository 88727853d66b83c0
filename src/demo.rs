//! `nixfleet demo`: a whole fleet on this machine. What runs is the product, not a copy of it: the same daemon,
//! the same agent binary, a real git repository. All of it lies in one folder and listens on loopback.
//!
//! ```text
//! demo ─┬─ repository    bare, and a checkout to work in
//!       ├─ processes     nixfleet serve, and a nixfleet-agent for each host, started again when they die
//!       ├─ story         what has happened in the fleet when the page opens, through the API
//!       └─ leftovers     switches that outlive their agents, ended with the demo
//! ```

mod binaries;
mod hosts;
mod leftovers;
mod place;
mod processes;
mod repository;
mod scripts;
mod story;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::hosts::Host;
use self::leftovers::Left;
use self::place::{Memory, Place};
use self::processes::{Processes, Program};
use self::repository::Repository;
use crate::cli::client::Client;
use crate::cli::output::{self, note};

/// What can be said of the demo.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How many hosts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=500))]
    hosts: u16,
    /// Folder for everything; it is kept, and a later demo goes on in it. Without it: a temporary one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Address and port on loopback. Without it: any free port.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Print one line of JSON when everything is ready, and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Ready<'a> {
    url: String,
    password: &'a str,
    admin_token: &'a str,
    remote: PathBuf,
    checkout: PathBuf,
    dir: PathBuf,
    hosts: Vec<&'a str>,
    /// The demo's own process: ended by SIGTERM, it leaves nothing behind.
    pid: u32,
    daemon_pid: Option<u32>,
}

/// How long the daemon may take until it is ready.
const DAEMON: Duration = Duration::from_secs(30);
/// How long the agents may take to come, and a while more for each.
const AGENTS: Duration = Duration::from_secs(30);

/// Runs the demo until it is told to end.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    if args.listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        bail!("the demo listens on loopback only: its password is on this screen, and its traffic is not encrypted");
    }
    let mut end = End::new()?;
    let place = Place::take(args.dir.as_deref())?;
    let dir = place.dir().to_owned();
    let mut processes = Processes::new();
    let outcome = tokio::select! {
        outcome = begin(&args, &place, &mut processes) => match outcome {
            Ok(()) => {
                end.comes().await;
                Ok(())
            }
            Err(error) => Err(error),
        },
        () = end.comes() => Ok(()),
    };
    note("ending the demo …");
    processes.stop().await;
    leftovers::sweep(&dir, Left::Commands).await;
    if outcome.is_err() && args.dir.is_none() {
        note("for the logs of what failed, try again with --dir");
    }
    place.leave()?;
    outcome
}

/// The signals that end the demo.
struct End {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl End {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn comes(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn begin(args: &DemoArgs, place: &Place, processes: &mut Processes) -> anyhow::Result<()> {
    let daemon = std::env::current_exe().context("finding the own program")?;
    let agent = binaries::agent(&daemon).await?;
    let mut memory = place.remember()?;
    place.keep(&memory)?;
    leftovers::sweep(place.dir(), Left::Orphans).await;
    let hosts = hosts::fleet(usize::from(args.hosts));
    let repository = Repository::new(place.dir());
    repository.make(&hosts).await?;
    let listen = free(args.listen)?;
    let url = format!("http://{listen}");
    let client = Client::new(&url, Some(memory.admin_token.clone()))?;
    note(&format!("starting the daemon at {url}"));
    processes.keep(daemon_program(daemon, place, &memory, &repository, listen).await?);
    if !story::ready(&client, DAEMON).await {
        bail!("the daemon did not get ready; the end of its log:\n{}", tail(&place.log("daemon")));
    }
    note(&format!("starting {} agents", hosts.len()));
    for host in &hosts {
        if !memory.tokens.contains_key(&host.name) {
            memory.tokens.insert(host.name.clone(), story::token(&client, &host.name).await?);
        }
        let Some(token) = memory.tokens.get(&host.name) else { continue };
        processes.keep(agent_program(&agent, place, host, token, &repository, listen));
    }
    place.keep(&memory)?;
    story::arrived(&client, &hosts, AGENTS + Duration::from_millis(500) * u32::from(args.hosts)).await?;
    if !memory.told {
        note("the hosts deploy their first configuration");
        story::tell(&client, &hosts, &repository).await?;
        memory.told = true;
        place.keep(&memory)?;
    }
    announce(args, place, &memory, &repository, &hosts, &url, processes.pid("the daemon"))
}

async fn daemon_program(
    path: PathBuf,
    place: &Place,
    memory: &Memory,
    repository: &Repository,
    listen: SocketAddr,
) -> anyhow::Result<Program> {
    let password = memory.password.clone();
    // The password is on the screen: a cost that a person waits for protects nothing here.
    let hash = tokio::task::spawn_blocking(move || bcrypt::hash(password, 8)).await??;
    let environment = [
        ("NIXFLEET_LISTEN", listen.to_string()),
        ("NIXFLEET_DATA_DIR", place.daemon().display().to_string()),
        ("NIXFLEET_PASSWORD_HASH", hash),
        ("NIXFLEET_ADMIN_TOKEN", memory.admin_token.clone()),
        ("NIXFLEET_REPO_URL", repository.bare().display().to_string()),
        ("NIXFLEET_BRANCH", "main".to_owned()),
        ("NIXFLEET_REMOTE_INTERVAL", "5s".to_owned()),
        ("NIXFLEET_AUTO_TEST", std::env::var("NIXFLEET_AUTO_TEST").unwrap_or_else(|_| "on".to_owned())),
        ("NIXFLEET_LOG", std::env::var("NIXFLEET_LOG").unwrap_or_else(|_| "info".to_owned())),
    ];
    Ok(Program {
        name: "the daemon".to_owned(),
        path,
        arguments: vec!["serve".to_owned()],
        environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        log: place.log("daemon"),
    })
}

fn agent_program(
    path: &std::path::Path,
    place: &Place,
    host: &Host,
    token: &str,
    repository: &Repository,
    listen: SocketAddr,
) -> Program {
    let environment = [
        ("NIXFLEET_URL", format!("ws://{listen}/ws")),
        ("NIXFLEET_TOKEN", token.to_owned()),
        ("NIXFLEET_HOSTNAME", host.name.clone()),
        ("NIXFLEET_PLATFORM", "script".to_owned()),
        ("NIXFLEET_STATE_DIR", place.agent(&host.name).display().to_string()),
        ("NIXFLEET_REPO_URL", repository.bare().display().to_string()),
        ("NIXFLEET_BRANCH", "main".to_owned()),
        ("NIXFLEET_INTERVAL", "2".to_owned()),
        ("NIXFLEET_LOCATION", host.location.to_owned()),
        ("NIXFLEET_DEVICE_TYPE", host.device_type.to_owned()),
        ("NIXFLEET_THEME_COLOR", host.color.to_owned()),
        ("NIXFLEET_TAGS", host.tags.to_owned()),
    ];
    Program {
        name: format!("the agent of {}", host.name),
        path: path.to_owned(),
        arguments: Vec::new(),
        environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        log: place.log(&host.name),
    }
}

/// The address that was asked for, or a port that is free now.
fn free(asked: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    let asked = asked.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = TcpListener::bind(asked).with_context(|| format!("can't listen on {asked}"))?;
    Ok(listener.local_addr()?)
}

fn tail(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn announce(
    args: &DemoArgs,
    place: &Place,
    memory: &Memory,
    repository: &Repository,
    hosts: &[Host],
    url: &str,
    daemon_pid: Option<u32>,
) -> anyhow::Result<()> {
    if args.json {
        let ready = Ready {
            url: url.to_owned(),
            password: &memory.password,
            admin_token: &memory.admin_token,
            remote: repository.bare().to_owned(),
            checkout: repository.checkout().to_owned(),
            dir: place.dir().to_owned(),
            hosts: hosts.iter().map(|host| host.name.as_str()).collect(),
            pid: std::process::id(),
            daemon_pid,
        };
        output::line(&serde_json::to_string(&ready)?);
        return Ok(());
    }
    let daemon = daemon_pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    for line in [
        String::new(),
        format!("  Look at     {url}{daemon}"),
        format!("  Password    {}", memory.password),
        String::new(),
        format!("  Repository  {}", repository.checkout().display()),
        "              change something there, commit and push, and watch the lights".to_owned(),
        format!("  API         FLEET_URL={url} FLEET_TOKEN={} fleet status", memory.admin_token),
        format!("  Logs        {}", place.dir().join("logs").display()),
        String::new(),
        "  Kill what you like with -9: it comes back. Ctrl-C ends the demo and leaves nothing behind.".to_owned(),
    ] {
        output::line(&line);
    }
    Ok(())
}
