//! Order: revisions without a gap, and tasks that only go forwards. Section 4 of DESIGN.md, on which promise 1 rests.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::id::{Attempt, TaskId};
use manager_svc::state::{Batch, Versions};

use super::Violations;

/// 1: every committed change has the revision after the one before.
pub(super) fn revisions_are_contiguous(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut last = None;
    for revision in journal.iter().flat_map(|batch| &batch.changes).map(|change| change.event.revision.0) {
        if let Some(last) = last
            && revision != last + 1
        {
            return violations.add(1, format!("revision {revision} was committed after {last}"));
        }
        last = Some(revision);
    }
}

/// 1: what is observed of a task only grows by (attempt, rank, sequence), and a deleted task stays deleted.
pub(super) fn tasks_go_forwards(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut last: BTreeMap<TaskId, (Attempt, u8, u64)> = BTreeMap::new();
    let mut deleted = BTreeMap::new();
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        let revision = change.event.revision.0;
        match &change.versions {
            Versions::Task { after: Some(task), .. } => {
                let (order, state) = (task.status.order(), task.status.state);
                if let Some(deleted_at) = deleted.get(&task.task_id) {
                    violations.add(1, format!("{} came at revision {revision}, deleted at {deleted_at}", task.key()));
                }
                if last.insert(task.task_id, order).is_some_and(|last| order < last) {
                    violations.add(1, format!("{} went back to {state} at revision {revision}", task.key()));
                }
            }
            Versions::Task { before: Some(task), after: None } => {
                deleted.insert(task.task_id, revision);
            }
            Versions::Task { .. }
            | Versions::Node { .. }
            | Versions::Deployment { .. }
            | Versions::Job { .. }
            | Versions::Config { .. } => {}
        }
    }
}
