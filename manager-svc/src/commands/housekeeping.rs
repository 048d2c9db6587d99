//! What has to be done because time passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{NodeId, TaskId};
use davit_core::lease;
use davit_core::node::Node;
use davit_core::task::Task;
use davit_svc_kit::bugs::{self, Bug};
use jiff::Timestamp;

use super::attempts::replace_attempt;
use super::drains::note_lost;
use super::job_runs::remove_task;
use super::reports::lose_attempts;
use crate::reconcile::{Unbegun, unbegun};
use crate::state::{ClusterState, Draft, LossWait, loss_wait};

/// What is known of the leases that nodes hold.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    /// How long a lease lasts from the last heartbeat that was acknowledged.
    pub duration: Duration,
    /// How long ago a node was heard last, by a clock that never jumps. A node that is not in here may hold a lease.
    pub silences: BTreeMap<NodeId, Duration>,
}

impl Leases {
    /// Whether this long has passed after the end of a node's lease.
    fn ended_before(&self, node_id: NodeId, wait: Duration) -> bool {
        let wait = self.duration.saturating_add(wait);
        self.silences.get(&node_id).is_some_and(|silent_for| *silent_for >= wait)
    }
}

/// How long a task may run on where nobody renews its node's lease any more.
pub(super) fn time_to_stop(lease_duration: Duration, task: &Task) -> Duration {
    lease_duration.saturating_add(lease::time_to_stop(task.spec.stop.grace))
}

/// Ends attempts on nodes that are DOWN, each when its spec's node-loss policy says so.
pub fn lose_tasks_of_down_nodes(draft: &mut Draft, leases: &Leases) {
    let now = draft.now();
    let state = draft.state();
    let mut due: BTreeSet<NodeId> = state.nodes_losing_by(now).collect();
    let leased = state.leased_down_nodes().iter();
    due.extend(leased.filter(|(wait, node_id)| leases.ended_before(*node_id, *wait)).map(|(_, node_id)| *node_id));
    let nodes = due.into_iter().filter_map(|node_id| state.node(node_id));
    let lost: Vec<(Arc<Node>, Vec<Arc<Task>>)> =
        nodes.map(|node| (Arc::clone(node), overdue(state, node, leases, now))).collect();
    for (node, tasks) in lost {
        let reason = format!("node {} went down: {}", node.description.name, node.state_reason);
        lose_attempts(draft, &tasks, &reason);
        note_lost(draft, node.node_id, &tasks);
    }
}

fn overdue(state: &ClusterState, node: &Node, leases: &Leases, now: Timestamp) -> Vec<Arc<Task>> {
    let overdue = |task: &&Arc<Task>| match loss_wait(task) {
        // Its lease, its own stop grace and a margin are over.
        Some(LossWait::AfterLease(wait)) => leases.ended_before(node.node_id, wait),
        Some(LossWait::SinceDown(wait)) => elapsed(node.state_since, now) >= wait,
        None => true,
    };
    state.tasks_on(node.node_id).filter(overdue).cloned().collect()
}

/// Has attempts that their node can't begin stopped, each to be followed by another, which goes elsewhere if it can. A worker
/// whose engine hangs can tell at once that it has not begun something; of what it may have begun the end is awaited.
pub fn replace_unbegun(draft: &mut Draft, timeout: Duration) {
    if bugs::is(Bug::BeginTimeoutIgnored) {
        return;
    }
    let unbegun: Vec<Unbegun> = unbegun(draft.state(), timeout, draft.now()).collect();
    for Unbegun { task, why } in unbegun {
        let message = format!("attempt {} is stopped: {why}", task.status.attempt);
        replace_attempt(draft, Task::clone(&task), &why, message);
    }
}

/// Deletes ended tasks that are older than `max_age`, and the oldest of those beyond `max_count`; at most `limit` of them,
/// so that no batch grows without bound.
pub fn remove_finished(draft: &mut Draft, max_count: usize, max_age: Duration, limit: usize) {
    let expired: Vec<_> = expired_tasks(draft.state(), draft.now(), max_count, max_age).take(limit).collect();
    for task_id in expired {
        if let Some(task) = draft.state().task(task_id).cloned() {
            remove_task(draft, &task, "deleted: it ended long ago");
        }
    }
}

/// Drops events that are older than `max_age`; at most `limit` of them.
pub fn compact_events(draft: &mut Draft, max_age: Duration, limit: usize) {
    if let Ok(before) = draft.now().checked_sub(max_age) {
        draft.compact_events(before, limit);
    }
}

/// Whether [`remove_finished`] or [`compact_events`] has something to do, with these bounds.
#[must_use]
pub fn has_expired(
    state: &ClusterState,
    now: Timestamp,
    max_tasks: usize,
    max_task_age: Duration,
    max_event_age: Duration,
) -> bool {
    state.finished_count() > max_tasks
        || state.longest_finished().is_some_and(|ended_at| elapsed(ended_at, now) >= max_task_age)
        || state.events().oldest_time().is_some_and(|time| elapsed(time, now) > max_event_age)
}

fn expired_tasks(
    state: &ClusterState,
    now: Timestamp,
    max_count: usize,
    max_age: Duration,
) -> impl Iterator<Item = TaskId> {
    let excess = state.finished_count().saturating_sub(max_count);
    let by_age = state.finished().enumerate();
    by_age
        .take_while(move |(index, (ended_at, _))| *index < excess || elapsed(*ended_at, now) >= max_age)
        .map(|(_, (_, task_id))| *task_id)
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
