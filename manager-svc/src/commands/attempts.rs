//! The end of an attempt and the beginning of the next. Every path on which an attempt ends comes through [`end_attempt`].

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, TaskId};
use davit_core::restart::{Decision, Ended, RestartMode, RestartPolicy, decide};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, KEPT_ATTEMPTS, Ports, Task};
use davit_svc_kit::bugs::{self, Bug};
use jiff::{SignedDuration, Timestamp};

use super::Error;
use super::job_runs::remove_task;
use super::rollouts::claim_of;
use super::tasks::WAITING_FOR_SCHEDULER;
use crate::stable_hash::fnv1a;
use crate::state::{Draft, EventType};

pub(super) fn get_task(draft: &Draft, task_id: TaskId) -> Result<Arc<Task>, Error> {
    draft.state().task(task_id).cloned().ok_or(Error::TaskNotFound { task_id })
}

/// Why an attempt of a task that was asked to restart is stopped.
pub(super) const ASKED_TO_RESTART: &str = "asked to restart";

/// Has the current attempt stopped and another one follow, and says why. Until it has ended, its status gives that reason.
pub(super) fn replace_attempt(draft: &mut Draft, mut task: Task, why: &str, message: String) -> Arc<Task> {
    task.wanted_attempt = task.status.attempt.next();
    why.clone_into(&mut task.status.reason);
    draft.put_task(task, EventType::TaskUpdated, message)
}

/// Why the current attempt is being stopped, if another one is to follow.
pub(super) fn why_replaced(task: &Task) -> Option<&str> {
    let replaced = task.desired_state == DesiredState::Running && task.wanted_attempt > task.status.attempt;
    Some(task.status.reason.as_str()).filter(|why| replaced && task.status.state.is_on_node() && !why.is_empty())
}

/// Puts a task whose attempt has just ended, and carries out what follows: deletion, nothing, or a new attempt. `None`
/// when it is deleted. What follows is decided first, so that the one event of the end tells when nothing does.
/// `why_replaced`: why the manager had it stopped, if it is to be followed by another.
pub(super) fn end_attempt(
    draft: &mut Draft,
    mut task: Task,
    mut message: String,
    mut why_replaced: Option<&str>,
) -> Option<Arc<Task>> {
    if completed_before_its_move(&task, why_replaced) {
        (task.wanted_attempt, task.claim, why_replaced) = (task.status.attempt, None, None);
    }
    let next = what_follows(&task, draft.now(), why_replaced);
    if let Next::UsedUp { why } = &next {
        message = format!("{message}; {why}");
        let reason = &mut task.status.reason;
        *reason = if reason.is_empty() { why.clone() } else { format!("{reason}; {why}") };
    }
    match next {
        Next::Nothing | Next::UsedUp { .. } => Some(draft.put_task(task, EventType::TaskStateChanged, message)),
        Next::Delete => {
            let ended = draft.put_task(task, EventType::TaskStateChanged, message);
            remove_task(draft, &ended, "deleted, as asked for");
            None
        }
        Next::Attempt { at, restarts_in_row, why } => {
            let put = draft.put_ended_attempt(task, message);
            let ended = Task { restarts_in_row, ..Task::clone(&put) };
            let shown = why_replaced.filter(|why| *why != ASKED_TO_RESTART);
            Some(begin_attempt(draft, &ended, at, &why, shown))
        }
    }
}

/// Whether a task that was to go on elsewhere had completed before it could be stopped for that: nothing is left to move, and
/// what completed must not run again. Nor must the index of a job, whatever it was to be stopped for.
fn completed_before_its_move(task: &Task, why_replaced: Option<&str>) -> bool {
    let moves = why_replaced.is_some_and(|why| why != ASKED_TO_RESTART || task.run_index().is_some());
    moves && task.status.state == TaskState::Completed && task.spec.restart.mode != RestartMode::Always
}

/// What follows the end of an attempt.
enum Next {
    /// The task stays as it ended.
    Nothing,
    /// The task stays as it ended, only because its restart policy bounds the attempts.
    UsedUp { why: String },
    /// The task goes.
    Delete,
    /// A new attempt, not to be placed before `at`.
    Attempt { at: Option<Timestamp>, restarts_in_row: u32, why: String },
}

fn what_follows(task: &Task, now: Timestamp, why_replaced: Option<&str>) -> Next {
    let at_once = |why: &str| Next::Attempt { at: None, restarts_in_row: task.restarts_in_row, why: why.to_owned() };
    match task.desired_state {
        DesiredState::Removed => return Next::Delete,
        DesiredState::Stopped => return Next::Nothing,
        DesiredState::Running => {}
    }
    if task.wanted_attempt > task.status.attempt {
        return at_once(why_replaced.filter(|why| *why != ASKED_TO_RESTART).unwrap_or("restarts, as asked for"));
    }
    if task.status.state == TaskState::Stopped {
        // Nobody asked the manager for this: the worker ended it on its own account, such as at its shutdown.
        return at_once("its worker stopped it; it is placed anew");
    }
    let ended = Ended {
        attempt: task.status.attempt,
        state: task.status.state,
        ran_for: ran_for(&task.status),
        restarts_in_row: task.restarts_in_row,
        local_restarts: local_restarts(task),
    };
    let decided = |policy: &RestartPolicy| {
        let state = if bugs::is(Bug::CompletedRunsAgain) { TaskState::Failed } else { ended.state };
        decide(policy, &Ended { state, ..ended }, jitter(task.key()), now)
    };
    match decided(&task.spec.restart) {
        Decision::Retry { at, restarts_in_row, why } => {
            Next::Attempt { at: Some(at).filter(|at| *at > now), restarts_in_row, why }
        }
        // A task that is not to be restarted anyway needs no remark.
        Decision::Stay { why } => match decided(&RestartPolicy { max_attempts: 0, ..task.spec.restart }) {
            Decision::Retry { .. } => Next::UsedUp { why },
            Decision::Stay { .. } => Next::Nothing,
        },
    }
}

/// Until when an attempt of the task that counts no longer may still run.
pub(super) fn lease_end(task: &Task, now: Timestamp) -> Option<Timestamp> {
    task.leased_until.filter(|until| *until > now)
}

/// The time of day was set by so much: whoever waits for the end of a lease waits neither less nor more by that. A lease ends when
/// its time has passed, whatever clocks on walls say.
pub fn shift_leases(draft: &mut Draft, by: SignedDuration) {
    let before = draft.now().checked_sub(by).unwrap_or(draft.now());
    let waiting: Vec<Arc<Task>> =
        draft.state().tasks().filter(|task| lease_end(task, before).is_some()).cloned().collect();
    for task in waiting {
        let Some(until) = task.leased_until else { continue };
        let shifted = until.checked_add(by).unwrap_or(Timestamp::MAX);
        let mut next = Task::clone(&task);
        next.leased_until = Some(shifted);
        // A longer wait is for another reason.
        next.next_attempt_at = task.next_attempt_at.map(|at| if at == until { shifted } else { at.max(shifted) });
        draft.put_task(next, EventType::TaskUpdated, "the manager's clock was set; the wait for the lease goes on");
    }
}

/// Begins the attempt after the current one, which has ended; not to be placed before `at`, or before a lease has ended under
/// which an earlier one may run. `shown` is a reason that users are told for as long as it waits for nothing but a node.
pub(super) fn begin_attempt(
    draft: &mut Draft,
    task: &Task,
    at: Option<Timestamp>,
    why: &str,
    shown: Option<&str>,
) -> Arc<Task> {
    let mut next = task.clone();
    let attempt = task.status.attempt.next();
    let held = lease_end(task, draft.now()).filter(|until| at.is_none_or(|at| at < *until));
    let for_lease = held.map(|until| {
        let wait = until.duration_since(draft.now()).as_secs_f64();
        format!("the attempt before may run until its node's lease has ended; attempt {attempt} in {wait:.1} s")
    });
    let (at, why) = (held.or(at), for_lease.as_deref().unwrap_or(why));
    if held.is_some() {
        // Who has a claim is placed as soon as there is room.
        next.claim = None;
    }
    let reason = match (at, shown) {
        (Some(_), _) => why.to_owned(),
        (None, Some(shown)) => format!("{shown}; {WAITING_FOR_SCHEDULER}"),
        (None, None) => WAITING_FOR_SCHEDULER.to_owned(),
    };
    // It has no other node, and its room there is kept over its back-off.
    next.claim = task.slot().and_then(|(_, slot)| claim_of(slot)).or(next.claim);
    let ended = std::mem::replace(&mut next.status, AttemptStatus::pending(attempt, reason));
    remember_attempt(&mut next, ended);
    next.next_attempt_at = at;
    next.given_ports = Ports::new();
    // A wait tells of both attempts by itself.
    let message = if at.is_some() { why.to_owned() } else { format!("attempt {attempt}: {why}") };
    draft.put_task(next, EventType::TaskStateChanged, message)
}

/// Notes an ended attempt as the last of a task's past ones.
pub(super) fn remember_attempt(task: &mut Task, ended: AttemptStatus) {
    task.past_attempts.push(ended);
    while task.past_attempts.len() > KEPT_ATTEMPTS {
        task.past_attempts.remove(0);
    }
}

/// How often workers restarted a task within the attempts that are known.
fn local_restarts(task: &Task) -> u32 {
    let attempts = task.past_attempts.iter().chain([&task.status]);
    attempts.fold(0, |sum, status| sum.saturating_add(status.local_restarts))
}

fn ran_for(status: &AttemptStatus) -> Duration {
    match (status.started_at, status.finished_at) {
        (Some(started), Some(finished)) => Duration::try_from(finished.duration_since(started)).unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// A number in [0, 1) that follows from the attempt, so that a decision can be repeated.
fn jitter(key: AttemptKey) -> f64 {
    let hash = fnv1a(key.task_id.0.into_bytes().into_iter().chain(key.attempt.0.to_le_bytes()));
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use davit_core::id::Attempt;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_jitter_of_an_attempt_never_changes() {
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(7)), attempt: Attempt(2) };
        assert_eq!(jitter(key).to_bits(), 4_605_694_107_884_360_019);
    }

    #[test]
    fn the_jitter_of_neighbours_is_spread_evenly() {
        let mut tenths = [0; 10];
        for number in 0..1000 {
            let key = AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST };
            tenths[(jitter(key) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (50..200).contains(count)), "{tenths:?}");
    }
}
