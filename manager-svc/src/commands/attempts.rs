//! The end of an attempt and the beginning of the next. Every path on which an attempt ends comes through [`settle`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, TaskId};
use davit_core::restart::{Decision, Ended, decide};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, KEPT_ATTEMPTS, Task};
use jiff::Timestamp;

use super::Error;
use super::tasks::WAITING_FOR_SCHEDULER;
use crate::state::{Draft, EventType};

pub(super) fn get_task(draft: &Draft, task_id: TaskId) -> Result<Arc<Task>, Error> {
    draft.state().task(task_id).cloned().ok_or(Error::TaskNotFound { task_id })
}

/// Carries out what follows the end of a task's attempt: deletion, nothing, or a new attempt. `None` when it is deleted.
pub(super) fn settle(draft: &mut Draft, task: &Arc<Task>) -> Option<Arc<Task>> {
    match task.desired_state {
        DesiredState::Removed => {
            draft.remove_task(task.task_id, "deleted, as asked for");
            return None;
        }
        DesiredState::Stopped => return Some(Arc::clone(task)),
        DesiredState::Running => {}
    }
    if task.wanted_attempt > task.status.attempt {
        return Some(begin_attempt(draft, task, None, "restarts, as asked for"));
    }
    if task.status.state == TaskState::Stopped {
        // Nobody asked the manager for this: the worker ended it on its own account, such as at its shutdown.
        return Some(begin_attempt(draft, task, None, "its worker stopped it; it is placed anew"));
    }
    let ended = Ended {
        attempt: task.status.attempt,
        state: task.status.state,
        ran_for: ran_for(&task.status),
        restarts_in_row: task.restarts_in_row,
    };
    match decide(&task.spec.restart, &ended, jitter(task.key()), draft.now()) {
        Decision::Stay { .. } => Some(Arc::clone(task)),
        Decision::Retry { at, restarts_in_row, why } => {
            let next = Task { restarts_in_row, ..Task::clone(task) };
            let at = Some(at).filter(|at| *at > draft.now());
            Some(begin_attempt(draft, &next, at, &why))
        }
    }
}

/// Begins the attempt after the current one, which has ended; not to be placed before `at`.
pub(super) fn begin_attempt(draft: &mut Draft, task: &Task, at: Option<Timestamp>, why: &str) -> Arc<Task> {
    let mut next = task.clone();
    let attempt = task.status.attempt.next();
    let reason = if at.is_some() { why } else { WAITING_FOR_SCHEDULER };
    let ended = std::mem::replace(&mut next.status, AttemptStatus::pending(attempt, reason));
    next.past_attempts.push_back(ended);
    while next.past_attempts.len() > KEPT_ATTEMPTS {
        next.past_attempts.pop_front();
    }
    next.next_attempt_at = at;
    draft.put_task(next, EventType::TaskStateChanged, format!("attempt {attempt}: {why}"))
}

fn ran_for(status: &AttemptStatus) -> Duration {
    match (status.started_at, status.finished_at) {
        (Some(started), Some(finished)) => Duration::try_from(finished.duration_since(started)).unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// A number in [0, 1) that follows from the attempt, so that a decision can be repeated.
fn jitter(key: AttemptKey) -> f64 {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
}
