//! Jobs: tasks that are to finish, once or on a schedule.

mod indexes;
mod run;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use self::indexes::Indexes;
pub use self::run::{IndexOutcome, Run, RunState};
pub use self::schedule::{MissedRuns, ON_TIME, Overlap, Schedule, ScheduleError, Times};
use crate::deployment::{CreateRequest, Dependency};
use crate::id::{JobId, Revision};
use crate::spec::{OnNodeLoss, RuntimeSpec, TaskSpec};

/// How many indexes a run may have.
pub const MAX_COMPLETIONS: u32 = 100_000;
/// How many indexes may have arguments of their own.
pub const MAX_ARGUMENTS: usize = 1_000;
/// How many bytes those are in all at most, encoded.
pub const MAX_ARGUMENT_BYTES: usize = 64 * 1024;
/// How often an index is tried again unless the job says otherwise.
pub const DEFAULT_MAX_RETRIES: u32 = 3;
/// What is done with its tasks on a node that went down, unless the job says otherwise. What they completed may only be known there: a
/// worker that is started again in time tells, and no index runs twice.
pub const DEFAULT_ON_NODE_LOSS: OnNodeLoss = OnNodeLoss::Wait(Duration::from_secs(30));
/// How many ended runs of each kind are kept unless the job says otherwise.
pub const DEFAULT_KEPT_RUNS: u32 = 3;
/// How many may be.
pub const MAX_KEPT_RUNS: u32 = 100;
/// How many runs may go on at one time.
pub const MAX_ACTIVE_RUNS: usize = 100;

/// What a user wants of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// Free key-value pairs for selecting jobs.
    pub labels: BTreeMap<String, String>,
    /// What each task runs, but for its index's arguments.
    pub task: Arc<TaskSpec>,
    /// How many indexes have to complete.
    pub completions: u32,
    /// How many tasks there are at one time.
    pub parallelism: u32,
    /// Arguments of each index; empty: none has any.
    pub arguments: Arc<[Vec<String>]>,
    /// How often an index is tried again.
    pub max_retries: u32,
    /// How many indexes may fail before the run does.
    pub max_failed_indexes: u32,
    /// How long a run may take.
    pub deadline: Option<Duration>,
    /// How long after its end a run stays.
    pub time_to_live: Option<Duration>,
    /// When it runs; `None`: once, and when it is asked to.
    pub schedule: Option<Schedule>,
    /// How many runs that completed are kept.
    pub kept_succeeded: u32,
    /// How many others that ended are kept.
    pub kept_failed: u32,
    /// The app that it belongs to; empty: none.
    pub app: String,
    /// What must have come so far before its first tasks are created.
    pub start_after: Vec<Dependency>,
}

impl JobSpec {
    /// What the task of an index runs.
    #[must_use]
    pub fn task_of(&self, index: u32) -> Arc<TaskSpec> {
        let arguments = usize::try_from(index).ok().and_then(|index| self.arguments.get(index));
        let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) else {
            return Arc::clone(&self.task);
        };
        let mut spec = TaskSpec::clone(&self.task);
        match &mut spec.runtime {
            RuntimeSpec::Container(container) => container.command.extend(arguments.iter().cloned()),
            RuntimeSpec::Process(process) => process.command.extend(arguments.iter().cloned()),
        }
        Arc::new(spec)
    }
}

/// A time at which a run was to begin and did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The last one.
    pub scheduled_at: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// How many there were in all.
    pub count: u64,
}

/// Tasks that are to finish.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Stable for its life.
    pub job_id: JobId,
    /// No other job has it.
    pub name: String,
    /// What is wanted.
    pub spec: Arc<JobSpec>,
    /// How often users changed it: its etag.
    pub generation: u64,
    /// Whether no runs begin by themselves, and no tasks of those that go on.
    pub is_paused: bool,
    /// Those that go on and the last that ended, oldest first.
    pub runs: Vec<Run>,
    /// The number of the last run that ever began; 0: none did.
    pub last_run: u32,
    /// Times of the schedule up to this one are dealt with.
    pub scheduled_through: Timestamp,
    /// A time that has come and whose run waits for those before it to end.
    pub awaited: Option<Timestamp>,
    /// The last time that was left out.
    pub missed: Option<Missed>,
    /// By which request it was created; `None` if that had no id.
    pub created_by: Option<CreateRequest>,
    /// Whether it waits for those of [`JobSpec::start_after`]: until its first tasks are created, and never again.
    pub waits: bool,
    /// Whether some of that can't come any more unless somebody does something about it.
    pub waits_in_vain: bool,
    /// Whether it is being deleted: its tasks are stopped, and it goes with the last of them.
    pub is_deleted: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// The cluster's revision at that change.
    pub revision: Revision,
}

impl Job {
    /// A run that is kept.
    #[must_use]
    pub fn run(&self, number: u32) -> Option<&Run> {
        self.runs.iter().find(|run| run.number == number)
    }

    /// A run that is kept, to be changed.
    pub fn run_mut(&mut self, number: u32) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.number == number)
    }

    /// Runs of which something goes on.
    pub fn active_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !run.state.has_ended())
    }

    /// When its schedule begins the next run, if nothing is in the way.
    #[must_use]
    pub fn next_run_at(&self) -> Option<Timestamp> {
        if self.is_paused || self.is_deleted {
            return None;
        }
        self.spec.schedule.as_ref()?.times.after(self.scheduled_through)
    }

    /// The specs of tasks that it keeps: its own, and those of runs that go on.
    pub fn task_specs(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        let of_runs = self.runs.iter().filter_map(|run| run.spec.as_ref()).map(|spec| &spec.task);
        [&self.spec.task].into_iter().chain(of_runs)
    }
}
