//! The emptiest node first.

use davit_core::placement::Requirements;

use crate::placement::score::{Algorithm, Candidate, ClusterFacts, Score, share};

/// A task counts for a hundredth of a node, besides what it reserves. Without this, tasks that reserve nothing would all
/// go to the node with the least reserved.
const TASK_SHARE: f64 = 0.01;

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

    fn score(&self, requirements: &Requirements, candidate: &Candidate<'_>, _: &ClusterFacts) -> Score {
        let node = candidate.node;
        let after = node.reserved.saturating_add(requirements.reservation);
        let reserved = share(after.cpu_millis, node.allocatable.cpu_millis)
            .max(share(after.memory_bytes, node.allocatable.memory_bytes))
            .max(share(after.disk_bytes, node.allocatable.disk_bytes));
        let tasks = (f64::from(node.task_count) + 1.0) * TASK_SHARE;
        Score::sum_of([("reserved", reserved), ("tasks", tasks)])
    }
}

#[cfg(test)]
mod tests {
    use davit_core::placement::NodeView;

    use super::*;
    use crate::placement::test_support::{node, requirements};

    fn cost(node: &NodeView) -> f64 {
        let facts = ClusterFacts { node_count: 3, measured: false, turn: 0 };
        Spread.score(&requirements(), &Candidate { node, position: 0, placed: 0 }, &facts).cost()
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
