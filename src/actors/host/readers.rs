//! Whether a log is read: a `journal` ends with its last reader, or when none comes.

use std::time::Duration;

use nixfleet_protocol::CommandId;
use tokio::sync::watch;

use super::log::LogEnd;
use super::{HostRef, Msg, tell};
use crate::actors::owned::OwnedTask;

/// How long the first reader may take to come.
const COME_WITHIN: Duration = Duration::from_secs(30);
/// How long a reader may be away: a tab that is loaded again leaves and comes.
const AWAY: Duration = Duration::from_secs(3);

/// Watches a log, and tells its host's actor once when nobody reads it.
pub(super) fn watch(command: CommandId, log: watch::Sender<LogEnd>, host: HostRef) -> OwnedTask {
    OwnedTask::start(async move {
        let mut patience = COME_WITHIN;
        while read(&log, patience).await {
            log.closed().await;
            patience = AWAY;
        }
        tell(&host, Msg::ReaderLeft { command });
    })
}

/// Whether somebody reads, or comes within this time.
async fn read(log: &watch::Sender<LogEnd>, within: Duration) -> bool {
    /// How often it is looked: nobody tells when a reader comes.
    const LOOK: Duration = Duration::from_millis(100);
    let look = async {
        while log.receiver_count() == 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(within, look).await.is_ok()
}
