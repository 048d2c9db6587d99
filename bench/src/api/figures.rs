//! PURE: what the answers at one rate amount to.

use std::time::Duration;

use serde::Serialize;

use super::pace::Pace;
use crate::report::json::rounded;
use crate::report::{millis, percentile};

/// A rate is kept while one in a hundred requests takes no longer than this.
pub(super) const LIMIT: Duration = Duration::from_millis(50);

/// What was measured at one rate.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// From the moment in which each was due until its answer.
    pub(super) latencies: Vec<Duration>,
    /// Of a watch: until half the watchers had the event.
    pub(super) halves: Vec<Duration>,
    /// Answers that said that the manager has too much to do.
    pub(super) refused: u64,
    /// The rest was not sent any more, since it was far behind.
    pub(super) behind: bool,
    /// From the start until the last answer.
    pub(super) elapsed: Duration,
}

/// What became of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Kept,
    /// One in a hundred took longer than the limit.
    Slow,
    /// The manager refused some.
    Refused,
    /// Requests could not even be sent at that rate.
    NotReached,
}

/// How times are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// One rate.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub(super) requests_per_s: u64,
    pub(super) answered_per_s: f64,
    pub(super) outcome: Outcome,
    #[serde(flatten)]
    pub(super) times: Times,
    /// Of a watch: until half the watchers had the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) half_of_watchers: Option<Times>,
    /// Cores that the manager used on average, and this process, which makes the requests.
    pub(super) manager_cores: f64,
    pub(super) client_cores: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent| rounded(millis(percentile(&times, percent)), 1000.0);
        Self { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

impl Rate {
    /// The processor times are those of the whole time.
    pub(super) fn new(pace: Pace, measured: Measured, manager_cpu_s: f64, client_cpu_s: f64) -> Self {
        let Measured { latencies, halves, refused, behind, elapsed } = measured;
        let elapsed_s = elapsed.as_secs_f64().max(1e-9);
        let answered_per_s = latencies.len() as f64 / elapsed_s;
        let times = Times::of(latencies);
        let outcome = if refused > 0 {
            Outcome::Refused
        } else if behind {
            Outcome::NotReached
        } else if times.p99_ms > millis(LIMIT) {
            Outcome::Slow
        } else {
            Outcome::Kept
        };
        Self {
            requests_per_s: pace.per_s,
            answered_per_s: rounded(answered_per_s, 10.0),
            outcome,
            times,
            half_of_watchers: (!halves.is_empty()).then(|| Times::of(halves)),
            manager_cores: rounded(manager_cpu_s / elapsed_s, 1000.0),
            client_cores: rounded(client_cpu_s / elapsed_s, 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { per_s: 100, seconds: 2 };

    fn measured(slow: usize) -> Measured {
        let mut latencies = vec![Duration::from_millis(4); 200 - slow];
        latencies.extend(vec![Duration::from_millis(60); slow]);
        Measured { latencies, elapsed: Duration::from_secs(2), ..Measured::default() }
    }

    #[test]
    fn a_rate_is_kept_while_one_in_a_hundred_is_slow() {
        let rate = Rate::new(PACE, measured(2), 1.0, 0.5);
        assert_eq!(rate.outcome, Outcome::Kept);
        assert_eq!(rate.times, Times { p50_ms: 4.0, p99_ms: 4.0, max_ms: 60.0 });
        assert_eq!((rate.answered_per_s, rate.manager_cores, rate.client_cores), (100.0, 0.5, 0.25));
        assert_eq!(Rate::new(PACE, measured(3), 0.0, 0.0).outcome, Outcome::Slow);
    }

    #[test]
    fn a_rate_that_was_refused_or_not_reached_is_not_kept() {
        let refused = Measured { refused: 1, ..measured(0) };
        assert_eq!(Rate::new(PACE, refused, 0.0, 0.0).outcome, Outcome::Refused);
        let behind = Measured { behind: true, ..measured(0) };
        assert_eq!(Rate::new(PACE, behind, 0.0, 0.0).outcome, Outcome::NotReached);
    }

    #[test]
    fn only_watches_have_a_half() {
        assert!(Rate::new(PACE, measured(0), 0.0, 0.0).half_of_watchers.is_none());
        let watched = Measured { halves: vec![Duration::from_millis(2)], ..measured(0) };
        assert_eq!(Rate::new(PACE, watched, 0.0, 0.0).half_of_watchers.map(|times| times.p99_ms), Some(2.0));
    }
}
