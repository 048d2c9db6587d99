//! What is due follows from tasks and nodes.

use super::*;
use crate::state::{LossWait, is_movable};

/// What a look at every task on every node finds.
pub(super) fn what_is_due_follows_from_tasks_and_nodes(state: &ClusterState) -> Result<(), TestCaseError> {
    let held = |node: &Node| {
        let of_node = state.tasks.values().filter(|task| task.status.node_id == Some(node.node_id));
        of_node.filter(|task| task.status.state.is_on_node()).collect::<Vec<_>>()
    };
    let down = || state.nodes.values().filter(|node| node.state == NodeState::Down);
    let start = state.nodes.values().map(|node| node.state_since).min().unwrap_or_default();
    for seconds in [0, 30, 59, 60, 61, 1_000, 100_000] {
        let now = start + Duration::from_secs(seconds);
        let loses = |node: &&Arc<Node>| {
            held(node).into_iter().any(|task| match loss_wait(task) {
                None => true,
                Some(LossWait::SinceDown(wait)) => now.duration_since(node.state_since) >= wait.try_into().unwrap(),
                Some(LossWait::AfterLease(_)) => false,
            })
        };
        let losing: BTreeSet<NodeId> = down().filter(loses).map(|node| node.node_id).collect();
        prop_assert_eq!(state.nodes_losing_by(now).collect::<BTreeSet<_>>(), losing.clone());
        prop_assert_eq!(state.next_loss().is_some_and(|at| at <= now), !losing.is_empty());

        let mut unbegun = BTreeSet::new();
        for node in state.nodes.values().filter(|node| node.state == NodeState::Ready) {
            for task in held(node).into_iter().filter(|task| is_movable(task)) {
                let problem = node.runtime_problems.get(&task.spec.runtime.kind());
                let waits = matches!(task.status.state, TaskState::Scheduled | TaskState::Preparing);
                if waits && problem.is_some_and(|problem| problem.since <= now) {
                    unbegun.insert((node.node_id, task.task_id));
                }
            }
        }
        let found = state.unbegun_since(now).map(|(node, task)| (node.node_id, task.task_id));
        prop_assert_eq!(found.collect::<BTreeSet<_>>(), unbegun.clone());
        prop_assert_eq!(state.first_unbegun().is_some_and(|since| since <= now), !unbegun.is_empty());
    }
    let after_lease = |node: &Arc<Node>| {
        let waits = held(node).into_iter().filter_map(|task| match loss_wait(task) {
            Some(LossWait::AfterLease(wait)) => Some((wait, node.node_id)),
            _ => None,
        });
        waits.min()
    };
    let leased: BTreeSet<(Duration, NodeId)> = down().filter_map(after_lease).collect();
    prop_assert_eq!(state.leased_down_nodes().iter().copied().collect::<BTreeSet<_>>(), leased);
    Ok(())
}
