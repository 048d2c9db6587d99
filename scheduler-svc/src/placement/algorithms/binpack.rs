//! The fullest node first.

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use crate::placement::score::{Algorithm, ClusterFacts, Form, Parts, share};

/// BestFit v3, as Google's data centres used it and Nomad does (`nomad/structs/funcs.go`, `ScoreFitBinPack`):
///
/// ```text
/// score = clamp(20 − (10^free_cpu + 10^free_memory), 0, 18) / 18
/// cost  = 1 − score = 10^free_cpu / 18 + 10^free_memory / 18 − 2 / 18
/// ```
///
/// where `free` is the share of the node that is not reserved after placement. A node that is full in both dimensions
/// costs 0, an empty one nearly 1. The clamp of the original only matters for nodes that are reserved beyond their size,
/// which no task fits on. Tasks that reserve nothing leave the node as it is: they all go to the fullest one.
#[derive(Debug, Clone, Copy)]
pub struct Binpack;

impl Algorithm for Binpack {
    fn name(&self) -> &'static str {
        "binpack"
    }

    fn description(&self) -> &'static str {
        "the fullest node that has room (BestFit v3, as Nomad); cost = 1 - clamp(20 - (10^free cpu + 10^free memory), 0, 18) / 18, \
         free = unreserved share after placement"
    }

    fn form(&self) -> Form {
        Form::Product
    }

    fn term_names(&self) -> &'static [&'static str] {
        &["free-cpu", "free-memory", "offset"]
    }

    fn numbers(&self, node: &NodeView, _: &ClusterFacts) -> Parts {
        let power = |reserved, allocatable| ten_to(1.0 - share(reserved, allocatable).min(1.0));
        [
            power(node.reserved.cpu_millis, node.allocatable.cpu_millis),
            power(node.reserved.memory_bytes, node.allocatable.memory_bytes),
            1.0,
            0.0,
        ]
    }

    fn factors(&self, needed: Resources, allocatable: Resources, _: &ClusterFacts) -> Parts {
        let power = |needed, allocatable| ten_to(-share(needed, allocatable).min(1.0)) / 18.0;
        [
            power(needed.cpu_millis, allocatable.cpu_millis),
            power(needed.memory_bytes, allocatable.memory_bytes),
            -2.0 / 18.0,
            0.0,
        ]
    }

    fn packs(&self) -> bool {
        true
    }

    fn unit(&self, _: Resources, _: &ClusterFacts) -> f64 {
        1.0
    }
}

/// From `libm` and not from the system's library, whose last digits differ between machines: decisions are replayed.
fn ten_to(exponent: f64) -> f64 {
    libm::exp(exponent * std::f64::consts::LN_10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::steps::cost_of;
    use crate::placement::test_support::{facts, node, requirements};

    #[test]
    fn the_cost_is_the_formula() {
        let mut half = node(1);
        half.reserved.cpu_millis = half.allocatable.cpu_millis / 2;
        let free_cpu = 0.5 - 100.0 / 8000.0;
        let free_memory = 1.0 - 64.0 / 16384.0;
        let score = (20.0 - (10_f64.powf(free_cpu) + 10_f64.powf(free_memory))).clamp(0.0, 18.0) / 18.0;
        let cost = cost_of(&Binpack, &requirements(), &half, &facts(3));
        assert!((cost - (1.0 - score)).abs() < 1e-12, "{cost} is not 1 - {score}");
    }

    #[test]
    fn the_fuller_node_is_cheaper_and_all_costs_are_between_0_and_1() {
        let costs: Vec<_> = [0, 2000, 4000, 7900]
            .map(|reserved| {
                let mut node = node(1);
                node.reserved.cpu_millis = reserved;
                cost_of(&Binpack, &requirements(), &node, &facts(3))
            })
            .to_vec();
        assert!(costs.is_sorted_by(|a, b| a > b), "{costs:?}");
        assert!(costs.iter().all(|cost| (0.0..=1.0).contains(cost)), "{costs:?}");
    }
}
