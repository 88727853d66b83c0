//! What this host was switched to, and before that, and before that: `deployed.json` in the state directory.
//!
//! The runner writes it, durably and before the result; the agent reads and reports it. A switch adds a line, a
//! rollback takes lines away, so a second rollback goes further back.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_protocol::agent::Deployed;
use nixfleet_protocol::{Commit, Time};
use serde::{Deserialize, Serialize};

use crate::durable;

/// How many deployments are remembered.
const KEPT: usize = 50;

/// The record: the last line is what is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployedRecord {
    /// Oldest first.
    pub history: Vec<Deployed>,
    /// The number that the next deployment gets where the platform itself does not count.
    pub counter: u64,
}

impl DeployedRecord {
    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("deployed.json")
    }

    /// Reads it; an empty one when there is none.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        durable::read_json(&Self::path(state_dir)).map(Option::unwrap_or_default)
    }

    /// Writes it and waits for the disk.
    pub fn store(&self, state_dir: &Path) -> io::Result<()> {
        durable::write_json(&Self::path(state_dir), self)
    }

    /// What is deployed.
    pub fn current(&self) -> Option<&Deployed> {
        self.history.last()
    }

    /// The last deployment of another commit (or of another system of the same commit).
    pub fn before(&self) -> Option<&Deployed> {
        let current = self.current()?;
        self.history.iter().rev().find(|one| one.commit != current.commit || one.system_path != current.system_path)
    }

    /// Adds a deployment. A `number` of `None` is counted here.
    pub fn switched(&mut self, mut deployed: Deployed) {
        self.counter = deployed.number.unwrap_or(self.counter + 1);
        deployed.number = Some(self.counter);
        self.history.push(deployed);
        let extra = self.history.len().saturating_sub(KEPT);
        self.history.drain(..extra);
    }

    /// Goes back to the deployment with this commit or this system, and forgets what came after it. Without such
    /// a deployment nothing changes: the record must not claim a commit that nobody knows.
    pub fn went_back(&mut self, commit: Option<&Commit>, system: Option<&str>, at: Time) -> bool {
        let last = self.history.len().saturating_sub(1);
        let found = self.history.iter().take(last).rposition(|one| match (commit, system) {
            (Some(commit), _) => one.commit.is(commit),
            (None, Some(system)) => one.system_path.as_deref() == Some(system),
            (None, None) => false,
        });
        let Some(found) = found else { return false };
        self.history.truncate(found + 1);
        if let Some(current) = self.history.last_mut() {
            current.at = at;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(commit: &str, system: Option<&str>) -> Deployed {
        Deployed {
            commit: commit.repeat(8).parse().unwrap(),
            lock_hash: None,
            system_path: system.map(str::to_owned),
            number: None,
            at: Time::from_millis(0),
        }
    }

    #[test]
    fn a_switch_adds_and_a_rollback_takes_away() {
        let mut record = DeployedRecord::default();
        for commit in ["a", "b", "b", "c"] {
            record.switched(deployed(commit, None));
        }
        assert_eq!(record.current().unwrap().number, Some(4));
        let back = record.before().unwrap().commit.clone();
        assert_eq!(back.as_str(), "bbbbbbbb");
        assert!(record.went_back(Some(&back), None, Time::from_millis(9)));
        assert_eq!(record.before().unwrap().commit.as_str(), "aaaaaaaa");
        assert!(record.went_back(Some(&"aaaaaaaa".parse().unwrap()), None, Time::from_millis(9)));
        assert_eq!(record.before(), None);
        assert!(!record.went_back(Some(&back), None, Time::from_millis(9)));
        record.switched(deployed("d", None));
        assert_eq!(record.current().unwrap().number, Some(5));
    }

    #[test]
    fn systems_tell_deployments_of_one_commit_apart() {
        let mut record = DeployedRecord::default();
        record.switched(deployed("a", Some("/nix/store/1")));
        record.switched(deployed("a", Some("/nix/store/2")));
        assert_eq!(record.before().unwrap().system_path.as_deref(), Some("/nix/store/1"));
        assert!(!record.went_back(None, Some("/nix/store/9"), Time::from_millis(0)));
        assert!(record.went_back(None, Some("/nix/store/1"), Time::from_millis(0)));
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut record = DeployedRecord::default();
        for _ in 0..KEPT + 10 {
            record.switched(deployed("a", None));
        }
        assert_eq!(record.history.len(), KEPT);
        assert_eq!(record.current().unwrap().number, Some(60));
    }
}
