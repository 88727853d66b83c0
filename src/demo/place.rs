//! The demo's folder, and what it remembers there: password and tokens, so that a second start on the same folder
//! finds the same fleet.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data_encoding::BASE32_NOPAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// What a second start needs to know.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) password: String,
    pub(super) admin_token: String,
    /// The agents' tokens, by host.
    pub(super) tokens: BTreeMap<String, String>,
    /// The story was told: commits pushed, hosts deployed.
    pub(super) told: bool,
}

/// The folder, locked as long as this lives.
pub(super) struct Place {
    dir: PathBuf,
    temporary: bool,
    _lock: File,
}

impl Place {
    /// The folder that was asked for, or a temporary one.
    pub(super) fn take(asked: Option<&Path>) -> anyhow::Result<Self> {
        let dir = match asked {
            Some(dir) => std::path::absolute(dir)?,
            None => std::env::temp_dir().join(format!("nixfleet-demo-{}", secret(8)?.to_ascii_lowercase())),
        };
        DirBuilder::new()
            .recursive(asked.is_some())
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("making the folder {}", dir.display()))?;
        let dir = fs::canonicalize(&dir)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("demo.lock"))?;
        if lock.try_lock().is_err() {
            bail!("another demo runs in {}; stop it, or give this one a folder of its own with --dir", dir.display());
        }
        Ok(Self { dir, temporary: asked.is_none(), _lock: lock })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn daemon(&self) -> PathBuf {
        self.dir.join("daemon")
    }

    pub(super) fn agent(&self, host: &str) -> PathBuf {
        self.dir.join("agents").join(host)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    fn memory(&self) -> PathBuf {
        self.dir.join("demo.json")
    }

    /// What an earlier demo left here, or something new.
    pub(super) fn remember(&self) -> anyhow::Result<Memory> {
        fs::create_dir_all(self.dir.join("logs"))?;
        match fs::read(self.memory()) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no memory of a demo; give another --dir", self.memory().display())),
            Err(_) if self.dir.join("daemon").exists() => {
                bail!("{} holds something else; give the demo a folder of its own with --dir", self.dir.display())
            }
            Err(_) => Ok(Memory {
                password: format!("demo-{}", secret(5)?.to_ascii_lowercase()),
                admin_token: format!("demo-admin-{}", secret(25)?.to_ascii_lowercase()),
                ..Memory::default()
            }),
        }
    }

    /// Keeps it for the next start.
    pub(super) fn keep(&self, memory: &Memory) -> anyhow::Result<()> {
        let new = self.memory().with_extension("new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(memory)?)?;
        fs::rename(new, self.memory())?;
        Ok(())
    }

    /// Removes a temporary folder; whatever still falls into it is waited out.
    pub(super) fn leave(self) -> anyhow::Result<()> {
        if !self.temporary {
            return Ok(());
        }
        for _ in 0..20 {
            if fs::remove_dir_all(&self.dir).is_ok() || !self.dir.exists() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
    }
}

/// So many random bytes, as text.
fn secret(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow::anyhow!("this system gives no random numbers"))?;
    Ok(BASE32_NOPAD.encode(&random))
}
