//! What users ask of jobs. Their tasks follow: [`super::reconcile_job`] sees what there is to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::CreateRequest;
use davit_core::id::{JobId, Revision};
use davit_core::job::{Job, JobSpec, MAX_ACTIVE_RUNS, RunState};
use davit_proto::convert;

use super::error::JobError;
use super::needs::check_needs;
use super::{Error, Limits};
use crate::reconcile::begin_run;
use crate::state::{ClusterState, Draft, EventType, KeyedSpec};

/// How many jobs there may be.
const MAX_JOBS: usize = 10_000;

/// What is wanted of a job.
#[derive(Debug, Clone)]
pub struct WantedJob {
    /// All but the task's spec, which is in `task`.
    pub spec: JobSpec,
    /// What each of its tasks runs.
    pub task: KeyedSpec,
}

/// A job that is to be created.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub job_id: JobId,
    /// Its name.
    pub name: String,
    /// What is wanted.
    pub wanted: WantedJob,
    /// The caller's request id with a hash of the request's content.
    pub request: Option<CreateRequest>,
}

/// Which job a user means, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedJob {
    /// Its id or name.
    pub job: String,
    /// Its etag as the caller knows it; empty: whatever it is.
    pub etag: String,
}

/// Creates a job; one without a schedule begins its first run with that.
///
/// # Errors
/// When there is one of this name that another request created, or it would be beyond the limits.
pub fn create_job(draft: &mut Draft, new: NewJob, limits: Limits) -> Result<Arc<Job>, Error> {
    if let Some(there) = draft.state().job_by_name(&new.name) {
        return match (&new.request, &there.created_by) {
            (Some(asked), Some(created)) if asked == created => Ok(Arc::clone(there)),
            (Some(asked), Some(created)) if asked.request_id == created.request_id => {
                Err(Error::RequestIdReused { request_id: asked.request_id.clone() })
            }
            _ if there.is_deleted => Err(JobError::IsBeingDeleted { name: new.name }.into()),
            _ => Err(JobError::Exists { name: new.name }.into()),
        };
    }
    check_needs(draft.state(), &new.wanted.spec.task, &BTreeMap::new())?;
    check_job_limits(draft.state(), 1, [&new.wanted], limits)?;
    Ok(put_new_job(draft, new))
}

/// Puts a job whose name is free.
pub(super) fn put_new_job(draft: &mut Draft, new: NewJob) -> Arc<Job> {
    let now = draft.now();
    let NewJob { job_id, name, wanted: WantedJob { spec, task }, request } = new;
    let waits = !spec.start_after.is_empty();
    let mut job = Job {
        job_id,
        name,
        waits,
        waits_in_vain: false,
        spec: Arc::new(spec),
        generation: 1,
        is_paused: false,
        runs: Vec::new(),
        last_run: 0,
        scheduled_through: now,
        awaited: None,
        missed: None,
        created_by: request,
        is_deleted: false,
        created_at: now,
        updated_at: now,
        revision: Revision::default(),
    };
    let mut message = "created".to_owned();
    if job.spec.schedule.is_none() {
        let run = begin_run(&mut job, None, String::new(), now);
        message = format!("created; run {run} begins");
    }
    draft.put_job(job, &task, EventType::JobCreated, message)
}

/// Changes what is wanted; nothing, if that is what is wanted already. Runs that have begun go on as they began.
///
/// # Errors
/// When there is no such job, it is being deleted or has changed, or it would be beyond the limits.
pub fn update_job(draft: &mut Draft, named: &NamedJob, wanted: WantedJob, limits: Limits) -> Result<Arc<Job>, Error> {
    let job = open_job(draft.state(), named)?;
    // What it has already it may keep, also when that is being deleted.
    if job.spec.task != wanted.spec.task {
        check_needs(draft.state(), &wanted.spec.task, &BTreeMap::new())?;
    }
    check_job_limits(draft.state(), 0, [&wanted], limits)?;
    Ok(put_changed_job(draft, &job, wanted))
}

/// Puts what is wanted now, if it is anything else than before.
pub(super) fn put_changed_job(draft: &mut Draft, job: &Arc<Job>, wanted: WantedJob) -> Arc<Job> {
    let WantedJob { spec, task } = wanted;
    if *job.spec == spec {
        return Arc::clone(job);
    }
    let mut next = Job::clone(job);
    let times = |spec: &JobSpec| spec.schedule.as_ref().map(|schedule| schedule.times.clone());
    if times(&job.spec) != times(&spec) {
        // Times of a new schedule that have passed were never to be.
        (next.scheduled_through, next.awaited) = (draft.now(), None);
    }
    next.spec = Arc::new(spec);
    next.generation = next.generation.saturating_add(1);
    draft.put_job(next, &task, EventType::JobUpdated, "changed by a user")
}

/// Begins another run. Answers its number.
///
/// # Errors
/// When there is no such job, it is paused or being deleted, or too many runs go on.
pub fn run_job(draft: &mut Draft, named: &NamedJob, request_id: &str) -> Result<(Arc<Job>, u32), Error> {
    let job = open_job(draft.state(), named)?;
    let known = job.runs.iter().find(|run| !request_id.is_empty() && run.request_id == request_id);
    if let Some(known) = known {
        let number = known.number;
        return Ok((job, number));
    }
    if job.is_paused {
        return Err(JobError::IsPaused { name: job.name.clone() }.into());
    }
    if job.active_runs().count() >= MAX_ACTIVE_RUNS {
        return Err(JobError::TooManyRuns { name: job.name.clone(), max_runs: MAX_ACTIVE_RUNS }.into());
    }
    let mut next = Job::clone(&job);
    let run = begin_run(&mut next, None, request_id.to_owned(), draft.now());
    Ok((put_same_job(draft, next, EventType::JobRunChanged, format!("run {run} begins, as a user asked")), run))
}

/// Has no more runs begin by themselves, and those that go on begin no more tasks; or has them do so again.
///
/// # Errors
/// When there is no such job, or it is being deleted.
pub fn pause_job(draft: &mut Draft, named: &NamedJob, paused: bool) -> Result<Arc<Job>, Error> {
    let job = open_job(draft.state(), named)?;
    if job.is_paused == paused {
        return Ok(job);
    }
    let mut next = Job::clone(&job);
    (next.is_paused, next.awaited) = (paused, None);
    next.generation = next.generation.saturating_add(1);
    // What comes to be due while it is paused is left out.
    next.scheduled_through = next.scheduled_through.max(draft.now());
    let message = if paused { "paused by a user" } else { "resumed by a user" };
    Ok(put_same_job(draft, next, EventType::JobUpdated, message))
}

/// Has the tasks of a run stopped; of all that go on, if none is named.
///
/// # Errors
/// When there is no such job or run, or the job is being deleted.
pub fn stop_job_run(draft: &mut Draft, named: &NamedJob, number: Option<u32>) -> Result<Arc<Job>, Error> {
    let job = open_job(draft.state(), named)?;
    if let Some(run) = number.filter(|number| job.run(*number).is_none()) {
        return Err(JobError::RunNotFound { name: job.name.clone(), run }.into());
    }
    let mut next = Job::clone(&job);
    let mut stopped = Vec::new();
    let to_stop = |state: RunState| matches!(state, RunState::Running);
    for run in next.runs.iter_mut().filter(|run| to_stop(run.state) && number.is_none_or(|number| number == run.number))
    {
        (run.state, run.reason) = (RunState::Stopping, "a user stopped it".to_owned());
        stopped.push(run.number.to_string());
    }
    if stopped.is_empty() {
        return Ok(job);
    }
    let message = format!("run {} is being stopped by a user", stopped.join(", "));
    Ok(put_same_job(draft, next, EventType::JobRunChanged, message))
}

/// Has all tasks of a job stopped and itself deleted with the last of them.
///
/// # Errors
/// When there is no such job, or it has changed.
pub fn delete_job(draft: &mut Draft, named: &NamedJob) -> Result<Revision, Error> {
    let job = find_job(draft.state(), named)?;
    put_deleted_job(draft, &job);
    Ok(draft.state().revision())
}

/// Has a job end, if it does not yet.
pub(super) fn put_deleted_job(draft: &mut Draft, job: &Job) {
    if !job.is_deleted {
        let next = Job { is_deleted: true, ..job.clone() };
        put_same_job(draft, next, EventType::JobUpdated, "asked to stop and be deleted");
    }
}

/// Puts a job that wants the task that it wanted.
pub(super) fn put_same_job(draft: &mut Draft, job: Job, event_type: EventType, message: impl Into<String>) -> Arc<Job> {
    let task = draft.state().specs().keyed(&job.spec.task);
    draft.put_job(job, &task, event_type, message)
}

fn find_job(state: &ClusterState, named: &NamedJob) -> Result<Arc<Job>, Error> {
    let NamedJob { job: name, etag } = named;
    let missing = || JobError::NotFound { job: name.chars().take(64).collect() };
    let job = state.find_job(name).ok_or_else(missing)?;
    let actual = convert::job_etag(job);
    if !etag.is_empty() && *etag != actual {
        let (name, expected) = (job.name.clone(), etag.chars().take(64).collect());
        return Err(JobError::HasChanged { name, expected, actual }.into());
    }
    Ok(Arc::clone(job))
}

/// A job that may be changed.
fn open_job(state: &ClusterState, named: &NamedJob) -> Result<Arc<Job>, Error> {
    let job = find_job(state, named)?;
    if job.is_deleted {
        return Err(JobError::IsBeingDeleted { name: job.name.clone() }.into());
    }
    Ok(job)
}

/// Refuses jobs, or specs of them, that are too many.
pub(super) fn check_job_limits<'a>(
    state: &ClusterState,
    new: usize,
    wanted: impl IntoIterator<Item = &'a WantedJob>,
    limits: Limits,
) -> Result<(), Error> {
    if new > 0 && state.job_count() + new > MAX_JOBS {
        return Err(JobError::TooMany { max_jobs: MAX_JOBS }.into());
    }
    let specs = state.specs();
    let wanted: Vec<&WantedJob> = wanted.into_iter().collect();
    // Indexes with arguments of their own have specs of their own.
    let own = |wanted: &&WantedJob| {
        let arguments = wanted.spec.arguments.iter().filter(|arguments| !arguments.is_empty());
        let bytes = |arguments: &Vec<String>| arguments.iter().map(|one| one.len() as u64).sum::<u64>();
        arguments.map(|arguments| wanted.task.bytes().saturating_add(bytes(arguments))).sum::<u64>()
    };
    let new = specs.bytes_of_new(wanted.iter().map(|wanted| &wanted.task));
    let (there, more) = (specs.bytes(), wanted.iter().map(own).fold(new, u64::saturating_add));
    if more > 0 && there.saturating_add(more) > limits.max_spec_bytes {
        return Err(Error::TooManySpecBytes { there, more, max_spec_bytes: limits.max_spec_bytes });
    }
    Ok(())
}
