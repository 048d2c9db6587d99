//! Stopping tasks for one of higher priority: its room is claimed, and those in its way are stopped and wait anew.

use std::sync::Arc;

use davit_core::id::{AttemptKey, NodeId, TaskId};
use davit_core::node::NodeState;
use davit_core::placement::misfits;
use davit_core::state::TaskState;
use davit_core::task::{Claim, DesiredState, Task};
use davit_core::words::counted;

use super::attempts::replace_attempt;
use crate::state::{ClusterState, Draft, EventType, LeftOut};

/// Room for a task that waits, and the tasks to stop for it, as the scheduler proposes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreemptionOrder {
    /// What waits.
    pub key: AttemptKey,
    /// Where it is to go.
    pub node_id: NodeId,
    /// Which tasks are stopped there; none where others are being stopped already.
    pub victims: Vec<TaskId>,
    /// Why it fits nowhere as it is.
    pub unplaced_reason: String,
}

/// What became of a list of proposals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreemptionReport {
    /// Those that wait for their victims to end now.
    pub committed: Vec<AttemptKey>,
    /// Those that were left alone, and why.
    pub left_alone: Vec<(AttemptKey, &'static str)>,
    /// How many tasks are stopped.
    pub victims: usize,
}

/// Carries out those proposals that still hold: room is kept for the task, and the victims are stopped.
pub fn commit_preemptions(draft: &mut Draft, orders: &[PreemptionOrder]) -> PreemptionReport {
    let mut report = PreemptionReport::default();
    for order in orders {
        match check(draft.state(), order) {
            Ok((task, victims, node_name)) => {
                report.victims += victims.len();
                report.committed.push(order.key);
                carry_out(draft, order, &task, &victims, &node_name);
            }
            Err(why) => report.left_alone.push((order.key, why)),
        }
    }
    report
}

type Checked = (Arc<Task>, Vec<Arc<Task>>, String);

fn check(state: &ClusterState, order: &PreemptionOrder) -> Result<Checked, &'static str> {
    let task = state.task(order.key.task_id).ok_or("the task is gone")?;
    let waits = task.status.state == TaskState::Pending && task.desired_state == DesiredState::Running;
    if task.key() != order.key || !waits || task.claim.is_some() {
        return Err("the task no longer waits");
    }
    let policy = &task.spec.placement;
    // Members of a gang would get their places one by one.
    if !policy.may_preempt || task.gang_id().is_some() {
        return Err("the task may not preempt others");
    }
    let node = state.node(order.node_id).ok_or("the node is gone")?;
    if node.state != NodeState::Ready || node.cordoned {
        return Err("the node takes no tasks");
    }
    let mut victims: Vec<Arc<Task>> = Vec::with_capacity(order.victims.len());
    for victim_id in &order.victims {
        let victim = state.task(*victim_id).ok_or("a victim is gone")?;
        let is_there = victim.status.state.is_on_node() && victim.status.node_id == Some(order.node_id);
        if !is_there || !victim.wants_current_attempt() {
            return Err("a victim is no longer there, or is being stopped");
        }
        if victim.spec.placement.priority >= policy.priority {
            return Err("a victim is not of lower priority");
        }
        if victims.iter().any(|known| known.task_id == *victim_id) {
            return Err("a victim is named twice");
        }
        victims.push(Arc::clone(victim));
    }
    // What is being stopped already ends too; claims on its room count.
    let ending: Vec<_> = state.ending_on(order.node_id).chain(&victims).cloned().collect();
    let view = state.node_view_without(node, None, LeftOut { claim_of: None, tasks: &ending });
    if !misfits(&state.placement_requirements_of(task), &view).is_empty() {
        return Err("it would not fit all the same");
    }
    Ok((Arc::clone(task), victims, node.description.name.clone()))
}

fn carry_out(draft: &mut Draft, order: &PreemptionOrder, task: &Arc<Task>, victims: &[Arc<Task>], node_name: &str) {
    let count = victims.len();
    let what = match count {
        0 => format!("room that becomes free on {node_name} is kept for it"),
        _ => format!("{} stopped for it on {node_name}", counted(count as u64, "task is", "tasks are")),
    };
    let mut next = Task::clone(task);
    next.claim = Some(Box::new(Claim { node_id: order.node_id, reason: what.clone() }));
    next.status.reason =
        if order.unplaced_reason.is_empty() { what } else { format!("{}; {what}", order.unplaced_reason) };
    let message = format!("attempt {} waits: {}", order.key.attempt, next.status.reason);
    draft.put_task(next, EventType::TaskUpdated, message);
    let why = format!("preempted by {} (priority {})", task.spec.name, task.spec.placement.priority);
    for victim in victims {
        let message = format!("attempt {} is stopped: {why}, task {}", victim.status.attempt, task.task_id);
        replace_attempt(draft, Task::clone(victim), &why, message);
    }
}
