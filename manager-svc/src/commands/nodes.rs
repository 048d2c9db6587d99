//! Nodes: their health, and what users ask of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::drain::{Drain, DrainSource};
use davit_core::id::{NodeId, Revision};
use davit_core::node::{Node, NodeState, RuntimeProblem};
use davit_core::placement::RuntimeKind;
use davit_core::spec::OnNodeLoss;
use davit_core::task::Task;
use davit_core::words::counted;
use davit_proto::convert::{LONGEST_AWAY, RuntimeHealth};
use jiff::Timestamp;

use super::Error;
use super::reports::lose_attempts;
use crate::reconcile::ABOUT_TO_GO;
use crate::state::{Draft, EventType};

/// Notes which runtimes of a node answer. New tasks for the others go elsewhere; those that run keep what is known of them.
pub fn set_runtime_health(draft: &mut Draft, node_id: NodeId, health: RuntimeHealth) {
    let Some(known) = draft.state().node(node_id).cloned() else { return };
    let RuntimeHealth { runtimes, problems } = health;
    let mut node = Node::clone(&known);
    node.description.runtimes = runtimes;
    node.runtime_problems = problems_since(&known.runtime_problems, problems, draft.now());
    if node == *known {
        return;
    }
    let message = describe_change(&known, &node);
    draft.put_node(node, EventType::NodeUpdated, message);
}

/// Problems with the time since when each is known. One that only changes its words goes on.
pub(super) fn problems_since(
    known: &BTreeMap<RuntimeKind, RuntimeProblem>,
    problems: BTreeMap<RuntimeKind, String>,
    now: Timestamp,
) -> BTreeMap<RuntimeKind, RuntimeProblem> {
    let since = |kind: &RuntimeKind| known.get(kind).map_or(now, |known| known.since);
    problems.into_iter().map(|(kind, problem)| (kind, RuntimeProblem { problem, since: since(&kind) })).collect()
}

fn describe_change(before: &Node, after: &Node) -> String {
    let mut parts = Vec::new();
    for (kind, RuntimeProblem { problem, .. }) in &after.runtime_problems {
        if before.runtime_problems.get(kind).is_none_or(|known| known.problem != *problem) {
            parts.push(format!("its {kind} runtime can't be used: {problem}"));
        }
    }
    for kind in after.description.runtimes.difference(&before.description.runtimes) {
        parts.push(format!("its {kind} runtime answers"));
    }
    if parts.is_empty() {
        parts.push("what it can run has changed".to_owned());
    }
    format!("node {}: {}", after.description.name, parts.join("; "))
}

/// Notes whether a node's worker is in touch. A node that is not known, or is in that state, is left alone.
pub fn set_node_state(draft: &mut Draft, node_id: NodeId, state: NodeState, reason: &str) {
    let Some(known) = draft.state().node(node_id).cloned() else { return };
    if known.state == state {
        return;
    }
    let mut node = Node::clone(&known);
    node.state = state;
    node.state_reason = reason.to_owned();
    node.state_since = draft.now();
    let message = format!("node {} is {state}: {reason}", node.description.name);
    draft.put_node(node, EventType::NodeStateChanged, message);
}

/// Notes that a node's worker said goodbye: it may still have tasks to stop, and is given no new ones.
pub fn note_goodbye(draft: &mut Draft, node_id: NodeId) {
    if draft.state().node(node_id).is_some_and(|node| node.state == NodeState::Ready) {
        set_node_state(draft, node_id, NodeState::Suspect, ABOUT_TO_GO);
    }
}

/// Notes that a node's worker goes for a while and leaves its tasks running, so that a manager that is restarted meanwhile waits
/// for it too.
pub fn note_away(draft: &mut Draft, node_id: NodeId, back_within: Duration) {
    let Some(known) = draft.state().node(node_id).cloned() else { return };
    let back_within = back_within.min(LONGEST_AWAY);
    let until = draft.now().checked_add(back_within).unwrap_or(Timestamp::MAX);
    let node = Node { away_until: Some(until), ..Node::clone(&known) };
    let message = format!(
        "the worker of node {} goes and leaves its tasks running; it means to be back within {} s",
        node.description.name,
        back_within.as_secs_f64()
    );
    draft.put_node(node, EventType::NodeUpdated, message);
}

/// Makes a node take no new tasks, or take them again. A node that takes tasks is drained no longer.
///
/// # Errors
/// When there is no such node.
pub fn set_cordon(draft: &mut Draft, id_or_name: &str, cordoned: bool) -> Result<Arc<Node>, Error> {
    let known = find_node(draft, id_or_name)?;
    let drain = known.drain.clone().filter(|_| cordoned).map(stays_cordoned);
    let node = Node { cordoned, drain, ..Node::clone(&known) };
    if node == *known {
        return Ok(known);
    }
    let what = if cordoned { "cordoned: takes no new tasks" } else { "uncordoned: takes new tasks" };
    let message = format!("node {} is {what}", node.description.name);
    Ok(draft.put_node(node, EventType::NodeUpdated, message))
}

/// A user wants the node cordoned, also after a drain that its worker asked for.
fn stays_cordoned(drain: Drain) -> Drain {
    let source = match drain.source {
        DrainSource::Worker { .. } => DrainSource::Worker { cordoned_before: true },
        DrainSource::User => DrainSource::User,
    };
    Drain { source, ..drain }
}

/// Forgets a node. With `force` also one whose worker may be in touch, or that has tasks: these are LOST. But never one with
/// tasks that must never run twice: they are over only when they are stopped, or their lease is. Answers the cluster's
/// revision after it.
///
/// # Errors
/// When there is no such node, or it may not be removed.
pub fn remove_node(draft: &mut Draft, id_or_name: &str, force: bool) -> Result<(NodeId, Revision), Error> {
    let known = find_node(draft, id_or_name)?;
    let name = known.description.name.clone();
    let tasks: Vec<Arc<Task>> = draft.state().tasks_on(known.node_id).cloned().collect();
    let mut hindrances = Vec::new();
    if known.state != NodeState::Down {
        hindrances.push(format!("its worker may be in touch, it is {}", known.state));
    }
    if !tasks.is_empty() {
        hindrances.push(format!("it has {}", counted(tasks.len() as u64, "task", "tasks")));
    }
    if !hindrances.is_empty() && !force {
        return Err(Error::NodeInUse { node: name, hindrances });
    }
    let leased = tasks.iter().filter(|task| task.spec.on_node_loss == OnNodeLoss::StopAndReplace).count();
    if leased > 0 {
        // What follows them would run beside them.
        return Err(Error::NodeIsLeased { node: name, tasks: leased });
    }
    lose_attempts(draft, &tasks, &format!("node {name} was removed"));
    draft.remove_node(known.node_id, format!("node {name} was removed"));
    Ok((known.node_id, draft.state().revision()))
}

/// Replaces the labels that users set on a node.
///
/// # Errors
/// When there is no such node, or `etag` is given and is not the node's.
pub fn set_user_labels(
    draft: &mut Draft,
    id_or_name: &str,
    labels: BTreeMap<String, String>,
    etag: Option<&str>,
) -> Result<Arc<Node>, Error> {
    let known = find_node(draft, id_or_name)?;
    let actual = davit_proto::convert::etag(known.revision);
    if let Some(expected) = etag
        && expected != actual
    {
        let node = known.description.name.clone();
        return Err(Error::NodeHasChanged { node, expected: expected.to_owned(), actual });
    }
    if known.user_labels == labels {
        return Ok(known);
    }
    let node = Node { user_labels: labels, ..Node::clone(&known) };
    let message = format!("labels of node {} were set", node.description.name);
    Ok(draft.put_node(node, EventType::NodeUpdated, message))
}

pub(super) fn find_node(draft: &Draft, id_or_name: &str) -> Result<Arc<Node>, Error> {
    let found = draft.state().find_node(id_or_name).cloned();
    found.ok_or_else(|| Error::NodeNotFound { node: id_or_name.to_owned() })
}
