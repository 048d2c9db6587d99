//! What goes over several tasks or nodes, each of which counts as visited.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::node::Node;
use davit_core::task::Task;
use imbl::OrdSet;
use jiff::Timestamp;
use uuid::Uuid;

use super::ClusterState;

impl ClusterState {
    /// All tasks, oldest first.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.visits.of_tasks(self.tasks.values())
    }

    /// Tasks created after one of them, oldest first.
    pub fn tasks_after(&self, task_id: Option<TaskId>) -> impl Iterator<Item = &Arc<Task>> {
        let start = task_id.map_or(Unbounded, Excluded);
        self.visits.of_tasks(self.tasks.range((start, Unbounded)).map(|(_, task)| task))
    }

    /// Tasks of which the last attempt is or was on a node, created after one of them, oldest first.
    pub fn tasks_of_node_after(&self, node_id: NodeId, after: Option<TaskId>) -> impl Iterator<Item = &Arc<Task>> {
        let start = after.map_or(Unbounded, Excluded);
        let usage = self.usage.get(&node_id).into_iter();
        let mut held = usage.flat_map(move |usage| usage.tasks.range((start, Unbounded))).peekable();
        let start = after.map_or(Included((node_id, TaskId(Uuid::nil()))), |after| Excluded((node_id, after)));
        let ended = self.ended_on.range((start, Included((node_id, TaskId(Uuid::max())))));
        let mut ended = ended.map(|(_, task_id)| task_id).peekable();
        let merged = std::iter::from_fn(move || match (held.peek(), ended.peek()) {
            (Some(held_next), Some(ended_next)) if ended_next < held_next => ended.next(),
            (Some(_), _) => held.next(),
            (None, _) => ended.next(),
        });
        self.visits.of_tasks(merged.filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Tasks whose current attempt is on a node and has not ended.
    pub fn tasks_on(&self, node_id: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        let task_ids = self.usage.get(&node_id).into_iter().flat_map(|usage| usage.tasks.iter());
        self.visits.of_tasks(task_ids.filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Tasks that ended, longest ago first, with the time of their end.
    pub fn finished(&self) -> impl Iterator<Item = &(Timestamp, TaskId)> {
        self.visits.of_tasks(self.finished.iter())
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.visits.of_nodes(self.node_names.values().filter_map(|node_id| self.nodes.get(node_id)))
    }

    /// The node whose id follows on another, or the first.
    #[must_use]
    pub fn node_after(&self, node_id: Option<NodeId>) -> Option<&Arc<Node>> {
        let start = node_id.map_or(Unbounded, Excluded);
        self.nodes.range((start, Unbounded)).next().map(|(_, node)| node)
    }

    /// Nodes that have a drain, also one that is over.
    pub fn drained_nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.visits.of_nodes(self.fleet.drained.iter().filter_map(|node_id| self.nodes.get(node_id)))
    }

    /// Which nodes are SUSPECT.
    pub(crate) fn suspect_node_ids(&self) -> &OrdSet<NodeId> {
        &self.fleet.suspect
    }

    /// Which nodes are DOWN.
    pub(crate) fn down_node_ids(&self) -> &OrdSet<NodeId> {
        &self.fleet.down
    }

    /// Nodes after a name, by name.
    pub fn nodes_after(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<Node>> {
        let start = name.map_or(Unbounded, |name| Excluded(name.to_owned()));
        let names = self.node_names.range((start, Unbounded));
        self.visits.of_nodes(names.filter_map(|(_, node_id)| self.nodes.get(node_id)))
    }
}
