//! The time, for actors. They read it here and give it to the model as an argument; tests turn it.

use std::time::Duration;

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

/// A clock for what is under way: it takes the wall's time, and from then on what really passes, also while the machine
/// sleeps. When the wall's clock jumps nothing is late because of it, and nothing takes longer.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    source: Clock,
    /// The wall's time, and how long the machine had been up, when it was taken.
    taken: (Time, Duration),
}

impl Steady {
    /// Begins with the time of its source.
    pub fn new(source: Clock) -> Self {
        Self { source, taken: (source.now(), up()) }
    }

    /// Takes the time anew, and gives it: nothing is under way that is measured by it.
    pub fn follow(&mut self) -> Time {
        *self = Self::new(self.source);
        self.taken.0
    }

    /// Now.
    pub fn now(&self) -> Time {
        match self.source {
            Clock::Wall => self.taken.0.plus(up().saturating_sub(self.taken.1)),
            Clock::Runtime(..) => self.source.now(),
        }
    }
}

/// How long the machine has been up. What the standard library's clock counts stands still while it sleeps.
fn up() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_moves_nothing_that_is_under_way() {
        let hour = Duration::from_hours(1);
        // As if the wall's clock had gone back by an hour since.
        let mut clock = Steady { source: Clock::Wall, taken: (Time::now().plus(hour), up()) };
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(20));
        let passed = clock.now().since(before);
        assert!(passed >= Duration::from_millis(15) && passed < Duration::from_mins(1), "{passed:?}");
        assert!(clock.now().since(Time::now()) > hour / 2);
        clock.follow();
        assert!(clock.now().since(Time::now()) < Duration::from_mins(1), "the wall's time again");
    }
}
