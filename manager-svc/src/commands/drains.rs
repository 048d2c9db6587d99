//! Draining nodes: what users and workers ask for, and the steps of a drain that is under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::drain::{Drain, DrainSource, KEPT_STUCK_TASKS};
use davit_core::id::{AttemptKey, NodeId, TaskId};
use davit_core::node::Node;
use davit_core::task::{DesiredState, Task};
use davit_core::words::counted;
use jiff::Timestamp;

use super::Error;
use super::attempts::replace_attempt;
use super::moves::move_task;
use super::nodes::find_node;
use crate::reconcile::{DrainNext, Running, next_of_drain};
use crate::state::{ClusterState, Draft, EventType};

/// Drains a node: it takes no new tasks, and those that it has move away. One that is drained already goes on with the new
/// pace and deadline. `time_limit`: after so long everything that is left is stopped.
///
/// # Errors
/// When there is no such node.
pub fn drain_node(
    draft: &mut Draft,
    id_or_name: &str,
    time_limit: Option<Duration>,
    max_parallel: u32,
) -> Result<Arc<Node>, Error> {
    let known = find_node(draft, id_or_name)?;
    let now = draft.now();
    let deadline = time_limit.map(|limit| now.checked_add(limit).unwrap_or(Timestamp::MAX));
    let asked = Drain::begin(DrainSource::User, now, deadline, max_parallel);
    let drain = match &known.drain {
        Some(under_way) if under_way.drained_at.is_none() => Drain {
            source: DrainSource::User,
            deadline: asked.deadline,
            max_parallel: asked.max_parallel,
            ..under_way.clone()
        },
        Some(_) | None => asked,
    };
    Ok(put_drain(draft, &known, drain))
}

/// Drains the node of a worker that shuts down, until that worker registers anew. What fits nowhere else stays. A drain that a
/// user asked for stays as it is.
///
/// # Errors
/// When there is no such node.
pub fn drain_for_worker(draft: &mut Draft, node_id: NodeId, max_parallel: u32) -> Result<Arc<Node>, Error> {
    let known = find_node(draft, &node_id.to_string())?;
    if known.drain.is_some() {
        return Ok(known);
    }
    let source = DrainSource::Worker { cordoned_before: known.cordoned };
    let drain = Drain::begin(source, draft.now(), None, max_parallel);
    Ok(put_drain(draft, &known, drain))
}

fn put_drain(draft: &mut Draft, known: &Arc<Node>, drain: Drain) -> Arc<Node> {
    let node = Node { cordoned: true, drain: Some(drain), ..Node::clone(known) };
    if node == **known {
        return Arc::clone(known);
    }
    let asked = match node.drain.as_ref().map(|drain| drain.source) {
        Some(DrainSource::Worker { .. }) => "is drained, as its worker shuts down",
        Some(DrainSource::User) | None => "is drained",
    };
    let message = format!("node {} {asked}: its tasks move to others", node.description.name);
    draft.put_node(node, EventType::NodeUpdated, message)
}

/// Ends a drain. The node stays cordoned, and what is on the move goes on moving.
///
/// # Errors
/// When there is no such node.
pub fn cancel_drain(draft: &mut Draft, id_or_name: &str) -> Result<Arc<Node>, Error> {
    let known = find_node(draft, id_or_name)?;
    if known.drain.is_none() {
        return Ok(known);
    }
    let message = format!("the drain of node {} was cancelled; it stays cordoned", known.description.name);
    let node = Node { drain: None, ..Node::clone(&known) };
    Ok(draft.put_node(node, EventType::NodeUpdated, message))
}

/// Whether [`advance_drains`] has something to do.
#[must_use]
pub fn has_drain_news(state: &ClusterState, running: &Running, now: Timestamp) -> bool {
    let has_news = |node: &Arc<Node>| {
        node.drain.as_ref().is_some_and(|drain| !next_of_drain(state, node, drain, running, now).changes_nothing())
    };
    state.drained_nodes().any(has_news)
}

/// Takes note of what every drain has achieved, stops what is left where a deadline has passed, and ends drains of nodes that
/// have no task any more.
pub fn advance_drains(draft: &mut Draft, running: &Running) {
    let drained: Vec<Arc<Node>> = draft.state().drained_nodes().cloned().collect();
    for node in drained {
        let Some(drain) = &node.drain else { continue };
        let step = next_of_drain(draft.state(), &node, drain, running, draft.now());
        if step.changes_nothing() {
            continue;
        }
        let mut next = drain.clone();
        for task_id in &step.settled {
            next.moving.remove(task_id);
            next.moved_count += 1;
        }
        let name = &node.description.name;
        let mut message = format!("drain of node {name}: {} moved", next.moved_count);
        match step.next {
            DrainNext::Stop { tasks } => {
                stop_kept(draft, name, &tasks);
                let count = counted(tasks.len() as u64, "task", "tasks");
                message = format!("drain of node {name}: {count} stopped, to wait for it: their volumes stay there");
            }
            DrainNext::Force { tasks } => {
                force(draft, name, &tasks);
                next.forced_count += tasks.len() as u64;
                (next.stuck, next.stuck_count) = (BTreeMap::new(), 0);
                message = format!(
                    "drain of node {name}: its deadline has passed, {} stopped",
                    counted(tasks.len() as u64, "task", "tasks")
                );
            }
            DrainNext::Finish => {
                next.drained_at = Some(draft.now());
                (next.stuck, next.stuck_count) = (BTreeMap::new(), 0);
                message = format!("node {name} is drained: it has no task any more");
                if next.lost_count > 0 {
                    message.push_str(&format!("; {} LOST while it was down", were(next.lost_count)));
                }
            }
            DrainNext::Wait | DrainNext::AwaitWord | DrainNext::Move { .. } => {}
        }
        let node = Node { drain: Some(next), ..Node::clone(&node) };
        draft.put_node(node, EventType::NodeUpdated, message);
    }
}

fn stop_kept(draft: &mut Draft, node_name: &str, tasks: &[(Arc<Task>, String)]) {
    for (task, volume) in tasks {
        let why = format!("volume {volume} stays on {node_name}, which is drained");
        let message = format!("attempt {} is stopped: {why}", task.status.attempt);
        replace_attempt(draft, Task::clone(task), &why, message);
    }
}

fn force(draft: &mut Draft, node_name: &str, tasks: &[Arc<Task>]) {
    let why = format!("node {node_name} is drained");
    for task in tasks {
        let attempt = task.status.attempt;
        let message = format!("attempt {attempt} is stopped: {why}, and the time for it has passed");
        replace_attempt(draft, Task::clone(task), &why, message);
    }
}

/// Moves a task away from a node that is drained, to where there is room for it now.
///
/// # Errors
/// When the drain no longer moves it, or it can't be moved there: see [`move_task`].
pub fn move_drained(draft: &mut Draft, node_id: NodeId, key: AttemptKey, to: NodeId) -> Result<(), Error> {
    let known = find_node(draft, &node_id.to_string())?;
    let name = known.description.name.clone();
    let Some(drain) = &known.drain else { return Err(Error::NotDrained { node: name }) };
    let may_move = match next_of_drain(draft.state(), &known, drain, &Running::new(), draft.now()).next {
        DrainNext::Move { candidates, .. } => candidates.iter().any(|task| task.key() == key),
        DrainNext::Wait
        | DrainNext::AwaitWord
        | DrainNext::Stop { .. }
        | DrainNext::Force { .. }
        | DrainNext::Finish => false,
    };
    if !may_move {
        return Err(Error::NotDrained { node: name });
    }
    move_task(draft, key.task_id, to, Some(key.attempt), &format!("node {name} is drained"))?;
    let mut next = drain.clone();
    next.moving.insert(key.task_id, key.attempt);
    if next.stuck.remove(&key.task_id).is_some() {
        next.stuck_count = next.stuck_count.saturating_sub(1);
    }
    let message = format!("drain of node {name}: task {} moves", key.task_id);
    draft.put_node(Node { drain: Some(next), ..Node::clone(&known) }, EventType::NodeUpdated, message);
    Ok(())
}

/// Tells users which tasks of a drained node fit nowhere else now, and why.
pub fn note_stuck(draft: &mut Draft, node_id: NodeId, stuck: &BTreeMap<TaskId, String>) {
    let Some(known) = draft.state().node(node_id).cloned() else { return };
    let Some(drain) = known.drain.as_ref().filter(|drain| drain.drained_at.is_none()) else { return };
    let kept: BTreeMap<TaskId, String> =
        stuck.iter().take(KEPT_STUCK_TASKS).map(|(task_id, why)| (*task_id, why.clone())).collect();
    let next = Drain { stuck: kept, stuck_count: stuck.len() as u64, ..drain.clone() };
    if next == *drain {
        return;
    }
    let name = &known.description.name;
    let message = match next.stuck.first_key_value() {
        None => format!("drain of node {name}: every task fits elsewhere or is on the move"),
        Some((task_id, why)) => {
            format!(
                "drain of node {name}: {} nowhere else; {task_id}: {why}",
                counted(stuck.len() as u64, "task fits", "tasks fit")
            )
        }
    };
    draft.put_node(Node { drain: Some(next), ..Node::clone(&known) }, EventType::NodeUpdated, message);
}

/// Notes that tasks of a node which is drained were LOST with it: they did not move.
pub(super) fn note_lost(draft: &mut Draft, node_id: NodeId, lost: &[Arc<Task>]) {
    let Some(known) = draft.state().node(node_id).cloned() else { return };
    let Some(drain) = known.drain.as_ref().filter(|drain| drain.drained_at.is_none()) else { return };
    if lost.is_empty() {
        return;
    }
    let mut next = drain.clone();
    next.lost_count += lost.len() as u64;
    for task in lost {
        let moved = next.moving.remove(&task.task_id).is_some();
        // One that the deadline was to stop was not stopped.
        if !moved && task.desired_state == DesiredState::Running && !task.wants_current_attempt() {
            next.forced_count = next.forced_count.saturating_sub(1);
        }
        if next.stuck.remove(&task.task_id).is_some() {
            next.stuck_count = next.stuck_count.saturating_sub(1);
        }
    }
    let name = &known.description.name;
    let message = format!("drain of node {name}: {} LOST with it", were(lost.len() as u64));
    draft.put_node(Node { drain: Some(next), ..Node::clone(&known) }, EventType::NodeUpdated, message);
}

fn were(tasks: u64) -> String {
    counted(tasks, "task was", "tasks were")
}
