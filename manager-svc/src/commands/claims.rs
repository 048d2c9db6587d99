//! Tasks for which room on a node is kept: they are placed there as soon as they fit, or the room is given up.

use std::sync::Arc;

use davit_core::id::TaskId;
use davit_core::node::{Node, NodeState};
use davit_core::placement::misfits;
use davit_core::state::TaskState;
use davit_core::task::Task;
use jiff::Timestamp;

use super::placements::place;
use super::tasks::WAITING_FOR_SCHEDULER;
use crate::state::{ClusterState, Draft, EventType, LeftOut};

/// How a claim ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The task fits on the node now.
    Place,
    /// It runs there or nowhere, and does not fit now.
    Wait {
        /// What it is told.
        reason: String,
    },
    /// It will not get there.
    GiveUp {
        /// Why.
        why: String,
    },
}

/// Whether [`settle_claims`] has something to do.
#[must_use]
pub fn has_ripe_claim(state: &ClusterState, now: Timestamp) -> bool {
    state.claimants().any(|task| outcome(state, task, now).is_some())
}

/// When time alone lets the next task have the only node on which it may run.
#[must_use]
pub fn next_claim_due(state: &ClusterState, now: Timestamp) -> Option<Timestamp> {
    let pinned = state.claimants().filter(|task| task.pinned_to().is_some());
    pinned.filter_map(|task| task.next_attempt_at).filter(|at| *at > now).min()
}

/// Places every task on the node where room is kept for it, if it fits there; gives up room that it can no longer get. The
/// scheduler chooses again then. Tells those that wait for the only node on which they may run why they do. Answers how many
/// tasks it changed.
pub fn settle_claims(draft: &mut Draft) -> usize {
    let claimants: Vec<TaskId> = draft.state().claimants().map(|task| task.task_id).collect();
    let mut changed = 0;
    // Each sees what became of those before it.
    for task_id in claimants {
        let Some(task) = draft.state().task(task_id).cloned() else { continue };
        match outcome(draft.state(), &task, draft.now()) {
            Some(Outcome::Place) => changed += usize::from(place_claimant(draft, &task)),
            Some(Outcome::GiveUp { why }) => {
                give_up(draft, &task, &why);
                changed += 1;
            }
            Some(Outcome::Wait { reason }) => {
                let mut next = Task::clone(&task);
                next.status.reason.clone_from(&reason);
                draft.put_task(next, EventType::TaskUpdated, format!("attempt {} {reason}", task.status.attempt));
                changed += 1;
            }
            None => {}
        }
    }
    changed
}

/// `None`: still to come.
fn outcome(state: &ClusterState, task: &Task, now: Timestamp) -> Option<Outcome> {
    let claim = task.claim.as_ref()?;
    if task.pinned_to().is_some() {
        return outcome_of_pinned(state, task, state.node(claim.node_id)?, now);
    }
    let Some(node) = state.node(claim.node_id) else {
        return Some(Outcome::GiveUp { why: "its node is gone".to_owned() });
    };
    let name = &node.description.name;
    if node.state != NodeState::Ready {
        return Some(Outcome::GiveUp { why: format!("{name} is {}", node.state) });
    }
    if node.cordoned {
        return Some(Outcome::GiveUp { why: format!("{name} is cordoned") });
    }
    // Its own attempt elsewhere has to end first.
    if task.status.state != TaskState::Pending {
        return None;
    }
    let misfits = misfits_of(state, task, node);
    if misfits.is_empty() {
        return Some(Outcome::Place);
    }
    let nothing_to_wait_for = state.usage(node.node_id).stopping == 0;
    nothing_to_wait_for.then(|| Outcome::GiveUp { why: format!("it does not fit on {name}: {}", misfits.join("; ")) })
}

/// The same, of a task that runs there or nowhere: it waits as long as it is wanted.
fn outcome_of_pinned(state: &ClusterState, task: &Task, node: &Node, now: Timestamp) -> Option<Outcome> {
    let is_due = task.next_attempt_at.is_none_or(|at| at <= now);
    if task.status.state != TaskState::Pending || !is_due {
        return None;
    }
    let misfits = misfits_of(state, task, node);
    if misfits.is_empty() {
        return Some(Outcome::Place);
    }
    // Told once: how much is lacking changes with every other task.
    let told = format!("waits for {}: ", node.description.name);
    let is_told = task.status.reason.starts_with(&told);
    (!is_told).then(|| Outcome::Wait { reason: format!("{told}{}", misfits.join("; ")) })
}

/// Why a task does not fit on a node, with the room that is kept there for itself.
pub(super) fn misfits_of(state: &ClusterState, task: &Task, node: &Node) -> Vec<String> {
    let left_out = LeftOut { claim_of: Some(task.task_id), ..LeftOut::default() };
    let view = state.node_view_without(node, None, left_out);
    misfits(&state.placement_requirements_of(task), &view).iter().map(ToString::to_string).collect()
}

fn place_claimant(draft: &mut Draft, task: &Arc<Task>) -> bool {
    let state = draft.state();
    let Some(node) = task.claim.as_ref().and_then(|claim| state.node(claim.node_id)) else { return false };
    let left_out = LeftOut { claim_of: Some(task.task_id), ..LeftOut::default() };
    let mut view = state.node_view_without(node, None, left_out);
    let Ok((placed, message)) = place(task, &state.placement_requirements_of(task), &mut view) else { return false };
    draft.put_placed(placed, message);
    true
}

fn give_up(draft: &mut Draft, task: &Task, why: &str) {
    let mut next = task.clone();
    let claimed = next.claim.take();
    let what = claimed.map(|claim| claim.reason).unwrap_or_default();
    let message = format!("room is no longer kept ({what}): {why}");
    if next.status.state == TaskState::Pending {
        next.status.reason = format!("{message}; {WAITING_FOR_SCHEDULER}");
    }
    draft.put_task(next, EventType::TaskUpdated, message);
}
