//! From committed changes to what each worker is told.
//!
//! The writer hands every committed batch to the [`Router`], which puts what concerns a node into that node's [`Outbox`]. An
//! outbox keeps only the newest word on each task, so a slow worker costs no more memory than it has tasks.

mod outbox;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use davit_core::id::{AttemptKey, NodeId, SessionId};
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};

pub use self::outbox::{Delivery, LogOrder, Order, Outbox};
use crate::state::{Change, ClusterState, Versions};

/// Knows the outbox of every node that has a session.
#[derive(Debug, Default)]
pub struct Router {
    outboxes: HashMap<NodeId, Arc<Outbox>>,
}

impl Router {
    /// Connects a node's newest session: fills its outbox with everything that the node should have, and ends the session
    /// that the node had before.
    pub fn attach(&mut self, node_id: NodeId, outbox: Arc<Outbox>, state: &ClusterState) {
        let orders = state.tasks_on(node_id).map(|task| order_for(task)).collect();
        outbox.put_full_set(orders, state.revision());
        if let Some(previous) = self.outboxes.insert(node_id, outbox) {
            previous.close("a newer session of the same node took over");
        }
    }

    /// Disconnects a session, unless a newer one of the same node took over.
    pub fn detach(&mut self, node_id: NodeId, session_id: SessionId) {
        if self.outboxes.get(&node_id).is_some_and(|outbox| outbox.session_id() == session_id) {
            self.outboxes.remove(&node_id);
        }
    }

    /// Puts what a committed batch changed for workers into their outboxes.
    pub fn route(&mut self, changes: &[Change]) {
        for change in changes {
            let Versions::Task { before, after } = &change.versions else { continue };
            for (node_id, order) in orders_of(before.as_deref(), after.as_deref()) {
                if let Some(outbox) = self.outboxes.get(&node_id) {
                    outbox.put(order, change.event.revision);
                }
            }
        }
    }
}

/// What the change of one task means for which nodes. Pure.
fn orders_of(before: Option<&Task>, after: Option<&Task>) -> Vec<(NodeId, Order)> {
    match (before, after) {
        // Deleted: nothing of it may stay anywhere.
        (Some(before), None) => attempts_on_nodes(before).map(|(node_id, key)| (node_id, Order::Remove(key))).collect(),
        (_, Some(after)) => {
            let told = before.and_then(assigned);
            let wanted = assigned(after);
            let same_spec = before.is_none_or(|before| Arc::ptr_eq(&before.spec, &after.spec));
            let mut orders = forgotten(before, after);
            if told == wanted && same_spec {
                return orders;
            }
            match (wanted, told) {
                (Some((node_id, ..)), _) => orders.push((node_id, order_for(after))),
                // Ended. Its worker said so, unless it was lost: then the node must not keep it should it come back.
                (None, Some((node_id, key, _))) if was_lost(after, key) => orders.push((node_id, Order::Remove(key))),
                (None, _) => {}
            }
            orders
        }
        (None, None) => Vec::new(),
    }
}

/// Attempts of which nothing is known any more: nobody can ask for their output, and nothing else would ever take them away, as long as
/// the node keeps what has ended.
fn forgotten(before: Option<&Task>, after: &Task) -> Vec<(NodeId, Order)> {
    let is_known = |key: &AttemptKey| {
        after.past_attempts.iter().chain([&after.status]).any(|status| status.attempt == key.attempt)
    };
    let known_before = before.into_iter().flat_map(attempts_on_nodes);
    known_before.filter(|(_, key)| !is_known(key)).map(|(node_id, key)| (node_id, Order::Remove(key))).collect()
}

/// Which node has a task's current attempt, and whether it is to run there.
fn assigned(task: &Task) -> Option<(NodeId, AttemptKey, bool)> {
    let node_id = task.status.node_id.filter(|_| task.status.state.is_on_node())?;
    Some((node_id, task.key(), is_to_run(task)))
}

/// What its worker stops by itself, since its lease has ended, is to end also if that worker loses its records meanwhile.
fn is_to_run(task: &Task) -> bool {
    task.wants_current_attempt() && task.status.state != TaskState::Stopping
}

fn order_for(task: &Task) -> Order {
    let desired_state = if is_to_run(task) { DesiredState::Running } else { DesiredState::Stopped };
    Order::Assign {
        key: task.key(),
        desired_state,
        spec: Arc::clone(&task.spec),
        revision: task.revision,
        ports: task.given_ports.clone(),
        part: task.part(),
    }
}

fn was_lost(task: &Task, key: AttemptKey) -> bool {
    use davit_core::state::TaskState::Lost;
    let ended = task.past_attempts.iter().chain([&task.status]);
    ended.filter(|status| status.attempt == key.attempt).any(|status| status.state == Lost)
}

fn attempts_on_nodes(task: &Task) -> impl Iterator<Item = (NodeId, AttemptKey)> {
    task.past_attempts.iter().chain([&task.status]).filter_map(|status| {
        status.node_id.map(|node_id| (node_id, AttemptKey { task_id: task.task_id, attempt: status.attempt }))
    })
}
