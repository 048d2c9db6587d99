//! Committing what the scheduler proposes. Every placement is re-checked against the cluster as it is now, so a stale, slow
//! or second scheduler can never over-commit a node.

use std::collections::BTreeMap;

use davit_core::id::{AttemptKey, NodeId};
use davit_core::placement::{NodeView, misfits};
use davit_core::state::{TaskEvent, transition};
use davit_core::task::{DesiredState, Task};

use crate::state::{Draft, EventType};

/// One attempt on one node, as the scheduler proposes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// What is placed.
    pub key: AttemptKey,
    /// Where.
    pub node_id: NodeId,
}

/// Why a proposal was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The task changed meanwhile: it is gone, stopped, or has another attempt.
    TaskChanged,
    /// The node is gone.
    NodeGone,
    /// The node does not fit any more; every reason.
    DoesNotFit(Vec<String>),
}

/// What became of a list of proposals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlacementReport {
    /// How many were committed.
    pub committed: usize,
    /// Those that were not; their tasks stay PENDING.
    pub rejected: Vec<(Placement, Rejected)>,
}

/// Commits those placements that still fit.
pub fn commit_placements(draft: &mut Draft, placements: &[Placement]) -> PlacementReport {
    let mut views: BTreeMap<NodeId, Option<NodeView>> = BTreeMap::new();
    let mut report = PlacementReport::default();
    for placement in placements {
        match commit_placement(draft, *placement, &mut views) {
            Ok(()) => report.committed += 1,
            Err(why) => report.rejected.push((*placement, why)),
        }
    }
    report
}

fn commit_placement(
    draft: &mut Draft,
    placement: Placement,
    views: &mut BTreeMap<NodeId, Option<NodeView>>,
) -> Result<(), Rejected> {
    let task = draft.state().task(placement.key.task_id).cloned().ok_or(Rejected::TaskChanged)?;
    let due = task.next_attempt_at.is_none_or(|at| at <= draft.now());
    if task.status.attempt != placement.key.attempt || task.desired_state != DesiredState::Running || !due {
        return Err(Rejected::TaskChanged);
    }
    let row = transition(task.status.state, TaskEvent::Place).map_err(|_| Rejected::TaskChanged)?;
    let view = views.entry(placement.node_id).or_insert_with(|| {
        let state = draft.state();
        state.node(placement.node_id).map(|node| state.node_view(node, None))
    });
    let view = view.as_mut().ok_or(Rejected::NodeGone)?;
    let requirements = task.spec.requirements();
    let misfits = misfits(&requirements, view);
    if !misfits.is_empty() {
        return Err(Rejected::DoesNotFit(misfits.iter().map(ToString::to_string).collect()));
    }
    view.reserve(&requirements);
    let name = view.name.clone();
    let mut next = Task::clone(&task);
    next.next_attempt_at = None;
    next.status.state = row.to;
    next.status.node_id = Some(placement.node_id);
    next.status.reason = String::new();
    let message = format!("attempt {}: SCHEDULED on {name}", next.status.attempt);
    draft.put_task(next, EventType::TaskStateChanged, message);
    Ok(())
}

/// Tells users why PENDING tasks wait. Tasks that changed meanwhile, or wait for that reason already, are left alone.
pub fn note_unplaced(draft: &mut Draft, reasons: &[(AttemptKey, String)]) {
    for (key, reason) in reasons {
        let Some(task) = draft.state().task(key.task_id).cloned() else { continue };
        let waits = task.status.attempt == key.attempt && task.status.state == davit_core::state::TaskState::Pending;
        if !waits || task.status.reason == *reason {
            continue;
        }
        let mut next = Task::clone(&task);
        next.status.reason.clone_from(reason);
        draft.put_task(next, EventType::TaskUpdated, format!("attempt {} waits: {reason}", key.attempt));
    }
}
