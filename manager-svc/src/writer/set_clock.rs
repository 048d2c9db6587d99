//! Notices that somebody set the time of day: by a clock that nobody can set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A difference below this is no matter: leases have a margin of seconds.
const TOLERANCE: Duration = Duration::from_millis(200);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetClock {
    now: Timestamp,
    uptime: Duration,
}

impl SetClock {
    pub(super) fn new(now: Timestamp, uptime: Duration) -> Self {
        Self { now, uptime }
    }

    /// By how much the time of day was set forward (or back, if negative) since that moment. `None`: not by enough to matter.
    pub(super) fn set_by(&self, now: Timestamp, uptime: Duration) -> Option<SignedDuration> {
        let passed = SignedDuration::try_from(uptime.saturating_sub(self.uptime)).unwrap_or(SignedDuration::MAX);
        let by = now.duration_since(self.now).saturating_sub(passed);
        (by.unsigned_abs() >= TOLERANCE).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_passes_is_told_from_time_that_is_set() {
        let clocks = SetClock::new(Timestamp::UNIX_EPOCH, Duration::from_secs(100));
        let set_by = |now: i64, uptime| {
            let by = clocks.set_by(Timestamp::from_millisecond(now).unwrap(), Duration::from_millis(uptime));
            by.map(|by| by.as_millis())
        };
        assert_eq!(set_by(5000, 105_000), None);
        assert_eq!((set_by(5199, 105_000), set_by(4801, 105_000)), (None, None));
        assert_eq!((set_by(20_000, 105_000), set_by(-10_000, 105_000)), (Some(15_000), Some(-15_000)));
    }
}
