//! The cluster as the manager knows it: one value, cheap to clone, that readers look at while the writer makes the next.
//!
//! All maps are persistent (they share structure between versions), so a reader's snapshot costs nothing and a batch that
//! could not be committed is undone by forgetting it. Only [`Draft`] changes a state.

mod draft;
mod event;
mod requests;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;

use davit_core::id::{NodeId, Revision, TaskId};
use davit_core::node::{Node, NodeStats};
use davit_core::placement::NodeView;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;

use crate::store::Snapshot;

pub use self::draft::{Batch, Change, Draft, Versions};
pub use self::event::{Compacted, Event, EventLog, EventType, Object};
pub use self::requests::{KEPT_REQUESTS, RequestLog, RequestRecord};
pub use self::usage::NodeUsage;

/// How many events are kept unless the configuration says otherwise.
pub const DEFAULT_KEPT_EVENTS: usize = 100_000;

/// The cluster at one revision.
#[derive(Debug, Clone)]
pub struct ClusterState {
    revision: Revision,
    tasks: OrdMap<TaskId, Arc<Task>>,
    nodes: OrdMap<NodeId, Arc<Node>>,
    node_names: OrdMap<String, NodeId>,
    usage: OrdMap<NodeId, Arc<NodeUsage>>,
    /// Tasks that wait for a node, by the time from which they may have one.
    pending: OrdSet<(Timestamp, TaskId)>,
    /// Tasks that have ended, by the time of their last change.
    finished: OrdSet<(Timestamp, TaskId)>,
    counts: [u64; TaskState::ALL.len()],
    events: EventLog,
    requests: RequestLog,
}

impl ClusterState {
    /// The empty cluster, whose log keeps at most `kept_events`.
    #[must_use]
    pub fn new(kept_events: usize) -> Self {
        Self {
            revision: Revision::default(),
            tasks: OrdMap::new(),
            nodes: OrdMap::new(),
            node_names: OrdMap::new(),
            usage: OrdMap::new(),
            pending: OrdSet::new(),
            finished: OrdSet::new(),
            counts: [0; TaskState::ALL.len()],
            events: EventLog::new(kept_events, Revision::default()),
            requests: RequestLog::default(),
        }
    }

    /// The cluster that a store holds; indexes are made anew.
    #[must_use]
    pub fn from_snapshot(snapshot: Snapshot, kept_events: usize) -> Self {
        let mut state = Self::new(kept_events);
        state.revision = snapshot.revision;
        for node in snapshot.nodes {
            state.node_names.insert(node.description.name.clone(), node.node_id);
            state.nodes.insert(node.node_id, node);
        }
        for task in snapshot.tasks {
            state.reindex(None, Some(&task));
            state.tasks.insert(task.task_id, task);
        }
        let before_events =
            snapshot.events.first().map_or(snapshot.revision.0, |first| first.revision.0.saturating_sub(1));
        state.events = EventLog::new(kept_events, Revision(before_events));
        for event in snapshot.events {
            state.events.push(event);
        }
        for request in snapshot.requests {
            state.requests.push(request);
        }
        state
    }

    /// The revision of this version.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One task.
    #[must_use]
    pub fn task(&self, task_id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&task_id)
    }

    /// All tasks, oldest first.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// Tasks created after one of them, oldest first.
    pub fn tasks_after(&self, task_id: Option<TaskId>) -> impl Iterator<Item = &Arc<Task>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = task_id.map_or(Unbounded, Excluded);
        self.tasks.range((start, Unbounded)).map(|(_, task)| task)
    }

    /// How many tasks are in a state.
    #[must_use]
    pub fn task_count(&self, state: TaskState) -> u64 {
        TaskState::ALL.iter().position(|known| *known == state).map_or(0, |index| self.counts[index])
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node_id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&node_id)
    }

    /// The node of this name.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.node_names.get(name).and_then(|node_id| self.nodes.get(node_id))
    }

    /// The node of this id or name.
    #[must_use]
    pub fn find_node(&self, id_or_name: &str) -> Option<&Arc<Node>> {
        let by_id = id_or_name.parse().ok().and_then(|node_id| self.node(node_id));
        by_id.or_else(|| self.node_by_name(id_or_name))
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.node_names.values().filter_map(|node_id| self.nodes.get(node_id))
    }

    /// Nodes after a name, by name.
    pub fn nodes_after(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<Node>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = name.map_or(Unbounded, |name| Excluded(name.to_owned()));
        self.node_names.range((start, Unbounded)).filter_map(|(_, node_id)| self.nodes.get(node_id))
    }

    /// What is set aside on a node.
    #[must_use]
    pub fn usage(&self, node_id: NodeId) -> Arc<NodeUsage> {
        self.usage.get(&node_id).cloned().unwrap_or_default()
    }

    /// Tasks whose current attempt is on a node and has not ended.
    pub fn tasks_on(&self, node_id: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.usage
            .get(&node_id)
            .into_iter()
            .flat_map(|usage| usage.tasks.iter())
            .filter_map(|task_id| self.tasks.get(task_id))
    }

    /// Tasks that may be given a node now, longest waiting first.
    pub fn placeable(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Task>> {
        self.pending.iter().take_while(move |(due, _)| *due <= now).filter_map(|(_, task_id)| self.tasks.get(task_id))
    }

    /// When the next task may be given a node that may not have one yet.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let after = (now, TaskId(uuid::Uuid::max()));
        self.pending.get_next(&after).map(|(due, _)| *due).filter(|due| *due > now)
    }

    /// Tasks that ended, longest ago first, with the time of their end.
    pub fn finished(&self) -> impl DoubleEndedIterator<Item = &(Timestamp, TaskId)> {
        self.finished.iter()
    }

    /// How many tasks have ended.
    #[must_use]
    pub fn finished_count(&self) -> usize {
        self.finished.len()
    }

    /// The last events.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// The last creates that had a request id.
    #[must_use]
    pub fn requests(&self) -> &RequestLog {
        &self.requests
    }

    /// What placement needs to know of a node.
    #[must_use]
    pub fn node_view(&self, node: &Node, stats: Option<NodeStats>) -> NodeView {
        let usage = self.usage(node.node_id);
        NodeView {
            node_id: node.node_id,
            name: node.description.name.clone(),
            os: node.description.os.clone(),
            arch: node.description.arch.clone(),
            labels: node.labels(),
            state: node.state,
            cordoned: node.cordoned,
            runtimes: node.description.runtimes.clone(),
            allocatable: node.description.allocatable,
            reserved: usage.reserved,
            host_ports: usage.host_ports.clone(),
            port_range: node.description.port_range,
            promised_ports: 0,
            task_count: usage.task_count(),
            marks: std::collections::BTreeMap::new(),
            refused: std::collections::BTreeMap::new(),
            stats,
            tasks: Vec::new(),
        }
    }
}

impl ClusterState {
    /// Brings every index from one version of a task to the next.
    fn reindex(&mut self, before: Option<&Task>, after: Option<&Task>) {
        if let Some(task) = before {
            if let Some(key) = pending_key(task) {
                self.pending.remove(&key);
            }
            if let Some(key) = finished_key(task) {
                self.finished.remove(&key);
            }
            if let Some(count) = self.count_of(task) {
                *count = count.saturating_sub(1);
            }
        }
        if let Some(task) = after {
            if let Some(key) = pending_key(task) {
                self.pending.insert(key);
            }
            if let Some(key) = finished_key(task) {
                self.finished.insert(key);
            }
            if let Some(count) = self.count_of(task) {
                *count += 1;
            }
        }
        let (held_before, held_after) = (before.and_then(holder), after.and_then(holder));
        if held_before == held_after {
            return;
        }
        if let (Some(node_id), Some(task)) = (held_before, before) {
            let usage = self.usage.entry(node_id).or_default();
            Arc::make_mut(usage).remove(task.task_id, &task.spec.requirements());
        }
        if let (Some(node_id), Some(task)) = (held_after, after) {
            let usage = self.usage.entry(node_id).or_default();
            Arc::make_mut(usage).add(task.task_id, &task.spec.requirements());
        }
    }

    fn count_of(&mut self, task: &Task) -> Option<&mut u64> {
        let index = TaskState::ALL.iter().position(|state| *state == task.status.state)?;
        self.counts.get_mut(index)
    }
}

/// The node whose resources the task's current attempt holds.
fn holder(task: &Task) -> Option<NodeId> {
    task.status.node_id.filter(|_| task.status.state.is_on_node())
}

/// Where a task belongs in the index of waiting tasks; `None` if it does not wait for a node.
fn pending_key(task: &Task) -> Option<(Timestamp, TaskId)> {
    let waits = task.status.state == TaskState::Pending && task.desired_state == DesiredState::Running;
    waits.then(|| (task.next_attempt_at.unwrap_or(Timestamp::UNIX_EPOCH), task.task_id))
}

/// Where a task belongs in the index of ended tasks; `None` if it has not ended.
fn finished_key(task: &Task) -> Option<(Timestamp, TaskId)> {
    task.is_finished().then_some((task.updated_at, task.task_id))
}
