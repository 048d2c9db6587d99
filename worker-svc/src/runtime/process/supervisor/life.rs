//! When a process is signalled and when its end is complete. Pure: time comes in, what to do goes out.

use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;

/// How long output may still come after the end. Only who was handed the pipe by other means can hold it open for longer.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How a leader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeaderEnd {
    /// What it returned; 128 + N if signal N ended it.
    pub(super) exit_code: i32,
    /// Since the boot.
    pub(super) at: Duration,
    /// The same moment by the clock on the wall.
    pub(super) wall: Timestamp,
}

/// The life of one process, from its start to the last of its group. All times are since the boot.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// When the stop's grace is over.
    kill_at: Option<Duration>,
    killed: bool,
    end: Option<LeaderEnd>,
}

impl Life {
    /// Somebody wants it stopped. Tells the signal to send, if there is one to send to.
    pub(super) fn stop(&mut self, signal: Signal, grace: Duration, now: Duration) -> Option<Signal> {
        if self.end.is_some() {
            return None;
        }
        let kill_at = now.saturating_add(grace);
        // The most impatient wins.
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        Some(signal)
    }

    /// Whether it is to be killed now. True once.
    pub(super) fn kills(&mut self, now: Duration) -> bool {
        let due = !self.killed && self.end.is_none() && self.kill_at.is_some_and(|at| at <= now);
        self.killed |= due;
        due
    }

    /// Its leader ended.
    pub(super) fn ended(&mut self, end: LeaderEnd) {
        self.end.get_or_insert(end);
    }

    /// How its leader ended, if it did.
    pub(super) fn end(&self) -> Option<LeaderEnd> {
        self.end
    }

    /// Its end, once nothing of it is left that could still run or write.
    pub(super) fn complete(&self, now: Duration, children_left: bool, outputs_open: bool) -> Option<LeaderEnd> {
        self.end.filter(|end| !children_left && (!outputs_open || end.at + DRAIN_TIME <= now))
    }

    /// When to look again, if nothing happens before.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        match self.end {
            Some(end) => Some(end.at + DRAIN_TIME),
            None => self.kill_at.filter(|_| !self.killed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn who_ignores_the_signal_is_killed_once_after_the_grace() {
        let mut life = Life::default();
        assert_eq!((life.wake_at(), life.kills(at(5))), (None, false));
        assert_eq!(life.stop(Signal::SIGTERM, at(10), at(5)), Some(Signal::SIGTERM));
        assert_eq!(life.wake_at(), Some(at(15)));
        assert!(!life.kills(at(14)));
        assert!(life.kills(at(15)));
        assert!(!life.kills(at(16)));
        assert_eq!(life.wake_at(), None);
    }

    #[test]
    fn the_most_impatient_stop_counts() {
        let mut life = Life::default();
        life.stop(Signal::SIGTERM, at(100), at(0));
        life.stop(Signal::SIGINT, at(10), at(5));
        life.stop(Signal::SIGTERM, Duration::MAX, at(6));
        assert_eq!(life.wake_at(), Some(at(15)));
    }

    #[test]
    fn an_end_is_complete_when_nothing_runs_and_output_has_ended_or_lingers() {
        let mut life = Life::default();
        assert_eq!(life.complete(at(9), false, false), None, "it runs");
        let end = LeaderEnd { exit_code: 3, at: at(10), wall: Timestamp::UNIX_EPOCH };
        life.ended(end);
        assert_eq!(life.complete(at(10), false, false), Some(end));
        assert_eq!(life.complete(at(10), false, true), None);
        assert_eq!(life.complete(at(11), false, true), Some(end));
        assert_eq!(life.complete(at(99), true, false), None, "something of it runs on");
        assert_eq!(life.stop(Signal::SIGTERM, at(1), at(11)), None, "its number may be another's by now");
        assert!(!life.kills(at(99)));
    }
}
