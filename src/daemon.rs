//! `nixfleet serve`: configuration, start order, stop order.
//!
//! ```text
//! configuration → data directory → tree (store first) → listener
//! SIGTERM → listener closes → tabs and agents are told to come back (1012) → tree stops, the store last
//! ```
//!
//! The process ends by itself only when the store keeps failing; the service manager starts it again.

mod heap;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use nixfleet_model::host_core;
use nixfleet_model::pipeline::Registry;
use nixfleet_model::retention::Retention;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::Server;
use ractor::{Actor, SpawnErr};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::actors::access;
use crate::actors::handles::{Handles, Slots};
use crate::actors::remote;
use crate::actors::remote::address::Address;
use crate::actors::remote::github::{self, GithubSettings};
use crate::actors::remote::mirror::MirrorSettings;
use crate::actors::root::{self, Root, Settings};
use crate::admin::control;
use crate::config::{self, Config, LogFormat, RemoteConfig, TimeoutAction};
use crate::web::App;
use crate::web::render::Pages;
use crate::web::server::{self, Limits, Tls, TlsError};

/// The version that pages, agents and the API are told.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A thousand tabs that all watch a hundred changes a second take one core: more threads than this only take memory.
const MOST_WORKERS: usize = 4;
/// Threads for what blocks: reads of the store and of logs, writing logs, password hashes.
const BLOCKING: usize = 64;

/// `nixfleet serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A file with settings; the environment wins over it. Also `NIXFLEET_CONFIG`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why the daemon could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is wrong; all of it is listed.
    #[error(transparent)]
    Config(#[from] config::LoadError),
    /// The log filter can't be read.
    #[error("NIXFLEET_LOG: {0}")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// The session secret can't be made or read.
    #[error(transparent)]
    Secret(#[from] config::KeepError),
    /// The repository's address makes no sense.
    #[error("NIXFLEET_REPO_URL: {0}")]
    Remote(String),
    /// Certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The runtime, signals or the listener.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// An actor did not start.
    #[error("{0}")]
    Tree(String),
    /// The store keeps failing.
    #[error("{0}")]
    Fatal(String),
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ServeError {
    let what = what.into();
    move |source| ServeError::System { what, source }
}

/// Runs until it is asked to stop, or can't go on.
pub fn serve(args: ServeArgs) -> Result<(), ServeError> {
    heap::settle();
    let (config, warnings) = config::load(args.config)?;
    start_log(&config)?;
    // Whatever is made from here on is for nobody else's eyes.
    umask(Mode::RWXU.complement());
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
    allow_open_files();
    // Two of them: see `docs/adr/0010-agents-on-one-thread.md`.
    let workers = std::thread::available_parallelism().map_or(MOST_WORKERS, usize::from).clamp(2, MOST_WORKERS);
    let people = runtime(Builder::new_multi_thread().worker_threads(workers).thread_name("people"))?;
    runtime(&mut Builder::new_current_thread())?.block_on(run(config, people.handle().clone()))
}

fn runtime(builder: &mut Builder) -> Result<Runtime, ServeError> {
    let builder = builder.max_blocking_threads(BLOCKING).enable_all();
    builder.build().map_err(system("the runtime does not start"))
}

/// A socket for each agent and tab: the usual soft limit of 1,024 would be the end of a fleet of a thousand.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, allowed = limit.current, "the limit of open files can't be raised");
    }
}

fn start_log(config: &Config) -> Result<(), ServeError> {
    // Targets and levels alone: the filter that also looks into spans and fields brings a megabyte of regular expressions.
    let registry = tracing_subscriber::registry().with(config.log.parse::<Targets>()?);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => registry.with(log).init(),
        LogFormat::Json => registry.with(log.json()).init(),
    }
    Ok(())
}

/// Actors, links and the store run on the thread that polls this; connections and tabs are run by `people`.
async fn run(config: Config, people: Handle) -> Result<(), ServeError> {
    let Config {
        listen, data_dir, mut web, mut access, remote, sync_beacon, timeout_action, wake_by, pipelines, ..
    } = config;
    let retention = Retention { commands: days(config.command_days), events: days(config.event_days) };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("SIGINT"))?;
    let hangup = signal(SignalKind::hangup()).map_err(system("SIGHUP"))?;
    let tls = web.tls.take().map(Tls::load).transpose()?.map(Arc::new);
    tokio::spawn(reload(hangup, tls.clone()));
    if access.session_secrets.is_empty() {
        access.session_secrets.push(config::keep_session_secret(&data_dir)?);
    }
    let secrets = std::mem::take(&mut access.session_secrets);
    let totp = access.totp_secret.is_some();
    let pipelines = Registry::with(pipelines);
    let started_at = Time::now();
    let settings = Settings {
        data_dir: data_dir.clone(),
        server: Server {
            version: VERSION.to_owned(),
            started_at,
            store_error: None,
            shared_agent_token: access.agent_token.is_some(),
        },
        beacon: sync_beacon,
        wake_by,
        render: Arc::new(Pages::new(&pipelines)),
        remote: remote_settings(remote, &data_dir)?,
        access: access::Settings::new(access),
        hosts: Arc::new(host_core::Settings {
            server_version: VERSION.to_owned(),
            daemon_started: started_at,
            totp_configured: totp,
            kill_at_limit: timeout_action == TimeoutAction::Kill,
            alike: Arc::default(),
            auto_test: config.auto_test,
        }),
        notify: config.notify,
        base_url: web.base_url.as_ref().map(ToString::to_string),
        retention,
        people: people.clone(),
    };
    let slots = Slots::default();
    let handles = Handles::new(&slots);
    let (fatal, mut must_end) = watch::channel(None);
    let args = root::Args { settings, slots: slots.clone(), handles: handles.clone(), fatal };
    // A start may have to wait for room on the disk; whoever wants it to stop is heard.
    let (tree, _) = tokio::select! {
        spawned = Actor::spawn(None, Root, args) => spawned.map_err(not_started)?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    slots.root.seat(tree.clone());

    // Last: whoever comes is served by a tree that stands.
    let listener = TcpListener::bind(listen).await.map_err(system(format!("can't listen on {listen}")))?;
    let (stop, stopped) = watch::channel(false);
    let (first, further) = secrets.split_first().ok_or_else(|| ServeError::Fatal("no session secret".to_owned()))?;
    let doors = control::Doors {
        data_dir: data_dir.clone(),
        access: handles.access.clone(),
        hosts: handles.hosts.clone(),
        store: handles.store.clone(),
    };
    tokio::spawn(control::serve(doors, stopped.clone()));
    let app = Arc::new(App::new(handles.clone(), web, first, further, totp, data_dir).with_pipelines(pipelines));
    tracing::info!(%listen, version = VERSION, "serving");
    let serving = tokio::spawn(server::serve(listener, app, tls, Limits::default(), people, stopped));

    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        why = why_it_must_end(&mut must_end) => Err(ServeError::Fatal(why)),
    };
    tracing::info!("stopping");
    stop.send_replace(true);
    for gone in [handles.sessions.drain().await, handles.links.drain().await, handles.root.stop().await] {
        if let Err(error) = gone {
            tracing::warn!(%error, "did not stop in time");
        }
    }
    serving.abort();
    outcome
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

/// What an actor said at its start, without the words of those who waited for it.
fn not_started(error: SpawnErr) -> ServeError {
    let SpawnErr::StartupFailed(inner) = error else { return ServeError::Tree(error.to_string()) };
    match inner.downcast::<SpawnErr>() {
        Ok(inner) => not_started(*inner),
        Err(inner) => ServeError::Tree(inner.to_string()),
    }
}

/// SIGHUP reads certificate and key again, and is no reason to end where there are none.
async fn reload(mut hangup: Signal, tls: Option<Arc<Tls>>) {
    while hangup.recv().await.is_some() {
        match tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => tracing::info!("certificate and key were read again"),
            Some(Err(error)) => tracing::error!(%error, "the certificate that was there is kept"),
            None => tracing::info!("SIGHUP: there is no certificate to read again"),
        }
    }
}

async fn why_it_must_end(fatal: &mut watch::Receiver<Option<String>>) -> String {
    match fatal.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_default(),
        Err(_) => "the root of the actors is gone".to_owned(),
    }
}

/// The head comes from git where there is a repository, else from GitHub, else from `version.json`; pull requests come
/// from GitHub.
fn remote_settings(config: RemoteConfig, data_dir: &std::path::Path) -> Result<remote::Settings, ServeError> {
    let RemoteConfig { repo_url, branch, ssh_key, interval, github_repo, github_token, github_api_url, version_url } =
        config;
    let mut settings = remote::Settings::none(branch.clone(), interval);
    if let Some(url) = repo_url {
        let address = Address::parse(&url).map_err(|error| ServeError::Remote(error.to_string()))?;
        let mut mirror = MirrorSettings::new(address, branch.clone(), data_dir.join("mirror"));
        mirror.ssh_key = ssh_key;
        settings = settings.with_mirror(mirror);
    }
    if let Some(repository) = github_repo {
        let api = github_api_url.unwrap_or_else(|| github::API.to_owned());
        settings = settings.with_github(GithubSettings { repository, branch, api, token: github_token });
    }
    if let Some(url) = version_url.filter(|_| settings.source.is_none()) {
        settings = settings.with_version(&url);
    }
    Ok(settings)
}
