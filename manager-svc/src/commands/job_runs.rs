//! Carries out what is planned for jobs.

use std::sync::Arc;

use davit_core::id::{JobId, TaskId};
use davit_core::job::{Job, JobSpec};
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Membership, RunIndex, Task};
use davit_svc_kit::bugs::{self, Bug};
use jiff::{SignedDuration, Timestamp};

use super::Limits;
use super::jobs::put_same_job;
use super::tasks::{new_task, want_stopped};
use crate::reconcile::{JobPlan, JobStep, plan_job, with_end_noted};
use crate::state::{Draft, EventType, KeyedSpec};

/// Does what is due for a job. `ids` are for tasks that it creates, and do not run out.
pub fn reconcile_job(draft: &mut Draft, job_id: JobId, ids: &mut impl Iterator<Item = TaskId>, limits: Limits) {
    let Some(job) = draft.state().job(job_id).cloned() else { return draft.note_job_looked_at(job_id, None) };
    let there: u64 = TaskState::ALL.iter().map(|state| draft.state().task_count(*state)).sum();
    let plan = plan_job(draft.state(), &job, limits.max_tasks.saturating_sub(there), draft.now());
    if plan.is_gone {
        return draft.remove_job(job_id, "deleted, as asked for");
    }
    let JobPlan { job: next, steps, next_look, .. } = plan;
    // What follows from it is seen at once.
    let next_look = if steps.is_empty() && next.is_none() { next_look } else { Some(draft.now()) };
    draft.note_job_looked_at(job_id, next_look);
    let name = job.name.clone();
    if let Some((next, message)) = next {
        put_same_job(draft, next, EventType::JobRunChanged, message);
    }
    for step in steps {
        match step {
            JobStep::Create { run_index, spec } => {
                let Some(task_id) = ids.next() else { continue };
                create(draft, (job_id, name.as_str()), run_index, &spec, task_id);
            }
            JobStep::Stop { task_id, why } => stop(draft, task_id, DesiredState::Stopped, &why),
            JobStep::Remove { task_id, why } => stop(draft, task_id, DesiredState::Removed, &why),
        }
    }
}

/// Deletes a task that has ended. What became of it is known to its job before it goes: no index ever runs again because of that.
pub(super) fn remove_task(draft: &mut Draft, task: &Task, message: impl Into<String>) {
    let job = task.run_index().and_then(|(job_id, _)| draft.state().job(job_id)).cloned();
    if let Some(next) = job.and_then(|job| with_end_noted(&job, task)).filter(|_| !bugs::is(Bug::IndexForgotten)) {
        put_same_job(draft, next, EventType::JobRunChanged, "1 index ended, and its task is deleted");
    }
    draft.remove_task(task.task_id, message);
}

/// The time of day was set by so much: runs that go on have as long as before.
pub fn shift_runs(draft: &mut Draft, by: SignedDuration) {
    let with_deadline = |job: &&Arc<Job>| job.active_runs().any(|run| run.deadline.is_some());
    let jobs: Vec<Arc<Job>> = draft.state().jobs().filter(with_deadline).cloned().collect();
    let shifted = |time: Timestamp| time.checked_add(by).unwrap_or(time);
    for job in jobs {
        let mut next = Job::clone(&job);
        for run in next.runs.iter_mut().filter(|run| !run.state.has_ended()) {
            run.deadline = run.deadline.map(shifted);
            run.started_at = shifted(run.started_at);
        }
        let message = "the manager's clock was set; deadlines are as if it had not been";
        put_same_job(draft, next, EventType::JobRunChanged, message);
    }
}

fn create(draft: &mut Draft, (job_id, name): (JobId, &str), run_index: RunIndex, spec: &JobSpec, task_id: TaskId) {
    let RunIndex { run, index } = run_index;
    let task_spec = spec.task_of(index);
    let keyed = if Arc::ptr_eq(&task_spec, &spec.task) {
        draft.state().specs().keyed(&spec.task)
    } else {
        KeyedSpec::new(task_spec)
    };
    let membership = Some(Box::new(Membership::Job(job_id, run_index)));
    let task = Task { membership, ..new_task(task_id, keyed.spec(), draft.now()) };
    draft.create_task(task, &keyed, format!("created for index {index} of run {run} of {name}"));
}

fn stop(draft: &mut Draft, task_id: TaskId, desired: DesiredState, why: &str) {
    let Some(task) = draft.state().task(task_id).cloned() else { return };
    if desired == DesiredState::Removed && task.is_finished() {
        return remove_task(draft, &task, format!("deleted: {why}"));
    }
    if task.desired_state < desired {
        want_stopped(draft, &task, desired, why);
    }
}
