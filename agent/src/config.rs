//! The agent's configuration: environment in, types out, every problem listed at once.
//!
//! Who uses it: `main` at the start and `--check`. [`read`] looks at nothing but the variables it is given, what
//! [`Machine`] says of the host, and the token's file. The token lives in a [`Secret`], which prints as dots.

pub mod address;
pub mod check;
pub mod machine;
pub mod reader;
pub mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;

use nixfleet_protocol::HostId;
use nixfleet_protocol::agent::{DeviceType, HostType, Location, Platform};

use crate::record::HostSettings;
use address::Address;
use machine::Machine;
use reader::Reader;
use secret::Secret;

/// Every variable that the agent reads, so that a misspelt one can be told.
pub const VARIABLES: &[&str] = &[
    "NIXFLEET_ALLOW_EXEC",
    "NIXFLEET_ALLOW_INSECURE",
    "NIXFLEET_BRANCH",
    "NIXFLEET_CA_FILE",
    "NIXFLEET_DEVICE_TYPE",
    "NIXFLEET_HOSTNAME",
    "NIXFLEET_INTERVAL",
    "NIXFLEET_LOCATION",
    "NIXFLEET_LOG",
    "NIXFLEET_LOG_FORMAT",
    "NIXFLEET_NIXPKGS_VERSION",
    "NIXFLEET_PATH",
    "NIXFLEET_PLATFORM",
    "NIXFLEET_REBOOT_COMMAND",
    "NIXFLEET_REPO_DIR",
    "NIXFLEET_REPO_URL",
    "NIXFLEET_ROOT",
    "NIXFLEET_SSH_KEY",
    "NIXFLEET_STATE_DIR",
    "NIXFLEET_SUDO",
    "NIXFLEET_TAGS",
    "NIXFLEET_TEST_TIMEOUT",
    "NIXFLEET_THEME_COLOR",
    "NIXFLEET_TOKEN",
    "NIXFLEET_TOKEN_FILE",
    "NIXFLEET_URL",
];

/// Variables that commands are given when the agent has them: what nix, git and sessions need to find their way.
const PASSED_ON: &[&str] = &[
    "ALL_PROXY",
    "DBUS_SESSION_BUS_ADDRESS",
    "GIT_SSL_CAINFO",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LOCALE_ARCHIVE",
    "NIX_CONFIG",
    "NIX_CONF_DIR",
    "NIX_LOG_DIR",
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_SSL_CERT_FILE",
    "NIX_STATE_DIR",
    "NIX_STORE_DIR",
    "NIX_USER_CONF_FILES",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Where programs lie on the systems we know; added behind the agent's own `PATH`.
const USUAL_PATHS: &[&str] = &[
    "/run/wrappers/bin",
    "/run/current-system/sw/bin",
    "/nix/var/nix/profiles/default/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
];

/// How much the agent says, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The lowest level that is written.
    pub level: tracing::level_filters::LevelFilter,
    /// One JSON object a line, instead of text.
    pub json: bool,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The dashboard.
    pub url: Address,
    /// What we show it.
    pub token: Secret,
    /// What a runner needs to know of this host.
    pub host: HostSettings,
    /// The kind of system.
    pub host_type: HostType,
    /// Seconds between heartbeats.
    pub interval: u32,
    /// Where the host stands.
    pub location: Location,
    /// What the host is.
    pub device_type: DeviceType,
    /// `#rrggbb`, or empty.
    pub theme_color: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Version of nixpkgs, when it was given.
    pub nixpkgs_version: Option<String>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The log.
    pub log: LogSettings,
}

/// All that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} problem(s):\n{}", .0.len(), list(.0))]
pub struct Problems(pub Vec<String>);

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n")
}

/// Reads the configuration. With it come the warnings; without it, everything that is wrong.
pub fn read(variables: &BTreeMap<String, String>, machine: &Machine) -> Result<(Config, Vec<String>), Problems> {
    let mut reader = Reader::new(variables);
    let insecure = reader.switch("NIXFLEET_ALLOW_INSECURE", false);
    let url = reader.required("NIXFLEET_URL", "the dashboard, e.g. wss://fleet.example.org/ws", |text| {
        Address::parse(text, insecure)
    });
    let token = reader.token();
    let name = reader.text("NIXFLEET_HOSTNAME").unwrap_or_else(|| machine.short_hostname());
    if let Err(error) = name.parse::<HostId>() {
        reader.problem(format!("NIXFLEET_HOSTNAME: {error}"));
    }
    let platform = reader.parsed("NIXFLEET_PLATFORM", str::parse::<Platform>).unwrap_or(machine.platform);
    let state_dir = reader.directory("NIXFLEET_STATE_DIR").unwrap_or_else(|| machine.default_state_dir());
    let repo_url = reader.parsed("NIXFLEET_REPO_URL", reader::repository);
    let repo_dir = reader.directory("NIXFLEET_REPO_DIR");
    let checkout = match (&repo_url, repo_dir) {
        (_, Some(dir)) => dir,
        (Some(_), None) => state_dir.join("repo"),
        (None, None) => {
            reader.problem(
                "NIXFLEET_REPO_URL or NIXFLEET_REPO_DIR is needed: the repository to clone, or a checkout of your own"
                    .into(),
            );
            PathBuf::new()
        }
    };
    let branch = reader.parsed("NIXFLEET_BRANCH", reader::branch).unwrap_or_else(|| "main".into());
    let ssh_key = reader.directory("NIXFLEET_SSH_KEY");
    let interval = reader.seconds("NIXFLEET_INTERVAL", 1..=3600).unwrap_or(5);
    let test_limit_s = u64::from(reader.seconds("NIXFLEET_TEST_TIMEOUT", 1..=36_000).unwrap_or(300));
    let location = reader
        .parsed("NIXFLEET_LOCATION", |text| match text {
            "home" => Ok(Location::Home),
            "work" => Ok(Location::Work),
            "cloud" => Ok(Location::Cloud),
            _ => Err("home, work and cloud are known"),
        })
        .unwrap_or(Location::Home);
    let device_type = reader
        .parsed("NIXFLEET_DEVICE_TYPE", |text| match text {
            "server" => Ok(DeviceType::Server),
            "desktop" => Ok(DeviceType::Desktop),
            "laptop" => Ok(DeviceType::Laptop),
            "gaming" => Ok(DeviceType::Gaming),
            _ => Err("server, desktop, laptop and gaming are known"),
        })
        .unwrap_or(DeviceType::Desktop);
    let theme_color = reader.parsed("NIXFLEET_THEME_COLOR", reader::color).unwrap_or_default();
    let tags = reader.words("NIXFLEET_TAGS");
    let nixpkgs_version = reader.text("NIXFLEET_NIXPKGS_VERSION");
    let ca_file = reader.directory("NIXFLEET_CA_FILE");
    let allow_exec = reader.switch("NIXFLEET_ALLOW_EXEC", false);
    let sudo = reader.argv("NIXFLEET_SUDO").unwrap_or_else(|| vec!["sudo".into(), "-n".into()]);
    let reboot = reader.argv("NIXFLEET_REBOOT_COMMAND").unwrap_or_else(|| machine.reboot_command());
    let root = reader.directory("NIXFLEET_ROOT").unwrap_or_else(|| PathBuf::from("/"));
    let log = log_settings(&mut reader);
    let environment = environment(variables, reader.text("NIXFLEET_PATH").as_ref(), machine);
    let (problems, warnings) = reader.finish();
    let (Some(url), Some(token), true) = (url, token, problems.is_empty()) else { return Err(Problems(problems)) };
    let host = HostSettings {
        name,
        platform,
        state_dir,
        checkout,
        repo_url,
        branch,
        ssh_key,
        root,
        reboot,
        test_limit_s,
        sudo,
        allow_exec,
        environment,
    };
    let host_type = machine.host_type;
    let config = Config {
        url,
        token,
        host,
        host_type,
        interval,
        location,
        device_type,
        theme_color,
        tags,
        nixpkgs_version,
        ca_file,
        log,
    };
    Ok((config, warnings))
}

fn log_settings(reader: &mut Reader<'_>) -> LogSettings {
    use tracing::level_filters::LevelFilter;
    let level = reader
        .parsed("NIXFLEET_LOG", |text| {
            text.parse::<LevelFilter>().map_err(|_| "error, warn, info, debug, trace and off are known")
        })
        .unwrap_or(LevelFilter::INFO);
    let json = reader
        .parsed("NIXFLEET_LOG_FORMAT", |text| match text {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("text and json are known"),
        })
        .unwrap_or(false);
    LogSettings { level, json }
}

/// The environment of commands, made anew: nothing of ours gets there by accident.
fn environment(
    variables: &BTreeMap<String, String>,
    path: Option<&String>,
    machine: &Machine,
) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = PASSED_ON
        .iter()
        .filter_map(|name| variables.get(*name).map(|value| ((*name).to_owned(), value.clone())))
        .collect();
    let own = path.or_else(|| variables.get("PATH")).map_or("", String::as_str);
    let mut paths: Vec<&str> = own.split(':').filter(|dir| !dir.is_empty()).collect();
    for usual in USUAL_PATHS {
        if !paths.contains(usual) {
            paths.push(usual);
        }
    }
    out.insert("PATH".into(), paths.join(":"));
    out.insert("HOME".into(), machine.home.display().to_string());
    out.insert("USER".into(), machine.user.clone());
    out.insert("LOGNAME".into(), machine.user.clone());
    out.insert("LANG".into(), variables.get("LANG").cloned().unwrap_or_else(|| "C.UTF-8".into()));
    out
}

#[cfg(test)]
mod tests;
