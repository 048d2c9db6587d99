//! Jobs as committed: what completed never runs again, whoever asks for it. Promises 3 and 5.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::{JobId, TaskId};
use davit_core::job::{Indexes, Job, Run, RunState};
use davit_core::state::TaskState;
use davit_core::task::RunIndex;
use manager_svc::state::{Batch, Versions};

use super::Violations;
use crate::history::{Entry, Event};
use crate::model::Model;
use crate::workload::{Call, Outcome};

/// 1: a job that was answered was durable by then, and is in the journal for good.
pub(super) fn answered_jobs_were_kept(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let created = journal.iter().flat_map(|batch| &batch.changes).filter_map(|change| match &change.versions {
        Versions::Job { after: Some(job), .. } => Some(job.job_id),
        _ => None,
    });
    let created: BTreeSet<JobId> = created.collect();
    for entry in entries {
        let Event::Answered { call: Call::CreateJob(name), outcome: Outcome::Job(job_id), durable } = &entry.event
        else {
            continue;
        };
        if !durable || !created.contains(job_id) {
            violations.add(1, format!("job {name} was answered at {:?}, and was not durable, or is lost", entry.at));
        }
    }
}

/// 3: an index of a run has one task in all its life, and once that has completed it is never anything else; not even a user makes it.
pub(super) fn no_index_runs_again(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut tasks: BTreeMap<(JobId, RunIndex), TaskId> = BTreeMap::new();
    let mut completed: BTreeSet<TaskId> = BTreeSet::new();
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        let Versions::Task { after: Some(task), .. } = &change.versions else { continue };
        let Some((job_id, at)) = task.run_index() else { continue };
        let revision = change.event.revision.0;
        let RunIndex { run, index } = at;
        if *tasks.entry((job_id, at)).or_insert(task.task_id) != task.task_id {
            violations
                .add(3, format!("index {index} of run {run} of {job_id} has a second task at revision {revision}"));
        }
        let state = task.status.state;
        if completed.contains(&task.task_id) && state != TaskState::Completed {
            violations
                .add(3, format!("index {index} of run {run} of {job_id} is {state} at revision {revision} again"));
        }
        if state == TaskState::Completed {
            completed.insert(task.task_id);
        }
    }
}

/// 3 and 5: what a job says of an index stays so, and is what its task did; a run that has ended stays ended; no two jobs have one name.
pub(super) fn runs_go_forwards(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut ended_so: BTreeMap<(JobId, RunIndex), TaskState> = BTreeMap::new();
    let mut runs: BTreeMap<(JobId, u32), Run> = BTreeMap::new();
    let mut model = Model::default();
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        model.apply_change(&change.versions);
        let revision = change.event.revision.0;
        match &change.versions {
            Versions::Task { after: Some(task), .. } if task.status.state.is_terminal() => {
                ended_so.extend(task.run_index().map(|at| (at, task.status.state)));
            }
            Versions::Job { after: Some(job), .. } => {
                if model.jobs.values().any(|other| other.name == job.name && other.job_id != job.job_id) {
                    violations.add(1, format!("at revision {revision} there are two jobs {}", job.name));
                }
                for run in &job.runs {
                    let before = runs.insert((job.job_id, run.number), run.clone());
                    let wrong = wrong_of(job, run, before.as_ref(), &ended_so);
                    wrong.into_iter().for_each(|what| violations.add(3, format!("{what}, at revision {revision}")));
                }
            }
            Versions::Task { .. }
            | Versions::Node { .. }
            | Versions::Deployment { .. }
            | Versions::Job { .. }
            | Versions::Config { .. } => {}
        }
    }
}

fn wrong_of(
    job: &Job,
    run: &Run,
    before: Option<&Run>,
    ended_so: &BTreeMap<(JobId, RunIndex), TaskState>,
) -> Option<String> {
    let what = format!("run {} of {}", run.number, job.name);
    if run.state == RunState::Completed && run.completed.count() != run.completions {
        return Some(format!("{what} completed with {} of {}", run.completed.count(), run.completions));
    }
    if run.state.has_ended() && run.active() > 0 {
        return Some(format!("{what} ended while {} of its tasks go on", run.active()));
    }
    let before = before?;
    if before.state.has_ended() && before.state != run.state {
        return Some(format!("{what} was {} and is {}", before.state, run.state));
    }
    let forgotten =
        |before: &Indexes, now: &Indexes| before.ranges().flat_map(|(a, z)| a..=z).find(|i| !now.contains(*i));
    if let Some(index) = forgotten(&before.completed, &run.completed) {
        return Some(format!("{what} no longer knows that index {index} completed"));
    }
    let is_new = |index: &u32| run.completed.contains(*index) && !before.completed.contains(*index);
    let untrue = (0..run.completions).filter(is_new).find(|index| {
        ended_so.get(&(job.job_id, RunIndex { run: run.number, index: *index })) != Some(&TaskState::Completed)
    });
    untrue.map(|index| format!("{what} says that index {index} completed, which it did not"))
}

/// What of jobs is not as it is to be, once all is quiet.
pub(super) fn unsettled(model: &Model) -> Vec<String> {
    let mut problems = Vec::new();
    for job in model.jobs.values() {
        if job.is_deleted {
            problems.push(format!("job {} is still being deleted", job.name));
        }
        for run in job.active_runs() {
            let is_of = |at: (JobId, RunIndex)| at.0 == job.job_id && at.1.run == run.number;
            let open = model.tasks.values().filter(|task| !task.is_finished() && task.run_index().is_some_and(is_of));
            let (open, number, name, state) = (open.count(), run.number, &job.name, run.state);
            if open != run.active() as usize {
                problems.push(format!("run {number} of {name} has {open} tasks, and says {}", run.active()));
            }
            let may_rest = job.is_paused && state == RunState::Running;
            if open == 0 && !may_rest {
                problems.push(format!("run {number} of {name} is {state}, and nothing of it goes on"));
            }
        }
    }
    let is_orphan = |of: JobId| !model.jobs.contains_key(&of);
    let left = model.tasks.values().filter(|task| task.run_index().is_some_and(|(of, _)| is_orphan(of)));
    problems.extend(left.map(|task| format!("{} is of a job that is gone", task.task_id)));
    problems
}
