//! The cluster as the manager's disk tells it: every committed version of every task and node, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::{AttemptKey, NodeId, TaskId};
use davit_core::node::{Node, NodeState};
use davit_core::resources::Resources;
use davit_core::restart::RestartMode;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, Task};
use manager_svc::state::{Batch, Versions};

/// Tasks and nodes at one moment.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Tasks that are there.
    pub tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Nodes that are there.
    pub nodes: BTreeMap<NodeId, Arc<Node>>,
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
            Versions::Task { .. } | Versions::Node { .. } | Versions::Deployment { .. } => {}
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

    /// What is left of a node.
    #[must_use]
    pub fn free_on(&self, node: &Node) -> Resources {
        let used = self.placed_on(node.node_id);
        used.fold(node.description.allocatable, |free, task| free.saturating_sub(task.spec.resources.reservation))
    }

    /// Whether a task waits although some node has room for it.
    #[must_use]
    pub fn waits_in_vain(&self, task: &Task) -> bool {
        let wanted = task.spec.resources.reservation;
        self.nodes.values().any(|node| {
            let free = self.free_on(node);
            node.state == NodeState::Ready
                && !node.cordoned
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
                // What ends by itself is waited for.
                TaskState::Running => task.spec.restart.mode == RestartMode::Always,
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

/// Whether an attempt in this state takes up room on its node.
#[must_use]
pub fn holds_room(state: TaskState) -> bool {
    !state.is_terminal() && state != TaskState::Pending
}
