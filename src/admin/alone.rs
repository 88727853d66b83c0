//! The store, for a tool that finds no daemon: opened as the daemon would, and closed again.

use std::path::Path;

use ractor::{Actor, ActorRef};

use super::AdminError;
use crate::actors::slot::Slot;
use crate::actors::store::{self, StoreHandle};
use crate::cli::output;

/// An open store.
pub(super) struct Alone {
    actor: ActorRef<store::Msg>,
    pub(super) handle: StoreHandle,
}

/// Opens the store that is there.
pub(super) async fn open(dir: &Path) -> Result<Alone, AdminError> {
    if !dir.join("store").exists() && !dir.join("next").exists() {
        return Err(AdminError::Refused(format!("there is no store in {}", dir.display())));
    }
    open_or_make(dir).await
}

/// Opens the store, or makes it.
pub(super) async fn open_or_make(dir: &Path) -> Result<Alone, AdminError> {
    let slot = Slot::new("store");
    let args = store::Args { dir: dir.to_owned(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, _) = Actor::spawn(None, store::Store, args).await?;
    slot.seat(actor.clone());
    Ok(Alone { actor, handle: StoreHandle::new(slot) })
}

impl Alone {
    /// Closes it.
    pub(super) async fn close(self) {
        if self.actor.stop_and_wait(None, None).await.is_err() {
            output::note("the store was not closed in order; nothing is lost");
        }
    }
}
