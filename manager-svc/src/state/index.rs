//! What follows from the tasks: who has ended, what nodes hold. Brought from one version of a task to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::placement::count_up;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use jiff::Timestamp;

use super::marks::CarriedMarks;
use super::usage::is_stopping;
use super::{ClusterState, NodeUsage};

impl ClusterState {
    /// Tasks for which room on a node is kept.
    pub fn claimants(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.visits.of_tasks(self.claims.iter().filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Brings every index from one version of a task to the next.
    pub(super) fn reindex(&mut self, before: Option<&Task>, after: Option<&Task>) {
        self.reindex_waiting(before, after);
        let (ended_before, ended_after) = (before.and_then(finished_key), after.and_then(finished_key));
        if let Some(key) = ended_before {
            self.finished.remove(&key);
        }
        if let Some(key) = ended_after {
            self.finished.insert(key);
        }
        if let Some(count) = before.and_then(|task| self.count_of(task)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = after.and_then(|task| self.count_of(task)) {
            *count += 1;
        }
        if let Some(task) = after.filter(|task| !task.is_finished())
            && before.is_none_or(Task::is_finished)
        {
            self.mentions.add(&task.spec);
        }
        self.reindex_claim(before, after);
        self.reindex_usage(before, after);
        if let Some(task) = before.filter(|task| !task.is_finished())
            && after.is_none_or(Task::is_finished)
        {
            self.mentions.remove(&task.spec);
        }
    }

    fn reindex_claim(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let (claimed_before, claimed_after) = (before.and_then(claimed), after.and_then(claimed));
        if claimed_before == claimed_after {
            return;
        }
        if let (Some(node_id), Some(task)) = (claimed_before, before) {
            self.claims.remove(&task.task_id);
            self.change_usage(node_id, |usage, _| {
                usage.claims.remove(&task.task_id);
            });
        }
        if let (Some(node_id), Some(task)) = (claimed_after, after) {
            self.claims.insert(task.task_id);
            self.change_usage(node_id, |usage, _| {
                usage.claims.insert(task.task_id);
            });
        }
    }

    fn reindex_usage(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let (held_before, held_after) = (before.and_then(holder), after.and_then(holder));
        if held_before == held_after {
            return;
        }
        if let (Some((node_id, _)), Some(task)) = (held_before, before) {
            self.change_usage(node_id, |usage, mentions| usage.remove(task, mentions));
        }
        if let (Some((node_id, _)), Some(task)) = (held_after, after) {
            self.change_usage(node_id, |usage, mentions| usage.add(task, mentions));
        }
    }

    fn change_usage(&mut self, node_id: NodeId, change: impl FnOnce(&mut NodeUsage, &super::marks::Mentions)) {
        let usage = Arc::make_mut(self.usage.entry(node_id).or_default());
        let reserved_before = usage.reserved;
        change(usage, &self.mentions);
        self.reserved = self.reserved.saturating_add(usage.reserved).saturating_sub(reserved_before);
        if usage.is_empty() {
            self.usage.remove(&node_id);
        }
    }

    /// Makes the usage of nodes count exactly the marks that are mentioned. A mark that was never mentioned before costs a
    /// look at every task on a node; that is rare.
    pub(super) fn settle_marks(&mut self) {
        let settlement = self.mentions.settle();
        if settlement.fresh.is_empty() && settlement.dropped.is_empty() {
            return;
        }
        let concerned: BTreeSet<NodeId> = {
            let mut carried = CarriedMarks::new(&settlement.fresh);
            let mut carries = |task_id: &TaskId| {
                !settlement.fresh.is_empty()
                    && self.tasks.get(task_id).is_some_and(|task| !carried.of(&task.spec).is_empty())
            };
            let mut is_concerned = |usage: &NodeUsage| {
                usage.marks.keys().any(|mark| settlement.dropped.contains(mark))
                    || self.visits.of_tasks(usage.tasks.iter()).any(&mut carries)
            };
            let usage = self.visits.of_nodes(self.usage.iter());
            usage.filter(|(_, usage)| is_concerned(usage)).map(|(node_id, _)| *node_id).collect()
        };
        let mut carried = CarriedMarks::new(&settlement.fresh);
        for node_id in concerned {
            let Some(usage) = self.usage.get_mut(&node_id) else { continue };
            let usage = Arc::make_mut(usage);
            usage.marks.retain(|mark, _| !settlement.dropped.contains(mark));
            for task_id in self.visits.of_tasks(usage.tasks.iter()) {
                let Some(task) = self.tasks.get(task_id) else { continue };
                for mark in carried.of(&task.spec) {
                    count_up(&mut usage.marks, mark);
                }
            }
        }
    }

    fn count_of(&mut self, task: &Task) -> Option<&mut u64> {
        let index = TaskState::ALL.iter().position(|state| *state == task.status.state)?;
        self.counts.get_mut(index)
    }
}

/// The node whose resources the task's current attempt holds, and whether it is about to give them back.
fn holder(task: &Task) -> Option<(NodeId, bool)> {
    let node_id = task.status.node_id.filter(|_| task.status.state.is_on_node())?;
    Some((node_id, is_stopping(task)))
}

/// The node on which room is kept for the task.
pub(super) fn claimed(task: &Task) -> Option<NodeId> {
    let claim = task.claim.as_ref()?;
    (!task.is_finished() && task.desired_state == DesiredState::Running).then_some(claim.node_id)
}

/// Where a task belongs in the index of ended tasks; `None` if it has not ended.
fn finished_key(task: &Task) -> Option<(Timestamp, TaskId)> {
    task.is_finished().then_some((task.updated_at, task.task_id))
}
