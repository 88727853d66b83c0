//! A host as everyone sees it, with what is refused on it now and why: computed in one place, from the
//! record, the remote, the open command and the time.

use std::sync::Arc;

use nixfleet_protocol::Op;
use nixfleet_protocol::api::Host;

use crate::checks::Refusal;

/// What the page shows and the checks look at: one thing, so that the two can't differ.
#[derive(Clone, Debug, PartialEq)]
pub struct HostView {
    /// As it stands in the API.
    pub host: Arc<Host>,
    /// Ops of the registry that would be refused now, and why. Stays off the wire; the page shows it.
    pub refused: Vec<(Op, Refusal)>,
}
