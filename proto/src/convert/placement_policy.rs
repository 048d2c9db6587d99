//! What decides on a task's node, beside its resources and constraints.

use std::collections::BTreeMap;

use davit_core::placement::{Mark, Platform};
use davit_core::resources::Resources;
use davit_core::spec::{Colocation, PRIORITIES, PlacementPolicy, check_name};
use davit_core::validate::Violations;

use super::path::{FieldPath, field, item};
use super::requirements::{
    affinities_from_proto, affinities_to_proto, marks_from_proto, spread_from_proto, spread_to_proto,
};
use super::resources::{resources_to_proto, task_amounts_from_proto};
use super::text::{check_printable, check_volume_name};
use crate::v1;

/// How many expressions on other tasks a task may have of each kind.
const MAX_TASK_SELECTORS: usize = 8;
/// How many named volumes a group may have.
const MAX_GROUP_VOLUMES: usize = 256;
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
    let colocation = match policy.colocation {
        Some(colocation) => {
            colocation_from_proto(colocation, &field(path, "colocation"), violations).map(|one| Some(Box::new(one)))
        }
        None => Some(None),
    };
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
        colocation: colocation?,
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
        colocation: policy.colocation.as_deref().map(|colocation| v1::Colocation {
            group: colocation.group.clone(),
            reservation: (colocation.reservation != Resources::ZERO)
                .then(|| resources_to_proto(colocation.reservation)),
            volume_names: colocation.volumes.clone(),
        }),
    })
}

/// Reads which group a task belongs to.
fn colocation_from_proto(
    colocation: v1::Colocation,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Colocation> {
    let before = violations.0.len();
    violations.check(field(path, "group"), check_name(&colocation.group));
    let reservation = task_amounts_from_proto(colocation.reservation, &field(path, "reservation"), violations);
    let volumes_path = field(path, "volume_names");
    for (index, name) in colocation.volume_names.iter().enumerate().take(MAX_GROUP_VOLUMES) {
        check_volume_name(name, &item(&volumes_path, index), violations);
    }
    if colocation.volume_names.len() > MAX_GROUP_VOLUMES {
        violations.add(volumes_path, format!("has at most {MAX_GROUP_VOLUMES} entries"));
    }
    let read = Colocation { group: colocation.group, reservation: reservation?, volumes: colocation.volume_names };
    (violations.0.len() == before).then_some(read)
}
