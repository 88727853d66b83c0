//! The daemon's configuration: from the environment and `nixfleet.toml`, the environment wins. Read once at the
//! start, never changed.
//!
//! Who talks to it: `main` calls [`load`] and gives the parts to those who need them. [`Config::from`] is pure.
//! Invariants: all that is wrong is listed at once; a secret is a [`Secret`] from the moment it is read; no
//! message repeats a value that could be one.

mod keep;
mod notify;
mod secret;
mod sources;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_model::pipeline::Known;

pub use keep::{KeepError, keep_session_secret};
pub use notify::{ChannelConfig, MailConfig, MailTls, Way};
pub use secret::Secret;
pub use values::{Network, NoOrigin, Origin};

use sources::{Parsed, Sources};

/// Where everything lies when nobody says.
const DATA_DIR: &str = "/var/lib/nixfleet";

/// The shortest session secret, in characters.
const SESSION_SECRET: usize = 32;

/// What the configuration is made from.
pub struct Given<'a> {
    /// The environment.
    pub vars: &'a BTreeMap<String, String>,
    /// `nixfleet.toml`: its path, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// How the file of a secret is read.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Everything that can be set.
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the store and the logs lie.
    pub data_dir: PathBuf,
    /// Who may come, and how.
    pub web: WebConfig,
    /// Password, tokens and sessions.
    pub access: AccessConfig,
    /// The configuration repository.
    pub remote: RemoteConfig,
    /// How often tabs hear the version (`NIXFLEET_SYNC_BEACON_INTERVAL`).
    pub sync_beacon: Duration,
    /// What happens to a command past its hard limit.
    pub timeout_action: TimeoutAction,
    /// The tests run by themselves after a good switch (`NIXFLEET_AUTO_TEST`).
    pub auto_test: bool,
    /// Where magic packets are sent (`NIXFLEET_WAKE_BROADCAST`).
    pub wake_by: SocketAddr,
    /// Days that commands, runs and their logs are kept.
    pub command_days: u32,
    /// Days that events are kept.
    pub event_days: u32,
    /// What is logged: a level, or `target=level` by commas.
    pub log: String,
    /// How it is written.
    pub log_format: LogFormat,
    /// Pipelines of the operator's own.
    pub pipelines: Vec<Known>,
    /// How people are told.
    pub notify: Vec<ChannelConfig>,
}

/// Who may come, and how.
pub struct WebConfig {
    /// The dashboard's address as browsers see it.
    pub base_url: Option<Origin>,
    /// Further origins that pages may come from.
    pub allowed_origins: Vec<Origin>,
    /// Whose `X-Forwarded-*` counts.
    pub trusted_proxies: Vec<Network>,
    /// Certificate and key, where the daemon speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// What GitHub signs its webhooks with.
    pub github_webhook_secret: Option<Secret>,
}

/// Certificate and key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Password, tokens and sessions.
pub struct AccessConfig {
    /// bcrypt.
    pub password_hash: Secret,
    /// The TOTP key itself, decoded.
    pub totp_secret: Option<Vec<u8>>,
    /// The first signs cookies, all verify. Empty: made and kept in the data directory ([`keep_session_secret`]).
    pub session_secrets: Vec<Secret>,
    /// How long a login lasts.
    pub session_duration: Duration,
    /// The shared token of v2 fleets.
    pub agent_token: Option<Secret>,
    /// An API token of scope `admin` that exists from the start.
    pub admin_token: Option<Secret>,
}

/// The configuration repository.
pub struct RemoteConfig {
    /// Any git server, or a path.
    pub repo_url: Option<String>,
    /// The tracked branch.
    pub branch: String,
    /// The key for git over SSH.
    pub ssh_key: Option<PathBuf>,
    /// How often it is asked.
    pub interval: Duration,
    /// `owner/name`.
    pub github_repo: Option<String>,
    /// GitHub's token.
    pub github_token: Option<Secret>,
    /// GitHub's API, where it is one's own.
    pub github_api_url: Option<String>,
    /// Where `version.json` lies.
    pub version_url: Option<String>,
}

/// What happens to a command past its hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutAction {
    /// A person decides.
    Ask,
    /// It is stopped.
    Kill,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Worth saying, and the start goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stops the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {message}")]
pub struct Problem {
    /// The setting, as a person wrote it.
    pub setting: String,
    /// What is wrong with it, and what was expected.
    pub message: String,
}

impl Config {
    /// Reads everything that was given; pure but for `given.read`.
    pub fn from(given: &Given<'_>) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        let mut from = Sources::new(given);
        let listen = from.or("listen", SocketAddr::from(([127, 0, 0, 1], 8000)), values::listen);
        let web = web(&mut from);
        let access = access(&mut from);
        let allow_insecure = from.or("allow_insecure", false, values::switch);
        let guarded = web.tls.is_some() || !web.trusted_proxies.is_empty();
        if !listen.ip().is_loopback() && !guarded && !allow_insecure {
            let why = format!(
                "{listen} is beyond loopback without TLS: name the reverse proxy in NIXFLEET_TRUSTED_PROXIES, \
                 or set NIXFLEET_ALLOW_INSECURE=1"
            );
            from.problem("NIXFLEET_LISTEN", why);
        }
        let data_dir = from.or("data_dir", PathBuf::from(DATA_DIR), |text| Ok(PathBuf::from(text)));
        let remote = remote(&mut from);
        let sync_beacon = from.or("sync_beacon_interval", Duration::from_secs(30), values::duration);
        let timeout_action = from.or("timeout_action", TimeoutAction::Ask, |text| match text {
            "ask" => Ok(TimeoutAction::Ask),
            "kill" => Ok(TimeoutAction::Kill),
            _ => Err("expected ask or kill".to_owned()),
        });
        let auto_test = from.or("auto_test", true, values::switch);
        let wake_by = from.or("wake_broadcast", SocketAddr::from(([255; 4], 9)), values::broadcast);
        let command_days = from.or("cmd_retention_days", 30, values::days);
        let event_days = from.or("log_retention_days", 7, values::days);
        let log = from.or("log", "info".to_owned(), |text| {
            text.parse::<tracing_subscriber::filter::Targets>()
                .map(|_| text.to_owned())
                .map_err(|error| format!("is no filter: {error}"))
        });
        let log_format = from.or("log_format", LogFormat::Text, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json".to_owned()),
        });
        let notify = notify::channels(&mut from);
        let Sources { pipelines, problems, warnings, .. } = from;
        let Some(access) = access.filter(|_| problems.is_empty()) else { return Err(problems) };
        let config = Self {
            listen,
            data_dir,
            web,
            access,
            remote,
            sync_beacon,
            timeout_action,
            auto_test,
            wake_by,
            command_days,
            event_days,
            log,
            log_format,
            pipelines,
            notify,
        };
        Ok((config, warnings))
    }
}

fn web(from: &mut Sources<'_>) -> WebConfig {
    let origin = |text: &str| text.parse::<Origin>().map_err(|error| error.to_string());
    let base_url = from.optional("base_url", origin);
    let allowed_origins =
        from.or("allowed_origins", Vec::new(), |text| values::list(text).map(origin).collect::<Parsed<_>>());
    let trusted_proxies =
        from.or("trusted_proxies", Vec::new(), |text| values::list(text).map(str::parse).collect::<Parsed<_>>());
    let cert = from.optional("tls_cert", |text| Ok(PathBuf::from(text)));
    let key = from.optional("tls_key", |text| Ok(PathBuf::from(text)));
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            from.problem("NIXFLEET_TLS_KEY", "is missing: a certificate needs its key");
            None
        }
        (None, Some(_)) => {
            from.problem("NIXFLEET_TLS_CERT", "is missing: a key needs its certificate");
            None
        }
    };
    let github_webhook_secret = from.secret("github_webhook_secret", Ok);
    WebConfig { base_url, allowed_origins, trusted_proxies, tls, github_webhook_secret }
}

fn access(from: &mut Sources<'_>) -> Option<AccessConfig> {
    let before = from.problems.len();
    let password_hash = from.secret("password_hash", |secret| match secret.expose().parse::<bcrypt::HashParts>() {
        Ok(_) => Ok(secret),
        Err(_) => Err("is no bcrypt hash: make one with `nixfleet hash-password`".to_owned()),
    });
    if password_hash.is_none() && from.problems.len() == before {
        from.problem("NIXFLEET_PASSWORD_HASH", "is required: make one with `nixfleet hash-password`");
    }
    let totp_secret = from.secret("totp_secret", |secret| totp_key(&secret));
    let session_secrets = from.secret("session_secret", |secret| session_secrets(&secret)).unwrap_or_default();
    let session_duration = from.or("session_duration", Duration::from_hours(24), values::duration);
    let agent_token = from.secret("agent_token", token);
    let admin_token = from.secret("admin_token", token);
    if let (Some(agent), Some(admin)) = (&agent_token, &admin_token)
        && agent.is(admin.expose())
    {
        from.problem("NIXFLEET_ADMIN_TOKEN", "is the same as NIXFLEET_AGENT_TOKEN");
    }
    for (name, token) in [("NIXFLEET_AGENT_TOKEN", &agent_token), ("NIXFLEET_ADMIN_TOKEN", &admin_token)] {
        if token.as_ref().is_some_and(|token| token.expose().len() < 20) {
            from.warn(format!("{name} is short: 256 random bits are better"));
        }
    }
    Some(AccessConfig {
        password_hash: password_hash?,
        totp_secret,
        session_secrets,
        session_duration,
        agent_token,
        admin_token,
    })
}

fn totp_key(secret: &Secret) -> Parsed<Vec<u8>> {
    let text: String = secret.expose().chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '=')).collect();
    let key = data_encoding::BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| "is no base32".to_owned())?;
    if key.len() < 10 { Err("is too short: 16 base32 characters or more".to_owned()) } else { Ok(key) }
}

fn session_secrets(secret: &Secret) -> Parsed<Vec<Secret>> {
    let secrets: Vec<Secret> = values::list(secret.expose()).map(Secret::new).collect();
    if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().chars().count() < SESSION_SECRET) {
        return Err(format!("needs {SESSION_SECRET} characters or more in each secret"));
    }
    Ok(secrets)
}

fn token(secret: Secret) -> Parsed<Secret> {
    if secret.expose().bytes().all(|b| b.is_ascii_graphic()) {
        Ok(secret)
    } else {
        Err("may hold only printable ASCII characters without spaces".to_owned())
    }
}

fn remote(from: &mut Sources<'_>) -> RemoteConfig {
    let config = RemoteConfig {
        repo_url: from.optional("repo_url", |text| {
            let password = text.split_once("://").is_some_and(|(_, rest)| {
                let authority = rest.split('/').next().unwrap_or_default();
                authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
            });
            if password {
                Err("must not hold a password: use a key, or git's own credential store".to_owned())
            } else if text.starts_with('-') {
                Err("must not begin with a hyphen".to_owned())
            } else {
                Ok(text.to_owned())
            }
        }),
        branch: from.or("branch", "main".to_owned(), |text| {
            let bad = text.starts_with('-')
                || text.contains("..")
                || text.bytes().any(|b| b <= b' ' || b"~^:?*[\\".contains(&b));
            if bad { Err("is no name of a branch".to_owned()) } else { Ok(text.to_owned()) }
        }),
        ssh_key: from.optional("ssh_key", |text| Ok(PathBuf::from(text))),
        interval: from.or("remote_interval", Duration::from_secs(30), values::duration),
        github_repo: from.optional("github_repo", values::repository),
        github_token: from.secret("github_token", token),
        github_api_url: from.optional("github_api_url", values::url),
        version_url: from.optional("version_url", values::url),
    };
    let exposed = |url: &Option<String>| url.as_deref().is_some_and(values::is_exposed);
    if config.github_token.is_some() && exposed(&config.github_api_url) {
        from.problem(
            "NIXFLEET_GITHUB_API_URL",
            "is http beyond loopback, and the token would cross the network in the clear: use https",
        );
    }
    if config.github_repo.is_none() {
        for (name, set) in [
            ("NIXFLEET_GITHUB_TOKEN", config.github_token.is_some()),
            ("NIXFLEET_GITHUB_API_URL", config.github_api_url.is_some()),
        ] {
            if set {
                from.warn(format!("{name} does nothing without NIXFLEET_GITHUB_REPO"));
            }
        }
    }
    if config.version_url.is_some() && (config.repo_url.is_some() || config.github_repo.is_some()) {
        let other = if config.repo_url.is_some() { "NIXFLEET_REPO_URL" } else { "NIXFLEET_GITHUB_REPO" };
        from.warn(format!("NIXFLEET_VERSION_URL is not read: {other} says where the head is"));
    }
    config
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file that was named can't be read.
    #[error("{0} can't be read")]
    File(PathBuf, #[source] io::Error),
    /// All that is wrong, one line each.
    #[error("{}", lines(.0))]
    Bad(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Reads the process's environment and the file that `--config` or `$NIXFLEET_CONFIG` names.
pub fn load(file: Option<PathBuf>) -> Result<(Config, Vec<Warning>), LoadError> {
    let vars: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let named = vars.get("NIXFLEET_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let file = match file.or(named) {
        None => None,
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) => return Err(LoadError::File(path, error)),
        },
    };
    let read = |path: &Path| std::fs::read_to_string(path);
    Config::from(&Given { vars: &vars, file, read: &read }).map_err(LoadError::Bad)
}

/// The data directory alone, for tools that need nothing else: no password is asked for.
pub fn data_dir(file: Option<PathBuf>) -> Result<PathBuf, LoadError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("NIXFLEET_DATA_DIR") {
        return Ok(dir);
    }
    let Some(path) = file.or_else(|| set("NIXFLEET_CONFIG")) else { return Ok(PathBuf::from(DATA_DIR)) };
    let text = std::fs::read_to_string(&path).map_err(|error| LoadError::File(path, error))?;
    let table: toml::Table = text.parse().unwrap_or_default();
    Ok(PathBuf::from(table.get("data_dir").and_then(toml::Value::as_str).unwrap_or(DATA_DIR)))
}

#[cfg(test)]
mod tests;
