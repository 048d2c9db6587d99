//! What happened since the cluster began; it stays when tasks are deleted.

use davit_core::state::TaskState;
use davit_core::task::Task;

/// Counts of tasks since the cluster began. A task that a user restarts and that ends again counts again as ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Created.
    pub created: u64,
    /// Ended COMPLETED.
    pub completed: u64,
    /// Ended FAILED.
    pub failed: u64,
    /// Ended STOPPED.
    pub stopped: u64,
    /// Ended LOST.
    pub lost: u64,
}

impl Totals {
    /// How many tasks ended in each state, in the order of [`TaskState::ALL`].
    #[must_use]
    pub fn ended(&self) -> [(TaskState, u64); 4] {
        [
            (TaskState::Completed, self.completed),
            (TaskState::Failed, self.failed),
            (TaskState::Stopped, self.stopped),
            (TaskState::Lost, self.lost),
        ]
    }

    /// Counts one change of a task.
    pub(super) fn count(&mut self, before: Option<&Task>, after: &Task) {
        if before.is_none() {
            self.created += 1;
        }
        if before.is_some_and(Task::is_finished) {
            return;
        }
        match after.status.state {
            TaskState::Completed => self.completed += 1,
            TaskState::Failed => self.failed += 1,
            TaskState::Stopped => self.stopped += 1,
            TaskState::Lost => self.lost += 1,
            TaskState::Pending
            | TaskState::Scheduled
            | TaskState::Preparing
            | TaskState::Running
            | TaskState::Stopping => {}
        }
    }
}
