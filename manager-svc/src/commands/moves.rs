//! Moving a task to another node: its room there is claimed, the attempt that runs is stopped, the next one goes there.

use std::sync::Arc;

use davit_core::id::{Attempt, NodeId, TaskId};
use davit_core::state::TaskState;
use davit_core::task::{Claim, DesiredState, Task};

use super::Error;
use super::attempts::{get_task, lease_end, replace_attempt};
use super::claims::misfits_of;
use crate::state::{Draft, EventType};

/// Moves a task to a node. `attempt`: only if that is its current one. One that waits for a node goes there at once; one that
/// runs is stopped first, and its room on the new node is kept meanwhile.
///
/// # Errors
/// When there is no such task or node, the task has ended or is being stopped or deleted, has another attempt, is on that
/// node, waits for the end of a lease, or does not fit there (every reason is told).
pub fn move_task(
    draft: &mut Draft,
    task_id: TaskId,
    node_id: NodeId,
    attempt: Option<Attempt>,
    reason: &str,
) -> Result<Arc<Task>, Error> {
    let task = get_task(draft, task_id)?;
    match task.desired_state {
        DesiredState::Removed => return Err(Error::TaskIsBeingDeleted { task_id }),
        _ if task.is_finished() => return Err(Error::TaskHasEnded { task_id, state: task.status.state }),
        DesiredState::Stopped => return Err(Error::TaskIsBeingStopped { task_id }),
        DesiredState::Running => {}
    }
    let actual = task.status.attempt;
    if let Some(expected) = attempt.filter(|expected| *expected != actual) {
        return Err(Error::AttemptHasChanged { task_id, expected, actual });
    }
    let node = draft.state().node(node_id).ok_or_else(|| Error::NodeNotFound { node: node_id.to_string() })?;
    let name = node.description.name.clone();
    if task.status.node_id == Some(node_id) {
        return Err(Error::TaskIsThere { task_id, node: name });
    }
    if task.pinned_to().is_some() {
        return Err(Error::TaskIsPinned { task_id });
    }
    let misfits = misfits_of(draft.state(), &task, node);
    if !misfits.is_empty() {
        return Err(Error::DoesNotFit { task_id, node: name, misfits });
    }
    if let Some(until) = lease_end(&task, draft.now()) {
        return Err(Error::TaskIsLeased { task_id, until });
    }
    let why = if reason.is_empty() { format!("moved to {name}") } else { format!("moved to {name}: {reason}") };
    let mut next = Task::clone(&task);
    next.claim = Some(Box::new(Claim { node_id, reason: why.clone() }));
    if task.status.state == TaskState::Pending {
        next.next_attempt_at = None;
        next.status.reason.clone_from(&why);
        return Ok(draft.put_task(next, EventType::TaskUpdated, why));
    }
    let message = format!("attempt {actual} is stopped: {why}");
    Ok(replace_attempt(draft, next, &why, message))
}
