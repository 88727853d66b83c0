//! The demo's git repository: bare, as on a server, and a checkout that a person may work in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::hosts::Host;
use super::scripts::{self, File};

/// The bare repository and the checkout.
pub(super) struct Repository {
    bare: PathBuf,
    checkout: PathBuf,
}

impl Repository {
    pub(super) fn new(dir: &Path) -> Self {
        Self { bare: dir.join("config.git"), checkout: dir.join("checkout") }
    }

    pub(super) fn bare(&self) -> &Path {
        &self.bare
    }

    pub(super) fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// Makes it with its first commit; nothing when it is there already.
    pub(super) async fn make(&self, hosts: &[Host]) -> anyhow::Result<()> {
        if self.bare.exists() {
            return Ok(());
        }
        let dir = self.bare.parent().context("the repository has no folder")?;
        // Made beside its place, so that one that was cut short is not taken for a whole one.
        let fresh = dir.join("config.git.new");
        remove(&fresh)?;
        remove(&self.checkout)?;
        git(dir, &["init", "--quiet", "--bare", "--initial-branch=main", &text(&fresh)]).await?;
        git(dir, &["init", "--quiet", "--initial-branch=catalogue", &text(&self.checkout)]).await?;
        for (name, value) in
            [("user.name", "NixFleet demo"), ("user.email", "demo@localhost"), ("push.default", "current")]
        {
            git(&self.checkout, &["config", name, value]).await?;
        }
        git(&self.checkout, &["remote", "add", "origin", &text(&fresh)]).await?;
        let catalogue = self.catalogue("2026.1").await?;
        git(&self.checkout, &["checkout", "--quiet", "--orphan", "main"]).await?;
        git(&self.checkout, &["rm", "--quiet", "-r", "-f", "."]).await?;
        self.commit(&scripts::first(hosts, &self.url(), &catalogue), "fleet: the first configuration").await?;
        git(&self.checkout, &["remote", "set-url", "origin", &text(&self.bare)]).await?;
        fs::rename(&fresh, &self.bare)?;
        git(&self.checkout, &["fetch", "--quiet", "origin"]).await?;
        git(&self.checkout, &["branch", "--quiet", "--set-upstream-to=origin/main", "main"]).await?;
        Ok(())
    }

    /// Pushes the update; gives its commit.
    pub(super) async fn update(&self, hosts: &[Host]) -> anyhow::Result<String> {
        git(&self.checkout, &["checkout", "--quiet", "catalogue"]).await?;
        let catalogue = self.catalogue("2026.2").await?;
        git(&self.checkout, &["checkout", "--quiet", "main"]).await?;
        let subject = "flake: update catalogue to 2026.2 (openssl, openssh, curl)";
        self.commit(&scripts::update(hosts, &self.url(), &catalogue), subject).await?;
        git(&self.checkout, &["rev-parse", "HEAD"]).await
    }

    fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// A new release of the flake's one input, on its branch.
    async fn catalogue(&self, release: &str) -> anyhow::Result<String> {
        let file = File { path: "release".to_owned(), content: format!("{release}\n"), executable: false };
        self.commit(&[file], &format!("catalogue {release}")).await?;
        git(&self.checkout, &["rev-parse", "HEAD"]).await
    }

    async fn commit(&self, files: &[File], subject: &str) -> anyhow::Result<()> {
        for file in files {
            let path = self.checkout.join(&file.path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, &file.content).with_context(|| format!("writing {}", path.display()))?;
            if file.executable {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
        git(&self.checkout, &["add", "--all"]).await?;
        git(&self.checkout, &["commit", "--quiet", "-m", subject]).await?;
        git(&self.checkout, &["push", "--quiet", "origin", "HEAD"]).await?;
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs git without the machine's own configuration: no hooks, no signing, no aliases.
async fn git(place: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .current_dir(place)
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("can't run git; install it first")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::hosts;

    fn script(checkout: &Path, host: &str, program: &str) -> (bool, String) {
        let output = std::process::Command::new(checkout.join(program))
            .current_dir(checkout)
            .env("NIXFLEET_HOST", host)
            .env("NIXFLEET_COMMIT", "0123456789abcdef0123456789abcdef01234567")
            .output()
            .unwrap();
        let both = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&both).into_owned())
    }

    #[tokio::test]
    async fn the_repository_does_what_its_readme_says() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::new(dir.path());
        let hosts = hosts::fleet(5);
        repository.make(&hosts).await.unwrap();
        repository.make(&hosts).await.unwrap();
        let checkout = dir.path().join("host/repo");
        fs::create_dir_all(checkout.parent().unwrap()).unwrap();
        git(dir.path(), &["clone", "--quiet", &text(repository.bare()), &text(&checkout)]).await.unwrap();
        for host in ["atlas", "nova", "luna"] {
            let (ok, said) = script(&checkout, host, &format!("hosts/{host}/switch"));
            assert!(ok && said.contains("Done."), "{said}");
        }
        let profiles = dir.path().join("host/profiles");
        assert_eq!(fs::read_link(profiles.join("system")).unwrap(), Path::new("system-3-link"));
        assert!(!script(&checkout, "luna", "hosts/luna/tests/30-backup.sh").0, "luna lacks restic");
        let update = repository.update(&hosts).await.unwrap();
        git(&checkout, &["pull", "--quiet"]).await.unwrap();
        assert_eq!(git(&checkout, &["rev-parse", "HEAD"]).await.unwrap(), update);
        let (ok, said) = script(&checkout, "atlas", "hosts/atlas/plan");
        assert!(ok && said.contains("openssl: 3.4.1 → 3.4.2"), "{said}");
        fs::write(checkout.join("lib/pace"), "0.01\n").unwrap();
        let (ok, said) = script(&checkout, "nova", "hosts/nova/switch");
        assert!(!ok && said.contains("gpu-driver.patch"), "{said}");
        let (ok, _) = script(&checkout, "atlas", "hosts/atlas/switch");
        assert!(ok);
        for test in ["10-generation", "20-packages", "30-backup"] {
            let (ok, said) = script(&checkout, "atlas", &format!("hosts/atlas/tests/{test}.sh"));
            assert!(ok, "{said}");
        }
        let lock = git(&checkout, &["show", "HEAD~1:flake.lock"]).await.unwrap();
        assert_ne!(lock, git(&checkout, &["show", "HEAD:flake.lock"]).await.unwrap());
    }
}
