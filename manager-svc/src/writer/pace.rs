//! How far behind the writer is, and when a caller that found it so may come back. Pure.

use std::time::Duration;

use super::MAX_COMMANDS_PER_BATCH;

/// Callers come back no sooner.
const SHORTEST: Duration = Duration::from_millis(100);
/// Nor are they told to stay away longer: the store may recover at any time.
const LONGEST: Duration = Duration::from_secs(30);
/// The share of the newest batch in what counts as typical.
const WEIGHT: f64 = 0.2;

/// What is known of the writer's pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Backlog {
    /// Callers that wait.
    pub(super) waiting: usize,
    /// How long a batch took of late.
    pub(super) typical: Duration,
    /// How long the batch under way has taken so far; zero when there is none.
    pub(super) under_way: Duration,
}

/// When those that come now may find a place: about when those before them are done, if it goes on as it does. A batch that
/// hangs counts with the time that it hangs already.
pub(super) fn retry_after(backlog: Backlog) -> Duration {
    let batches = u32::try_from(backlog.waiting / MAX_COMMANDS_PER_BATCH).unwrap_or(u32::MAX).saturating_add(1);
    let each = backlog.typical.max(backlog.under_way);
    each.saturating_mul(batches).clamp(SHORTEST, LONGEST)
}

/// What counts as typical after a batch that took so long.
pub(super) fn typical_after(typical: Duration, took: Duration) -> Duration {
    typical.mul_f64(1.0 - WEIGHT) + took.min(LONGEST).mul_f64(WEIGHT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn told(waiting: usize, typical: Duration, under_way: Duration) -> Duration {
        retry_after(Backlog { waiting, typical, under_way })
    }

    #[test]
    fn the_delay_is_about_the_time_that_the_writer_needs_for_those_before() {
        assert_eq!(told(0, MILLI, Duration::ZERO), SHORTEST);
        assert_eq!(told(10 * MAX_COMMANDS_PER_BATCH, MILLI * 200, Duration::ZERO), MILLI * 2200);
        // A store that hangs: the longer it does, the longer they stay away.
        assert_eq!(told(1, MILLI, MILLI * 700), MILLI * 700);
        assert_eq!(told(1, MILLI, Duration::from_secs(4)), Duration::from_secs(4));
        assert_eq!(told(usize::MAX, MILLI, Duration::MAX), LONGEST);
    }

    #[test]
    fn what_is_typical_follows_what_is() {
        let mut typical = Duration::ZERO;
        for _ in 0..50 {
            typical = typical_after(typical, MILLI * 100);
        }
        assert!(typical > MILLI * 99 && typical <= MILLI * 100, "{typical:?}");
        assert!(typical_after(typical, Duration::MAX) < LONGEST);
    }

    proptest! {
        #[test]
        fn the_delay_grows_with_how_far_behind_the_writer_is(
            waiting in 0usize..100_000, more in 0usize..100_000, typical in 0u64..5000, under_way in 0u64..50_000, longer in 0u64..50_000,
        ) {
            let base = told(waiting, MILLI * typical as u32, MILLI * under_way as u32);
            prop_assert!(told(waiting + more, MILLI * typical as u32, MILLI * under_way as u32) >= base);
            prop_assert!(told(waiting, MILLI * (typical + longer) as u32, MILLI * under_way as u32) >= base);
            prop_assert!(told(waiting, MILLI * typical as u32, MILLI * (under_way + longer) as u32) >= base);
            prop_assert!((SHORTEST..=LONGEST).contains(&base));
        }
    }
}
