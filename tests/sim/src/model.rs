//! The cluster as the manager's disk tells it: every committed version of every task, node, deployment and job, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::constraint::NodeAttributes;
use davit_core::deployment::Deployment;
use davit_core::id::{AttemptKey, DeploymentId, JobId, NodeId, TaskId};
use davit_core::job::Job;
use davit_core::node::{Node, NodeState};
use davit_core::resources::Resources;
use davit_core::restart::RestartMode;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, Slot, Task};
use manager_svc::state::{Batch, Versions};

/// Tasks, nodes, deployments and jobs at one moment.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Tasks that are there.
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Nodes that are there.
    pub nodes: BTreeMap<NodeId, Arc<Node>>,
    /// Deployments that are there.
    pub deployments: BTreeMap<DeploymentId, Arc<Deployment>>,
    /// Jobs that are there.
    pub jobs: BTreeMap<JobId, Arc<Job>>,
    /// Where named volumes are.
    pub volumes: BTreeMap<String, NodeId>,
}

impl Model {
    /// The cluster after a whole journal.
    #[must_use]
    pub fn of(journal: &[Arc<Batch>]) -> Self {
        let mut model = Self::default();
        for batch in journal {
            model.apply(batch);
        }
        model
    }

    /// Takes in one batch.
    pub fn apply(&mut self, batch: &Batch) {
        batch.changes.iter().for_each(|change| self.apply_change(&change.versions));
        self.apply_volumes(batch);
    }

    /// Takes in where a batch says that volumes are.
    pub fn apply_volumes(&mut self, batch: &Batch) {
        for change in &batch.volumes {
            match (&change.before, &change.after) {
                (_, Some(home)) => drop(self.volumes.insert(home.name.clone(), home.node_id)),
                (Some(home), None) => drop(self.volumes.remove(&home.name)),
                (None, None) => {}
            }
        }
    }

    /// Whether something keeps a task on another node than this.
    fn is_kept_from(&self, task: &Task, node_id: NodeId) -> bool {
        if task.pinned_to().is_some() {
            return false;
        }
        let mut homes = task.spec.volumes().filter_map(|name| self.volumes.get(name));
        let group = task.spec.placement.colocation.as_ref().map(|one| &one.group);
        let is_member = |other: &&Arc<Task>| {
            let is_of_group = other.spec.placement.colocation.as_ref().map(|one| &one.group) == group;
            group.is_some() && is_of_group && holds_room(other.status.state)
        };
        let mut others = self.tasks.values().filter(is_member).filter_map(|other| other.status.node_id);
        homes.any(|home| *home != node_id) || others.any(|other| other != node_id)
    }

    /// Takes in one change.
    pub fn apply_change(&mut self, versions: &Versions) {
        match versions {
            Versions::Task { after: Some(task), .. } => {
                self.tasks.insert(task.task_id, Arc::clone(task));
            }
            Versions::Task { before: Some(task), after: None } => {
                self.tasks.remove(&task.task_id);
            }
            Versions::Node { after: Some(node), .. } => {
                self.nodes.insert(node.node_id, Arc::clone(node));
            }
            Versions::Node { before: Some(node), after: None } => {
                self.nodes.remove(&node.node_id);
            }
            Versions::Deployment { after: Some(deployment), .. } => {
                self.deployments.insert(deployment.deployment_id, Arc::clone(deployment));
            }
            Versions::Deployment { before: Some(deployment), after: None } => {
                self.deployments.remove(&deployment.deployment_id);
            }
            Versions::Job { after: Some(job), .. } => {
                self.jobs.insert(job.job_id, Arc::clone(job));
            }
            Versions::Job { before: Some(job), after: None } => {
                self.jobs.remove(&job.job_id);
            }
            Versions::Task { .. }
            | Versions::Node { .. }
            | Versions::Deployment { .. }
            | Versions::Job { .. }
            | Versions::Config { .. } => {}
        }
    }

    /// The status of an attempt, as far as its task remembers it.
    #[must_use]
    pub fn status_of(&self, key: AttemptKey) -> Option<&AttemptStatus> {
        let task = self.tasks.get(&key.task_id)?;
        let mut known = task.past_attempts.iter().chain([&task.status]);
        known.find(|status| status.attempt == key.attempt)
    }

    /// Tasks that hold room on a node.
    pub fn placed_on(&self, node_id: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values().filter(move |task| task.status.node_id == Some(node_id) && holds_room(task.status.state))
    }

    /// The attempts that are to run on a node, and do, as far as the manager knows.
    #[must_use]
    pub fn running_on(&self, node_id: NodeId) -> BTreeSet<AttemptKey> {
        let runs = |task: &&Arc<Task>| task.status.state == TaskState::Running;
        self.placed_on(node_id).filter(runs).map(|task| task.key()).collect()
    }

    /// The tasks of a deployment that fill a place of it.
    pub fn holding(&self, deployment_id: DeploymentId) -> impl Iterator<Item = (Slot, &Arc<Task>)> {
        let place_of = move |task: &Task| task.slot().filter(|(of, _)| *of == deployment_id && task.holds_slot());
        self.tasks.values().filter_map(move |task| Some((place_of(task)?.1, task)))
    }

    /// What is left of a node for a task: without what is kept for others. Of those that have only this node, the older come first.
    fn free_for(&self, task: &Task, node: &Node) -> Resources {
        let used = self.placed_on(node.node_id);
        let comes_before = |other: &&Arc<Task>| {
            other.status.state == TaskState::Pending
                && other.claim.as_ref().is_some_and(|claim| claim.node_id == node.node_id)
                && other.task_id != task.task_id
                && !(task.pinned_to().is_some() && other.pinned_to().is_some() && other.task_id > task.task_id)
        };
        let kept = self.tasks.values().filter(comes_before);
        used.chain(kept)
            .fold(node.description.allocatable, |free, other| free.saturating_sub(other.spec.resources.reservation))
    }

    /// Whether a task waits although some node has room for it.
    #[must_use]
    pub fn waits_in_vain(&self, task: &Task) -> bool {
        let wanted = task.spec.resources.reservation;
        self.nodes.values().any(|node| {
            let free = self.free_for(task, node);
            node.state == NodeState::Ready
                && task.pinned_to().is_none_or(|node_id| node_id == node.node_id)
                && is_allowed(&task.spec, node)
                && !node.cordoned
                && !self.is_kept_from(task, node.node_id)
                && free.cpu_millis >= wanted.cpu_millis
                && free.memory_bytes >= wanted.memory_bytes
                && free.disk_bytes >= wanted.disk_bytes
        })
    }

    /// Why a task is not yet where it is to end up.
    #[must_use]
    pub fn unsettled(&self, task: &Task) -> Option<String> {
        let state = task.status.state;
        let settled = match task.desired_state {
            DesiredState::Removed => false,
            DesiredState::Stopped => state.is_terminal(),
            DesiredState::Running => match state {
                // What ends by itself is waited for, and so is what is not found healthy yet.
                TaskState::Running => task.spec.restart.mode == RestartMode::Always && task.status.ready,
                TaskState::Completed => true,
                // Its policy has given it up.
                TaskState::Failed | TaskState::Lost => task.spec.restart.max_attempts > 0,
                TaskState::Pending => !self.waits_in_vain(task),
                _ => false,
            },
        };
        let told = || {
            format!(
                "{} ({}) is {state}, wanted {:?}: {}",
                task.key(),
                task.spec.name,
                task.desired_state,
                task.status.reason
            )
        };
        (!settled).then(told)
    }
}

/// Whether a spec's constraints allow a node.
#[must_use]
pub fn is_allowed(spec: &TaskSpec, node: &Node) -> bool {
    let (description, labels) = (&node.description, node.labels().into());
    let (name, os, arch) = (&description.name, &description.os, &description.arch);
    let attributes = NodeAttributes { name, os, arch, labels: &labels };
    spec.constraints.iter().all(|constraint| constraint.is_satisfied_by(attributes))
}

/// Whether an attempt in this state takes up room on its node.
#[must_use]
pub fn holds_room(state: TaskState) -> bool {
    !state.is_terminal() && state != TaskState::Pending
}
