//! One time that a job runs, and what is kept of it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Indexes, JobSpec};
use crate::state::TaskState;
use crate::task::Task;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Its indexes are being worked on.
    Running,
    /// It will count as failed when the last of its tasks has ended.
    Failing,
    /// It will count as stopped when the last of its tasks has ended.
    Stopping,
    /// All its indexes completed.
    Completed,
    /// Too many indexes failed, or its deadline passed.
    Failed,
    /// It was stopped.
    Stopped,
}

impl RunState {
    /// Whether nothing of it goes on.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "RUNNING",
            Self::Failing | Self::Stopping => "STOPPING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Stopped => "STOPPED",
        })
    }
}

/// What became of one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexOutcome {
    /// Its task completed.
    Completed,
    /// Its task failed, and no other attempt follows.
    Failed,
    /// Its task was stopped.
    Stopped,
}

impl IndexOutcome {
    /// Of a task's index; `None` while it goes on.
    #[must_use]
    pub fn of(task: &Task) -> Option<Self> {
        match task.status.state {
            TaskState::Completed => Some(Self::Completed),
            TaskState::Stopped => Some(Self::Stopped),
            state if state.is_terminal() => Some(Self::Failed),
            _ => None,
        }
    }
}

/// One time that a job runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// From 1 on. Never used twice.
    pub number: u32,
    /// What it runs, for as long as it goes on: that with which it began.
    pub spec: Option<Arc<JobSpec>>,
    /// How far it is.
    pub state: RunState,
    /// Why, for people.
    pub reason: String,
    /// For which time its schedule began it; `None`: a user did.
    pub scheduled_at: Option<Timestamp>,
    /// The caller's id of the request that began it. May be empty.
    pub request_id: String,
    /// How many indexes it has.
    pub completions: u32,
    /// No index from this one on has a task yet, each before it has one or has ended.
    pub next_index: u32,
    /// Those that completed.
    pub completed: Indexes,
    /// Those that failed for good.
    pub failed: Indexes,
    /// Those whose tasks were stopped.
    pub stopped: Indexes,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it fails unless it has completed before.
    pub deadline: Option<Timestamp>,
}

impl Run {
    /// How many tasks of it have not ended, or have and nobody noted yet how.
    #[must_use]
    pub fn active(&self) -> u32 {
        [&self.completed, &self.failed, &self.stopped]
            .into_iter()
            .fold(self.next_index, |left, ended| left.saturating_sub(ended.count()))
    }

    /// Whether an index has come to its end.
    #[must_use]
    pub fn has_ended(&self, index: u32) -> bool {
        [&self.completed, &self.failed, &self.stopped].into_iter().any(|ended| ended.contains(index))
    }

    /// Notes what became of an index. Whether that was not known.
    pub fn note(&mut self, index: u32, outcome: IndexOutcome) -> bool {
        if index >= self.next_index || self.has_ended(index) {
            return false;
        }
        match outcome {
            IndexOutcome::Completed => self.completed.insert(index),
            IndexOutcome::Failed => self.failed.insert(index),
            IndexOutcome::Stopped => self.stopped.insert(index),
        }
    }
}
