//! What the scheduler knows of the nodes, as far as it was told or has placed tasks itself. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::node::{Node, NodeStats};
use davit_core::placement::{NodeView, PlacedTask, Requirements};
use jiff::{SignedDuration, Timestamp};

use crate::commands::Placement;
use crate::state::{ClusterState, NodeUsage};

/// How many tasks of a node the scheduler is told of where some may be preempted.
const MAX_TASKS_PER_NODE: usize = 64;
/// For how long it is told of tasks how old they were at one moment. So those on different nodes can be compared, whenever
/// each node was told, and nodes need not be told anew only because time passed.
const AGES_HOLD_FOR: SignedDuration = SignedDuration::from_secs(10);

/// What the scheduler knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    nodes: BTreeMap<NodeId, Entry>,
    /// Tasks of a lower priority than this are told of.
    tasks_below: Option<i32>,
    /// For what the entries were made.
    made_for: (u64, Option<i32>),
    /// At which moment tasks are as old as is told of them.
    ages_at: Timestamp,
}

/// One node as the scheduler knows it, and what that was made of: as long as it is the same, so is the view.
#[derive(Debug)]
struct Entry {
    node: Arc<Node>,
    usage: Option<Arc<NodeUsage>>,
    view: NodeView,
    /// The scheduler placed something on it, or keeps room there; whether that became true has to be looked at.
    is_uncertain: bool,
    /// The scheduler changed what it knows of the node in a way that `view` does not tell.
    is_blurred: bool,
}

/// What the scheduler has to be told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Delta {
    pub(super) upserted: Vec<NodeView>,
    pub(super) removed: Vec<NodeId>,
    /// Whether more than measurements and ages changed, so that what did not fit before may fit now.
    pub(super) is_substantial: bool,
}

impl Known {
    /// Tasks wait that may preempt others of lower priority than this. What was told of before stays told.
    pub(super) fn tell_tasks_below(&mut self, priority: Option<i32>) {
        self.tasks_below = self.tasks_below.max(priority);
    }

    /// As [`Self::tell_tasks_below`]; what is no longer needed is no longer told.
    pub(super) fn tell_only_tasks_below(&mut self, priority: Option<i32>) {
        self.tasks_below = priority;
    }

    /// What differs between what the scheduler knows and what is; from now on it counts as told.
    pub(super) fn update(
        &mut self,
        state: &ClusterState,
        stats_of: impl Fn(NodeId) -> Option<NodeStats>,
        now: Timestamp,
    ) -> Delta {
        let made_for = (state.marks_epoch(), self.tasks_below);
        let all_anew = std::mem::replace(&mut self.made_for, made_for) != made_for;
        let ages_anew = all_anew || now.duration_since(self.ages_at).abs() >= AGES_HOLD_FOR;
        if ages_anew {
            self.ages_at = now;
        }
        let mut delta = Delta::default();
        let mut count = 0;
        for node in state.nodes() {
            count += 1;
            let (usage, stats) = (state.shared_usage(node.node_id), stats_of(node.node_id));
            let known = self.nodes.get_mut(&node.node_id);
            let holds = |entry: &&mut Entry| {
                let outdated = all_anew || ages_anew && !entry.view.tasks.is_empty();
                !outdated && entry.is_of(node, usage)
            };
            if let Some(entry) = known.filter(holds) {
                if entry.view.stats != stats {
                    entry.view.stats = stats;
                    delta.upserted.push(entry.view.clone());
                }
                continue;
            }
            let mut view = state.node_view(node, stats);
            if let Some(below) = self.tasks_below {
                view.tasks = state.placed_tasks(node.node_id, Some(below), MAX_TASKS_PER_NODE, self.ages_at);
            }
            let (is_uncertain, is_blurred) = (false, false);
            let entry = Entry { node: Arc::clone(node), usage: usage.cloned(), view, is_uncertain, is_blurred };
            let told = self.nodes.insert(node.node_id, entry);
            let Some(Entry { view, .. }) = self.nodes.get(&node.node_id) else { continue };
            let was_blurred = told.as_ref().is_some_and(|told| told.is_blurred);
            let (differs, is_substantial) = difference(told.map(|told| told.view), view);
            delta.is_substantial |= is_substantial;
            if differs || was_blurred {
                delta.upserted.push(view.clone());
            }
        }
        if self.nodes.len() > count {
            delta.is_substantial = true;
            delta.removed = self.nodes.keys().filter(|node_id| state.node(**node_id).is_none()).copied().collect();
            self.nodes.retain(|node_id, _| state.node(*node_id).is_some());
        }
        delta
    }

    /// The scheduler keeps room on a node, which may not have become true. It is told of the node in any case.
    pub(super) fn claimed(&mut self, node_id: NodeId) {
        if let Some(entry) = self.nodes.get_mut(&node_id) {
            (entry.is_uncertain, entry.is_blurred) = (true, true);
        }
    }

    /// The scheduler reserved what it placed: what was made of its answer, which is never more than was asked for.
    pub(super) fn placed<'a>(
        &mut self,
        requirements: &Requirements,
        placements: impl IntoIterator<Item = &'a Placement>,
    ) {
        for placement in placements {
            if let Some(entry) = self.nodes.get_mut(&placement.node_id) {
                entry.view.reserve(requirements);
                entry.is_uncertain = true;
            }
        }
    }
}

impl Entry {
    fn is_of(&self, node: &Arc<Node>, usage: Option<&Arc<NodeUsage>>) -> bool {
        let same_usage = match (&self.usage, usage) {
            (Some(known), Some(usage)) => Arc::ptr_eq(known, usage),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        !self.is_uncertain && same_usage && Arc::ptr_eq(&self.node, node)
    }
}

/// Whether a node is not what was told of it, and whether more than its measurement and the ages of its tasks differ.
fn difference(told: Option<NodeView>, view: &NodeView) -> (bool, bool) {
    let Some(mut told) = told else { return (true, true) };
    if told == *view {
        return (false, false);
    }
    told.stats = view.stats;
    if ageless(&told.tasks) == ageless(&view.tasks) {
        told.tasks.clone_from(&view.tasks);
    }
    (true, told != *view)
}

/// Tasks without their ages, nor the order that follows from these.
fn ageless(tasks: &[PlacedTask]) -> BTreeMap<TaskId, (&Requirements, i32, bool)> {
    tasks.iter().map(|task| (task.task_id, (&task.requirements, task.priority, task.is_ending))).collect()
}

#[cfg(test)]
mod tests;
