//! The nodes as the scheduler is told of them for one question. Pure.

use std::slice;
use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::node::{NodeState, NodeStats};
use davit_core::placement::{NodeView, PlacedTask};
use davit_core::task::Task;
use jiff::Timestamp;

use crate::state::{ClusterState, LeftOut, is_movable};

/// Of how many tasks the scheduler is told in one question. In a larger cluster the fullest nodes keep some to themselves.
const MAX_TOLD_TASKS: usize = 200_000;

/// All nodes by name; as if a task were not there, neither with its attempt nor with room that is kept for it.
pub(crate) fn node_views(
    state: &ClusterState,
    stats: impl Fn(NodeId) -> Option<NodeStats>,
    without: Option<&Arc<Task>>,
) -> Vec<NodeView> {
    let view = |node: &Arc<davit_core::node::Node>| {
        let is_there = |task: &&Arc<Task>| task.status.node_id == Some(node.node_id) && task.status.state.is_on_node();
        let left_out = LeftOut {
            claim_of: without.map(|task| task.task_id),
            tasks: without.filter(is_there).map_or(&[], slice::from_ref),
        };
        state.node_view_without(node, stats(node.node_id), left_out)
    };
    state.nodes().map(view).collect()
}

/// Tells of every node which of its tasks may be stopped for one of a priority.
pub(crate) fn fill_preemptible(state: &ClusterState, nodes: &mut [NodeView], priority: i32, now: Timestamp) {
    let max = fair_share(nodes.iter().map(|node| state.usage(node.node_id).tasks.len()), MAX_TOLD_TASKS);
    for node in nodes {
        node.tasks = state.placed_tasks(node.node_id, Some(priority), max, now);
    }
}

/// Tells of every node which of its tasks may be moved; of very many those whose move disturbs least. Those that name no
/// algorithm were placed by the default.
///
/// Not moved are tasks that are being stopped or restarted, those that have room kept on another node already, and those of
/// nodes that are not in touch. What they hold stays counted on their node.
pub(crate) fn fill_movable(state: &ClusterState, nodes: &mut [NodeView], default_algorithm: &str, now: Timestamp) {
    let movable_on = |node: &NodeView| -> Vec<&Arc<Task>> {
        match node.state {
            NodeState::Ready => state.tasks_on(node.node_id).filter(|task| is_movable(task)).collect(),
            NodeState::Suspect | NodeState::Down => Vec::new(),
        }
    };
    let mut movable: Vec<_> = nodes.iter().map(movable_on).collect();
    let max_per_node = fair_share(movable.iter().map(Vec::len), MAX_TOLD_TASKS);
    for (node, tasks) in nodes.iter_mut().zip(&mut movable) {
        tasks.sort_by_cached_key(|task| (task.spec.placement.priority, running_secs(task, now), task.task_id));
        tasks.truncate(max_per_node);
        node.tasks = tasks.iter().map(|task| placed_task(state, task, default_algorithm, now)).collect();
    }
}

/// The other node has to have what the task asks for: it gives it ports of its own.
fn placed_task(state: &ClusterState, task: &Task, default_algorithm: &str, now: Timestamp) -> PlacedTask {
    let policy = &task.spec.placement;
    let algorithm = if policy.algorithm.is_empty() { default_algorithm } else { &policy.algorithm };
    PlacedTask {
        task_id: task.task_id,
        requirements: state.placement_requirements_of(task),
        priority: policy.priority,
        running_secs: running_secs(task, now),
        is_ending: false,
        algorithm: algorithm.to_owned(),
        affinities: policy.affinities.clone(),
    }
}

/// Its start is by the node's clock, which may be ahead.
fn running_secs(task: &Task, now: Timestamp) -> u64 {
    let ran_for = task.status.started_at.map(|since| now.duration_since(since).as_secs());
    ran_for.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
}

/// The greatest number such that all together have at most `total` when none may have more than it.
fn fair_share(counts: impl Iterator<Item = usize>, total: usize) -> usize {
    let mut counts: Vec<usize> = counts.collect();
    counts.sort_unstable();
    let mut left = total;
    for (at, count) in counts.iter().enumerate() {
        let share = left / (counts.len() - at);
        if *count > share {
            return share;
        }
        left -= count;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_clusters_are_told_whole_and_of_large_ones_the_fullest_nodes_are_cut() {
        let share = |counts: &[usize], total| fair_share(counts.iter().copied(), total);
        assert_eq!(share(&[], 10), usize::MAX);
        assert_eq!(share(&[1, 2, 3], 6), usize::MAX);
        assert_eq!(share(&[10, 1, 1], 6), 4);
        assert_eq!(share(&[5, 5, 5], 6), 2);
        assert_eq!(share(&[5, 5, 5], 2), 0);
    }
}
