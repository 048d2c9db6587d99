//! What tests of this crate share, beside the builders of `davit-core`.

use davit_core::constraint::Attribute;
use davit_core::id::NodeId;
pub(crate) use davit_core::placement::test_support::{
    any_cluster, any_node, any_requirements, node, node_id, requirements, stats,
};
use davit_core::placement::{Affinity, Mark, PlacementRequest, Preferences, RecentFailures, Requirements, SpreadOver};
use davit_core::resources::Resources;
use proptest::prelude::*;

use super::algorithms;
use super::pipeline::Group;
use super::score::{Algorithm, ClusterFacts};

/// Facts of so many nodes like [`node`], on which nothing runs and nothing was measured.
pub(crate) fn facts(node_count: usize) -> ClusterFacts {
    let size = node(0).allocatable;
    let (mean_allocatable, least_allocatable) = (size, size);
    ClusterFacts { node_count, measured: false, mean_allocatable, least_allocatable, typical_task: Resources::ZERO }
}

/// A request for nothing but these requirements.
pub(crate) fn request(requirements: Requirements) -> PlacementRequest {
    PlacementRequest {
        requirements,
        preferences: Preferences::default(),
        algorithm: String::new(),
        priority: 0,
        may_preempt: false,
    }
}

/// A group of [`requirements`].
pub(crate) fn group(count: u32, algorithm: &'static dyn Algorithm) -> Group {
    Group { group_id: "g".to_owned(), request: request(requirements()), count, algorithm, all_or_nothing: false }
}

fn any_preferences() -> impl Strategy<Value = Preferences> {
    let weight = prop_oneof![-100..=-1, 1..=100];
    let expression = prop::sample::select(vec!["disk == ssd", "disk exists", "node.arch == x86_64"]);
    let affinity =
        (expression, weight).prop_map(|(text, weight)| Affinity { expression: text.parse().unwrap(), weight });
    let attribute = prop::sample::select(vec![Attribute::Label("disk".to_owned()), Attribute::Arch, Attribute::Name]);
    let spread = prop::collection::vec((attribute, 1..=100), 0..2);
    let failures = prop::collection::btree_map(0..4_u64, 1..3_u32, 0..2);
    let some = (prop::collection::vec(affinity, 0..3), spread, failures).prop_map(|(affinities, spread, failures)| {
        let spread: Vec<_> = spread.into_iter().map(|(attribute, weight)| SpreadOver { attribute, weight }).collect();
        let spread_set = (!spread.is_empty()).then(|| Mark::of_name("web"));
        let one = |(number, count)| RecentFailures { node_id: node_id(number), count };
        Preferences { affinities, spread, spread_set, recent_failures: failures.into_iter().map(one).collect() }
    });
    prop_oneof![2 => Just(Preferences::default()), 1 => some]
}

/// A group that some of `any_cluster` can take.
pub(crate) fn any_group() -> impl Strategy<Value = Group> {
    let flags = (prop::sample::select(algorithms::ALL.to_vec()), -1..=1_i32, prop::bool::weighted(0.2));
    (any_requirements(), any_preferences(), 1..20_u32, flags).prop_map(
        |(requirements, preferences, count, (algorithm, priority, all_or_nothing))| Group {
            group_id: String::new(),
            request: PlacementRequest {
                preferences,
                priority,
                algorithm: algorithm.name().to_owned(),
                ..request(requirements)
            },
            count,
            algorithm,
            all_or_nothing,
        },
    )
}

/// Groups with different ids.
pub(crate) fn any_groups() -> impl Strategy<Value = Vec<Group>> {
    prop::collection::vec(any_group(), 1..6).prop_map(|mut groups| {
        for (number, group) in groups.iter_mut().enumerate() {
            group.group_id = number.to_string();
        }
        groups
    })
}

/// How many tasks went to a node.
pub(crate) fn on(runs: &[(NodeId, u32)], node_id: NodeId) -> u32 {
    runs.iter().find(|(id, _)| *id == node_id).map_or(0, |(_, count)| *count)
}
