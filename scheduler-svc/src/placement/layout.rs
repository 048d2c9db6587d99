//! In which order nodes stand in the table: so that the nodes of a block are as alike as can be.
//!
//! The bound of a block is made of the best that any of its nodes has in each dimension by itself. It is close to what its
//! best node costs when the nodes of the block lie close together; so nodes are split by the dimension in which they differ
//! most, again and again, as in a k-d tree, until a block is left.

use davit_core::placement::NodeView;

use super::score::{Algorithm, ClusterFacts};
use super::table::{LARGE, SMALL};

/// How much a node that is twice as large differs, as a share of load.
const DOUBLE_SIZE: f64 = 0.5;

/// A node as a point: its numbers, and its size in cpu and memory.
type Point = [f64; 6];

/// The places of nodes in the order of ids, in the order of slots: alike to one algorithm.
pub(super) fn order(nodes: &[NodeView], algorithm: &dyn Algorithm, facts: &ClusterFacts) -> Vec<u32> {
    // Only for the layout, which never changes an answer: the last digits of a logarithm don't matter.
    let size = |amount: u64| (amount.max(1) as f64).log2() * DOUBLE_SIZE;
    let point = |node: &NodeView| {
        let [a, b, c, d] = algorithm.numbers(node, facts);
        [a, b, c, d, size(node.allocatable.cpu_millis), size(node.allocatable.memory_bytes)]
    };
    let points: Vec<Point> = nodes.iter().map(point).collect();
    let mut order: Vec<u32> = (0..).take(nodes.len()).collect();
    split(&mut order, &points);
    order
}

fn split(mut order: &mut [u32], points: &[Point]) {
    while order.len() > SMALL {
        // What is left of the middle fills whole blocks, so that what is right of it begins one.
        let block = if order.len() > LARGE { LARGE } else { SMALL };
        let middle = (order.len() / 2).next_multiple_of(block).min((order.len() - 1) / block * block);
        let dimension = widest(order, points);
        order.select_nth_unstable_by(middle, |a, b| {
            let of = |at: &u32| points[*at as usize][dimension];
            of(a).total_cmp(&of(b)).then(a.cmp(b))
        });
        let (left, right) = order.split_at_mut(middle);
        split(left, points);
        order = right;
    }
}

/// In which dimension the nodes differ most.
fn widest(order: &[u32], points: &[Point]) -> usize {
    let mut least = [f64::INFINITY; 6];
    let mut most = [f64::NEG_INFINITY; 6];
    for at in order {
        for (dimension, value) in points[*at as usize].iter().enumerate() {
            least[dimension] = least[dimension].min(*value);
            most[dimension] = most[dimension].max(*value);
        }
    }
    let width = |dimension: &usize| most[*dimension] - least[*dimension];
    (0..6).max_by(|a, b| width(a).total_cmp(&width(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::algorithms::Spread;
    use crate::placement::test_support::{facts, node};

    #[test]
    fn every_node_has_one_slot_and_blocks_hold_nodes_of_one_size() {
        let mut nodes: Vec<_> = (0..300).map(node).collect();
        for (number, node) in nodes.iter_mut().enumerate() {
            if number % 2 == 0 {
                node.allocatable.memory_bytes *= 4;
            }
        }
        let order = order(&nodes, &Spread, &facts(300));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..300));
        let is_mixed = |block: &&[u32]| block.iter().any(|at| at % 2 != block[0] % 2);
        assert!(order.chunks(LARGE).filter(is_mixed).count() <= 1);
    }
}
