//! Which attempts that a worker sees of other nodes nobody looks after any more.

use davit_core::node::NodeState;
use davit_core::task::Task;
use davit_proto::convert::ForeignAttempt;

use crate::state::ClusterState;

/// Why nobody looks after an attempt any more that lies on an engine under another node's name; `None`: its own worker does, or
/// will when it is back.
#[must_use]
pub fn why_abandoned(state: &ClusterState, found: &ForeignAttempt) -> Option<&'static str> {
    let Some(node) = state.node(found.node_id) else { return Some("its node was removed or replaced") };
    // What has ended stays for its worker, which knows when it is kept no longer.
    if node.state != NodeState::Down || !found.running {
        return None;
    }
    let Some(task) = state.task(found.key.task_id) else { return Some("its node is down and its task is deleted") };
    let current = task.status.attempt;
    if found.key.attempt < current {
        Some("its node is down and a later attempt has taken its place")
    } else if found.key.attempt == current && !is_on(task, found) {
        Some("its node is down and the attempt is over")
    } else {
        // Its task waits for the node, or for the lease to end; or the worker knows of it before this manager does.
        None
    }
}

fn is_on(task: &Task, found: &ForeignAttempt) -> bool {
    task.status.state.is_on_node() && task.status.node_id == Some(found.node_id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use davit_core::id::{Attempt, AttemptKey, NodeId};
    use davit_core::restart::RestartMode;
    use davit_core::spec::{OnNodeLoss, TaskSpec};
    use proptest::prelude::*;

    use super::*;
    use crate::commands::test_support::{Cluster, node_id, restarting, spec};
    use crate::commands::{remove_node, set_node_state};

    fn found(node_id: NodeId, key: AttemptKey) -> ForeignAttempt {
        ForeignAttempt { node_id, key, running: true }
    }

    /// Two nodes, and a task that runs on the first.
    fn running(spec: TaskSpec) -> (Cluster, ForeignAttempt) {
        let mut cluster = Cluster::new(2);
        let task_id = cluster.running(spec, 1);
        (cluster, found(node_id(1), AttemptKey { task_id, attempt: Attempt::FIRST }))
    }

    fn go_down(cluster: &mut Cluster) {
        cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Down, "test"));
    }

    #[test]
    fn a_node_in_touch_looks_after_its_own_whatever_became_of_it() {
        let (mut cluster, attempt) = running(spec());
        assert_eq!(why_abandoned(&cluster.state, &attempt), None);
        let unknown = ForeignAttempt { key: AttemptKey { attempt: Attempt(7), ..attempt.key }, ..attempt };
        assert_eq!(why_abandoned(&cluster.state, &unknown), None);
        cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Suspect, "test"));
        assert_eq!(why_abandoned(&cluster.state, &attempt), None);
    }

    #[test]
    fn nobody_looks_after_what_a_removed_node_left_also_when_it_has_ended() {
        let (mut cluster, attempt) = running(spec());
        cluster.run(|draft| remove_node(draft, &node_id(1).to_string(), true)).unwrap();
        assert!(why_abandoned(&cluster.state, &attempt).is_some());
        assert!(why_abandoned(&cluster.state, &ForeignAttempt { running: false, ..attempt }).is_some());
    }

    #[test]
    fn what_waits_for_its_node_or_lease_is_left_alone() {
        for on_node_loss in [OnNodeLoss::Wait(Duration::from_secs(600)), OnNodeLoss::StopAndReplace] {
            let (mut cluster, attempt) = running(TaskSpec { on_node_loss, ..spec() });
            go_down(&mut cluster);
            cluster.lose_tasks_after(Duration::from_secs(4));
            assert_eq!(why_abandoned(&cluster.state, &attempt), None, "{on_node_loss:?}");
        }
    }

    #[test]
    fn what_was_replaced_is_abandoned_while_it_runs() {
        for spec in [spec(), restarting(RestartMode::Always)] {
            let (mut cluster, attempt) = running(spec);
            go_down(&mut cluster);
            assert_eq!(why_abandoned(&cluster.state, &attempt), None, "its task is not lost yet");
            cluster.lose_tasks_of_down_nodes();
            assert!(why_abandoned(&cluster.state, &attempt).is_some());
            assert_eq!(why_abandoned(&cluster.state, &ForeignAttempt { running: false, ..attempt }), None);
            let later = AttemptKey { attempt: Attempt(9), ..attempt.key };
            assert_eq!(why_abandoned(&cluster.state, &ForeignAttempt { key: later, ..attempt }), None, "it wins");
        }
    }

    proptest! {
        /// Whatever is found: a current attempt on a node that is known is never given up.
        #[test]
        fn a_current_attempt_is_never_abandoned(node in 1u64..4, attempt in 1u32..4, is_running: bool, down: bool) {
            let (mut cluster, on_first) = running(spec());
            if down {
                go_down(&mut cluster);
            }
            let key = AttemptKey { attempt: Attempt(attempt), ..on_first.key };
            let found = ForeignAttempt { node_id: node_id(node), key, running: is_running };
            let abandoned = why_abandoned(&cluster.state, &found).is_some();
            prop_assert!(!abandoned || cluster.state.node(found.node_id).is_none_or(|node| node.state == NodeState::Down));
            prop_assert!(!(abandoned && node == 1 && attempt == 1), "its task counts on it");
        }
    }
}
