//! The configuration repository of the measured fleet: one switch that prints as many lines as a file says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

/// A bare repository, and what its one commit is.
pub(crate) struct Repository {
    /// Where the fleet reads it.
    pub(crate) url: String,
    /// Its head.
    pub(crate) head: String,
    lines: PathBuf,
}

impl Repository {
    /// Makes it.
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let (bare, work, lines) = (dir.join("config.git"), dir.join("operator"), dir.join("lines"));
        git(dir, &["init", "-q", "--bare", "-b", "main", "config.git"])?;
        git(dir, &["clone", "-q", "config.git", "operator"])?;
        git(&work, &["checkout", "-q", "-B", "main"])?;
        fs::write(work.join("flake.lock"), "{\"version\": 7, \"nodes\": {}}\n")?;
        let switch = work.join("switch");
        let script =
            format!("#!/bin/sh\nexec seq -f 'line %.0f of the output of a fast command' $(cat {})\n", lines.display());
        fs::write(&switch, script)?;
        fs::set_permissions(&switch, fs::Permissions::from_mode(0o755))?;
        git(&work, &["add", "-A"])?;
        git(&work, &["commit", "-q", "-m", "first"])?;
        git(&work, &["push", "-q", "origin", "main"])?;
        let head = git(&work, &["rev-parse", "HEAD"])?;
        let repository = Self { url: bare.display().to_string(), head, lines };
        repository.set_lines(1)?;
        Ok(repository)
    }

    /// How many lines the next switch prints.
    pub(crate) fn set_lines(&self, count: usize) -> anyhow::Result<()> {
        Ok(fs::write(&self.lines, count.to_string())?)
    }
}

fn git(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .output()?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
