//! What `check-version` reports in the `details` of its result: the agent that runs, and the one that would be
//! started now.

use serde::{Deserialize, Serialize};

use crate::ids::{Commit, LockHash};
use crate::lenient;

/// One agent program, by all that tells it from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentProgram {
    /// Where it lies, all links resolved.
    #[serde(deserialize_with = "lenient::text")]
    pub path: String,
    /// Its version, where it says one.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The commit that it was built from, where it says one.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<Commit>,
    /// Its package, where it lies in a Nix store.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub store_path: Option<String>,
    /// SHA-256 of the binary.
    #[serde(deserialize_with = "lenient::parsed", skip_serializing_if = "Option::is_none")]
    pub binary_hash: Option<LockHash>,
}

/// Details of `check-version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionCheck {
    /// The agent that took the command.
    #[serde(deserialize_with = "lenient::optional")]
    pub running: Option<AgentProgram>,
    /// The one that the service manager would start now; null where none is found.
    #[serde(deserialize_with = "lenient::optional")]
    pub installed: Option<AgentProgram>,
    /// Whether they are the same; null where nothing can be compared.
    #[serde(deserialize_with = "lenient::optional")]
    pub current: Option<bool>,
}

impl VersionCheck {
    /// Compares two programs. The binary decides; then the package, then the commit. A missing layer gives no verdict.
    pub fn of(running: Option<AgentProgram>, installed: Option<AgentProgram>) -> Self {
        let current = match (&running, &installed) {
            (Some(running), Some(installed)) => same(running, installed),
            _ => None,
        };
        Self { running, installed, current }
    }
}

fn same(running: &AgentProgram, installed: &AgentProgram) -> Option<bool> {
    let binary = running.binary_hash.as_ref().zip(installed.binary_hash.as_ref()).map(|(a, b)| a == b);
    let package = running.store_path.as_ref().zip(installed.store_path.as_ref()).map(|(a, b)| a == b);
    let commit = running.source_commit.as_ref().zip(installed.source_commit.as_ref()).map(|(a, b)| a.is(b));
    binary.or(package).or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(binary: Option<&str>, package: Option<&str>, commit: Option<&str>) -> AgentProgram {
        AgentProgram {
            binary_hash: binary.map(|digit| digit.repeat(64).parse().unwrap()),
            store_path: package.map(str::to_owned),
            source_commit: commit.map(|digit| digit.repeat(40).parse().unwrap()),
            ..AgentProgram::default()
        }
    }

    #[test]
    fn the_binary_decides_and_a_missing_layer_gives_no_verdict() {
        for (running, installed, current) in [
            (program(Some("a"), Some("p"), None), program(Some("a"), Some("q"), None), Some(true)),
            (program(Some("a"), Some("p"), None), program(Some("b"), Some("p"), None), Some(false)),
            (program(None, Some("p"), Some("a")), program(Some("b"), Some("q"), Some("a")), Some(false)),
            (program(None, None, Some("a")), program(None, Some("q"), Some("a")), Some(true)),
            (program(Some("a"), None, None), program(None, None, None), None),
        ] {
            assert_eq!(VersionCheck::of(Some(running), Some(installed)).current, current);
        }
        assert_eq!(VersionCheck::of(Some(AgentProgram::default()), None).current, None);
    }
}
