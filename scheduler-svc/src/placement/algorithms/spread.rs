//! The emptiest node first.

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use crate::placement::score::{Algorithm, ClusterFacts, Form, Parts, share};

/// A task counts for a hundredth of a node, besides what it reserves. Without this, tasks that reserve nothing would all
/// go to the node with the least reserved.
pub(in crate::placement) const TASK_SHARE: f64 = 0.01;

/// The emptiest node first: `cost = share + tasks / 100`, both after placement, where `share` is the largest of the
/// reserved shares of cpu, memory and disk. On equal nodes like tasks come out even; a large node gets more than a small
/// one.
#[derive(Debug, Clone, Copy)]
pub struct Spread;

impl Algorithm for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn description(&self) -> &'static str {
        "the emptiest node first; cost = the largest reserved share of cpu, memory and disk + tasks / 100, after placement"
    }

    fn form(&self) -> Form {
        Form::Fill
    }

    fn term_names(&self) -> &'static [&'static str] {
        &["reserved", "tasks"]
    }

    fn numbers(&self, node: &NodeView, _: &ClusterFacts) -> Parts {
        let [cpu, memory, disk] = shares(node.reserved, node.allocatable);
        let tasks = f64::from(node.task_count) * TASK_SHARE;
        [cpu + tasks, memory + tasks, disk + tasks, tasks]
    }

    fn factors(&self, needed: Resources, allocatable: Resources, _: &ClusterFacts) -> Parts {
        let [cpu, memory, disk] = shares(needed, allocatable);
        [cpu + TASK_SHARE, memory + TASK_SHARE, disk + TASK_SHARE, TASK_SHARE]
    }

    fn unit(&self, _: Resources, _: &ClusterFacts) -> f64 {
        1.0
    }
}

/// Shares of cpu, memory and disk.
pub(in crate::placement) fn shares(part: Resources, whole: Resources) -> [f64; 3] {
    [
        share(part.cpu_millis, whole.cpu_millis),
        share(part.memory_bytes, whole.memory_bytes),
        share(part.disk_bytes, whole.disk_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::steps::cost_of;
    use crate::placement::test_support::{facts, node, requirements};

    fn cost(node: &NodeView) -> f64 {
        cost_of(&Spread, &requirements(), node, &facts(3))
    }

    #[test]
    fn the_dimension_that_is_fullest_decides() {
        let (mut cpu, mut memory) = (node(1), node(2));
        cpu.reserved.cpu_millis = cpu.allocatable.cpu_millis / 2;
        memory.reserved.memory_bytes = memory.allocatable.memory_bytes / 4;
        assert!(cost(&node(3)) < cost(&memory));
        assert!(cost(&memory) < cost(&cpu));
    }

    #[test]
    fn a_few_small_tasks_weigh_less_than_a_large_one() {
        let (mut small, mut large) = (node(1), node(2));
        small.task_count = 3;
        large.task_count = 1;
        large.reserved.cpu_millis = large.allocatable.cpu_millis / 2;
        assert!(cost(&small) < cost(&large));
    }

    #[test]
    fn tasks_that_reserve_nothing_are_counted() {
        let mut busy = node(1);
        busy.task_count = 1;
        assert!(cost(&node(2)) < cost(&busy));
    }
}
