//! A look at the fleet: the state that everyone sees, and the events behind the last one that was looked at. The state
//! has the newest hundred; what is missing before them is read from the store.

use std::sync::Arc;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_model::notify::Sight;
use nixfleet_protocol::EventId;
use nixfleet_protocol::api::Event;

use crate::actors::store::StoreHandle;
use crate::actors::sync::SyncHandle;

/// Events that are read at once.
const PAGE: usize = 1000;
/// How many times at most: who was away for longer is told the newest.
const PAGES: usize = 20;

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    state: Arc<FleetState>,
    events: Vec<Arc<Event>>,
    newest: EventId,
}

impl Seen {
    /// For the core.
    pub(super) fn sight(&self) -> Sight<'_> {
        Sight { state: &self.state, events: &self.events, newest: self.newest }
    }
}

/// Looks. Without an event to begin at, none is gathered.
pub(super) async fn look(sync: &SyncHandle, store: &StoreHandle, after: Option<EventId>) -> Result<Seen, String> {
    let state = sync.snapshot().await.map_err(|error| error.to_string())?.state;
    let newest = state.events.front().map(|event| event.id).unwrap_or_default();
    let Some(after) = after else { return Ok(Seen { state, events: Vec::new(), newest }) };
    let mut events: Vec<Arc<Event>> = state.events.iter().filter(|event| event.id > after).map(Arc::clone).collect();
    let mut pages = 0;
    while let Some(oldest) = events.last().map(|event| event.id).filter(|oldest| oldest.0 > after.0 + 1) {
        if pages == PAGES {
            tracing::warn!(
                after = after.0,
                oldest = oldest.0,
                "too much happened meanwhile: the events between are not told"
            );
            break;
        }
        pages += 1;
        let older = store.events(Some(oldest), PAGE).await.map_err(|error| error.to_string())?;
        let before = events.len();
        events.extend(older.into_iter().filter(|event| event.id > after));
        if events.len() == before {
            break;
        }
    }
    events.reverse();
    Ok(Seen { state, events, newest })
}
