//! The clock on a host's wall, which may be wrong and may jump. Monotonic time is tokio's and never does.

use std::time::Duration;

use davit_svc_kit::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// 2027-01-15: any time far from the epoch.
const BEGIN_SECONDS: i64 = 1_800_000_000;

/// A host's wall clock.
#[derive(Debug)]
pub struct WallClock {
    began: Instant,
    offset: Mutex<SignedDuration>,
}

impl WallClock {
    /// A clock that is right.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now(), offset: Mutex::new(SignedDuration::ZERO) }
    }

    /// From now on it is wrong by so much.
    pub fn set_offset(&self, offset: SignedDuration) {
        *self.offset.lock() = offset;
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let elapsed: Duration = self.began.elapsed();
        let base = Timestamp::from_second(BEGIN_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
        let right = base.checked_add(elapsed).unwrap_or(base);
        right.checked_add(*self.offset.lock()).unwrap_or(right)
    }

    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}
