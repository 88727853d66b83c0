//! Work that a program handed to the service manager: processes that are no descendants of ours and carry nothing of
//! this command. `nixos-rebuild` has systemd activate a system in a unit of its own.
//!
//! The runner waits for such units before it activates, since no two commands may change the system at once, and stops
//! them with the command. systemd kills all processes of a unit, so nothing of it is left.

use std::path::Path;
use std::time::Duration;

use nixfleet_protocol::agent::Platform;
use tokio::time::{Instant, sleep};

use super::log::LogFile;
use super::stopping::Help;
use crate::record::HostSettings;

/// How long a unit may take to end by itself.
const MERCY: Duration = Duration::from_secs(3);
/// One that does not end so long after it was killed hangs in the kernel.
const LINGERS: Duration = Duration::from_mins(1);
/// How often we look whether it is over.
const LOOK: Duration = Duration::from_millis(200);

/// Some units, by a pattern of their names.
#[derive(Clone, Debug)]
pub struct Units {
    pattern: &'static str,
    help: Help,
}

impl Units {
    /// Those to which an activation is handed on this host; `None` where no systemd runs.
    pub fn of_activation(host: &HostSettings, help: &Help) -> Option<Self> {
        let systemd = host.root.join(Path::new("run/systemd/system")).is_dir();
        (systemd && host.platform == Platform::Nixos)
            .then(|| Self { pattern: "nixos-rebuild-switch-to-configuration*", help: help.clone() })
    }

    /// Those that are not over. An error says why they can't be listed.
    pub async fn living(&self) -> Result<Vec<String>, String> {
        let states = "--state=active,activating,deactivating,reloading";
        let list = self.systemctl(&["list-units", "--plain", "--no-legend", states, "--", self.pattern]).await?;
        Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Stops them, and waits until they are gone.
    pub async fn stop(&self, log: &mut LogFile) {
        let begun = Instant::now();
        let mut asked = self.systemctl(&["stop", "--no-block", "--", self.pattern]).await;
        loop {
            let living = self.living().await;
            let why = match (living, asked) {
                (Ok(living), _) if living.is_empty() => return,
                (Ok(living), Err(why)) => format!("{} can't be stopped: {why}", living.join(", ")),
                (Ok(living), Ok(_)) => format!("{} does not end", living.join(", ")),
                (Err(why), _) => {
                    log.note(&format!("whether the activation goes on is not known: {why}"));
                    return;
                }
            };
            if begun.elapsed() > LINGERS {
                log.note(&why);
                return;
            }
            asked = if begun.elapsed() > MERCY {
                self.systemctl(&["kill", "--signal=SIGKILL", "--", self.pattern]).await
            } else {
                Ok(String::new())
            };
            sleep(LOOK).await;
        }
    }

    async fn systemctl(&self, arguments: &[&str]) -> Result<String, String> {
        let argv = ["systemctl"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        self.help.clone().ask(argv).await
    }
}
