//! What is kept on one node is placed nowhere else: named volumes at their home, groups where the rest of them stays. Part of promise 5.

use std::sync::Arc;

use davit_core::node::NodeState;
use davit_core::state::TaskState;
use davit_core::task::Task;
use manager_svc::state::{Batch, Versions};

use super::Violations;
use crate::model::Model;

/// 5: a task is placed where its volumes are, and where its group is.
pub(super) fn what_is_kept_is_placed_at_home(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut model = Model::default();
    for batch in journal {
        for change in &batch.changes {
            model.apply_change(&change.versions);
            if let Versions::Task { before: Some(before), after: Some(after) } = &change.versions
                && before.status.state == TaskState::Pending
                && after.status.state == TaskState::Scheduled
                && after.pinned_to().is_none()
            {
                let revision = change.event.revision;
                for problem in split(&model, after) {
                    violations.add(5, format!("{} was placed at revision {revision}: {problem}", after.key()));
                }
            }
        }
        model.apply_volumes(batch);
        for change in batch.changes.iter() {
            let Versions::Task { after: Some(task), .. } = &change.versions else { continue };
            let (is_placed, node_id) = (task.status.state == TaskState::Scheduled, task.status.node_id);
            for name in task.spec.volumes().filter(|_| is_placed && task.pinned_to().is_none()) {
                // Forgotten in the same batch with its node, at most.
                let home = model.volumes.get(name).copied();
                if home.is_some() && home != node_id {
                    violations.add(5, format!("{} is on {node_id:?}, and volume {name} on {home:?}", task.key()));
                }
            }
        }
    }
}

/// Tasks of its group that stay on other nodes, while none is on its own: what a lost node had split may come back to either part.
/// Where one of its volumes is goes before that: data does not move.
fn split(model: &Model, task: &Task) -> Vec<String> {
    let Some(group) = task.spec.placement.colocation.as_ref().map(|one| &one.group) else { return Vec::new() };
    if task.spec.volumes().any(|name| model.volumes.contains_key(name)) {
        return Vec::new();
    }
    let is_member = |other: &&Arc<Task>| {
        other.task_id != task.task_id
            && other.spec.placement.colocation.as_ref().is_some_and(|one| one.group == *group)
            && other.status.state.is_on_node()
    };
    let stays = |other: &&Arc<Task>| {
        let node = other.status.node_id.and_then(|node_id| model.nodes.get(&node_id));
        node.is_some_and(|node| node.state != NodeState::Down && node.drain.is_none())
    };
    let (here, elsewhere): (Vec<_>, Vec<_>) = model
        .tasks
        .values()
        .filter(is_member)
        .filter(stays)
        .partition(|other| other.status.node_id == task.status.node_id);
    let told = |other: &Arc<Task>| format!("group {group} has {} on {:?}", other.key(), other.status.node_id);
    elsewhere.into_iter().filter(|_| here.is_empty()).map(told).collect()
}
