//! What a job has to do next: what became of its tasks, which runs begin and end, which tasks they lack.
//!
//! - An index that has come to its end never gets another task: that it has is part of the job, committed with what follows from it.
//! - A second look at what a plan made of the cluster finds nothing more to do, until something changes or its time comes.
//! - No run ever has more than `parallelism` tasks that have not ended, and no index ever has two tasks.
//! - Tasks may be given in any order.

mod runs;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::schedule::begin_run;
use davit_core::id::TaskId;
use davit_core::job::{IndexOutcome, Job, JobSpec, Run, RunState};
use davit_core::task::{DesiredState, RunIndex, Task};
use davit_core::words::counted;
use jiff::Timestamp;

use super::deployment::why_waiting;
use crate::state::ClusterState;

/// How many steps are taken at once, so that no change of the cluster holds up the others.
const MAX_STEPS: usize = 2_000;

/// A task with arguments of its own takes as long as so many others: it has a spec of its own.
const OWN_SPEC_STEPS: usize = 20;

/// What a run says that gets no more tasks.
const NO_ROOM: &str = "waits for room: there are as many tasks as the manager's `max-tasks` allows";

/// How often it is looked whether there may be more tasks again.
const ROOM_PERIOD: Duration = Duration::from_secs(1);

/// One thing to do for a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobStep {
    /// An index has no task yet.
    Create {
        /// Which.
        run_index: RunIndex,
        /// Of what its run is to do.
        spec: Arc<JobSpec>,
    },
    /// A task has to stop.
    Stop {
        /// Which.
        task_id: TaskId,
        /// Why, for people.
        why: String,
    },
    /// A task has to go, once it has ended.
    Remove {
        /// Which.
        task_id: TaskId,
        /// Why, for people.
        why: String,
    },
}

/// What is to be done for one job now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobPlan {
    /// The job as it is then, if it changes, and what there is to say of it.
    pub job: Option<(Job, String)>,
    /// Tasks to create, stop and remove.
    pub steps: Vec<JobStep>,
    /// All that it was to do is done and it is being deleted: it can go.
    pub is_gone: bool,
    /// When it is to be looked at again if nothing changes before; at once, if there were too many steps.
    pub next_look: Option<Timestamp>,
}

/// Plans for one job; `room`: how many more tasks there may be.
#[must_use]
pub fn plan_job(state: &ClusterState, job: &Job, room: u64, now: Timestamp) -> JobPlan {
    if job.is_deleted {
        return plan_end(state, job);
    }
    let mut planner = Planner::new(state, job, now);
    planner.note_ends();
    planner.judge_runs();
    planner.follow_schedule();
    planner.wait();
    planner.stop_tasks();
    planner.create_tasks(room);
    planner.let_runs_go();
    planner.finish()
}

/// Notes what became of a task that has ended, for its job; `None` if that is known.
#[must_use]
pub fn with_end_noted(job: &Job, task: &Task) -> Option<Job> {
    let (_, RunIndex { run, index }) = task.run_index()?;
    let outcome = IndexOutcome::of(task)?;
    if job.is_deleted || job.run(run)?.has_ended(index) {
        return None;
    }
    let mut next = job.clone();
    next.run_mut(run)?.note(index, outcome).then_some(next)
}

/// What is wrong with the newest run, in one line; empty: nothing.
#[must_use]
pub fn trouble_of_job(job: &Job) -> String {
    let Some(run) = job.runs.last() else { return String::new() };
    match run.state {
        RunState::Failing | RunState::Failed => run.reason.clone(),
        RunState::Running if job.waits_in_vain => run.reason.clone(),
        RunState::Running if run.reason == NO_ROOM => run.reason.clone(),
        RunState::Running if run.failed.count() > 0 => runs::failures(run),
        RunState::Running | RunState::Stopping | RunState::Completed | RunState::Stopped => String::new(),
    }
}

fn plan_end(state: &ClusterState, job: &Job) -> JobPlan {
    let why = || format!("job {} is deleted", job.name);
    let to_go = |task: &Arc<Task>| task.is_finished() || task.desired_state != DesiredState::Removed;
    let tasks = state.tasks_of_job(job.job_id).filter(|(_, task)| to_go(task));
    let steps: Vec<_> =
        tasks.take(MAX_STEPS).map(|(_, task)| JobStep::Remove { task_id: task.task_id, why: why() }).collect();
    let is_gone = state.tasks_of_job(job.job_id).next().is_none();
    JobPlan { steps, is_gone, ..JobPlan::default() }
}

/// A plan while it is made.
struct Planner<'a> {
    state: &'a ClusterState,
    before: &'a Job,
    now: Timestamp,
    /// The job as it will be.
    job: Job,
    steps: Vec<JobStep>,
    /// What there is to say.
    notes: Vec<String>,
    next_look: Option<Timestamp>,
}

impl<'a> Planner<'a> {
    fn new(state: &'a ClusterState, before: &'a Job, now: Timestamp) -> Self {
        let (job, steps, notes) = (before.clone(), Vec::new(), Vec::new());
        Self { state, before, now, job, steps, notes, next_look: None }
    }

    fn look_at(&mut self, at: Timestamp) {
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
    }

    /// How many steps may still be taken.
    fn free_steps(&self) -> usize {
        MAX_STEPS.saturating_sub(self.steps.len())
    }

    /// Has the rest of too many steps taken at once after this.
    fn go_on_at_once(&mut self) {
        self.look_at(self.now);
    }

    /// Notes what became of the tasks that ended.
    fn note_ends(&mut self) {
        let mut ended = 0;
        for task in self.state.ended_of_job(self.before.job_id) {
            let (Some((_, RunIndex { run, index })), Some(outcome)) = (task.run_index(), IndexOutcome::of(task)) else {
                continue;
            };
            let Some(run) = self.job.run_mut(run) else { continue };
            if run.note(index, outcome) {
                ended += 1;
                if outcome == IndexOutcome::Failed && run.reason.is_empty() {
                    run.reason = runs::first_failure(self.state, index, task);
                }
            }
        }
        if ended > 0 {
            self.notes.push(format!("{} ended", counted(ended, "index", "indexes")));
        }
    }

    /// Sees whether what its first tasks wait for has come, and says what has not.
    fn wait(&mut self) {
        if !self.job.waits {
            return;
        }
        let why = why_waiting(self.state, &self.job.name, &self.job.spec.start_after);
        self.job.waits = why.is_some();
        self.job.waits_in_vain = why.as_ref().is_some_and(|wait| wait.is_vain);
        let why = why.map(|wait| wait.reason).unwrap_or_default();
        for run in self.job.runs.iter_mut().filter(|run| run.state == RunState::Running && run.reason != why) {
            run.reason.clone_from(&why);
            let told = if why.is_empty() { "what it waited for has come" } else { &why };
            self.notes.push(format!("run {}: {told}", run.number));
        }
    }

    /// Has tasks of runs that are to end stopped.
    fn stop_tasks(&mut self) {
        let ending = |run: &&Run| matches!(run.state, RunState::Failing | RunState::Stopping);
        for run in self.job.runs.iter().filter(ending) {
            let free = MAX_STEPS.saturating_sub(self.steps.len());
            let tasks = self.state.tasks_of_run(self.job.job_id, run.number);
            let running = tasks.filter(|(_, task)| !task.is_finished() && task.desired_state == DesiredState::Running);
            let stop = |(_, task): (u32, &Arc<Task>)| JobStep::Stop { task_id: task.task_id, why: run.reason.clone() };
            self.steps.extend(running.take(free).map(stop));
        }
        if self.free_steps() == 0 {
            self.go_on_at_once();
        }
    }

    /// Has each run get the tasks that it lacks.
    fn create_tasks(&mut self, room: u64) {
        if self.job.is_paused || self.job.waits {
            return;
        }
        let mut free = self.free_steps();
        let mut room = usize::try_from(room).unwrap_or(usize::MAX);
        let (mut lacks_steps, mut lacks_room) = (false, false);
        for run in self.job.runs.iter_mut().filter(|run| run.state == RunState::Running) {
            let Some(spec) = run.spec.clone() else { continue };
            let weight = if spec.arguments.is_empty() { 1 } else { OWN_SPEC_STEPS };
            let mut waits = false;
            while run.next_index < run.completions && run.active() < spec.parallelism {
                lacks_steps |= free == 0;
                waits = room == 0;
                if free == 0 || room == 0 {
                    break;
                }
                (free, room) = (free.saturating_sub(weight), room - 1);
                let run_index = RunIndex { run: run.number, index: run.next_index };
                self.steps.push(JobStep::Create { run_index, spec: Arc::clone(&spec) });
                run.next_index += 1;
            }
            lacks_room |= waits;
            if waits && run.reason.is_empty() {
                NO_ROOM.clone_into(&mut run.reason);
            } else if !waits && run.reason == NO_ROOM {
                run.reason.clear();
            }
        }
        if lacks_steps {
            self.go_on_at_once();
        } else if lacks_room {
            self.look_at(runs::after(self.now, ROOM_PERIOD));
        }
    }

    fn finish(self) -> JobPlan {
        let Self { before, job, steps, mut notes, next_look, .. } = self;
        let changed = job != *before;
        if changed && notes.is_empty() {
            notes.push("gets on".to_owned());
        }
        let job = changed.then(|| (job, notes.join("; ")));
        JobPlan { job, steps, is_gone: false, next_look }
    }
}
