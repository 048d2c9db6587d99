//! Whether a rollout has failed.

use std::sync::Arc;

use davit_core::deployment::{OnRolloutFailure, RolloutState};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Slot, Task};
use davit_core::words::counted;

use super::Progress;
use super::finish::has_done_its_work;

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
            let example = self.failed_task().map(|failed| format!(": {}", self.told(failed, last_end, why_ended)));
            let example = example.unwrap_or_default();
            format!("{failed} of {} failed{example}", counted(total.into(), "slot", "slots"))
        } else if waits {
            return;
        } else if let Some(hopeless) = self.hopeless_task() {
            format!("ended for good: {}", self.told(hopeless, last_end, why_ended))
        } else if self.now >= deadline && !self.is_finished() {
            let waited = self.policy.progress_deadline.as_secs_f64();
            let example = self.unready_task().map(|unready| format!(": {}", self.told(unready, now, why_unready)));
            let example = example.unwrap_or_default();
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

    fn failed_task(&self) -> Option<(Slot, &Arc<Task>)> {
        let mut failed = self.rollout.in_flight.iter().filter(|(_, incoming)| incoming.failed);
        failed.find_map(|(slot, _)| Some((*slot, self.places.by_slot.get(slot)?.fresh?)))
    }

    /// A task that will never serve unless somebody does something about it. Of new tasks that take the place of others it is the slots
    /// that failed which are judged.
    fn hopeless_task(&self) -> Option<(Slot, &Arc<Task>)> {
        let is_first = self.rollout.from_version.is_none();
        self.fresh_tasks().find(|(_, task)| is_first && task.is_finished() && !has_done_its_work(task))
    }

    fn unready_task(&self) -> Option<(Slot, &Arc<Task>)> {
        self.fresh_tasks().find(|(_, task)| !self.places.serves(task))
    }

    fn fresh_tasks(&self) -> impl Iterator<Item = (Slot, &Arc<Task>)> {
        let wanted = self.places.by_slot.iter().filter(|(_, place)| place.wanted);
        wanted.filter_map(|(slot, place)| Some((*slot, place.fresh?)))
    }

    /// `slot 2 on node-1: exited with code 7`.
    fn told(
        &self,
        (slot, task): (Slot, &Arc<Task>),
        attempt: impl Fn(&Task) -> &AttemptStatus,
        what: impl Fn(&AttemptStatus) -> String,
    ) -> String {
        let status = attempt(task);
        let place = match (slot, self.places.node_name(status)) {
            (Slot::Replica(number), Some(node)) => format!("slot {number} on {node}"),
            (Slot::Replica(number), None) => format!("slot {number}"),
            (Slot::Node(_), Some(node)) => format!("the task on {node}"),
            (Slot::Node(_), None) => "a task".to_owned(),
        };
        format!("{place}: {}", what(status))
    }
}

/// The last attempt that ended by itself.
fn last_end(task: &Task) -> &AttemptStatus {
    let ended = |status: &&AttemptStatus| matches!(status.state, TaskState::Failed | TaskState::Completed);
    task.past_attempts.iter().chain([&task.status]).rfind(ended).unwrap_or(&task.status)
}

fn now(task: &Task) -> &AttemptStatus {
    &task.status
}

fn why_ended(status: &AttemptStatus) -> String {
    match (status.reason.as_str(), status.state) {
        ("", TaskState::Completed) => "it ended".to_owned(),
        ("", _) => "it failed".to_owned(),
        (reason, _) => reason.to_owned(),
    }
}

fn why_unready(status: &AttemptStatus) -> String {
    let gap = if status.reason.is_empty() { "" } else { ", " };
    format!("{}{gap}{}", status.state, status.reason)
}
