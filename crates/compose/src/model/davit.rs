//! `x-davit` of a service.

use std::collections::BTreeSet;
use std::time::Duration;

/// What Compose has no words for. `None` leaves it to Davit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DavitOptions {
    /// What is done with a task whose node went down.
    pub on_node_loss: Option<OnNodeLoss>,
    /// Which algorithm scores nodes.
    pub algorithm: Option<String>,
    /// Higher is placed first; one of `davit_core::spec::PRIORITIES`.
    pub priority: Option<i32>,
    /// Whether tasks of lower priority may be stopped where nothing fits.
    pub may_preempt: Option<bool>,
    /// So many tasks of a new version go first, and the others when it is promoted.
    pub canaries: Option<u32>,
    /// Whether canaries that are healthy are followed by the rest on their own.
    pub auto_promote: Option<bool>,
    /// An update that gets no further in this time has failed.
    pub progress_deadline: Option<Duration>,
    /// So many old versions are kept to go back to.
    pub kept_versions: Option<u32>,
    /// Services whose tasks must be on the node already.
    pub colocate: BTreeSet<String>,
    /// Makes the service a job.
    pub job: Option<Job>,
}

/// What is done with a task whose node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNodeLoss {
    /// It is replaced at once.
    Replace,
    /// The same, after the node stayed down for so long.
    Wait(Duration),
    /// It is replaced when the old one must have stopped.
    StopAndReplace,
}

/// How a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Job {
    /// So many tasks must complete.
    pub completions: Option<u32>,
    /// So many tasks at once.
    pub parallelism: Option<u32>,
    /// So many failures of one task are followed by another attempt.
    pub retries: Option<u32>,
    /// A run that takes longer has failed.
    pub deadline: Option<Duration>,
    /// How long an ended run is kept.
    pub ttl: Option<Duration>,
    /// When it runs, as cron has it. Only its form is checked.
    pub schedule: Option<String>,
    /// Of the schedule.
    pub time_zone: Option<String>,
    /// What happens while the last run goes on.
    pub overlap: Option<Overlap>,
    /// A run that could not begin in this time after its own is missed.
    pub start_deadline: Option<Duration>,
    /// What follows when the time of a run has passed.
    pub missed_runs: Option<MissedRuns>,
    /// How many runs are kept.
    pub history: History,
}

/// What happens while the last run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Another runs beside it.
    Allow,
    /// There is no other.
    Forbid,
    /// It is stopped, and another runs.
    Replace,
}

/// What follows when the time of a run has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedRuns {
    /// Nothing.
    Skip,
    /// One run for all that were missed.
    RunOnce,
}

/// How many runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Of those that completed.
    pub succeeded: Option<u32>,
    /// Of those that failed.
    pub failed: Option<u32>,
}
