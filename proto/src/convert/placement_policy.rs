//! What decides on a task's node, beside its resources and constraints.

use std::collections::BTreeMap;

use davit_core::placement::{Mark, Platform};
use davit_core::spec::{PRIORITIES, PlacementPolicy};
use davit_core::validate::Violations;

use super::path::{FieldPath, field, item};
use super::requirements::{
    affinities_from_proto, affinities_to_proto, marks_from_proto, spread_from_proto, spread_to_proto,
};
use super::text::check_printable;
use crate::v1;

/// How many expressions on other tasks a task may have of each kind.
const MAX_TASK_SELECTORS: usize = 8;
/// The longest name of an algorithm. Which ones there are is for the scheduler to say.
const MAX_ALGORITHM_BYTES: usize = 63;

/// The task that a policy is of, as far as the policy's own sense depends on it.
pub(super) struct Owner<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
}

impl Owner<'_> {
    fn carries(&self, mark: &Mark) -> bool {
        *mark == Mark::of_name(self.name)
            || self.labels.get(mark.key()).is_some_and(|value| Mark::of_label(mark.key(), value) == *mark)
    }
}

/// Reads a policy; nothing special, unless given.
pub(super) fn placement_policy_from_proto(
    policy: Option<v1::PlacementPolicy>,
    owner: &Owner<'_>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<PlacementPolicy> {
    let Some(policy) = policy else { return Some(PlacementPolicy::default()) };
    let before = violations.0.len();
    let algorithm_path = field(path, "algorithm");
    if policy.algorithm.len() > MAX_ALGORITHM_BYTES {
        violations.add(algorithm_path, format!("has at most {MAX_ALGORITHM_BYTES} bytes"));
    } else if !policy.algorithm.is_empty() {
        check_printable(&policy.algorithm, &algorithm_path, violations);
    }
    let platform = violations.check(field(path, "platform"), policy.platform.parse::<Platform>());
    if policy.max_per_node == Some(0) {
        violations.add(field(path, "max_per_node"), "is at least 1; leave it out for any number");
    }
    let affinities_path = field(path, "task_affinities");
    for (index, text) in policy.task_affinities.iter().enumerate().take(MAX_TASK_SELECTORS) {
        if text.parse().is_ok_and(|mark: Mark| owner.carries(&mark)) {
            let what = "selects the task itself, which would wait for itself";
            violations.add(item(&affinities_path, index), what);
        }
    }
    let task_affinities = marks_from_proto(&policy.task_affinities, MAX_TASK_SELECTORS, &affinities_path, violations);
    let anti_path = field(path, "task_anti_affinities");
    let task_anti_affinities =
        marks_from_proto(&policy.task_anti_affinities, MAX_TASK_SELECTORS, &anti_path, violations);
    let affinities = affinities_from_proto(&policy.affinities, &field(path, "affinities"), violations);
    let spread = spread_from_proto(&policy.spread, &field(path, "spread"), violations);
    if !PRIORITIES.contains(&policy.priority) {
        let (least, most) = PRIORITIES.into_inner();
        violations.add(field(path, "priority"), format!("{} is not {least} to {most}", policy.priority));
    }
    let read = PlacementPolicy {
        algorithm: policy.algorithm,
        platform: platform?,
        max_per_node: policy.max_per_node,
        task_affinities,
        task_anti_affinities,
        affinities,
        spread,
        priority: policy.priority,
        may_preempt: policy.may_preempt,
    };
    (violations.0.len() == before).then_some(read)
}

/// Writes a policy; unset where it says nothing.
pub(super) fn placement_policy_to_proto(policy: &PlacementPolicy) -> Option<v1::PlacementPolicy> {
    let marks = |marks: &[Mark]| marks.iter().map(ToString::to_string).collect();
    (*policy != PlacementPolicy::default()).then(|| v1::PlacementPolicy {
        algorithm: policy.algorithm.clone(),
        platform: policy.platform.to_string(),
        max_per_node: policy.max_per_node,
        task_affinities: marks(&policy.task_affinities),
        task_anti_affinities: marks(&policy.task_anti_affinities),
        affinities: affinities_to_proto(&policy.affinities),
        spread: spread_to_proto(&policy.spread),
        priority: policy.priority,
        may_preempt: policy.may_preempt,
    })
}
