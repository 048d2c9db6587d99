//! Attempts of other nodes that a worker sees on its engine.

use davit_core::id::{AttemptKey, NodeId};
use davit_core::validate::Violations;

use super::common::{attempt_from_proto, parse_node_id, parse_task_id};
use super::path::{FieldPath, field, item};
use crate::v1;

/// So many are told at most: far more than one engine can run.
pub const MAX_FOREIGN_ATTEMPTS: usize = 5_000;

/// An attempt of another node, on an engine that several nodes share or that had another node before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignAttempt {
    /// The node in its labels.
    pub node_id: NodeId,
    /// Which attempt.
    pub key: AttemptKey,
    /// Whether it runs.
    pub running: bool,
}

/// Reads what a worker sees of other nodes, or what it is to remove of that.
pub fn foreign_attempts_from_proto<'a>(
    attempts: &[v1::ForeignAttempt],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Vec<ForeignAttempt>> {
    let path = &path.into();
    if attempts.len() > MAX_FOREIGN_ATTEMPTS {
        violations.add(path, format!("has {} elements, at most {MAX_FOREIGN_ATTEMPTS} are taken", attempts.len()));
        return None;
    }
    let before = violations.0.len();
    let mut read = Vec::with_capacity(attempts.len());
    for (index, attempt) in attempts.iter().enumerate() {
        let path = &item(path, index);
        let node_id = parse_node_id(&attempt.node_id, field(path, "node_id"), violations);
        let task_id = parse_task_id(&attempt.task_id, field(path, "task_id"), violations);
        let number = attempt_from_proto(attempt.attempt, field(path, "attempt"), violations);
        if let (Some(node_id), Some(task_id), Some(number)) = (node_id, task_id, number) {
            let key = AttemptKey { task_id, attempt: number };
            read.push(ForeignAttempt { node_id, key, running: attempt.running });
        }
    }
    (violations.0.len() == before).then_some(read)
}

/// Writes them.
#[must_use]
pub fn foreign_attempts_to_proto(attempts: &[ForeignAttempt]) -> Vec<v1::ForeignAttempt> {
    let write = |attempt: &ForeignAttempt| v1::ForeignAttempt {
        node_id: attempt.node_id.to_string(),
        task_id: attempt.key.task_id.to_string(),
        attempt: attempt.key.attempt.0,
        running: attempt.running,
    };
    attempts.iter().map(write).collect()
}
