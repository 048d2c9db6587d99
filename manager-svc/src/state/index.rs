//! What follows from the tasks: who has ended, what nodes hold. Brought from one version of a task to the next.

use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::placement::Mark;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use jiff::Timestamp;

use super::carriers::Held;
use super::due::{LossWait, Losses, loss_wait};
use super::marks::Mentions;
use super::usage::is_stopping;
use super::{ClusterState, NodeUsage};

impl ClusterState {
    /// Tasks for which room on a node is kept.
    pub fn claimants(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.visits.of_tasks(self.claims.iter().filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Brings every index from one version of a task to the next.
    pub(super) fn reindex(&mut self, before: Option<&Task>, after: Option<&Task>) {
        self.following_group(before.or(after), |state| state.reindex_all(before, after));
    }

    fn reindex_all(&mut self, before: Option<&Task>, after: Option<&Task>) {
        self.reindex_waiting(before, after);
        let (ended_before, ended_after) = (before.and_then(finished_key), after.and_then(finished_key));
        if let Some(key) = ended_before {
            self.finished.remove(&key);
        }
        if let Some(key) = ended_after {
            self.finished.insert(key);
        }
        let (ended_on_before, ended_on_after) = (before.and_then(ended_on), after.and_then(ended_on));
        if ended_on_before != ended_on_after {
            if let Some(key) = ended_on_before {
                self.ended_on.remove(&key);
            }
            if let Some(key) = ended_on_after {
                self.ended_on.insert(key);
            }
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
            for mark in self.mentions.add(&task.spec) {
                self.count_mark(&mark);
            }
        }
        self.reindex_claim(before, after);
        self.reindex_usage(before, after);
        self.reindex_unbegun(before, after);
        self.reindex_replica(before, after);
        self.reindex_index(before, after);
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
        // One that runs there or nowhere is told of room, and takes none away from others before it has it.
        let keeps_room = |task: &&Task| task.pinned_to().is_none();
        if let Some(task) = before.filter(|_| claimed_before.is_some()) {
            self.claims.remove(&task.task_id);
        }
        if let Some(task) = after.filter(|_| claimed_after.is_some()) {
            self.claims.insert(task.task_id);
        }
        if let (Some(node_id), Some(task)) = (claimed_before, before.filter(keeps_room)) {
            self.carriers.change(&task.spec, node_id, |held| held.claims = held.claims.saturating_sub(1));
            self.change_usage(node_id, |usage, mentions| usage.remove_claim(task, mentions));
        }
        if let (Some(node_id), Some(task)) = (claimed_after, after.filter(keeps_room)) {
            self.carriers.change(&task.spec, node_id, |held| held.claims = held.claims.saturating_add(1));
            self.change_usage(node_id, |usage, mentions| usage.add_claim(task, mentions));
        }
    }

    fn reindex_usage(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let (held_before, held_after) = (before.and_then(Hold::of), after.and_then(Hold::of));
        if held_before == held_after {
            return;
        }
        let moves = held_before.map(|hold| hold.node_id) != held_after.map(|hold| hold.node_id);
        if let (Some(Hold { node_id, .. }), Some(task)) = (held_before, before) {
            if moves {
                self.carriers.change(&task.spec, node_id, |held| held.tasks = held.tasks.saturating_sub(1));
            }
            self.change_usage(node_id, |usage, mentions| usage.remove(task, mentions));
        }
        if let (Some(Hold { node_id, .. }), Some(task)) = (held_after, after) {
            if moves {
                self.carriers.change(&task.spec, node_id, |held| held.tasks = held.tasks.saturating_add(1));
            }
            self.change_usage(node_id, |usage, mentions| usage.add(task, mentions));
        }
    }

    fn change_usage(&mut self, node_id: NodeId, change: impl FnOnce(&mut NodeUsage, &Mentions)) {
        let usage = Arc::make_mut(self.usage.entry(node_id).or_default());
        let (reserved_before, losses_before) = (usage.reserved, Losses::of(usage));
        change(usage, &self.mentions);
        self.reserved = self.reserved.saturating_add(usage.reserved).saturating_sub(reserved_before);
        let losses = Losses::of(usage);
        if usage.is_empty() {
            self.usage.remove(&node_id);
        }
        if losses != losses_before && self.fleet.down.contains(&node_id) {
            self.reindex_losses(node_id, losses_before, losses);
        }
    }

    /// Counts a mark on nodes from now on.
    fn count_mark(&mut self, mark: &Mark) {
        let held: Vec<(NodeId, Held)> = self.visits.of_nodes(self.carriers.of_mark(mark, &self.specs)).collect();
        for (node_id, held) in held {
            self.change_usage(node_id, |usage, _| usage.count_mark(mark, held));
        }
    }

    /// Has the usage of nodes count no mark any more to which nobody refers.
    pub(super) fn drop_unmentioned_marks(&mut self) {
        for mark in self.mentions.take_dropped() {
            let carriers = self.carriers.of_mark(&mark, &self.specs).map(|(node_id, _)| node_id);
            let concerned: Vec<NodeId> = self.visits.of_nodes(carriers).collect();
            for node_id in concerned {
                self.change_usage(node_id, |usage, _| usage.forget_mark(&mark));
            }
        }
    }

    fn count_of(&mut self, task: &Task) -> Option<&mut u64> {
        let index = TaskState::ALL.iter().position(|state| *state == task.status.state)?;
        self.counts.get_mut(index)
    }
}

/// What a task's current attempt holds on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    node_id: NodeId,
    /// It is about to give it back.
    is_stopping: bool,
    loss_wait: Option<LossWait>,
}

impl Hold {
    fn of(task: &Task) -> Option<Self> {
        let node_id = task.status.node_id.filter(|_| task.status.state.is_on_node())?;
        Some(Self { node_id, is_stopping: is_stopping(task), loss_wait: loss_wait(task) })
    }
}

/// The node on which room is kept for the task.
pub(super) fn claimed(task: &Task) -> Option<NodeId> {
    let claim = task.claim.as_ref()?;
    (!task.is_finished() && task.desired_state == DesiredState::Running).then_some(claim.node_id)
}

/// Where a task belongs in the index of ended tasks; `None` if it has not ended, or is all that tells that its place in a deployment is
/// filled.
fn finished_key(task: &Task) -> Option<(Timestamp, TaskId)> {
    (task.is_finished() && !task.holds_slot()).then_some((task.updated_at, task.task_id))
}

/// Where a task belongs in the index of ended tasks by node; `None` if it has not ended, or was on no node.
fn ended_on(task: &Task) -> Option<(NodeId, TaskId)> {
    task.status.node_id.filter(|_| !task.status.state.is_on_node()).map(|node_id| (node_id, task.task_id))
}
