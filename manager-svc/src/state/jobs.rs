//! Jobs, and what follows from their tasks.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use davit_core::id::{JobId, TaskId};
use davit_core::job::Job;
use davit_core::task::{RunIndex, Task};
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use uuid::Uuid;

use super::ClusterState;
use super::agenda::Agenda;
use super::deployments::without;

/// Comes before all ids of tasks.
const FIRST_TASK: TaskId = TaskId(Uuid::nil());

/// All jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Jobs {
    by_id: OrdMap<JobId, Arc<Job>>,
    by_name: OrdMap<String, JobId>,
    /// The jobs of each app, by name.
    by_app: OrdMap<String, OrdSet<String>>,
    /// Which jobs wait for a deployment or job of a name, that may not be there.
    waiters: OrdMap<String, OrdSet<JobId>>,
    tasks: OrdMap<JobId, JobTasks>,
    agenda: Agenda<JobId>,
}

/// The tasks of one job.
#[derive(Debug, Clone, Default)]
struct JobTasks {
    /// All that there are.
    all: OrdSet<(RunIndex, TaskId)>,
    /// Those of them that ended since the job was looked at.
    ended: OrdSet<TaskId>,
}

impl Jobs {
    /// Has those looked at that wait for a deployment or job.
    fn note_waiters(&mut self, name: &str) {
        if let Some(waiters) = self.waiters.get(name) {
            waiters.iter().for_each(|waiter| self.agenda.note_change(*waiter));
        }
    }
}

/// The names of those that a job waits for now.
fn waited_for(job: &Job) -> impl Iterator<Item = (JobId, &str)> {
    let start_after = Some(&job.spec.start_after).filter(|_| job.waits);
    start_after.into_iter().flatten().map(|dependency| (job.job_id, dependency.deployment.as_str()))
}

impl ClusterState {
    /// Has those looked at that wait for the deployment or job of this name.
    pub(super) fn note_waiters(&mut self, name: &str) {
        self.deployments.note_waiters(name);
        self.jobs.note_waiters(name);
    }

    /// Whether a deployment or job waits for the deployment or job of this name.
    pub(crate) fn is_waited_for(&self, name: &str) -> bool {
        self.deployments.has_waiters(name) || self.jobs.waiters.contains_key(name)
    }

    /// One job.
    #[must_use]
    pub fn job(&self, job_id: JobId) -> Option<&Arc<Job>> {
        self.jobs.by_id.get(&job_id)
    }

    /// The job of this name.
    #[must_use]
    pub fn job_by_name(&self, name: &str) -> Option<&Arc<Job>> {
        self.job(*self.jobs.by_name.get(name)?)
    }

    /// The job of this id or name.
    #[must_use]
    pub fn find_job(&self, id_or_name: &str) -> Option<&Arc<Job>> {
        let by_id = id_or_name.parse().ok().and_then(|id| self.job(id));
        by_id.or_else(|| self.job_by_name(id_or_name))
    }

    /// How many jobs there are.
    #[must_use]
    pub fn job_count(&self) -> usize {
        self.jobs.by_id.len()
    }

    /// All jobs, in the order of their ids.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.by_id.values()
    }

    /// The first job, or the one after another, in the order of their ids.
    pub(crate) fn job_after(&self, after: Option<JobId>) -> Option<&Arc<Job>> {
        let start = after.map_or(Unbounded, Excluded);
        self.jobs.by_id.range((start, Unbounded)).next().map(|(_, job)| job)
    }

    /// Jobs in the order of their names, those after this one.
    pub fn jobs_after(&self, name: &str) -> impl Iterator<Item = &Arc<Job>> {
        let after = self.jobs.by_name.range::<_, str>((Excluded(name), Unbounded));
        after.filter_map(|(_, job_id)| self.jobs.by_id.get(job_id))
    }

    /// The jobs of an app, in the order of their names.
    pub(crate) fn jobs_of_app(&self, app: &str) -> impl Iterator<Item = &Arc<Job>> {
        let names = self.jobs.by_app.get(app).into_iter().flatten();
        names.filter_map(|name| self.job_by_name(name))
    }

    /// The names of apps after this one that have jobs.
    pub(super) fn apps_with_jobs_after(&self, app: &str) -> impl Iterator<Item = &String> {
        self.jobs.by_app.range::<_, str>((Excluded(app), Unbounded)).map(|(name, _)| name)
    }

    /// The tasks of a job, run by run and index by index.
    pub(crate) fn tasks_of_job(&self, job_id: JobId) -> impl Iterator<Item = (RunIndex, &Arc<Task>)> {
        let tasks = self.jobs.tasks.get(&job_id).into_iter().flat_map(|tasks| &tasks.all);
        self.visits.of_tasks(tasks.filter_map(|(run_index, task_id)| Some((*run_index, self.tasks.get(task_id)?))))
    }

    /// The tasks of one run of a job, index by index.
    pub(crate) fn tasks_of_run(&self, job_id: JobId, run: u32) -> impl Iterator<Item = (u32, &Arc<Task>)> {
        let first = (RunIndex { run, index: 0 }, FIRST_TASK);
        let tasks = self.jobs.tasks.get(&job_id).into_iter().flat_map(move |tasks| tasks.all.range(first..));
        let tasks = tasks.take_while(move |(run_index, _)| run_index.run == run);
        self.visits.of_tasks(tasks.filter_map(|(run_index, task_id)| Some((run_index.index, self.tasks.get(task_id)?))))
    }

    /// The tasks of a job that ended since it was looked at.
    pub(crate) fn ended_of_job(&self, job_id: JobId) -> impl Iterator<Item = &Arc<Task>> {
        let ended = self.jobs.tasks.get(&job_id).into_iter().flat_map(|tasks| &tasks.ended);
        self.visits.of_tasks(ended.filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Jobs that are to be looked at by now, in the order of their ids.
    pub(crate) fn jobs_to_look_at(&self, now: Timestamp) -> Vec<JobId> {
        self.jobs.agenda.due(now)
    }

    /// When time alone makes the next job due.
    pub(crate) fn next_job_look(&self) -> Option<Timestamp> {
        self.jobs.agenda.next()
    }

    /// A job was looked at, with all its tasks that had ended by then, and is to be looked at again when something changes or at this
    /// time.
    pub(super) fn note_job_looked_at(&mut self, job_id: JobId, next_look: Option<Timestamp>) {
        if let Some(tasks) = self.jobs.tasks.get_mut(&job_id) {
            tasks.ended = OrdSet::new();
        }
        self.jobs.agenda.note_looked_at(job_id, next_look);
    }

    /// Brings what follows from a job from one version of it to the next.
    pub(super) fn reindex_job(&mut self, before: Option<&Arc<Job>>, after: Option<&Arc<Job>>) {
        if let Some(name) = after.or(before).map(|job| &job.name) {
            self.note_waiters(name);
        }
        let jobs = &mut self.jobs;
        for (waiting, name) in before.into_iter().flat_map(|before| waited_for(before)) {
            without(&mut jobs.waiters, name, &waiting);
        }
        for (waiting, name) in after.into_iter().flat_map(|after| waited_for(after)) {
            jobs.waiters.entry(name.to_owned()).or_default().insert(waiting);
        }
        if let Some(before) = before {
            jobs.by_name.remove(&before.name);
            if !before.spec.app.is_empty() {
                without(&mut jobs.by_app, &before.spec.app, &before.name);
            }
        }
        let Some(after) = after else {
            if let Some(before) = before {
                jobs.by_id.remove(&before.job_id);
                jobs.agenda.note_looked_at(before.job_id, None);
            }
            return;
        };
        jobs.by_name.insert(after.name.clone(), after.job_id);
        if !after.spec.app.is_empty() {
            jobs.by_app.entry(after.spec.app.clone()).or_default().insert(after.name.clone());
        }
        jobs.by_id.insert(after.job_id, Arc::clone(after));
        jobs.agenda.note_change(after.job_id);
    }

    /// Brings what follows from a task for its job from one version of it to the next.
    pub(super) fn reindex_index(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let Some((job_id, run_index)) = after.or(before).and_then(Task::run_index) else { return };
        let is_ended = |task: &Task| task.is_finished();
        if let (Some(before), Some(after)) = (before, after)
            && is_ended(before) == is_ended(after)
        {
            return;
        }
        let tasks = self.jobs.tasks.entry(job_id).or_default();
        if let Some(task) = before {
            tasks.all.remove(&(run_index, task.task_id));
            tasks.ended.remove(&task.task_id);
        }
        if let Some(task) = after {
            tasks.all.insert((run_index, task.task_id));
            if is_ended(task) {
                tasks.ended.insert(task.task_id);
            }
        }
        if tasks.all.is_empty() {
            self.jobs.tasks.remove(&job_id);
        }
        if self.jobs.by_id.contains_key(&job_id) {
            self.jobs.agenda.note_change(job_id);
        }
    }
}
