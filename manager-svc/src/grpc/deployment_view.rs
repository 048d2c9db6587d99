//! Deployments as users see them: with counts of their tasks, and what is wrong with these.

use std::collections::BTreeMap;

use davit_core::deployment::Deployment;
use davit_core::id::NodeId;
use davit_proto::{convert, v1};

use crate::reconcile::{desired_tasks, trouble_of};
use crate::state::{ClusterState, is_ready};

/// How many nodes are told of.
const MAX_NODES: usize = 100;

/// A deployment with counts; `newest_only` leaves its earlier versions out.
pub(super) fn show(state: &ClusterState, deployment: &Deployment, newest_only: bool) -> v1::Deployment {
    let replicas = state.replicas(deployment.deployment_id);
    let desired = desired_tasks(state, deployment);
    let updated = deployment.current().map_or(0, |version| replicas.holding_with(&version.spec.task));
    let counts = convert::DeploymentCounts {
        desired,
        updated,
        outdated: replicas.holding().saturating_sub(updated),
        ready: replicas.ready(),
        stopping: replicas.stopping(),
        completed: replicas.completed(),
    };
    let trouble = trouble_of(state, deployment, desired);
    convert::deployment_to_proto(deployment, convert::DeploymentView { counts: Some(counts), trouble, newest_only })
}

/// The tasks of a deployment by node, nodes with most of them first.
pub(super) fn by_node(state: &ClusterState, deployment: &Deployment) -> Vec<v1::RolloutNode> {
    let newest = deployment.current().map(|version| &version.spec.task);
    let mut nodes: BTreeMap<Option<NodeId>, v1::RolloutNode> = BTreeMap::new();
    for (_, task) in state.tasks_of(deployment.deployment_id).filter(|(_, task)| task.holds_slot()) {
        let node_id = task.status.node_id.filter(|_| !task.is_finished());
        let node = nodes.entry(node_id).or_default();
        if newest.is_some_and(|newest| !newest.must_replace(&task.spec)) {
            node.updated += 1;
            node.updated_ready += u32::from(is_ready(task));
        } else {
            node.outdated += 1;
        }
    }
    let named = |(node_id, node): (Option<NodeId>, v1::RolloutNode)| {
        let name = node_id.map(|node_id| match state.node(node_id) {
            Some(known) => known.description.name.clone(),
            None => node_id.to_string(),
        });
        v1::RolloutNode { node: name.unwrap_or_default(), ..node }
    };
    let mut nodes: Vec<v1::RolloutNode> = nodes.into_iter().map(named).collect();
    nodes.sort_by_key(|node| (std::cmp::Reverse(node.updated + node.outdated), node.node.clone()));
    nodes.truncate(MAX_NODES);
    // In an order that stays as the rollout gets on.
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    nodes
}
