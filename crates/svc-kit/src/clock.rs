//! The one place where the time of day is read. Decisions take `now` as an input; the shell asks a [`Clock`].

use jiff::Timestamp;
use parking_lot::Mutex;
use std::time::Duration;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that the ban points to")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock for tests, which stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: Mutex::new(now) }
    }

    /// Puts the clock to a time, which may lie in the past.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock() = now;
    }

    /// Moves the clock forward and tells the new time.
    pub fn advance(&self, by: Duration) -> Timestamp {
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
    }
}
