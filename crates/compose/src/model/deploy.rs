//! How many tasks a service has, where, with what, and how they are updated.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::constraint::{Attribute, Constraint};

/// `deploy` of a service, and what stands for parts of it outside.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Deploy {
    /// What kind of service it is. A job's, if `x-davit.job` is there.
    pub mode: Mode,
    /// How many tasks; one without it.
    pub replicas: Option<u32>,
    /// Labels of the deployment.
    pub labels: BTreeMap<String, String>,
    /// What the engine enforces.
    pub limits: Amounts,
    /// How many processes and threads a task has at most.
    pub pids_limit: Option<u32>,
    /// What the scheduler sets aside.
    pub reservations: Amounts,
    /// Which nodes.
    pub placement: Placement,
    /// How a new version takes the old one's place.
    pub update: Option<UpdateConfig>,
    /// How it goes back.
    pub rollback: Option<UpdateConfig>,
}

/// What kind of service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `replicas` tasks that are kept running.
    #[default]
    Replicated,
    /// A task on each node.
    Global,
    /// `replicas` tasks that are to complete.
    ReplicatedJob,
    /// A task on each node that is to complete.
    GlobalJob,
}

impl Mode {
    /// Whether its tasks are to complete.
    #[must_use]
    pub fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob | Self::GlobalJob)
    }
}

/// Amounts of cpu and memory. `None` is none set aside, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Thousandths of a cpu.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
}

/// Which nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// What they must be. Swarm's words are put into Davit's; those that hold of every node are left out.
    pub constraints: Vec<Constraint>,
    /// What tasks are spread over.
    pub spread: Vec<Attribute>,
    /// So many tasks of the service on one node at most.
    pub max_replicas_per_node: Option<u32>,
}

/// What follows the end of a task: `deploy.restart_policy`, or `restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestartPolicy {
    /// After which ends it runs again.
    pub condition: RestartCondition,
    /// The wait before a restart.
    pub delay: Option<Duration>,
    /// So many restarts at most; no limit without it.
    pub max_attempts: Option<u32>,
    /// A task that ran so long counts as healthy.
    pub window: Option<Duration>,
}

/// After which ends a task runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartCondition {
    /// None of them.
    Never,
    /// Failures.
    OnFailure,
    /// All.
    #[default]
    Any,
}

/// `update_config` and `rollback_config`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UpdateConfig {
    /// How many tasks at once; 0 is all.
    pub parallelism: Option<u32>,
    /// The wait after each batch.
    pub delay: Option<Duration>,
    /// What follows a failure.
    pub failure_action: Option<FailureAction>,
    /// A task that fails in this time has failed to update.
    pub monitor: Option<Duration>,
    /// The share of tasks that may fail, 0 to 1.
    pub max_failure_ratio: Option<f64>,
    /// Whether the old task stops before the new one starts.
    pub order: Option<UpdateOrder>,
}

/// What follows an update's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// It stands still.
    Pause,
    /// It goes on.
    Continue,
    /// It goes back. Not of a rollback.
    Rollback,
}

/// Whether the old task stops before the new one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateOrder {
    /// The old one stops first.
    StopFirst,
    /// The new one starts first.
    StartFirst,
}
