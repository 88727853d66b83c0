//! Reads a `flake.lock`: which inputs it has, and which moved between two of them. Pure, but for reading the file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nixfleet_protocol::agent::details::InputChange;
use serde::Deserialize;
use serde_json::Value;

/// Inputs of inputs are followed so deep.
const DEPTH: usize = 4;
/// More inputs than this are not compared.
const COMPARED: usize = 5000;

#[derive(Debug, Default, Deserialize)]
struct Node {
    /// A name of a node, or a path of inputs that is followed instead.
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    #[serde(default)]
    locked: Option<Value>,
}

/// A lock file.
#[derive(Debug, Default, Deserialize)]
pub struct Locked {
    #[serde(default)]
    nodes: BTreeMap<String, Node>,
    #[serde(default)]
    root: String,
}

impl Locked {
    /// Reads a checkout's lock.
    pub fn read(checkout: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(checkout.join("flake.lock"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// The flake's own inputs, by name.
    pub fn inputs(&self) -> Vec<String> {
        self.nodes.get(&self.root).map(|root| root.inputs.keys().cloned().collect()).unwrap_or_default()
    }

    /// Each input that is locked, with what tells its version: the commit, else the hash of its content.
    fn versions(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        self.walk(&self.root, "", DEPTH, &mut found);
        found
    }

    fn walk(&self, node: &str, prefix: &str, depth: usize, found: &mut BTreeMap<String, String>) {
        let Some(node) = self.nodes.get(node).filter(|_| depth > 0 && found.len() < COMPARED) else { return };
        for (name, target) in &node.inputs {
            // What follows another input is told there.
            let Value::String(target) = target else { continue };
            let path = format!("{prefix}{name}");
            if let Some(version) = self.nodes.get(target).and_then(|node| node.locked.as_ref()).and_then(version) {
                found.insert(path.clone(), version);
            }
            self.walk(target, &format!("{path}/"), depth - 1, found);
        }
    }

    /// The inputs whose version is another one in the later lock.
    pub fn moved(&self, later: &Self) -> Vec<InputChange> {
        let (before, after) = (self.versions(), later.versions());
        let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        names
            .into_iter()
            .map(|name| InputChange {
                name: name.clone(),
                before: before.get(name).cloned(),
                after: after.get(name).cloned(),
            })
            .filter(|change| change.before != change.after)
            .collect()
    }
}

fn version(locked: &Value) -> Option<String> {
    ["rev", "narHash"].iter().find_map(|field| locked.get(field)?.as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(rev: &str, inner: &str) -> Locked {
        serde_json::from_value(serde_json::json!({
            "nodes": {
                "nixpkgs": { "locked": { "rev": rev, "narHash": "sha256-x" } },
                "nixpkgs_2": { "locked": { "narHash": inner } },
                "nixfleet": { "inputs": { "nixpkgs": "nixpkgs_2", "lib": ["nixpkgs"] }, "locked": { "rev": "f" } },
                "root": { "inputs": { "nixfleet": "nixfleet", "nixpkgs": "nixpkgs" } },
            },
            "root": "root",
            "version": 7,
        }))
        .unwrap()
    }

    #[test]
    fn moved_inputs_are_told_with_their_versions() {
        let before = lock("a", "1");
        assert_eq!(before.inputs(), ["nixfleet", "nixpkgs"]);
        assert_eq!(before.moved(&lock("a", "1")), []);
        let moved = |name: &str, from: &str, to: &str| InputChange {
            name: name.into(),
            before: Some(from.into()),
            after: Some(to.into()),
        };
        assert_eq!(before.moved(&lock("b", "2")), [moved("nixfleet/nixpkgs", "1", "2"), moved("nixpkgs", "a", "b")]);
        let gone = InputChange { name: "nixpkgs".into(), before: Some("a".into()), after: None };
        assert!(before.moved(&Locked::default()).contains(&gone));
        assert_eq!(Locked::default().inputs(), Vec::<String>::new());
    }

    #[test]
    fn inputs_that_go_in_a_circle_end() {
        let circle: Locked = serde_json::from_value(serde_json::json!({
            "nodes": { "root": { "inputs": { "a": "b" } }, "b": { "inputs": { "a": "b" }, "locked": { "rev": "1" } } },
            "root": "root",
        }))
        .unwrap();
        assert_eq!(circle.versions().len(), DEPTH);
    }
}
