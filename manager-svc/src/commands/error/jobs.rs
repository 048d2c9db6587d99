//! What is wrong with what is asked of jobs.

use davit_core::id::TaskId;

use super::Kind;

/// Why something can't be done with a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// No such job.
    #[error("there is no job `{job}`")]
    NotFound {
        /// Its id or name.
        job: String,
    },
    /// There is a job of this name.
    #[error("there is a job `{name}` already; update it, or choose another name")]
    Exists {
        /// The name.
        name: String,
    },
    /// The job is being deleted.
    #[error(
        "job `{name}` is being deleted; it can be changed no more, and its name is free when its last task has ended"
    )]
    IsBeingDeleted {
        /// Its name.
        name: String,
    },
    /// A user changed the job since the caller looked.
    #[error("job `{name}` has changed: its etag is {actual} now, not {expected}; look again and decide anew")]
    HasChanged {
        /// Its name.
        name: String,
        /// The etag that the caller knows.
        expected: String,
        /// The etag that it has.
        actual: String,
    },
    /// There would be more jobs than there may be.
    #[error("there are {max_jobs} jobs, and there may be no more: delete some")]
    TooMany {
        /// How many there may be.
        max_jobs: usize,
    },
    /// The job is paused.
    #[error("job `{name}` is paused: resume it first")]
    IsPaused {
        /// Its name.
        name: String,
    },
    /// More runs would go on than may.
    #[error("{max_runs} runs of job `{name}` go on, and no more may: wait for one, or stop some")]
    TooManyRuns {
        /// Its name.
        name: String,
        /// How many there may be.
        max_runs: usize,
    },
    /// The job keeps no such run.
    #[error("job `{name}` keeps no run {run}")]
    RunNotFound {
        /// Its name.
        name: String,
        /// The run's number.
        run: u32,
    },
    /// The job does not belong to the app.
    #[error("job `{name}`, which app `{asked}` needs the name of, {}; delete or rename one of both", match app.as_str() {
        "" => "belongs to no app".to_owned(),
        app => format!("belongs to app `{app}`"),
    })]
    OfAnotherApp {
        /// Its name.
        name: String,
        /// Its app; empty: none.
        app: String,
        /// The app that needs the name.
        asked: String,
    },
    /// The task's index has come to its end.
    #[error("task {task_id} is of a job, and its index has come to its end in that run: run the job again instead")]
    IndexHasEnded {
        /// The task.
        task_id: TaskId,
    },
}

impl JobError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::RunNotFound { .. } => Kind::NotFound,
            Self::Exists { .. } | Self::OfAnotherApp { .. } => Kind::AlreadyExists,
            Self::IsBeingDeleted { .. } | Self::IsPaused { .. } | Self::IndexHasEnded { .. } => {
                Kind::FailedPrecondition
            }
            Self::HasChanged { .. } => Kind::Aborted,
            Self::TooMany { .. } | Self::TooManyRuns { .. } => Kind::ResourceExhausted,
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "JOB_NOT_FOUND",
            Self::Exists { .. } => "JOB_EXISTS",
            Self::IsBeingDeleted { .. } => "JOB_IS_BEING_DELETED",
            Self::HasChanged { .. } => "JOB_HAS_CHANGED",
            Self::TooMany { .. } => "TOO_MANY_JOBS",
            Self::IsPaused { .. } => "JOB_IS_PAUSED",
            Self::TooManyRuns { .. } => "TOO_MANY_RUNS",
            Self::RunNotFound { .. } => "RUN_NOT_FOUND",
            Self::OfAnotherApp { .. } => "OF_ANOTHER_APP",
            Self::IndexHasEnded { .. } => "INDEX_HAS_ENDED",
        }
    }
}
