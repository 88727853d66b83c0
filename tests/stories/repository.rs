//! The configuration repository of a story: a bare repository that the fleet reads, and a checkout that the
//! operator of the story works in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bare repository and the operator's checkout of it.
pub(crate) struct Repository {
    bare: PathBuf,
    work: PathBuf,
}

impl Repository {
    /// A repository with one commit: a switch that prints a few lines, and a `flake.lock`.
    pub(crate) fn new(dir: &Path) -> Self {
        let repository = Self { bare: dir.join("config.git"), work: dir.join("operator") };
        git(dir, &["init", "-q", "--bare", "-b", "main", "config.git"]);
        git(dir, &["clone", "-q", "config.git", "operator"]);
        git(&repository.work, &["checkout", "-q", "-B", "main"]);
        repository.write("flake.lock", "{\"version\": 7, \"nodes\": {}}\n");
        repository.script("switch", "echo switching $NIXFLEET_HOST; for n in 1 2 3; do echo step $n; done; echo done");
        repository.push("first");
        repository
    }

    /// Where the fleet reads it.
    pub(crate) fn url(&self) -> String {
        self.bare.display().to_string()
    }

    /// Writes a file into the checkout.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes an executable into the checkout.
    pub(crate) fn script(&self, path: &str, body: &str) {
        self.write(path, &format!("#!/bin/sh\nset -eu\n{body}\n"));
        fs::set_permissions(self.work.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Commits everything and pushes it; the commit.
    pub(crate) fn push(&self, subject: &str) -> String {
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "--allow-empty", "-m", subject]);
        git(&self.work, &["push", "-q", "origin", "main"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// The remote goes away.
    pub(crate) fn hide(&self) {
        fs::rename(&self.bare, self.bare.with_extension("gone")).unwrap();
    }

    /// The remote comes back.
    pub(crate) fn show(&self) {
        fs::rename(self.bare.with_extension("gone"), &self.bare).unwrap();
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=operator", "-c", "user.email=operator@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
