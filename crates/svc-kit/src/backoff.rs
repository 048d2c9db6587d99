//! Waits between tries: exponential, capped, and spread at random so that many clients don't come back at once.

use std::fmt;
use std::time::Duration;

/// Where jitter comes from: numbers in [0, 1).
pub type Jitter = Box<dyn FnMut() -> f64 + Send>;

/// A random number in [0, 1), for decisions that take jitter as an input.
#[must_use]
pub fn random_fraction() -> f64 {
    rand::random()
}

/// The wait before each try: random between a tenth and the whole of a span that doubles up to a cap.
pub struct Backoff {
    initial: Duration,
    max: Duration,
    span: Duration,
    jitter: Jitter,
}

impl Backoff {
    /// Starts with a span of `initial`; none is longer than `max`.
    #[must_use]
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self::with_jitter(initial, max, Box::new(random_fraction))
    }

    /// As [`Backoff::new`], with jitter of the caller's choice.
    #[must_use]
    pub fn with_jitter(initial: Duration, max: Duration, jitter: Jitter) -> Self {
        let initial = initial.min(max);
        Self { initial, max, span: initial, jitter }
    }

    /// The wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let span = self.span;
        self.span = span.saturating_mul(2).min(self.max);
        // Not all the way down to zero: a run of unlucky draws would be a busy loop.
        span.mul_f64(0.1 + 0.9 * (self.jitter)().clamp(0.0, 1.0))
    }

    /// Starts anew, after a success.
    pub fn reset(&mut self) {
        self.span = self.initial;
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("span", &self.span).field("max", &self.max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn spans_double_up_to_the_cap_and_start_anew() {
        let mut backoff = Backoff::with_jitter(SECOND, SECOND * 5, Box::new(|| 1.0));
        let delays: Vec<_> = (0..5).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), SECOND);
    }

    #[test]
    fn delays_are_spread_but_never_zero() {
        let mut backoff = Backoff::new(SECOND, SECOND);
        let delays: Vec<_> = (0..50).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().all(|delay| (SECOND / 10..=SECOND).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay != delays[0]));
    }
}
