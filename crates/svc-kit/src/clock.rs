//! The one place where the time of day is read, and the time that no one can set. Decisions take `now` as an input; the shell
//! asks a [`Clock`].

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How long the machine has been up, also while it was suspended. Never goes back, whatever is done to the time of day:
    /// for what must have ended after a while, such as a lease.
    fn uptime(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that the ban points to")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        // Fails only on kernels that don't know the clock: older than any that runs containers.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
    }
}

/// A clock for tests, which stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
    uptime: Mutex<Duration>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: Mutex::new(now), uptime: Mutex::default() }
    }

    /// Puts the clock to a time, which may lie in the past.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock() = now;
    }

    /// Moves the clock forward and tells the new time.
    pub fn advance(&self, by: Duration) -> Timestamp {
        *self.uptime.lock() += by;
        let mut now = self.now.lock();
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
        *now
    }
}

impl Default for ManualClock {
    /// Stands at the Unix epoch.
    fn default() -> Self {
        Self::new(Timestamp::UNIX_EPOCH)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    fn uptime(&self) -> Duration {
        *self.uptime.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        let later = clock.advance(Duration::from_millis(1500));
        assert_eq!(later.as_millisecond(), 1500);
        assert_eq!(clock.now(), later);
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        assert_eq!(clock.uptime(), Duration::from_millis(1500), "nobody can set it");
    }

    #[test]
    fn the_machine_is_up() {
        let first = SystemClock.uptime();
        assert!(first > Duration::ZERO && SystemClock.uptime() >= first);
    }
}
