//! Leaves least behind that nothing can use.

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use crate::placement::algorithms::spread::shares;
use crate::placement::score::{Algorithm, ClusterFacts, Form, Parts};

/// The node on which least is left over that no common task could use; after the idea of Qizhen Weng et al., "Beware of
/// Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023, for cpu and memory:
///
/// ```text
/// left(d)    = free share of cpu or memory after placement
/// stranded   = mean over two task sizes s of  Σ over d:  left(d) − k · s(d),   k = ⌊min over d: left(d) / s(d)⌋
/// cost       = stranded + (left(cpu) + left(memory)) / 2
/// ```
///
/// The two sizes are the task itself, of which more may come, and the average task of the cluster. What is left counts
/// half besides, so that a node is filled before the next one is begun.
#[derive(Debug, Clone, Copy)]
pub struct LeastStranded;

impl Algorithm for LeastStranded {
    fn name(&self) -> &'static str {
        "least-stranded"
    }

    fn description(&self) -> &'static str {
        "the node on which least is left that no common task could use (after Weng et al. 2023); cost = mean over two task sizes s \
         of sum over cpu and memory of (left - k * s), k = floor(min over cpu and memory of left / s), \
         + (left cpu + left memory) / 2; left = free share after placement; the sizes are the task's own and that of the \
         cluster's average task"
    }

    fn form(&self) -> Form {
        Form::Stranded
    }

    fn term_names(&self) -> &'static [&'static str] {
        &["stranded", "left"]
    }

    fn numbers(&self, node: &NodeView, _: &ClusterFacts) -> Parts {
        let [cpu, memory, _] = shares(node.reserved, node.allocatable);
        [1.0 - cpu.min(1.0), 1.0 - memory.min(1.0), 0.0, 0.0]
    }

    fn factors(&self, needed: Resources, allocatable: Resources, facts: &ClusterFacts) -> Parts {
        let typical = if facts.typical_task == Resources::ZERO { needed } else { facts.typical_task };
        let [cpu, memory, _] = shares(needed, allocatable);
        let [typical_cpu, typical_memory, _] = shares(typical, allocatable);
        [cpu, memory, typical_cpu, typical_memory]
    }

    fn packs(&self) -> bool {
        true
    }

    fn unit(&self, _: Resources, _: &ClusterFacts) -> f64 {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::steps::cost_of;
    use crate::placement::test_support::{facts, node, requirements};

    #[test]
    fn the_cost_is_the_formula() {
        let mut half = node(1);
        half.reserved = Resources { cpu_millis: 3300, memory_bytes: 9 << 30, disk_bytes: 0 };
        let mut facts = facts(2);
        facts.typical_task = Resources { cpu_millis: 900, memory_bytes: 1 << 30, disk_bytes: 0 };
        let mut wants = requirements();
        wants.reservation = Resources { cpu_millis: 1500, memory_bytes: 2 << 30, disk_bytes: 0 };
        // 3.2 cores and 5 GiB are left of 8 cores and 16 GiB: two more such tasks, or three average ones.
        let (cpu, memory) = (3.2 / 8.0, 5.0 / 16.0);
        let own = (cpu - 2.0 * 1.5 / 8.0) + (memory - 2.0 * 2.0 / 16.0);
        let typical = (cpu - 3.0 * 0.9 / 8.0) + (memory - 3.0 / 16.0);
        let expected = (own + typical) / 2.0 + (cpu + memory) / 2.0;
        let cost = cost_of(&LeastStranded, &wants, &half, &facts);
        assert!((cost - expected).abs() < 1e-12, "{cost} is not {expected}");
    }

    #[test]
    fn a_task_goes_where_it_evens_out_what_is_left() {
        // Much cpu and little memory is left of the one, the other way round of the other.
        let (mut cpu_left, mut memory_left) = (node(1), node(2));
        cpu_left.reserved = Resources { cpu_millis: 2000, memory_bytes: 12 << 30, disk_bytes: 0 };
        memory_left.reserved = Resources { cpu_millis: 6000, memory_bytes: 4 << 30, disk_bytes: 0 };
        let mut wants_cpu = requirements();
        wants_cpu.reservation = Resources { cpu_millis: 2000, memory_bytes: 1 << 30, disk_bytes: 0 };
        let cost = |node| cost_of(&LeastStranded, &wants_cpu, node, &facts(2));
        assert!(cost(&cpu_left) < cost(&memory_left), "{} {}", cost(&cpu_left), cost(&memory_left));
    }

    #[test]
    fn a_node_is_filled_before_the_next_is_begun() {
        let mut begun = node(1);
        begun.reserve(&requirements());
        let cost = |node| cost_of(&LeastStranded, &requirements(), node, &facts(2));
        assert!(cost(&begun) < cost(&node(2)));
    }
}
