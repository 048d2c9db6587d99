//! The third step: the lowest cost wins, and a seeded hash decides between equal ones.

use std::cmp::Ordering;

use davit_core::id::NodeId;

/// The node of the lowest cost; of equal ones, that of the lowest hash of seed and node id. The order in which the costs
/// are given does not matter. A cost that is not finite never wins. `None` when no cost is left.
#[must_use]
pub fn pick(costs: impl IntoIterator<Item = (NodeId, f64)>, seed: u64) -> Option<NodeId> {
    costs
        .into_iter()
        .filter(|(_, cost)| cost.is_finite())
        .map(|(node_id, cost)| Rank::new(cost, seed, node_id))
        .min()
        .map(|rank| rank.node_id)
}

/// How good a node is; the least is the best. Totally ordered: no two nodes are ever equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rank {
    cost: f64,
    tie_break: u64,
    node_id: NodeId,
}

impl Rank {
    pub(super) fn new(cost: f64, seed: u64, node_id: NodeId) -> Self {
        Self { tie_break: tie_break(seed, node_id), node_id, cost: 0.0 }.with_cost(cost)
    }

    /// The same node at another cost.
    pub(super) fn with_cost(self, cost: f64) -> Self {
        // Adding 0 turns -0 into 0, which `total_cmp` would tell apart.
        Self { cost: cost + 0.0, ..self }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cost
            .total_cmp(&other.cost)
            .then_with(|| self.tie_break.cmp(&other.tie_break))
            .then_with(|| self.node_id.cmp(&other.node_id))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rank {}

/// Decides between equal costs: the least wins.
pub(super) fn tie_break(seed: u64, node_id: NodeId) -> u64 {
    let (high, low) = node_id.0.as_u64_pair();
    mix(mix(mix(seed) ^ high) ^ low)
}

/// The finisher of `SplitMix64`. Fixed for good: recorded decisions are replayed with it.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::placement::test_support::node_id;

    #[test]
    fn the_lowest_cost_wins() {
        assert_eq!(pick([(node_id(1), 2.0), (node_id(2), 1.0), (node_id(3), 3.0)], 0), Some(node_id(2)));
    }

    #[test]
    fn without_nodes_nothing_is_picked() {
        assert_eq!(pick([], 0), None);
    }

    #[test]
    fn a_cost_that_is_not_finite_never_wins() {
        for hole in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(pick([(node_id(1), hole), (node_id(2), 1e9)], 0), Some(node_id(2)));
            assert_eq!(pick([(node_id(1), hole)], 0), None);
        }
    }

    #[test]
    fn seeds_spread_ties_over_the_nodes() {
        let picked: BTreeSet<_> = (0..50).map(|seed| pick((1..4).map(|n| (node_id(n), 1.0)), seed)).collect();
        assert_eq!(picked.len(), 3);
    }

    #[test]
    fn the_two_zeros_are_equal_costs() {
        for seed in 0..20 {
            let plus = pick([(node_id(1), 0.0), (node_id(2), 0.0)], seed);
            assert_eq!(pick([(node_id(1), -0.0), (node_id(2), 0.0)], seed), plus);
        }
    }

    #[test]
    fn ties_are_broken_the_same_way_in_every_release() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    proptest! {
        #[test]
        fn the_order_of_nodes_does_not_matter(costs in prop::collection::vec(0..3_u8, 1..8), seed: u64) {
            let forward: Vec<_> = (0..).map(node_id).zip(costs.iter().copied().map(f64::from)).collect();
            let picked = pick(forward.iter().copied(), seed);
            prop_assert_eq!(picked, pick(forward.into_iter().rev(), seed));
        }
    }
}
