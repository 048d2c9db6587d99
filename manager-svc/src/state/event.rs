//! Events, one for each committed change, and the bounded log that keeps the last of them.

use std::sync::Arc;

use davit_core::deployment::Deployment;
use davit_core::file::Config;
use davit_core::id::{DeploymentId, JobId, NodeId, Revision, TaskId};
use davit_core::job::Job;
use davit_core::node::Node;
use davit_core::spec::TaskSpec;
use davit_core::task::Task;
use imbl::Vector;
use jiff::Timestamp;

use super::kept_events::{KeptEvents, size_of_event};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A task was created.
    TaskCreated,
    /// A task's attempt moved to another state, or a new attempt began.
    TaskStateChanged,
    /// Something else of a task changed.
    TaskUpdated,
    /// A task was deleted.
    TaskDeleted,
    /// A node joined.
    NodeJoined,
    /// A node's state changed.
    NodeStateChanged,
    /// Something else of a node changed.
    NodeUpdated,
    /// A node is gone.
    NodeRemoved,
    /// A deployment was created.
    DeploymentCreated,
    /// A deployment got a new version, or is being deleted.
    DeploymentUpdated,
    /// How far a deployment's newest version is changed.
    DeploymentRolloutChanged,
    /// A deployment is gone.
    DeploymentDeleted,
    /// A job was created.
    JobCreated,
    /// A user changed a job, or it is being deleted.
    JobUpdated,
    /// A run of a job began, got on, or ended.
    JobRunChanged,
    /// A job is gone.
    JobDeleted,
    /// A config or a secret was created.
    ConfigCreated,
    /// Its versions, its labels or whether it is being deleted changed.
    ConfigUpdated,
    /// It is gone.
    ConfigDeleted,
}

/// What it happened to, right after the change; of a deleted object right before.
#[derive(Debug, Clone)]
pub enum Object {
    /// A task.
    Task(Arc<Task>),
    /// A node.
    Node(Arc<Node>),
    /// A deployment.
    Deployment(Arc<Deployment>),
    /// A job.
    Job(Arc<Job>),
    /// A config or a secret.
    Config(Arc<Config>),
}

/// One committed change.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision that it made.
    pub revision: Revision,
    /// When, by the manager's clock.
    pub time: Timestamp,
    /// What happened.
    pub event_type: EventType,
    /// One sentence for people.
    pub message: String,
    /// What it happened to.
    pub object: Object,
}

impl Event {
    /// The task that this is about, if it is about one.
    #[must_use]
    pub fn task_id(&self) -> Option<TaskId> {
        match &self.object {
            Object::Task(task) => Some(task.task_id),
            Object::Node(_) | Object::Deployment(_) | Object::Job(_) | Object::Config(_) => None,
        }
    }

    /// The node that this is about: itself, or the one that has the task.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        match &self.object {
            Object::Task(task) => task.status.node_id,
            Object::Node(node) => Some(node.node_id),
            Object::Deployment(_) | Object::Job(_) | Object::Config(_) => None,
        }
    }

    /// The deployment that this is about: itself, or the one that the task belongs to.
    #[must_use]
    pub fn deployment_id(&self) -> Option<DeploymentId> {
        match &self.object {
            Object::Task(task) => task.slot().map(|(deployment_id, _)| deployment_id),
            Object::Node(_) | Object::Job(_) | Object::Config(_) => None,
            Object::Deployment(deployment) => Some(deployment.deployment_id),
        }
    }

    /// The job that this is about: itself, or the one that the task belongs to.
    #[must_use]
    pub fn job_id(&self) -> Option<JobId> {
        match &self.object {
            Object::Task(task) => task.run_index().map(|(job_id, _)| job_id),
            Object::Node(_) | Object::Deployment(_) | Object::Config(_) => None,
            Object::Job(job) => Some(job.job_id),
        }
    }

    /// The specs of which this tells.
    pub(crate) fn task_specs(&self) -> impl Iterator<Item = &Arc<TaskSpec>> {
        let (task, deployment, job) = match &self.object {
            Object::Task(task) => (Some(&task.spec), None, None),
            Object::Node(_) | Object::Config(_) => (None, None, None),
            Object::Deployment(deployment) => (None, Some(deployment), None),
            Object::Job(job) => (None, None, Some(job)),
        };
        let of_deployment = deployment.into_iter().flat_map(|deployment| deployment.task_specs());
        let of_job = job.into_iter().flat_map(|job| job.task_specs());
        task.into_iter().chain(of_deployment).chain(of_job)
    }
}

/// The last events, oldest first, without a gap: every revision has exactly one.
#[derive(Debug, Clone)]
pub struct EventLog {
    events: Vector<Arc<Event>>,
    kept: KeptEvents,
    /// What they take, without specs.
    bytes: u64,
    /// The last revision whose event is not kept.
    compacted: Revision,
}

/// The log no longer reaches back far enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events up to revision {asked} are compacted; the oldest kept is {oldest}")]
pub struct Compacted {
    /// Events after this revision were asked for.
    pub asked: Revision,
    /// The oldest revision whose event is kept.
    pub oldest: Revision,
}

impl EventLog {
    /// An empty log of a cluster at revision `compacted`.
    pub(super) fn new(kept: KeptEvents, compacted: Revision) -> Self {
        Self { events: Vector::new(), kept, bytes: 0, compacted }
    }

    /// Appends the next event.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += size_of_event(&event);
        self.events.push_back(event);
    }

    /// Drops the oldest event.
    pub(super) fn pop(&mut self) -> Option<Arc<Event>> {
        let dropped = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size_of_event(&dropped));
        self.compacted = dropped.revision;
        Some(dropped)
    }

    /// Whether there are more than are kept, when those that there are keep so many bytes of specs.
    pub(super) fn is_beyond_kept(&self, spec_bytes: u64) -> bool {
        let KeptEvents { count, bytes } = self.kept;
        self.events.len() > 1 && (self.events.len() > count || self.bytes.saturating_add(spec_bytes) > bytes)
    }

    /// About how many bytes they take, without specs.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last revision whose event is not kept.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The oldest revision whose event is kept; `None` while there is none.
    #[must_use]
    pub fn oldest(&self) -> Option<Revision> {
        self.events.front().map(|event| event.revision)
    }

    /// When the oldest kept event happened; `None` while there is none.
    #[must_use]
    pub fn oldest_time(&self) -> Option<Timestamp> {
        self.events.front().map(|event| event.time)
    }

    /// Events after a revision, oldest first. None for a revision that is still to come.
    ///
    /// # Errors
    /// When some of them are no longer kept.
    pub fn after(&self, asked: Revision) -> Result<impl Iterator<Item = &Arc<Event>>, Compacted> {
        // Revisions have no gap, so the distance is the position.
        let Some(distance) = asked.0.checked_sub(self.compacted.0) else {
            return Err(Compacted { asked, oldest: self.compacted.next() });
        };
        let skip = usize::try_from(distance).unwrap_or(usize::MAX).min(self.events.len());
        Ok(self.events.focus().narrow(skip..).into_iter())
    }
}
