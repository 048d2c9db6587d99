//! What follows the end of an attempt: nothing, or a new attempt at a known time.

use std::time::Duration;

use jiff::Timestamp;

use crate::id::Attempt;
use crate::state::TaskState;

/// When a task that ended runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartMode {
    /// Never. As `docker run`.
    #[default]
    Never,
    /// When it failed.
    OnFailure,
    /// Whenever it ended by itself.
    Always,
}

/// The restart policy of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartPolicy {
    /// When it runs again.
    pub mode: RestartMode,
    /// The highest attempt number; 0 means no limit.
    pub max_attempts: u32,
    /// Wait before the second attempt in a row of failures; doubles with each further one.
    pub initial_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// An attempt that ran at least this long counts as healthy and starts the row anew.
    pub reset_after: Duration,
}

impl Eq for RestartPolicy {}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            mode: RestartMode::Never,
            max_attempts: 0,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            reset_after: Duration::from_secs(600),
        }
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended {
    /// Which attempt.
    pub attempt: Attempt,
    /// Its terminal state.
    pub state: TaskState,
    /// How long it ran; zero if it never started.
    pub ran_for: Duration,
    /// How many attempts had ended in a row before it without a healthy stretch.
    pub restarts_in_row: u32,
    /// How often workers restarted it within its attempts, because the manager was out of reach. Each counts as an attempt.
    pub local_restarts: u32,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The task stays as it ended.
    Stay {
        /// Why, for the user.
        why: String,
    },
    /// A new attempt, not before `at`.
    Retry {
        /// The earliest time of the next attempt.
        at: Timestamp,
        /// The row of restarts, this one included.
        restarts_in_row: u32,
        /// Why, for the user.
        why: String,
    },
}

/// Decides what follows an attempt that ended by itself or with its node.
///
/// `jitter` in [0, 1) spreads the waits of many tasks: a wait is between 50 % and 100 % of its nominal length, which is
/// `initial_delay × 2^restarts_in_row`, at most `max_delay`.
#[must_use]
pub fn decide(policy: &RestartPolicy, ended: &Ended, jitter: f64, now: Timestamp) -> Decision {
    let may_retry = matches!(
        (ended.state, policy.mode),
        (TaskState::Lost, _)
            | (TaskState::Failed, RestartMode::OnFailure | RestartMode::Always)
            | (TaskState::Completed, RestartMode::Always)
    );
    if !may_retry {
        return Decision::Stay { why: "its restart policy asks for no further attempt".to_owned() };
    }
    if policy.max_attempts > 0 && ended.attempt.0.saturating_add(ended.local_restarts) >= policy.max_attempts {
        let why = match policy.max_attempts {
            1 => "the one attempt of its restart policy is used".to_owned(),
            all => format!("all {all} attempts of its restart policy are used"),
        };
        return Decision::Stay { why };
    }
    if ended.state == TaskState::Lost {
        let why = "its node went down".to_owned();
        return Decision::Retry { at: now, restarts_in_row: ended.restarts_in_row, why };
    }
    let row = if ended.ran_for >= policy.reset_after { 0 } else { ended.restarts_in_row };
    let delay = delay_before(policy, row, jitter);
    let at = now.checked_add(delay).unwrap_or(Timestamp::MAX);
    let what = if ended.state == TaskState::Completed { "completed" } else { "failed" };
    let (ended, next) = (ended.attempt, ended.attempt.next());
    let why = format!("attempt {ended} {what}; attempt {next} in {:.1} s", delay.as_secs_f64());
    Decision::Retry { at, restarts_in_row: row.saturating_add(1), why }
}

/// The wait before the next attempt, after `row` restarts in a row.
fn delay_before(policy: &RestartPolicy, row: u32, jitter: f64) -> Duration {
    let nominal = policy.initial_delay.as_secs_f64() * 2f64.powi(i32::try_from(row.min(62)).unwrap_or(62));
    let capped = nominal.min(policy.max_delay.as_secs_f64());
    Duration::try_from_secs_f64(capped * (0.5 + 0.5 * jitter.clamp(0.0, 1.0))).unwrap_or(policy.max_delay)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn policy(mode: RestartMode) -> RestartPolicy {
        RestartPolicy { mode, ..RestartPolicy::default() }
    }

    fn ended(state: TaskState) -> Ended {
        Ended { attempt: Attempt(1), state, ran_for: Duration::ZERO, restarts_in_row: 0, local_restarts: 0 }
    }

    fn retries(policy: &RestartPolicy, ended: &Ended) -> bool {
        matches!(decide(policy, ended, 0.5, NOW), Decision::Retry { .. })
    }

    #[test]
    fn the_mode_decides_which_ends_are_followed_by_another_attempt() {
        use RestartMode::{Always, Never, OnFailure};
        use TaskState::{Completed, Failed, Lost, Stopped};
        for (mode, state, expected) in [
            (Never, Completed, false),
            (Never, Failed, false),
            (Never, Stopped, false),
            (Never, Lost, true),
            (OnFailure, Completed, false),
            (OnFailure, Failed, true),
            (OnFailure, Stopped, false),
            (OnFailure, Lost, true),
            (Always, Completed, true),
            (Always, Failed, true),
            (Always, Stopped, false),
            (Always, Lost, true),
        ] {
            assert_eq!(retries(&policy(mode), &ended(state)), expected, "{mode:?} {state}");
        }
    }

    #[test]
    fn attempts_are_limited() {
        let policy = RestartPolicy { max_attempts: 3, ..policy(RestartMode::OnFailure) };
        assert!(retries(&policy, &Ended { attempt: Attempt(2), ..ended(TaskState::Failed) }));
        assert!(!retries(&policy, &Ended { attempt: Attempt(3), ..ended(TaskState::Failed) }));
        assert!(!retries(&policy, &Ended { attempt: Attempt(3), ..ended(TaskState::Lost) }));
        let with_local = |local_restarts| Ended { local_restarts, ..ended(TaskState::Failed) };
        assert!(retries(&policy, &with_local(1)) && !retries(&policy, &with_local(2)));
    }

    #[test]
    fn a_lost_task_is_tried_again_at_once() {
        let decision = decide(&policy(RestartMode::Never), &ended(TaskState::Lost), 0.9, NOW);
        assert!(matches!(decision, Decision::Retry { at, restarts_in_row: 0, .. } if at == NOW), "{decision:?}");
    }

    #[test]
    fn a_healthy_stretch_starts_the_row_anew() {
        let policy = policy(RestartMode::Always);
        let sick = Ended { restarts_in_row: 7, ..ended(TaskState::Failed) };
        let healthy = Ended { ran_for: policy.reset_after, ..sick };
        assert!(matches!(decide(&policy, &sick, 0.0, NOW), Decision::Retry { restarts_in_row: 8, .. }));
        assert!(matches!(decide(&policy, &healthy, 0.0, NOW), Decision::Retry { restarts_in_row: 1, .. }));
    }

    proptest! {
        #[test]
        fn waits_double_up_to_the_cap_and_jitter_takes_at_most_half(row in 0u32..200, jitter in 0.0f64..1.0) {
            let policy = policy(RestartMode::OnFailure);
            let nominal = (2f64.powi(row.min(62) as i32)).min(300.0);
            let wait = delay_before(&policy, row, jitter).as_secs_f64();
            prop_assert!(wait >= nominal * 0.499 && wait <= nominal * 1.001, "{wait} of {nominal}");
        }

        #[test]
        fn no_policy_overflows_time(initial in 0u64..=u64::MAX, max in 0u64..=u64::MAX, row in 0u32..=u32::MAX) {
            let policy = RestartPolicy {
                mode: RestartMode::Always,
                initial_delay: Duration::from_secs(initial),
                max_delay: Duration::from_secs(max),
                ..RestartPolicy::default()
            };
            let end = Ended { restarts_in_row: row, ..ended(TaskState::Failed) };
            let _ = decide(&policy, &end, 0.5, NOW);
        }
    }
}
