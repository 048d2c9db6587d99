//! The one clock that everything is judged by: CLOCK_BOOTTIME, which tasks read from /proc/uptime, in containers too.

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// Now.
    pub(crate) fn now() -> Self {
        // The kernel has had this clock since 2.6.39.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or_else(
            |_| Self::default(),
            |time| {
                let time = Duration::from(time);
                Self(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            },
        )
    }

    /// How long after `earlier` this is; zero if it is before it.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Of a text such as `12345.67`, as in /proc/uptime.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (seconds, fraction) = text.split_once('.')?;
        let hundredths: u64 = fraction.parse().ok().filter(|_| fraction.len() == 2)?;
        Some(Self(seconds.parse::<u64>().ok()?.checked_mul(1000)? + hundredths * 10))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(Stamp::parse("18719.19"), Some(Stamp(18_719_190)));
        assert_eq!(Stamp::parse("0.05"), Some(Stamp(50)));
        for bad in ["", "12", "12.", "12.1", "x.11", "12.123", "-1.00"] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_clock_and_the_tasks_are_the_same() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let read = Stamp::parse(uptime.split(' ').next().unwrap()).unwrap();
        assert!(Stamp::now().since(read) < Duration::from_secs(5) && read.0 > 0);
    }
}
