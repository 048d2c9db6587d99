//! Whether a rollout has failed.

use std::sync::Arc;

use davit_core::deployment::{OnRolloutFailure, RolloutState};
use davit_core::state::TaskState;
use davit_core::task::Task;
use davit_core::words::counted;

use super::Progress;

impl Progress<'_> {
    /// Sees whether it has failed, and what follows.
    pub(in crate::reconcile::deployment) fn judge(&mut self) {
        let waits = self.rollout.state == RolloutState::AwaitingPromotion;
        if self.rollout.state != RolloutState::InProgress && !waits {
            return;
        }
        let deadline = self.rollout.deadline(self.policy);
        let total = self.places.wanted();
        // A share such as 0.29 is not exactly that; 0.29 of 100 are 29 all the same.
        let allowed = (self.policy.max_failure_ratio * f64::from(total) + 1e-6).floor();
        let failed = self.rollout.failed;
        let too_many = f64::from(failed) > allowed && self.policy.on_failure != OnRolloutFailure::Continue;
        let state = if too_many { RolloutState::Paused } else { RolloutState::Failed };
        let reason = if too_many {
            let example = self.failed_task().map(|task| format!(": {}", why_failed(task))).unwrap_or_default();
            format!("{failed} of {} failed{example}", counted(total.into(), "slot", "slots"))
        } else if waits {
            return;
        } else if self.now >= deadline && !self.is_finished() {
            let waited = self.policy.progress_deadline.as_secs_f64();
            let example = self.unready_task().map(|task| format!(": {}", why_unready(task))).unwrap_or_default();
            format!("no slot got done for {waited} s{example}")
        } else {
            // Beyond it all is as it is to be, and has only to stay so.
            if deadline > self.now {
                self.look_at(deadline);
            }
            return;
        };
        let rolls_back = self.policy.on_failure == OnRolloutFailure::Rollback && !self.rollout.is_rollback;
        let back_to = self.deployment.last_proven().filter(|_| rolls_back && self.rollout.from_version.is_some());
        self.roll_back_to = back_to.map(|version| version.number);
        self.rollout.state = state;
        self.rollout.finished_at = Some(self.now);
        self.rollout.reason.clone_from(&reason);
        self.message = match self.roll_back_to {
            Some(number) => format!("the rollout failed, and goes back to version {number}: {reason}"),
            None if too_many => format!("the rollout is paused: {reason}"),
            None => format!("the rollout failed: {reason}"),
        };
    }

    fn failed_task(&self) -> Option<&Arc<Task>> {
        let failed = self.rollout.in_flight.iter().find(|(_, incoming)| incoming.failed);
        failed.and_then(|(slot, _)| self.places.by_slot.get(slot)?.fresh)
    }

    fn unready_task(&self) -> Option<&Arc<Task>> {
        let fresh = self.places.by_slot.values().filter(|place| place.wanted).filter_map(|place| place.fresh);
        fresh.into_iter().find(|task| !self.places.serves(task))
    }
}

/// How its last attempt that ended by itself did so, for people.
fn why_failed(task: &Task) -> String {
    let ended = |state: TaskState| matches!(state, TaskState::Failed | TaskState::Completed);
    let last = task.past_attempts.iter().chain([&task.status]).rfind(|status| ended(status.state));
    last.map_or_else(
        || "a task failed".to_owned(),
        |status| {
            let what = if status.state == TaskState::Completed { "a task ended" } else { "a task failed" };
            if status.reason.is_empty() { what.to_owned() } else { format!("{what}: {}", status.reason) }
        },
    )
}

fn why_unready(task: &Task) -> String {
    let status = &task.status;
    if status.reason.is_empty() {
        format!("a task is {}", status.state)
    } else {
        format!("a task is {}: {}", status.state, status.reason)
    }
}
