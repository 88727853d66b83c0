//! How stories steer the fake, and what they ask it.

use std::path::Path;

use serde_json::{Value, json};

use super::control::control;
use super::server::{Fake, Fault, Setup};

impl Fake {
    /// Over this bare repository, where a token is needed.
    pub(crate) fn over(bare: &Path, token: &str, webhook: (String, String)) -> Self {
        let setup = Setup { token: Some(token.to_owned()), webhook: Some(webhook), ..Setup::new(bare.to_owned()) };
        Self::start_at(setup, "127.0.0.1:0")
    }

    /// Opens a pull request of a branch that changes one file; its number.
    pub(crate) fn open(&self, branch: &str, title: &str, path: &str, content: &str) -> u64 {
        let words = json!({ "branch": branch, "title": title, "path": path, "content": content });
        self.control("open", &words)["number"].as_u64().unwrap()
    }

    /// Opens an update of `flake.lock`; its number.
    pub(crate) fn update(&self, branch: &str) -> u64 {
        self.control("open", &json!({ "branch": branch }))["number"].as_u64().unwrap()
    }

    /// Somebody pushes a file; the commit.
    pub(crate) fn push(&self, path: &str, content: &str) -> String {
        let words = json!({ "path": path, "content": content });
        self.control("push", &words)["commit"].as_str().unwrap().to_owned()
    }

    /// What `POST /_/{verb}` does.
    pub(crate) fn control(&self, verb: &str, words: &Value) -> Value {
        control(&self.inner, verb, words).unwrap_or_else(|| panic!("{verb} {words}"))
    }

    /// From now on.
    pub(crate) fn fault(&self, fault: Fault) {
        self.inner.state().fault = fault;
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.inner.state().asked
    }

    /// Changes that were made, as method and path below the repository.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.inner.state().changes.clone()
    }

    /// Whether a change has come in, done or not.
    pub(crate) fn has_come(&self, method: &str, part: &str) -> bool {
        self.inner.state().come.iter().any(|come| come.starts_with(method) && come.contains(part))
    }
}
