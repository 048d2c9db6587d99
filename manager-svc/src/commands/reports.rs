//! What workers report of attempts.

use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::state::transition;
use davit_core::task::{AttemptStatus, Task};
use davit_svc_kit::bugs::{self, Bug};

use super::attempts::{end_attempt, why_replaced};
use crate::state::{Draft, EventType};

/// What became of some reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportCounts {
    /// Told something new.
    pub applied: u64,
    /// Known already, or overtaken by something newer.
    pub stale: u64,
}

/// Applies a worker's reports. A report that is not newer by (attempt, rank), or comes from a node that does not have the
/// attempt, is stale and dropped.
pub fn apply_reports(draft: &mut Draft, node_id: NodeId, reports: Vec<(TaskId, AttemptStatus)>) -> ReportCounts {
    let mut counts = ReportCounts::default();
    for (task_id, status) in reports {
        if apply_report(draft, node_id, task_id, status) {
            counts.applied += 1;
        } else {
            counts.stale += 1;
        }
    }
    counts
}

/// Whether what a node reports of one of a task's attempts counts, and is not known already.
pub(super) fn is_news(task: &Task, node_id: NodeId, reported: &AttemptStatus) -> bool {
    let current = &task.status;
    // The fence: only the node that has the current attempt speaks for it.
    if reported.attempt != current.attempt || current.node_id != Some(node_id) {
        return false;
    }
    // PENDING, SCHEDULED and LOST are the manager's own; a worker has nothing to say on them.
    let Some(event) = reported.state.reported_by() else { return false };
    if bugs::is(Bug::MergeReversed) {
        // The simulator is to find this.
        true
    } else if reported.state == current.state {
        !reported.state.is_terminal() && reported.sequence > current.sequence
    } else {
        transition(current.state, event).is_ok()
    }
}

fn apply_report(draft: &mut Draft, node_id: NodeId, task_id: TaskId, reported: AttemptStatus) -> bool {
    let Some(task) = draft.state().task(task_id).filter(|task| is_news(task, node_id, &reported)).cloned() else {
        return false;
    };
    let current = &task.status;
    let state_changes = reported.state != current.state;
    let ends = state_changes && reported.state.is_terminal();
    let mut reported = AttemptStatus { node_id: Some(node_id), ..reported };
    if reported.ports.is_empty() {
        // They were given before the worker knew of it.
        reported.ports.clone_from(&current.ports);
    }
    let why_replaced = why_replaced(&task);
    if let Some(why) = why_replaced {
        reported.reason = with_reason(why, if ends { &reported.reason } else { "" });
    }
    let message = describe(&reported);
    let status = if bugs::is(Bug::MergeReversed) { reported } else { current.clone().merge(reported) };
    let next = Task { status, ..Task::clone(&task) };
    if ends {
        end_attempt(draft, next, message, why_replaced);
    } else {
        let event_type = if state_changes { EventType::TaskStateChanged } else { EventType::TaskUpdated };
        draft.put_task(next, event_type, message);
    }
    true
}

fn describe(status: &AttemptStatus) -> String {
    let mut text = format!("attempt {}: {}", status.attempt, status.state);
    // Workers mostly say it in their words: once is enough.
    if let Some(code) = status.exit_code.filter(|code| !names_code(&status.reason, *code)) {
        text.push_str(&format!(", exit code {code}"));
    }
    if status.oom_killed {
        text.push_str(", out of memory");
    }
    if !status.reason.is_empty() {
        text.push_str(": ");
        text.push_str(&status.reason);
    }
    text
}

/// Why the manager had an attempt stopped, and how it went.
fn with_reason(why: &str, rest: &str) -> String {
    if rest.is_empty() || rest == why { why.to_owned() } else { format!("{why}; {rest}") }
}

fn names_code(reason: &str, code: i32) -> bool {
    let named = format!("code {code}");
    reason
        .match_indices(&named)
        .any(|(at, _)| !reason[at + named.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

/// Ends attempts that the manager believes on a node but its worker no longer has.
pub(super) fn lose_attempts(draft: &mut Draft, tasks: &[Arc<Task>], reason: &str) {
    for task in tasks {
        let Ok(row) = transition(task.status.state, davit_core::state::TaskEvent::Lose) else { continue };
        let mut next = Task::clone(task);
        next.status.state = row.to;
        next.status.ready = false;
        let why_replaced = why_replaced(task);
        next.status.reason = why_replaced.map_or_else(|| reason.to_owned(), |why| with_reason(why, reason));
        next.status.finished_at = Some(draft.now());
        let message = format!("attempt {}: LOST: {reason}", next.status.attempt);
        end_attempt(draft, next, message, why_replaced);
    }
}
