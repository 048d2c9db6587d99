//! How the tasks of one version take the place of another's.

use std::time::Duration;

/// How long a new task has to stay healthy, unless the policy says otherwise. As in Docker.
pub const DEFAULT_MONITOR: Duration = Duration::from_secs(5);
/// How long a rollout may go without progress, unless the policy says otherwise.
pub const DEFAULT_PROGRESS_DEADLINE: Duration = Duration::from_secs(600);

/// How many slots are under way at one time at most: each is written down with every step of the rollout.
pub const MAX_IN_FLIGHT: usize = 500;

/// Which goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateOrder {
    /// The old task: the new one is created when it has ended. Needs no room beyond what there is.
    #[default]
    StopFirst,
    /// The new task: the old one is stopped when the new one has been ready for the whole of [`UpdatePolicy::monitor`].
    StartFirst,
}

/// What follows when a rollout fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRolloutFailure {
    /// Nothing more is replaced until a user says how it goes on.
    #[default]
    Pause,
    /// The last version that was proven becomes the newest version again.
    Rollback,
    /// It goes on.
    Continue,
}

/// How tasks are replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdatePolicy {
    /// How many slots are under way at one time; 0: all.
    pub parallelism: u32,
    /// Which task of a slot goes first.
    pub order: UpdateOrder,
    /// Waited after a slot is done before another is begun.
    pub delay: Duration,
    /// How long a new task has to stay ready before its slot is done.
    pub monitor: Duration,
    /// Which share of the slots may have had a failure before the rollout counts as failed; 0 to 1.
    pub max_failure_ratio: f64,
    /// How long no slot may get done before the rollout counts as failed.
    pub progress_deadline: Duration,
    /// What follows a failure.
    pub on_failure: OnRolloutFailure,
    /// How many slots get the new version before it is promoted; 0: it needs no promotion.
    pub canaries: u32,
    /// Whether it is promoted as soon as these are done.
    pub auto_promote: bool,
}

impl UpdatePolicy {
    /// How many slots may be under way at one time.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        let asked = usize::try_from(self.parallelism).unwrap_or(usize::MAX);
        if asked == 0 { MAX_IN_FLIGHT } else { asked.min(MAX_IN_FLIGHT) }
    }
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            parallelism: 1,
            order: UpdateOrder::default(),
            delay: Duration::ZERO,
            monitor: DEFAULT_MONITOR,
            max_failure_ratio: 0.0,
            progress_deadline: DEFAULT_PROGRESS_DEADLINE,
            on_failure: OnRolloutFailure::default(),
            canaries: 0,
            auto_promote: false,
        }
    }
}
