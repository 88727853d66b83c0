//! What messages say of a host: the kinds of systems, platforms and places, what is deployed, load and space.

use serde::{Deserialize, Serialize};

use crate::ids::{Commit, LockHash};
use crate::lenient;
use crate::time::Time;

/// Which kind of system a host runs. A word that we do not know is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostType {
    /// NixOS.
    Nixos,
    /// macOS.
    Macos,
    /// Any other Linux.
    Linux,
    /// Not said, or a word of the future.
    #[default]
    #[serde(other)]
    Other,
}

/// How the agent deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// `nixos-rebuild`.
    Nixos,
    /// `darwin-rebuild`.
    NixDarwin,
    /// `home-manager`.
    HomeManager,
    /// The repository's own executables.
    Script,
}

impl Platform {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nixos => "nixos",
            Self::NixDarwin => "nix-darwin",
            Self::HomeManager => "home-manager",
            Self::Script => "script",
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        [Self::Nixos, Self::NixDarwin, Self::HomeManager, Self::Script]
            .into_iter()
            .find(|platform| platform.as_str() == text)
            .ok_or_else(|| UnknownPlatform(text.chars().take(80).collect()))
    }
}

/// No platform has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform {0:?}: nixos, nix-darwin, home-manager and script are known")]
pub struct UnknownPlatform(pub String);

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// At home.
    Home,
    /// At work.
    Work,
    /// In a data centre.
    Cloud,
    /// Not said, or a word of the future.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What a host is. The order is that of criticality, in which the page sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// A server.
    Server,
    /// A desktop.
    Desktop,
    /// A laptop.
    Laptop,
    /// A gaming machine.
    Gaming,
    /// Not said, or a word of the future.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What a host last switched to with success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The commit.
    pub commit: Commit,
    /// SHA-256 of its `flake.lock`, where it has one.
    #[serde(default, deserialize_with = "lenient::parsed")]
    pub lock_hash: Option<LockHash>,
    /// The system that runs since; none on the platform `script`.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub system_path: Option<String>,
    /// Number of the generation, where the platform counts them.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub number: Option<u64>,
    /// When.
    pub at: Time,
}

/// One generation of a system, as the host lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; never compared as text.
    pub number: u64,
    /// The commit, where it is known.
    #[serde(default, deserialize_with = "lenient::parsed")]
    pub commit: Option<Commit>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub at: Option<Time>,
    /// Whether it runs now.
    #[serde(default)]
    pub current: bool,
}

/// Load of a host, in percent; `load` is the 1-minute average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Processor, percent.
    #[serde(deserialize_with = "lenient::optional")]
    pub cpu: Option<f64>,
    /// Memory, percent.
    #[serde(deserialize_with = "lenient::optional")]
    pub ram: Option<f64>,
    /// Swap, percent.
    #[serde(deserialize_with = "lenient::optional")]
    pub swap: Option<f64>,
    /// 1-minute load average.
    #[serde(deserialize_with = "lenient::optional")]
    pub load: Option<f64>,
}

/// One compartment as a v2 agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegacyCompartment {
    /// `ok`, `outdated`, `error`, `working`, `unknown`, or empty: keep what is stored.
    #[serde(deserialize_with = "lenient::text")]
    pub status: String,
    /// For people.
    #[serde(deserialize_with = "lenient::text")]
    pub message: String,
    /// When the agent looked, as it spells it.
    #[serde(deserialize_with = "lenient::text")]
    pub checked_at: String,
}

/// The compartments as a v2 agent sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStatus {
    /// Checkout against remote.
    #[serde(deserialize_with = "lenient::optional")]
    pub git: Option<LegacyCompartment>,
    /// Age of the lock.
    #[serde(deserialize_with = "lenient::optional")]
    pub lock: Option<LegacyCompartment>,
    /// Running system against checkout.
    #[serde(deserialize_with = "lenient::optional")]
    pub system: Option<LegacyCompartment>,
    /// The last test run.
    #[serde(deserialize_with = "lenient::optional")]
    pub tests: Option<LegacyCompartment>,
}

/// Free and total bytes of the file systems that a switch fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Free bytes where the store (or the checkout) lies.
    pub store_free: u64,
    /// All bytes there.
    pub store_total: u64,
    /// Free bytes of the boot file system, where there is one of its own.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub boot_free: Option<u64>,
    /// All bytes there.
    #[serde(default, deserialize_with = "lenient::optional")]
    pub boot_total: Option<u64>,
}
