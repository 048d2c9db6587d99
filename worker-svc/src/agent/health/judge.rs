//! What follows from the probes of an attempt, and when the next one is due. Pure. As Docker judges by `HEALTHCHECK`, except that
//! the first probes come early, and those that come before Docker's first one don't count if they fail.

use std::time::Duration;

use davit_core::spec::HealthCheck;

/// The first probe comes so long after the start, the next ones after twice as long each time, up to the usual span.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Of each span so much is left to chance, so that what began together is not probed together for ever.
const JITTER: f64 = 0.2;

/// Whether an attempt serves, as far as its probes have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No probe has succeeded yet.
    NotYet,
    /// It does.
    Ready,
    /// So many probes in a row have failed that it does not.
    Unhealthy,
}

/// What is known of one run of an attempt. Times are uptimes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// When the run began.
    began: Duration,
    verdict: Verdict,
    /// Whether a probe has succeeded in this run.
    has_succeeded: bool,
    /// Failures in a row that count.
    failures: u32,
    /// How many probes there were before the first success.
    tries: u32,
    /// The next probe may come at any time of its span.
    is_late: bool,
}

impl Judge {
    /// Of a run that began at this uptime and, as far as is known, was ready before or not. `is_late`: it was looked after by another
    /// worker before, so that there may be many of which none has been probed by this one.
    #[must_use]
    pub fn new(began: Duration, was_ready: bool, is_late: bool) -> Self {
        let verdict = if was_ready { Verdict::Ready } else { Verdict::NotYet };
        Self { began, verdict, has_succeeded: was_ready, failures: 0, tries: 0, is_late }
    }

    /// What is known now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How many failures in a row counted.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes in that a probe succeeded.
    pub fn succeeded(&mut self) -> Verdict {
        (self.has_succeeded, self.failures, self.verdict) = (true, 0, Verdict::Ready);
        self.verdict
    }

    /// Takes in that a probe failed, and when it did.
    pub fn failed(&mut self, check: &HealthCheck, at: Duration) -> Verdict {
        self.tries = self.tries.saturating_add(1);
        // Docker probes only after the first interval: what fails before that counts no more here than it does there.
        let is_early = at.saturating_sub(self.began) < check.start_period.max(check.interval);
        if self.has_succeeded || !is_early {
            self.failures = self.failures.saturating_add(1);
        }
        if self.failures >= check.retries {
            self.verdict = Verdict::Unhealthy;
        }
        self.verdict
    }

    /// How long to wait for the next probe at this uptime. `chance` is in [0, 1).
    #[must_use]
    pub fn next_delay(&mut self, check: &HealthCheck, at: Duration, chance: f64) -> Duration {
        let starts = !self.has_succeeded && at.saturating_sub(self.began) < check.start_period;
        let usual = if starts { check.start_interval } else { check.interval };
        if std::mem::take(&mut self.is_late) {
            return usual.mul_f64(chance.clamp(0.0, 1.0));
        }
        let soon = FIRST_DELAY.saturating_mul(1 << self.tries.min(30));
        let delay = if self.has_succeeded { usual } else { usual.min(soon) };
        delay.mul_f64(1.0 - JITTER / 2.0 + JITTER * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use davit_core::spec::Probe;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn check() -> HealthCheck {
        HealthCheck::new(Probe::Tcp { port: 80 })
    }

    #[test]
    fn the_first_success_makes_it_ready_and_failures_in_a_row_unmake_it() {
        let (check, mut judge) = (check(), Judge::new(SECOND, false, false));
        assert_eq!(judge.verdict(), Verdict::NotYet);
        assert_eq!(judge.succeeded(), Verdict::Ready);
        let at = SECOND * 2;
        assert_eq!([judge.failed(&check, at), judge.failed(&check, at)], [Verdict::Ready; 2]);
        assert_eq!(judge.succeeded(), Verdict::Ready);
        let verdicts = [(); 3].map(|()| judge.failed(&check, at));
        assert_eq!(verdicts, [Verdict::Ready, Verdict::Ready, Verdict::Unhealthy], "the row began anew");
        assert_eq!(judge.failures(), 3);
        assert_eq!(judge.succeeded(), Verdict::Ready, "while nobody stops it, it may recover");
    }

    #[test]
    fn before_the_first_success_failures_count_once_start_period_and_first_interval_are_over() {
        let check = HealthCheck { start_period: SECOND * 30, ..check() };
        let mut judge = Judge::new(SECOND * 100, false, false);
        for second in [101, 110, 120, 129] {
            assert_eq!((judge.failed(&check, SECOND * second), judge.failures()), (Verdict::NotYet, 0));
        }
        let verdicts = [130, 140, 150].map(|second| judge.failed(&check, SECOND * second));
        assert_eq!(verdicts, [Verdict::NotYet, Verdict::NotYet, Verdict::Unhealthy]);
        let mut judge = Judge::new(SECOND * 100, false, false);
        judge.succeeded();
        judge.failed(&check, SECOND * 101);
        assert_eq!(judge.failures(), 1, "the first success ends the start period");
        let mut judge = Judge::new(Duration::ZERO, false, false);
        let without = HealthCheck { start_period: Duration::ZERO, ..check };
        judge.failed(&without, SECOND * 9);
        assert_eq!(judge.failures(), 0, "the first interval has not passed");
        judge.failed(&without, SECOND * 10);
        assert_eq!(judge.failures(), 1);
    }

    #[test]
    fn the_first_probes_come_early_and_later_ones_as_the_check_says() {
        let check = HealthCheck { start_period: SECOND * 60, start_interval: SECOND * 5, ..check() };
        let mut judge = Judge::new(Duration::ZERO, false, false);
        let mut now = Duration::ZERO;
        let mut delays = Vec::new();
        while now < SECOND * 80 {
            let delay = judge.next_delay(&check, now, 0.5);
            delays.push(delay.as_secs());
            now += delay;
            judge.failed(&check, now);
        }
        assert_eq!(delays[..4], [1, 2, 4, 5]);
        assert_eq!(delays.last(), Some(&10), "the start period is over");
        judge.succeeded();
        assert_eq!(judge.next_delay(&check, SECOND, 0.5), SECOND * 10, "once it is ready that has no meaning");
    }

    #[test]
    fn what_was_ready_under_an_earlier_worker_stays_so_and_is_probed_at_some_time_of_the_span() {
        let check = check();
        for (chance, seconds) in [(0.0, 0), (0.5, 5), (0.9, 9)] {
            let mut judge = Judge::new(Duration::ZERO, true, true);
            assert_eq!(judge.verdict(), Verdict::Ready);
            assert_eq!(judge.next_delay(&check, SECOND * 50, chance), SECOND * seconds);
            assert_eq!(judge.next_delay(&check, SECOND * 50, 0.5), SECOND * 10, "only the first");
            assert_eq!(judge.failed(&check, SECOND * 50), Verdict::Ready);
        }
        assert_eq!(Judge::new(Duration::ZERO, false, true).verdict(), Verdict::NotYet);
    }

    fn checks() -> impl Strategy<Value = HealthCheck> {
        (100u64..100_000, 1u32..6, 0u64..200_000, 100u64..100_000).prop_map(|(interval, retries, period, start)| {
            let milli = Duration::from_millis;
            let (interval, start_period, start_interval) = (milli(interval), milli(period), milli(start));
            HealthCheck { interval, retries, start_period, start_interval, ..check() }
        })
    }

    proptest! {
        /// Told apart by a second, slower judgement: the length of the last row of failures that count.
        #[test]
        fn it_is_unhealthy_after_so_many_failures_in_a_row_and_never_before(
            check in checks(), probes in prop::collection::vec((any::<bool>(), 0u64..30_000), 0..40),
        ) {
            let (began, mut now) = (SECOND * 7, SECOND * 7);
            let mut judge = Judge::new(began, false, false);
            let (mut row, mut ever) = (0, false);
            for (is_healthy, wait) in probes {
                now += Duration::from_millis(wait);
                let before = judge.verdict();
                let verdict = if is_healthy { judge.succeeded() } else { judge.failed(&check, now) };
                ever |= is_healthy;
                let counts = ever || (now - began >= check.start_period && now - began >= check.interval);
                row = if is_healthy { 0 } else { row + u32::from(counts) };
                let expected = match is_healthy {
                    true => Verdict::Ready,
                    false if row >= check.retries => Verdict::Unhealthy,
                    false => before,
                };
                prop_assert_eq!(verdict, expected);
                prop_assert_eq!(judge.failures(), row);
            }
        }

        #[test]
        fn no_probe_is_due_at_once_or_much_later_than_the_check_says(
            check in checks(), fails in 0u32..40, was_ready: bool, chance in 0.0..1.0f64, age in 0u64..300_000,
        ) {
            let mut judge = Judge::new(SECOND, was_ready, false);
            let at = SECOND + Duration::from_millis(age);
            for _ in 0..fails {
                judge.failed(&check, at);
            }
            let delay = judge.next_delay(&check, at, chance);
            prop_assert!(delay <= check.interval.max(check.start_interval).mul_f64(1.1));
            prop_assert!(delay >= Duration::from_millis(90), "{:?}", delay);
        }
    }
}
