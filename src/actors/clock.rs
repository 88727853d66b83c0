//! The time, for actors. They read it here and give it to the model as an argument; tests turn it.

use nixfleet_protocol::Time;
use tokio::time::Instant;

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The wall's.
    Wall,
    /// The runtime's, which tests can pause: this moment, and what has passed since the instant.
    Runtime(Time, Instant),
}

impl Clock {
    /// Now.
    pub fn now(self) -> Time {
        match self {
            Self::Wall => Time::now(),
            Self::Runtime(began, at) => began.plus(at.elapsed()),
        }
    }
}
