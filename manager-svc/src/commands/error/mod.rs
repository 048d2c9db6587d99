//! Why a command was refused.

mod jobs;

use davit_core::deployment::RolloutState;
use davit_core::file::{ConfigName, FileDigest};
use davit_core::id::{Attempt, NodeId, TaskId};
use davit_core::state::TaskState;
use jiff::Timestamp;

pub use self::jobs::JobError;

/// Why a command was refused. Nothing changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Such a volume is nowhere.
    #[error("no volume `{volume}` is known to be on any node")]
    VolumeNotFound {
        /// Its name.
        volume: String,
    },
    /// Tasks on its node mount the volume.
    #[error("volume `{volume}` is mounted by {tasks} of the tasks on node `{node}`; stop them first")]
    VolumeIsInUse {
        /// Its name.
        volume: String,
        /// The node's name.
        node: String,
        /// How many.
        tasks: usize,
    },
    /// No such task.
    #[error("there is no task {task_id}")]
    TaskNotFound {
        /// Its id.
        task_id: TaskId,
    },
    /// The task has ended.
    #[error("task {task_id} has ended already: it is {state}")]
    TaskHasEnded {
        /// Its id.
        task_id: TaskId,
        /// How.
        state: TaskState,
    },
    /// The task has not ended.
    #[error("task {task_id} has not ended: it is {state}; stop it first, or delete it with `force`")]
    TaskHasNotEnded {
        /// Its id.
        task_id: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// The task is being deleted.
    #[error("task {task_id} is being deleted")]
    TaskIsBeingDeleted {
        /// Its id.
        task_id: TaskId,
    },
    /// The task is being stopped.
    #[error("task {task_id} is being stopped")]
    TaskIsBeingStopped {
        /// Its id.
        task_id: TaskId,
    },
    /// The task has another attempt than the caller knew of.
    #[error("task {task_id} has attempt {actual} now, not {expected}; look again and decide anew")]
    AttemptHasChanged {
        /// Its id.
        task_id: TaskId,
        /// The caller's.
        expected: Attempt,
        /// The current one.
        actual: Attempt,
    },
    /// The task is where it is to go.
    #[error("task {task_id} is on node `{node}` already")]
    TaskIsThere {
        /// Its id.
        task_id: TaskId,
        /// The node's name.
        node: String,
    },
    /// An attempt of the task that is LOST may still run.
    #[error(
        "task {task_id} must never run twice, and an attempt of it that is LOST may run until {until}: try again then"
    )]
    TaskIsLeased {
        /// Its id.
        task_id: TaskId,
        /// Until when.
        until: Timestamp,
    },
    /// The task does not fit on the node.
    #[error("task {task_id} does not fit on node `{node}`: {}", misfits.join("; "))]
    DoesNotFit {
        /// Its id.
        task_id: TaskId,
        /// The node's name.
        node: String,
        /// Every reason.
        misfits: Vec<String>,
    },
    /// The request id was used for something else.
    #[error("request id `{request_id}` was used before for a request with other content")]
    RequestIdReused {
        /// The id.
        request_id: String,
    },
    /// There would be more tasks than the manager is allowed to hold.
    #[error(
        "there are {there} tasks, ended ones included, and {more} more would be above the limit of {max_tasks}; delete some, or \
         raise the manager's `max-tasks`"
    )]
    TooManyTasks {
        /// How many there are.
        there: u64,
        /// How many are asked for.
        more: u64,
        /// How many there may be.
        max_tasks: u64,
    },
    /// The specs of tasks would take more than the manager is allowed to hold.
    #[error(
        "the specs of all tasks, ended ones included, take {there} bytes, and {more} more would be above the limit of \
         {max_spec_bytes}; delete tasks, or raise the manager's `max-spec-bytes`"
    )]
    TooManySpecBytes {
        /// How many bytes there are.
        there: u64,
        /// How many the new ones take.
        more: u64,
        /// How many there may be.
        max_spec_bytes: u64,
    },
    /// Something is wrong with what is asked of a job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// No such deployment.
    #[error("there is no deployment `{deployment}`")]
    DeploymentNotFound {
        /// Its id or name.
        deployment: String,
    },
    /// There is a deployment of this name.
    #[error("there is a deployment `{name}` already; update it, or choose another name")]
    DeploymentExists {
        /// The name.
        name: String,
    },
    /// The deployment is being deleted.
    #[error(
        "deployment `{name}` is being deleted; it can be changed no more, and its name is free when its last task has ended"
    )]
    DeploymentIsBeingDeleted {
        /// Its name.
        name: String,
    },
    /// The deployment does not belong to the app.
    #[error("deployment `{name}`, which app `{asked}` needs the name of, {}; delete or rename one of both", match app.as_str() {
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
    /// Something else would be done for an app than was planned.
    #[error("app `{app}`, or what is there of it, has changed since it was planned; plan again")]
    PlanHasChanged {
        /// Its name.
        app: String,
    },
    /// No such app.
    #[error("there is no app `{app}`")]
    AppNotFound {
        /// Its name.
        app: String,
    },
    /// A user changed the deployment since the caller looked.
    #[error("deployment `{name}` has changed: its etag is {actual} now, not {expected}; look again and decide anew")]
    DeploymentHasChanged {
        /// Its name.
        name: String,
        /// The caller's etag.
        expected: String,
        /// The etag now.
        actual: String,
    },
    /// The deployment has a task on each node and so no number of replicas.
    #[error("deployment `{name}` is global: it has one task on each node that matches, and no number of replicas")]
    NoReplicas {
        /// Its name.
        name: String,
    },
    /// The deployment would have its tasks in other places altogether.
    #[error(
        "deployment `{name}` can't become replicated or global: create another one, and delete this one when that serves"
    )]
    ModeChanges {
        /// Its name.
        name: String,
    },
    /// There would be more deployments than there may be.
    #[error("there are {max_deployments} deployments, and there may be no more: delete some")]
    TooManyDeployments {
        /// How many there may be.
        max_deployments: usize,
    },
    /// The task was stopped by its deployment, which has another in its place.
    #[error(
        "task {task_id} was stopped by its deployment, and does not run again: its place has another task, or is gone"
    )]
    TaskIsReplaced {
        /// Its id.
        task_id: TaskId,
    },
    /// The task runs on its node or nowhere.
    #[error("task {task_id} is that of one node of a global deployment: it runs there or nowhere")]
    TaskIsPinned {
        /// Its id.
        task_id: TaskId,
    },
    /// The deployment keeps no such version.
    #[error("deployment `{name}` {}", match version {
        Some(version) => format!("keeps no version {version}"),
        None => "keeps no earlier version that runs something else and has once been complete, with all its tasks healthy".to_owned(),
    })]
    VersionNotFound {
        /// Its name.
        name: String,
        /// The version; `None`: the last that was proven.
        version: Option<u32>,
    },
    /// The rollout does not wait for its promotion.
    #[error("the rollout of deployment `{name}` is {state} and does not wait to be promoted")]
    NothingToPromote {
        /// Its name.
        name: String,
        /// Where it stands.
        state: RolloutState,
    },
    /// There is no rollout under way.
    #[error("the rollout of deployment `{name}` is {state}: there is nothing to pause")]
    NothingToPause {
        /// Its name.
        name: String,
        /// Where it stands.
        state: RolloutState,
    },
    /// The rollout is neither paused nor has failed.
    #[error("the rollout of deployment `{name}` is {state}: there is nothing to resume")]
    NothingToResume {
        /// Its name.
        name: String,
        /// Where it stands.
        state: RolloutState,
    },
    /// No such config or secret.
    #[error("there is no {config}")]
    ConfigNotFound {
        /// Which.
        config: ConfigName,
    },
    /// The config or secret has no such version any more.
    #[error("{config} has no version {digest}, or is being deleted; look again and decide anew")]
    ConfigVersionGone {
        /// Which.
        config: ConfigName,
        /// The version.
        digest: FileDigest,
    },
    /// Something refers to the config or secret.
    #[error("{config} is in use: by {user}")]
    ConfigInUse {
        /// Which.
        config: ConfigName,
        /// Who refers to it, or one of them.
        user: String,
    },
    /// The config or secret belongs to another app than asks for it, or to one where none asks, or to none.
    #[error("{config} {}; delete or rename one of both", match app.as_str() {
        "" => "belongs to no app".to_owned(),
        app => format!("belongs to app `{app}`"),
    })]
    ConfigOfAnotherApp {
        /// Which.
        config: ConfigName,
        /// Its app; empty: none.
        app: String,
        /// The app that asks for it; empty: none.
        asked: String,
    },
    /// There would be more configs and secrets than there may be.
    #[error("there are {max_configs} configs and secrets at most: delete some")]
    TooManyConfigs {
        /// How many there may be.
        max_configs: usize,
    },
    /// Configs and secrets would hold more than they may.
    #[error(
        "configs and secrets hold {there} bytes, and {more} more would be above the limit of {max_bytes}: delete some"
    )]
    TooManyConfigBytes {
        /// How many bytes there are.
        there: u64,
        /// How many the new ones take.
        more: u64,
        /// How many there may be.
        max_bytes: u64,
    },
    /// There would be more named volumes than there may be.
    #[error("volume `{volume}` would be new, and there are {max_volumes} named volumes at most: have some forgotten")]
    TooManyVolumes {
        /// The one that would be new.
        volume: String,
        /// How many there may be.
        max_volumes: usize,
    },
    /// No such node.
    #[error("there is no node `{node}`")]
    NodeNotFound {
        /// Its id or name.
        node: String,
    },
    /// No drain of the node moves this task now: it is over, was cancelled, or moves enough others.
    #[error("no drain of node `{node}` moves this task now")]
    NotDrained {
        /// The node's name.
        node: String,
    },
    /// The node can't be removed: something of it is still there.
    #[error("node `{node}` can't be removed: {}; drain it and stop its worker first, or remove it with `force`", hindrances.join(", and "))]
    NodeInUse {
        /// Its name.
        node: String,
        /// Every reason.
        hindrances: Vec<String>,
    },
    /// The node can't be removed, not even with `force`: tasks that must never run twice may run there.
    #[error(
        "node `{node}` can't be removed, not even with `force`: {tasks} of its tasks must never run twice; drain it, or stop its \
         worker and wait until their lease is over"
    )]
    NodeIsLeased {
        /// Its name.
        node: String,
        /// How many such tasks.
        tasks: usize,
    },
    /// Another node that is in touch has this name.
    #[error("node {holder} has the name `{name}` and is in touch; give this worker another name")]
    NodeNameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        holder: NodeId,
    },
    /// A node that is DOWN has this name, and may still run tasks that must never run twice.
    #[error(
        "node {holder} of the name `{name}` is down, but may still run {tasks} tasks that must never run twice; this worker can \
         take over the name when their lease has ended"
    )]
    NodeNameIsLeased {
        /// The name.
        name: String,
        /// Whose it is.
        holder: NodeId,
        /// How many such tasks.
        tasks: usize,
    },
    /// A later registration of the node was taken in before this one.
    #[error(
        "node `{node}` has registered with number {last} since, so its registration {number} is out of date; register anew with \
         a greater number"
    )]
    RegistrationOvertaken {
        /// The node's name.
        node: String,
        /// The number of the registration that is out of date.
        number: u64,
        /// The node's last one.
        last: u64,
    },
    /// The node changed since the caller looked.
    #[error("node `{node}` has changed: its etag is {actual} now, not {expected}; look again and decide anew")]
    NodeHasChanged {
        /// Its name.
        node: String,
        /// The caller's etag.
        expected: String,
        /// The etag now.
        actual: String,
    },
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not exist.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// It is not in a state that allows this.
    FailedPrecondition,
    /// Someone else was faster.
    Aborted,
    /// A limit is reached.
    ResourceExhausted,
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Job(error) => error.kind(),
            Self::TaskNotFound { .. }
            | Self::NodeNotFound { .. }
            | Self::DeploymentNotFound { .. }
            | Self::VersionNotFound { .. }
            | Self::ConfigNotFound { .. }
            | Self::VolumeNotFound { .. }
            | Self::AppNotFound { .. } => Kind::NotFound,
            Self::RequestIdReused { .. }
            | Self::NodeNameInUse { .. }
            | Self::NodeNameIsLeased { .. }
            | Self::DeploymentExists { .. }
            | Self::ConfigOfAnotherApp { .. }
            | Self::OfAnotherApp { .. } => Kind::AlreadyExists,
            Self::TaskHasEnded { .. }
            | Self::TaskHasNotEnded { .. }
            | Self::TaskIsBeingDeleted { .. }
            | Self::TaskIsBeingStopped { .. }
            | Self::TaskIsThere { .. }
            | Self::TaskIsLeased { .. }
            | Self::NotDrained { .. }
            | Self::NodeInUse { .. }
            | Self::NodeIsLeased { .. }
            | Self::DoesNotFit { .. }
            | Self::DeploymentIsBeingDeleted { .. }
            | Self::NoReplicas { .. }
            | Self::ModeChanges { .. }
            | Self::TaskIsReplaced { .. }
            | Self::TaskIsPinned { .. }
            | Self::ConfigInUse { .. }
            | Self::VolumeIsInUse { .. }
            | Self::NothingToPromote { .. }
            | Self::NothingToPause { .. }
            | Self::NothingToResume { .. } => Kind::FailedPrecondition,
            Self::NodeHasChanged { .. }
            | Self::AttemptHasChanged { .. }
            | Self::RegistrationOvertaken { .. }
            | Self::DeploymentHasChanged { .. }
            | Self::ConfigVersionGone { .. }
            | Self::PlanHasChanged { .. } => Kind::Aborted,
            Self::TooManyTasks { .. }
            | Self::TooManySpecBytes { .. }
            | Self::TooManyConfigs { .. }
            | Self::TooManyConfigBytes { .. }
            | Self::TooManyVolumes { .. }
            | Self::TooManyDeployments { .. } => Kind::ResourceExhausted,
        }
    }

    /// A stable name for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Job(error) => error.reason(),
            Self::TaskNotFound { .. } => "TASK_NOT_FOUND",
            Self::TaskHasEnded { .. } => "TASK_HAS_ENDED",
            Self::TaskHasNotEnded { .. } => "TASK_HAS_NOT_ENDED",
            Self::TaskIsBeingDeleted { .. } => "TASK_IS_BEING_DELETED",
            Self::TaskIsBeingStopped { .. } => "TASK_IS_BEING_STOPPED",
            Self::AttemptHasChanged { .. } => "ATTEMPT_HAS_CHANGED",
            Self::TaskIsThere { .. } => "TASK_IS_THERE",
            Self::TaskIsLeased { .. } => "TASK_IS_LEASED",
            Self::DoesNotFit { .. } => "DOES_NOT_FIT",
            Self::RequestIdReused { .. } => "REQUEST_ID_REUSED",
            Self::TooManyTasks { .. } => "TOO_MANY_TASKS",
            Self::TooManySpecBytes { .. } => "TOO_MANY_SPEC_BYTES",
            Self::NodeNotFound { .. } => "NODE_NOT_FOUND",
            Self::NotDrained { .. } => "NOT_DRAINED",
            Self::NodeInUse { .. } => "NODE_IN_USE",
            Self::NodeIsLeased { .. } => "NODE_IS_LEASED",
            Self::NodeNameInUse { .. } => "NODE_NAME_IN_USE",
            Self::NodeNameIsLeased { .. } => "NODE_NAME_IS_LEASED",
            Self::RegistrationOvertaken { .. } => davit_proto::convert::REGISTRATION_OVERTAKEN,
            Self::NodeHasChanged { .. } => "NODE_HAS_CHANGED",
            Self::DeploymentNotFound { .. } => "DEPLOYMENT_NOT_FOUND",
            Self::DeploymentExists { .. } => "DEPLOYMENT_EXISTS",
            Self::DeploymentIsBeingDeleted { .. } => "DEPLOYMENT_IS_BEING_DELETED",
            Self::DeploymentHasChanged { .. } => "DEPLOYMENT_HAS_CHANGED",
            Self::NoReplicas { .. } => "NO_REPLICAS",
            Self::ModeChanges { .. } => "MODE_CHANGES",
            Self::TooManyDeployments { .. } => "TOO_MANY_DEPLOYMENTS",
            Self::TaskIsReplaced { .. } => "TASK_IS_REPLACED",
            Self::TaskIsPinned { .. } => "TASK_IS_PINNED",
            Self::VersionNotFound { .. } => "VERSION_NOT_FOUND",
            Self::NothingToPromote { .. } => "NOTHING_TO_PROMOTE",
            Self::NothingToPause { .. } => "NOTHING_TO_PAUSE",
            Self::NothingToResume { .. } => "NOTHING_TO_RESUME",
            Self::OfAnotherApp { .. } => "OF_ANOTHER_APP",
            Self::PlanHasChanged { .. } => "PLAN_HAS_CHANGED",
            Self::AppNotFound { .. } => "APP_NOT_FOUND",
            Self::ConfigNotFound { .. } => "CONFIG_NOT_FOUND",
            Self::ConfigVersionGone { .. } => "CONFIG_VERSION_GONE",
            Self::ConfigInUse { .. } => "CONFIG_IN_USE",
            Self::ConfigOfAnotherApp { .. } => "CONFIG_OF_ANOTHER_APP",
            Self::TooManyConfigs { .. } => "TOO_MANY_CONFIGS",
            Self::TooManyConfigBytes { .. } => "TOO_MANY_CONFIG_BYTES",
            Self::TooManyVolumes { .. } => "TOO_MANY_VOLUMES",
            Self::VolumeNotFound { .. } => "VOLUME_NOT_FOUND",
            Self::VolumeIsInUse { .. } => "VOLUME_IS_IN_USE",
        }
    }
}
