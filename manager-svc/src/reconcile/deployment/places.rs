//! The places of a deployment and the tasks in them, sorted by what they mean for its newest version.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{Deployment, DeploymentMode, Version};
use davit_core::id::{NodeId, TaskId};
use davit_core::node::{Node, NodeState};
use davit_core::placement::Filter;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Slot, Task};

use super::{DeploymentStep, TaskChanges};
use crate::state::{ClusterState, is_ready};

/// One place and what is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place<'a> {
    /// Whether there is to be a task in it.
    pub(super) wanted: bool,
    /// Whether its node is out of touch or cordoned, so that nothing can get on there.
    pub(super) is_out: bool,
    /// The task of the newest version.
    pub(super) fresh: Option<&'a Arc<Task>>,
    /// The task of an older one.
    pub(super) stale: Option<&'a Arc<Task>>,
    /// Whether a task that does not fill it any more has not ended.
    pub(super) leaving: bool,
    /// Tasks beyond these.
    excess: Vec<&'a Arc<Task>>,
}

/// All places of a deployment.
pub(super) struct Places<'a> {
    state: &'a ClusterState,
    pub(super) by_slot: BTreeMap<Slot, Place<'a>>,
}

impl<'a> Places<'a> {
    pub(super) fn of(state: &'a ClusterState, deployment: &Deployment, current: &Version) -> Self {
        let spec = &current.spec.task;
        let mut places: BTreeMap<Slot, Place<'a>> = match current.spec.mode {
            DeploymentMode::Replicated { replicas } => {
                let wanted = || Place { wanted: true, ..Place::default() };
                (1..=replicas).map(|number| (Slot::Replica(number), wanted())).collect()
            }
            DeploymentMode::Global => node_places(state, deployment, spec),
        };
        // Nodes are asked once, however many tasks they have.
        let mut allowed = BTreeMap::new();
        for (slot, task) in state.tasks_of(deployment.deployment_id) {
            let place = places.entry(slot).or_default();
            if !task.holds_slot() {
                place.leaving = true;
                continue;
            }
            let same_constraints = task.spec.constraints == spec.constraints;
            let mut is_allowed = |node_id: NodeId| {
                *allowed
                    .entry(node_id)
                    .or_insert_with(|| state.node(node_id).is_none_or(|node| allows(state, node, spec)))
            };
            let stays = same_constraints || task.status.node_id.is_none_or(&mut is_allowed);
            let is_fresh = stays && !spec.must_replace(&task.spec);
            let holder = if is_fresh { &mut place.fresh } else { &mut place.stale };
            match holder {
                Some(other) if rank(other) >= rank(task) => place.excess.push(task),
                Some(_) => place.excess.extend(holder.replace(task)),
                None => *holder = Some(task),
            }
        }
        Self { state, by_slot: places }
    }

    /// Whether a task serves, as far as its node is in touch to tell.
    pub(super) fn serves(&self, task: &Task) -> bool {
        is_ready(task) && !self.is_silent(task)
    }

    /// What the node of an attempt is called, if it has one.
    pub(super) fn node_name(&self, status: &AttemptStatus) -> Option<&'a str> {
        let node = self.state.node(status.node_id?)?;
        Some(node.description.name.as_str())
    }

    /// Whether the node of a task is out of touch: it may have ended, or may serve on.
    fn is_silent(&self, task: &Task) -> bool {
        let node = task.status.node_id.and_then(|node_id| self.state.node(node_id));
        node.is_some_and(|node| node.state != NodeState::Ready)
    }

    /// Whether it has to be looked whether some node is in touch again.
    pub(super) fn awaits_word(&self) -> bool {
        let tasks = self.by_slot.values().filter(|place| place.wanted && !place.is_out).filter_map(|place| place.fresh);
        tasks.into_iter().any(|task| is_ready(task) && self.is_silent(task))
    }

    /// How many are to have a task.
    pub(super) fn wanted(&self) -> u32 {
        u32::try_from(self.by_slot.values().filter(|place| place.wanted).count()).unwrap_or(u32::MAX)
    }

    /// What is to be done until each place has a task of the newest version, and nothing else has one.
    pub(super) fn changes(&self) -> TaskChanges {
        let mut changes = TaskChanges::default();
        for place in self.by_slot.values() {
            changes.stopped += u32::try_from(place.excess.len()).unwrap_or(u32::MAX);
            match (place.wanted, place.fresh, place.stale) {
                (true, None, None) => changes.created += 1,
                (true, None, Some(_)) => changes.replaced += 1,
                (true, Some(_), stale) => changes.stopped += u32::from(stale.is_some()),
                (false, fresh, stale) => changes.stopped += u32::from(fresh.is_some()) + u32::from(stale.is_some()),
            }
        }
        changes
    }

    /// Tasks that go sooner or later.
    pub(super) fn outgoing(&self) -> Vec<TaskId> {
        let of_place = |place: &Place<'_>| {
            let fresh = place.fresh.filter(|_| !place.wanted);
            let going = place.excess.iter().copied().chain(place.stale).chain(fresh);
            going.map(|task| task.task_id).collect::<Vec<_>>()
        };
        self.by_slot.values().flat_map(of_place).collect()
    }

    /// Nodes that are to have a task of the newest version and have none.
    pub(super) fn lacking(&self) -> Vec<NodeId> {
        let lacks = |(slot, place): (&Slot, &Place<'_>)| match slot {
            Slot::Node(node_id) if place.wanted && place.fresh.is_none() => Some(*node_id),
            Slot::Node(_) | Slot::Replica(_) => None,
        };
        self.by_slot.iter().filter_map(lacks).collect()
    }

    /// Tasks that are too many in their places go, whatever the rollout does.
    pub(super) fn excess(&self, deployment: &Deployment) -> Vec<DeploymentStep> {
        let excess = self.by_slot.values().flat_map(|place| &place.excess);
        excess.map(|task| stop(task, format!("its place in {} has another task", deployment.name))).collect()
    }

    /// What else is to be done whatever the rollout does: tasks that nobody wants go, those that can take over the newest spec do.
    pub(super) fn steps(&self, deployment: &Deployment, current: &Version) -> Vec<DeploymentStep> {
        let (mut steps, mut going) = (Vec::new(), Vec::new());
        for (slot, place) in &self.by_slot {
            if !place.wanted {
                let why = match slot {
                    Slot::Replica(_) => format!("{} has fewer replicas now", deployment.name),
                    Slot::Node(_) => format!("{} has no task on this node any more", deployment.name),
                };
                going.extend(place.fresh.into_iter().chain(place.stale).map(|task| (task, why.clone())));
                continue;
            }
            if place.fresh.is_some_and(|task| self.serves(task))
                && let Some(task) = place.stale.filter(|task| !is_ready(task))
            {
                steps.push(stop(task, format!("a newer task of {} serves in its place", deployment.name)));
            }
            if let Some(task) = place.fresh.filter(|task| !Arc::ptr_eq(&task.spec, &current.spec.task)) {
                let spec = Arc::clone(&current.spec.task);
                steps.push(DeploymentStep::TakeOver { task_id: task.task_id, spec });
            }
        }
        // What has no node yet goes first: it would take the room that the others leave.
        going.sort_by_key(|(task, _)| task.status.state != TaskState::Pending);
        steps.splice(0..0, going.into_iter().map(|(task, why)| stop(task, why)));
        steps
    }
}

fn stop(task: &Task, why: String) -> DeploymentStep {
    DeploymentStep::Stop { task_id: task.task_id, remove: false, why }
}

/// Which of two tasks of one kind stays: one that serves, else the older.
fn rank(task: &Task) -> (bool, std::cmp::Reverse<TaskId>) {
    (is_ready(task), std::cmp::Reverse(task.task_id))
}

/// Places of a deployment with a task on each node: nodes that match and are open, and those that match and have one.
fn node_places<'a>(state: &'a ClusterState, deployment: &Deployment, spec: &TaskSpec) -> BTreeMap<Slot, Place<'a>> {
    let has_task = |node_id| {
        let there = state.replicas(deployment.deployment_id);
        there.has_slot(Slot::Node(node_id))
    };
    let place = |node: &'a Arc<Node>| {
        let is_out = node.state != NodeState::Ready || node.cordoned;
        let wanted = node.drain.is_none() && (!is_out || has_task(node.node_id)) && allows(state, node, spec);
        wanted.then(|| (Slot::Node(node.node_id), Place { wanted, is_out, ..Place::default() }))
    };
    state.nodes().filter_map(place).collect()
}

/// Whether a node is one for this spec, whatever else it holds.
fn allows(state: &ClusterState, node: &Node, spec: &TaskSpec) -> bool {
    let (requirements, view) = (spec.requirements_without_marks(), state.node_view(node, None));
    [Filter::Platform, Filter::Constraint].iter().all(|filter| filter.check(&requirements, &view))
        // One that does not answer now is there all the same.
        && (Filter::Runtime.check(&requirements, &view) || node.runtime_problems.contains_key(&requirements.runtime))
}
