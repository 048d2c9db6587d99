//! What has to be done because time passed.

use std::sync::Arc;
use std::time::Duration;

use davit_core::node::{Node, NodeState};
use davit_core::spec::OnNodeLoss;
use davit_core::task::{DesiredState, Task};
use jiff::Timestamp;

use super::reports::lose_attempts;
use crate::state::{ClusterState, Draft};

/// Ends attempts on nodes that are DOWN, each when its spec's node-loss policy says so.
pub fn lose_tasks_of_down_nodes(draft: &mut Draft) {
    let now = draft.now();
    let lost: Vec<(Arc<Node>, Vec<Arc<Task>>)> = draft
        .state()
        .nodes()
        .filter(|node| node.state == NodeState::Down)
        .map(|node| (Arc::clone(node), overdue(draft.state(), node, now)))
        .collect();
    for (node, tasks) in lost {
        let reason = format!("node {} went down: {}", node.description.name, node.state_reason);
        lose_attempts(draft, &tasks, &reason);
    }
}

fn overdue(state: &ClusterState, node: &Node, now: Timestamp) -> Vec<Arc<Task>> {
    let overdue = |task: &&Arc<Task>| match task.spec.on_node_loss {
        // Nobody waits for a task that was to stop anyway.
        _ if task.desired_state != DesiredState::Running => true,
        OnNodeLoss::Replace => true,
        OnNodeLoss::Wait(wait) => elapsed(node.state_since, now) >= wait,
    };
    state.tasks_on(node.node_id).filter(overdue).cloned().collect()
}

/// Deletes ended tasks that are older than `max_age`, and the oldest of those beyond `max_count`; at most `limit` of them,
/// so that no batch grows without bound.
pub fn remove_finished(draft: &mut Draft, max_count: usize, max_age: Duration, limit: usize) {
    let now = draft.now();
    let excess = draft.state().finished_count().saturating_sub(max_count);
    let expired: Vec<_> = draft
        .state()
        .finished()
        .enumerate()
        .take_while(|(index, (ended_at, _))| *index < excess || elapsed(*ended_at, now) >= max_age)
        .take(limit)
        .map(|(_, (_, task_id))| *task_id)
        .collect();
    for task_id in expired {
        draft.remove_task(task_id, "deleted: it ended long ago");
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
