//! In which slots of the table nodes stand: so that the nodes of a row and of a block are as alike as can be.
//!
//! The bound of a row is made of the best that any of its nodes has in each dimension by itself. It is close to what its best
//! node costs when the nodes of the row lie close together. So nodes are grouped by what tasks demand of their nature, which
//! makes rows come into question whole or not at all; then by size, on which a task's factors depend; and then split by the
//! dimension in which they differ most, again and again, as in a k-d tree, until a row is left.

use std::collections::BTreeSet;

use davit_core::placement::NodeView;

use super::eligible::{Mask, has};
use super::score::{Algorithm, ClusterFacts};
use super::table::{BLOCK, ROW, VACANT};

/// How much a node that is twice as large differs, as a share of load.
const DOUBLE_SIZE: f64 = 0.5;

/// How many nodes a group has on average, or fewer demands, then sizes, are told apart: rows that a group does not fill cost
/// more than is won.
const MIN_GROUP: usize = 2 * ROW;

/// A node as a point: its numbers, and its size in cpu and memory.
type Point = [f64; 6];

/// Which node each slot holds, by its place in the order of ids, or [`VACANT`]: alike to one algorithm, and to these demands.
pub(super) fn slots(nodes: &[NodeView], algorithm: &dyn Algorithm, facts: &ClusterFacts, demands: &[Mask]) -> Vec<u32> {
    // Only for the layout, which never changes an answer: the last digits of a logarithm don't matter.
    let size = |amount: u64| (amount.max(1) as f64).log2() * DOUBLE_SIZE;
    let point = |node: &NodeView| {
        let [a, b, c, d] = algorithm.numbers(node, facts);
        [a, b, c, d, size(node.allocatable.cpu_millis), size(node.allocatable.memory_bytes)]
    };
    let points: Vec<Point> = nodes.iter().map(point).collect();
    let sizes = nodes.iter().map(|node| node.allocatable).collect::<BTreeSet<_>>().len();
    let by_size = sizes * MIN_GROUP <= nodes.len();
    let mut groups = if by_size { sizes } else { 1 };
    let mut told_apart = 0;
    while told_apart < demands.len() && groups * 2 * MIN_GROUP <= nodes.len() {
        groups *= 2;
        told_apart += 1;
    }
    let nature = |at: u32| {
        let demanded =
            demands[..told_apart].iter().fold(0_u32, |bits, mask| bits << 1 | u32::from(has(mask, at as usize)));
        (demanded, by_size.then(|| nodes[at as usize].allocatable))
    };
    let mut order: Vec<_> = (0..).take(nodes.len()).map(|at| (nature(at), at)).collect();
    order.sort_unstable();
    let mut slots = Vec::with_capacity(nodes.len().next_multiple_of(ROW));
    for group in order.chunk_by(|(a, _), (b, _)| a == b) {
        let start = slots.len();
        slots.extend(group.iter().map(|(_, at)| *at));
        split(&mut slots[start..], start, &points);
        // Few rows are to hold nodes of two groups; but a node that is like no other gets no row of its own.
        if group.len() >= ROW {
            slots.resize(slots.len().next_multiple_of(ROW), VACANT);
        }
    }
    slots.resize(slots.len().next_multiple_of(ROW), VACANT);
    slots
}

fn split(mut order: &mut [u32], mut slot: usize, points: &[Point]) {
    while order.len() > ROW {
        let part = if order.len() > BLOCK { BLOCK } else { ROW };
        // What is right of the middle begins a block or a row.
        let near = (slot + order.len() / 2).next_multiple_of(part);
        let middle = if near < slot + order.len() { near } else { near - part };
        if middle <= slot {
            return;
        }
        let middle = middle - slot;
        let dimension = widest(order, points);
        order.select_nth_unstable_by(middle, |a, b| {
            let of = |at: &u32| points[*at as usize][dimension];
            of(a).total_cmp(&of(b)).then(a.cmp(b))
        });
        let (left, right) = order.split_at_mut(middle);
        split(left, slot, points);
        (order, slot) = (right, slot + middle);
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
    fn every_node_has_one_slot_and_rows_hold_nodes_of_one_size() {
        let mut nodes: Vec<_> = (0..300).map(node).collect();
        for (number, node) in nodes.iter_mut().enumerate() {
            if number % 2 == 0 {
                node.allocatable.memory_bytes *= 4;
            }
        }
        let slots = slots(&nodes, &Spread, &facts(300), &[]);
        let mut sorted: Vec<_> = slots.iter().copied().filter(|at| *at != VACANT).collect();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..300));
        let is_mixed = |row: &&[u32]| row.iter().any(|at| *at != VACANT && at % 2 != row[0] % 2);
        assert_eq!(slots.chunks(ROW).filter(is_mixed).count(), 0);
    }
}
