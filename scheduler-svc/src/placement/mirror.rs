//! What one placement stream knows of the nodes.

use davit_core::id::NodeId;
use davit_core::placement::{NodeView, Requirements};

use super::pick::mix;

/// The nodes as the manager told them, less what was placed since. Kept in the order of node ids, so that the order in
/// which they were told never matters.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    nodes: Vec<NodeView>,
    /// The node that was placed on last. An id and not a position, so that taking turns survives joins and removals.
    last_placed: Option<NodeId>,
}

impl Mirror {
    /// A mirror of these nodes.
    #[must_use]
    pub fn new(nodes: Vec<NodeView>) -> Self {
        let mut mirror = Self::default();
        mirror.snapshot(nodes);
        mirror
    }

    /// Forgets everything and starts from these nodes. Of two with the same id the last counts.
    pub fn snapshot(&mut self, mut nodes: Vec<NodeView>) {
        nodes.reverse();
        // Stable: of equal ids the one that was told last now comes first, and stays.
        nodes.sort_by_key(|node| node.node_id);
        nodes.dedup_by_key(|node| node.node_id);
        self.nodes = nodes;
        self.last_placed = None;
    }

    /// Adds a node or replaces all that was known of it, own deductions too: the manager knows better.
    pub fn upsert(&mut self, node: NodeView) {
        match self.position(node.node_id) {
            Ok(at) => self.nodes[at] = node,
            Err(at) => self.nodes.insert(at, node),
        }
    }

    /// Forgets a node. Says whether it was known.
    pub fn remove(&mut self, node_id: NodeId) -> bool {
        match self.position(node_id) {
            Ok(at) => {
                self.nodes.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// All nodes in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> &[NodeView] {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn get(&self, node_id: NodeId) -> Option<&NodeView> {
        self.position(node_id).ok().and_then(|at| self.nodes.get(at))
    }

    /// Position of the node whose turn it is: the one after the last that was placed on; at first the seed decides.
    pub(super) fn turn(&self, seed: u64) -> usize {
        let count = self.nodes.len().max(1);
        match self.last_placed {
            Some(last) => self.nodes.partition_point(|node| node.node_id <= last) % count,
            None => usize::try_from(mix(seed) % count as u64).unwrap_or(0),
        }
    }

    /// Deducts one task from the node at a position and gives the node back.
    pub(super) fn reserve(&mut self, at: usize, requirements: &Requirements) -> &NodeView {
        let node = &mut self.nodes[at];
        node.reserve(requirements);
        self.last_placed = Some(node.node_id);
        node
    }

    fn position(&self, node_id: NodeId) -> Result<usize, usize> {
        self.nodes.binary_search_by_key(&node_id, |node| node.node_id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::placement::test_support::{any_node, node, node_id, requirements};

    #[test]
    fn turns_go_on_after_the_last_node_even_when_it_is_gone() {
        let mut mirror = Mirror::new((0..4).map(node).collect());
        mirror.reserve(1, &requirements());
        assert_eq!(mirror.turn(7), 2);
        assert!(mirror.remove(node_id(1)));
        assert_eq!(mirror.nodes()[mirror.turn(7)].node_id, node_id(2));
        mirror.reserve(2, &requirements());
        assert_eq!(mirror.turn(7), 0);
    }

    #[test]
    fn an_empty_mirror_has_a_turn_too() {
        assert_eq!(Mirror::default().turn(3), 0);
    }

    #[test]
    fn of_two_nodes_with_one_id_the_last_counts() {
        let mut second = node(1);
        second.cordoned = true;
        assert_eq!(Mirror::new(vec![node(1), second.clone()]).nodes(), [second]);
    }

    proptest! {
        #[test]
        fn deltas_give_what_a_fresh_snapshot_gives(
            first in prop::collection::vec((0..6_u64).prop_flat_map(any_node), 0..6),
            deltas in prop::collection::vec(
                prop_oneof![(0..6_u64).prop_flat_map(any_node).prop_map(Ok), (0..6_u64).prop_map(Err)],
                0..12,
            ),
        ) {
            let mut expected: BTreeMap<_, _> = first.iter().map(|node| (node.node_id, node.clone())).collect();
            let mut mirror = Mirror::new(first);
            for delta in deltas {
                match delta {
                    Ok(node) => {
                        expected.insert(node.node_id, node.clone());
                        mirror.upsert(node);
                    }
                    Err(number) => {
                        let known = expected.remove(&node_id(number)).is_some();
                        prop_assert_eq!(mirror.remove(node_id(number)), known);
                    }
                }
            }
            let fresh = Mirror::new(expected.into_values().rev().collect());
            prop_assert_eq!(mirror.nodes(), fresh.nodes());
        }
    }
}
