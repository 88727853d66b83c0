//! Who in the daemon follows the stream: a function that is called with each change, in order. It must not wait; it
//! says to its actor what that has to know, and no more than the actor can take.

use std::fmt;
use std::sync::Arc;

use nixfleet_protocol::browser::Change;

/// Is called with each change.
#[derive(Clone)]
pub struct Follower(Arc<dyn Fn(&Change) + Send + Sync>);

impl Follower {
    /// Calls this.
    pub fn new(call: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(super) fn tell(&self, change: &Change) {
        (self.0)(change);
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Follower")
    }
}
