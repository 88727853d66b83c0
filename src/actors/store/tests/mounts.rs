//! File systems of their own for the tests that need one: small, read-only, or on a disk whose power is cut.
//! They need root; without it such a test says `SKIPPED <name>: <reason>`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

/// Says that a test did not run, on the output and in the file that collects it.
pub(super) fn skipped(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {reason}");
    println!("{line}");
    if let Some(path) = std::env::var_os("NIXFLEET_SKIPPED_TESTS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Process::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err("only root may mount".to_owned()) }
}

/// A mounted file system; gone with this.
pub(super) struct Mounted {
    at: tempfile::TempDir,
    device: Option<String>,
}

impl Mounted {
    /// In memory, of some size, e.g. `8m`; `how` are more mount options.
    pub(super) fn tmpfs(how: &str) -> Result<Self, String> {
        root()?;
        let at = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", how, "tmpfs", path(at.path())])?;
        Ok(Self { at, device: None })
    }

    /// Makes ext4 in an image file and mounts it by a loop device without a cache below the file system.
    pub(super) fn made(image: &Path) -> Result<Self, String> {
        root()?;
        std::fs::File::create(image).and_then(|file| file.set_len(64 << 20)).unwrap();
        run("mkfs.ext4", &["-q", "-F", path(image)])?;
        Self::of(image)
    }

    /// Mounts an image file.
    pub(super) fn of(image: &Path) -> Result<Self, String> {
        let at = tempfile::tempdir().unwrap();
        let device = run("losetup", &["--direct-io=on", "-f", "--show", path(image)])?;
        let mounted = Self { at, device: Some(device.clone()) };
        run("mount", &["-t", "ext4", &device, path(mounted.at.path())])?;
        Ok(mounted)
    }

    pub(super) fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), path(self.at.path())]).unwrap();
    }

    pub(super) fn path(&self) -> PathBuf {
        self.at.path().to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = run("umount", &["-l", path(self.at.path())]);
        if let Some(device) = &self.device {
            run("losetup", &["-d", device]).ok();
        }
        if let Err(error) = unmounted {
            println!("{error}");
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
