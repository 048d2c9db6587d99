//! What the scheduler knows of the nodes, as far as it was told or has placed tasks itself. Pure.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::{NodeId, TaskId};
use davit_core::node::NodeStats;
use davit_core::placement::{NodeView, PlacedTask, Requirements};
use jiff::{SignedDuration, Timestamp};

use crate::commands::Placement;
use crate::state::{ClusterState, NodesSeen};

/// How many tasks of a node the scheduler is told of where some may be preempted.
const MAX_TASKS_PER_NODE: usize = 64;
/// For how long it is told of tasks how old they were at one moment. So those on different nodes can be compared, whenever
/// each node was told, and nodes need not be told anew only because time passed.
const AGES_HOLD_FOR: SignedDuration = SignedDuration::from_secs(10);

/// What the scheduler knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    views: BTreeMap<NodeId, NodeView>,
    /// What the views were made of.
    seen: NodesSeen,
    /// Nodes that may not be what the scheduler takes them for.
    doubts: BTreeMap<NodeId, Doubt>,
    /// Tasks of a lower priority than this are told of.
    tasks_below: Option<i32>,
    /// The views were made with tasks below this.
    made_with_tasks_below: Option<i32>,
    /// At which moment tasks are as old as is told of them.
    ages_at: Timestamp,
}

/// Why a node may not be what the scheduler takes it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// The scheduler placed something on it, as its view tells; whether that became true has to be looked at.
    Placed,
    /// The scheduler keeps room there, which its view does not tell: it is told in any case.
    Claimed,
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

    /// What differs between what the scheduler knows and what is; from now on it counts as told. `measured`: nodes of which other
    /// measurements may be known than at the last time. Nothing else is looked at than what changed, unless all has to be made anew.
    pub(super) fn update(
        &mut self,
        state: &ClusterState,
        measured: impl IntoIterator<Item = NodeId>,
        stats_of: impl Fn(NodeId) -> Option<NodeStats>,
        now: Timestamp,
    ) -> Delta {
        let outdated = self.outdated(state, now);
        let mut delta = Delta::default();
        for node_id in measured.into_iter().filter(|node_id| !outdated.contains(node_id)) {
            let Some(view) = self.views.get_mut(&node_id) else { continue };
            let stats = stats_of(node_id);
            if view.stats != stats {
                view.stats = stats;
                delta.upserted.push(view.clone());
            }
        }
        let doubts = std::mem::take(&mut self.doubts);
        for node_id in outdated {
            let Some(node) = state.node(node_id) else {
                delta.removed.extend(self.views.remove(&node_id).map(|view| view.node_id));
                continue;
            };
            let mut view = state.node_view(node, stats_of(node_id));
            if let Some(below) = self.tasks_below {
                view.tasks = state.placed_tasks(node_id, Some(below), MAX_TASKS_PER_NODE, self.ages_at);
            }
            let (differs, is_substantial) = difference(self.views.remove(&node_id), &view);
            delta.is_substantial |= is_substantial;
            if differs || doubts.get(&node_id) == Some(&Doubt::Claimed) {
                delta.upserted.push(view.clone());
            }
            self.views.insert(node_id, view);
        }
        delta.is_substantial |= !delta.removed.is_empty();
        delta
    }

    /// Nodes whose views have to be made anew, which from now on they are.
    fn outdated(&mut self, state: &ClusterState, now: Timestamp) -> BTreeSet<NodeId> {
        let all_anew = std::mem::replace(&mut self.made_with_tasks_below, self.tasks_below) != self.tasks_below;
        let ages_anew = all_anew || now.duration_since(self.ages_at).abs() >= AGES_HOLD_FOR;
        if ages_anew {
            self.ages_at = now;
        }
        let mut outdated = state.nodes_changed_since(&self.seen);
        self.seen = state.nodes_seen();
        outdated.extend(self.doubts.keys());
        if all_anew || ages_anew && self.tasks_below.is_some() {
            let grows_old = self.views.iter().filter(|(_, view)| all_anew || !view.tasks.is_empty());
            outdated.extend(grows_old.map(|(node_id, _)| *node_id));
            state.note_visited_nodes(self.views.len() as u64);
        }
        outdated
    }

    /// The scheduler keeps room on a node, which may not have become true.
    pub(super) fn claimed(&mut self, node_id: NodeId) {
        if self.views.contains_key(&node_id) {
            self.doubts.insert(node_id, Doubt::Claimed);
        }
    }

    /// The scheduler reserved what it placed: what was made of its answer, which is never more than was asked for.
    pub(super) fn placed<'a>(
        &mut self,
        requirements: &Requirements,
        placements: impl IntoIterator<Item = &'a Placement>,
    ) {
        for placement in placements {
            if let Some(view) = self.views.get_mut(&placement.node_id) {
                view.reserve(requirements);
                self.doubts.entry(placement.node_id).or_insert(Doubt::Placed);
            }
        }
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
