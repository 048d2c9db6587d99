//! Which runtimes of a node answer, and what is wrong with the others.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::node::RuntimeProblem;
use davit_core::placement::RuntimeKind;
use davit_core::validate::Violations;

use super::common::timestamp_to_proto;
use super::enums::{runtime_kind_from_proto, runtime_kind_to_proto, runtime_kinds_from_proto};
use super::path::{FieldPath, field, item};
use super::text::truncated;
use crate::v1;

/// How much of a problem is kept.
const MAX_PROBLEM_BYTES: usize = 1024;

/// What a worker can run now, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeHealth {
    /// Those that answer.
    pub runtimes: BTreeSet<RuntimeKind>,
    /// Those that don't, each with what is wrong.
    pub problems: BTreeMap<RuntimeKind, String>,
}

/// Reads what a worker can run now.
pub fn runtime_health_from_proto<'a>(
    health: v1::RuntimeHealth,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<RuntimeHealth> {
    let path = &path.into();
    let before = violations.0.len();
    let runtimes = runtime_kinds_from_proto(&health.runtimes, field(path, "runtimes"), violations);
    let problems = runtime_problems_from_proto(health.problems, &field(path, "problems"), violations);
    (violations.0.len() == before).then_some(RuntimeHealth { runtimes, problems })
}

/// Writes what a worker can run now.
#[must_use]
pub fn runtime_health_to_proto(health: &RuntimeHealth) -> v1::RuntimeHealth {
    v1::RuntimeHealth {
        runtimes: health.runtimes.iter().map(|kind| runtime_kind_to_proto(*kind).into()).collect(),
        problems: reported_problems_to_proto(&health.problems),
    }
}

/// Reads problems as a worker reports them: when they began is for the manager to say.
pub(super) fn runtime_problems_from_proto(
    problems: Vec<v1::RuntimeProblem>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> BTreeMap<RuntimeKind, String> {
    let mut read = BTreeMap::new();
    for (index, problem) in problems.into_iter().enumerate() {
        let path = item(path, index);
        let Some(kind) = runtime_kind_from_proto(problem.kind, field(&path, "kind"), violations) else { continue };
        if read.insert(kind, truncated(problem.problem, MAX_PROBLEM_BYTES)).is_some() {
            violations.add(path, format!("the {kind} runtime is named twice"));
        }
    }
    read
}

/// Writes problems as a worker reports them.
pub(super) fn reported_problems_to_proto(problems: &BTreeMap<RuntimeKind, String>) -> Vec<v1::RuntimeProblem> {
    let write = |(kind, problem): (&RuntimeKind, &String)| v1::RuntimeProblem {
        kind: runtime_kind_to_proto(*kind).into(),
        problem: problem.clone(),
        start_time: None,
    };
    problems.iter().map(write).collect()
}

/// Writes problems as users see them.
#[must_use]
pub fn runtime_problems_to_proto(problems: &BTreeMap<RuntimeKind, RuntimeProblem>) -> Vec<v1::RuntimeProblem> {
    let write = |(kind, problem): (&RuntimeKind, &RuntimeProblem)| v1::RuntimeProblem {
        kind: runtime_kind_to_proto(*kind).into(),
        problem: problem.problem.clone(),
        start_time: Some(timestamp_to_proto(problem.since)),
    };
    problems.iter().map(write).collect()
}
