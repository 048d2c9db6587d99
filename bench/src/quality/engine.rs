//! Packing with the engine: all tasks in one batch, as a manager that starts a cluster would send them.

use std::collections::{BTreeMap, HashMap};

use davit_core::id::NodeId;
use davit_core::labels::NodeLabels;
use davit_core::placement::{PlacementRequest, Preferences, Requirements, RuntimeKind};
use davit_core::resources::Resources;
use scheduler_svc::placement::{Group, Mirror, algorithms, place};
use uuid::Uuid;

use super::Amounts;
use crate::workload::labelled_node;

/// Says which nodes are used. A task that is not placed counts as all of them.
pub(super) fn pack(algorithm: &str, tasks: &[Amounts], nodes: &[Amounts], seed: u64) -> Vec<bool> {
    let id = |number: usize| NodeId(Uuid::from_u64_pair(1, number as u64));
    let views = nodes
        .iter()
        .enumerate()
        .zip(0..)
        .map(|((at, size), number)| labelled_node(number, id(at), resources(*size), NodeLabels::new()));
    let groups: Vec<_> = groups(algorithm, tasks);
    let placements = place(&mut Mirror::new(views.collect()), &groups, seed);
    if placements.iter().any(|placement| placement.unplaced > 0) {
        return vec![true; nodes.len()];
    }
    let positions: HashMap<NodeId, usize> = (0..nodes.len()).map(|at| (id(at), at)).collect();
    let mut used = vec![false; nodes.len()];
    for (node_id, _) in placements.iter().flat_map(|placement| &placement.runs) {
        if let Some(at) = positions.get(node_id) {
            used[*at] = true;
        }
    }
    used
}

/// One group for each size.
fn groups(algorithm: &str, tasks: &[Amounts]) -> Vec<Group> {
    let mut counts: BTreeMap<(u64, u64), u32> = BTreeMap::new();
    for task in tasks {
        let size = resources(*task);
        *counts.entry((size.cpu_millis, size.memory_bytes)).or_default() += 1;
    }
    let found = algorithms::find(algorithm).unwrap_or(algorithms::DEFAULT);
    let group = |(at, ((cpu_millis, memory_bytes), count)): (usize, ((u64, u64), u32))| {
        let reservation = Resources { cpu_millis, memory_bytes, disk_bytes: 0 };
        let request = PlacementRequest {
            requirements: Requirements { reservation, ..Requirements::of_runtime(RuntimeKind::Docker) },
            preferences: Preferences::default(),
            algorithm: found.name().to_owned(),
            priority: 0,
            may_preempt: false,
        };
        Group { group_id: at.to_string(), request, count, algorithm: found, all_or_nothing: false }
    };
    counts.into_iter().enumerate().map(group).collect()
}

fn resources(amounts: Amounts) -> Resources {
    Resources { cpu_millis: amounts[0] as u64, memory_bytes: amounts[1] as u64, disk_bytes: 0 }
}
