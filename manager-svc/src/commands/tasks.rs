//! What users ask of tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::id::{Attempt, GangId, Revision, TaskId};
use davit_core::spec::TaskSpec;
use davit_core::state::{TaskEvent, TaskState, transition};
use davit_core::task::{AttemptStatus, DesiredState, Membership, Ports, Task};

use super::Error;
use super::attempts::{
    ASKED_TO_RESTART, begin_attempt, end_attempt, get_task, lease_end, replace_attempt, why_replaced,
};
use super::error::JobError;
use super::job_runs::remove_task;
use super::needs::check_needs;
use crate::state::{Draft, EventType, KeyedSpec, RequestRecord};

/// Why a task that was just created waits.
pub(crate) const WAITING_FOR_SCHEDULER: &str = "waiting to be placed";

/// Tasks of one shape to create.
#[derive(Debug, Clone)]
pub struct NewTasks {
    /// What each of them runs.
    pub spec: KeyedSpec,
    /// Their ids, in order of creation.
    pub task_ids: Vec<TaskId>,
    /// Whether they are placed together or not at all, and under which name.
    pub gang_id: Option<GangId>,
}

/// How much there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tasks, ended ones included.
    pub max_tasks: u64,
    /// Bytes of their specs, each content counted once.
    pub max_spec_bytes: u64,
}

impl Limits {
    /// There is none.
    pub const NONE: Self = Self { max_tasks: u64::MAX, max_spec_bytes: u64::MAX };
}

/// What a create did, now or when it was first called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// The tasks' ids, in the order of the request.
    pub task_ids: Arc<[TaskId]>,
    /// The revision after it.
    pub revision: Revision,
}

/// Creates tasks, all or none. `request` is the caller's request id with a hash of the request's content.
///
/// # Errors
/// When the request id was used for something else, a config or secret is not there, or there would be more than the limits allow.
pub fn create_tasks(
    draft: &mut Draft,
    groups: &[NewTasks],
    request: Option<(String, u64)>,
    limits: Limits,
) -> Result<Creation, Error> {
    if let Some((request_id, fingerprint)) = &request
        && let Some(known) = draft.state().requests().get(request_id)
    {
        if known.fingerprint != *fingerprint {
            return Err(Error::RequestIdReused { request_id: request_id.clone() });
        }
        return Ok(Creation { task_ids: Arc::clone(&known.task_ids), revision: known.revision });
    }
    check_limits(draft, groups, limits)?;
    for group in groups {
        check_needs(draft.state(), group.spec.spec(), &BTreeMap::new())?;
    }
    for group in groups {
        for task_id in &group.task_ids {
            let membership = group.gang_id.map(|gang_id| Box::new(Membership::Gang(gang_id)));
            let task = Task { membership, ..new_task(*task_id, group.spec.spec(), draft.now()) };
            draft.create_task(task, &group.spec, "created");
        }
    }
    let task_ids: Arc<[TaskId]> = groups.iter().flat_map(|group| group.task_ids.iter().copied()).collect();
    let revision = draft.state().revision();
    if let Some((request_id, fingerprint)) = request {
        draft.put_request(RequestRecord { request_id, fingerprint, task_ids: Arc::clone(&task_ids), revision });
    }
    Ok(Creation { task_ids, revision })
}

fn check_limits(draft: &Draft, groups: &[NewTasks], limits: Limits) -> Result<(), Error> {
    let Limits { max_tasks, max_spec_bytes } = limits;
    let there: u64 = TaskState::ALL.iter().map(|state| draft.state().task_count(*state)).sum();
    let more = groups.iter().map(|group| group.task_ids.len() as u64).sum();
    if there.saturating_add(more) > max_tasks {
        return Err(Error::TooManyTasks { there, more, max_tasks });
    }
    let specs = draft.state().specs();
    let (there, more) = (specs.bytes(), specs.bytes_of_new(groups.iter().map(|group| &group.spec)));
    // Tasks whose specs are there already take none.
    if more > 0 && there.saturating_add(more) > max_spec_bytes {
        return Err(Error::TooManySpecBytes { there, more, max_spec_bytes });
    }
    Ok(())
}

/// A task that was just created. Its revision is stamped when it is put.
#[must_use]
pub(crate) fn new_task(task_id: TaskId, spec: &Arc<TaskSpec>, now: jiff::Timestamp) -> Task {
    Task {
        task_id,
        spec: Arc::clone(spec),
        desired_state: DesiredState::Running,
        wanted_attempt: Attempt::FIRST,
        status: AttemptStatus::pending(Attempt::FIRST, WAITING_FOR_SCHEDULER),
        given_ports: Ports::new(),
        next_attempt_at: None,
        leased_until: None,
        claim: None,
        membership: None,
        restarts_in_row: 0,
        past_attempts: [].into(),
        created_at: now,
        updated_at: now,
        revision: Revision::default(),
    }
}

/// Asks a task to stop. One that no worker has ends at once.
///
/// # Errors
/// When it does not exist, has ended, or is being deleted.
pub fn stop_task(draft: &mut Draft, task_id: TaskId) -> Result<Arc<Task>, Error> {
    let task = get_task(draft, task_id)?;
    match task.desired_state {
        DesiredState::Removed => return Err(Error::TaskIsBeingDeleted { task_id }),
        _ if task.is_finished() => return Err(Error::TaskHasEnded { task_id, state: task.status.state }),
        // Asked for before: nothing further to do.
        DesiredState::Stopped => return Ok(task),
        DesiredState::Running => {}
    }
    Ok(want_stopped(draft, &task, DesiredState::Stopped, "asked to stop").unwrap_or(task))
}

/// Asks for a new attempt: one that runs is stopped first, one that waits is tried at once, one that ended starts again. None
/// begins before an attempt that may still run under a lease is over.
///
/// # Errors
/// When it does not exist or is being deleted, its deployment has stopped it, or its index of a job has come to its end.
pub fn restart_task(draft: &mut Draft, task_id: TaskId) -> Result<Arc<Task>, Error> {
    let task = get_task(draft, task_id)?;
    if task.desired_state == DesiredState::Removed {
        return Err(Error::TaskIsBeingDeleted { task_id });
    }
    if task.slot().is_some() && !task.holds_slot() {
        return Err(Error::TaskIsReplaced { task_id });
    }
    if task.run_index().is_some() && (task.is_finished() || task.desired_state != DesiredState::Running) {
        return Err(JobError::IndexHasEnded { task_id }.into());
    }
    let mut next = Task::clone(&task);
    next.desired_state = DesiredState::Running;
    next.restarts_in_row = 0;
    if task.status.state == TaskState::Pending {
        let held = lease_end(&task, draft.now());
        next.next_attempt_at = held;
        if held.is_none() {
            next.status.reason = WAITING_FOR_SCHEDULER.to_owned();
        }
        return Ok(draft.put_task(next, EventType::TaskUpdated, "asked to be tried at once"));
    }
    if task.is_finished() {
        next.wanted_attempt = task.status.attempt.next();
        return Ok(begin_attempt(draft, &next, None, ASKED_TO_RESTART, None));
    }
    // One that is being replaced already keeps the first reason.
    let why = why_replaced(&next).unwrap_or(ASKED_TO_RESTART).to_owned();
    Ok(replace_attempt(draft, next, &why, ASKED_TO_RESTART.to_owned()))
}

/// Deletes a task; with `force` one that has not ended is stopped first and vanishes when it has ended.
///
/// # Errors
/// When it does not exist, or has not ended and `force` is not set.
pub fn delete_task(draft: &mut Draft, task_id: TaskId, force: bool) -> Result<Revision, Error> {
    let task = get_task(draft, task_id)?;
    if task.is_finished() {
        remove_task(draft, &task, "deleted");
    } else if !force {
        return Err(Error::TaskHasNotEnded { task_id, state: task.status.state });
    } else if task.desired_state != DesiredState::Removed {
        want_stopped(draft, &task, DesiredState::Removed, "asked to stop and be deleted");
    }
    Ok(draft.state().revision())
}

/// Sets a desired state that means stopping. Room that is kept for the task is so no longer. `None` when the task is gone after it.
pub(super) fn want_stopped(draft: &mut Draft, task: &Task, desired: DesiredState, message: &str) -> Option<Arc<Task>> {
    let mut next = task.clone();
    next.desired_state = desired;
    next.claim = None;
    let Ok(row) = transition(task.status.state, TaskEvent::Cancel) else {
        return Some(draft.put_task(next, EventType::TaskUpdated, message));
    };
    next.next_attempt_at = None;
    next.status.state = row.to;
    next.status.reason = "stopped before it was placed".to_owned();
    next.status.finished_at = Some(draft.now());
    end_attempt(draft, next, format!("{message}; no worker has it"), None)
}
