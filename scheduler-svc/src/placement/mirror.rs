//! What one placement stream knows of the nodes.

use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::node::NodeState;
use davit_core::placement::{NodeView, Requirements, Summary};
use davit_core::resources::Resources;

use super::eligible::{Eligible, Mask, SlotMask};
use super::pick::{mix, tie_break};
use super::score::{Algorithm, ClusterFacts};
use super::search::Ties;
use super::table::Table;

/// How many tasks are placed at least before the table is laid out anew.
const MIN_PLACED_BEFORE_LAYOUT: usize = 512;

/// The nodes as the manager told them, less what was placed since. Kept in the order of node ids, so that the order in
/// which they were told never matters.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    nodes: Vec<NodeView>,
    /// The node that was placed on last. An id and not a position, so that taking turns survives joins and removals.
    last_placed: Option<NodeId>,
    /// Made of `nodes`, when first asked for after one joined, left or changed its size.
    table: Table,
    is_laid_out: bool,
    eligible: Eligible,
    /// Gathered of `nodes`, when first asked for after one changed.
    facts: Option<ClusterFacts>,
    /// How many nodes hold a task that refuses others.
    refusing: usize,
    placed_since_layout: usize,
    /// What every task of the batch needs at least.
    least_needed: Resources,
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
        self.refusing = nodes.iter().filter(|node| !node.refused.is_empty()).count();
        self.nodes = nodes;
        self.last_placed = None;
        self.forget_shape();
    }

    /// Adds a node or replaces all that was known of it, own deductions too: the manager knows better.
    pub fn upsert(&mut self, node: NodeView) {
        self.facts = None;
        self.refusing += usize::from(!node.refused.is_empty());
        match self.position(node.node_id) {
            Ok(at) => {
                let before = std::mem::replace(&mut self.nodes[at], node);
                self.refusing -= usize::from(!before.refused.is_empty());
                let node = &self.nodes[at];
                if !has_same_nature(&before, node) {
                    self.eligible.refresh(at, node);
                }
                if self.is_laid_out && !self.table.update(at, node) {
                    self.is_laid_out = false;
                }
            }
            Err(at) => {
                self.nodes.insert(at, node);
                self.forget_shape();
            }
        }
    }

    /// Forgets a node. Says whether it was known.
    pub fn remove(&mut self, node_id: NodeId) -> bool {
        let Ok(at) = self.position(node_id) else { return false };
        let gone = self.nodes.remove(at);
        self.refusing -= usize::from(!gone.refused.is_empty());
        self.forget_shape();
        true
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

    /// Where a node is in the order of ids.
    pub(super) fn at(&self, node_id: NodeId) -> Option<usize> {
        self.position(node_id).ok()
    }

    /// Position of the node whose turn it is: the one after the last that was placed on; at first the seed decides.
    pub(super) fn turn(&self, seed: u64) -> usize {
        let count = self.nodes.len().max(1);
        match self.last_placed {
            Some(last) => self.nodes.partition_point(|node| node.node_id <= last) % count,
            None => usize::try_from(mix(seed) % count as u64).unwrap_or(0),
        }
    }

    /// The node that was placed on last.
    pub(crate) fn last_placed(&self) -> Option<NodeId> {
        self.last_placed
    }

    /// Goes on after this node, whoever had the last turn.
    pub(crate) fn set_last_placed(&mut self, last_placed: Option<NodeId>) {
        self.last_placed = last_placed;
    }

    /// No task of the batch that begins needs less than this.
    pub(super) fn begin_batch(&mut self, least_needed: Resources) {
        self.least_needed = least_needed;
        if self.is_laid_out {
            self.table.set_least_needed(least_needed);
        }
    }

    /// What is known of all nodes together.
    pub(super) fn facts(&mut self) -> ClusterFacts {
        *self.facts.get_or_insert_with(|| ClusterFacts::of(&self.nodes))
    }

    /// Whether any node holds a task that refuses others.
    pub(super) fn has_refusing_nodes(&self) -> bool {
        self.refusing > 0
    }

    /// Gets the columns of an algorithm ready; gives their index.
    pub(super) fn column(&mut self, algorithm: &'static dyn Algorithm, facts: &ClusterFacts) -> usize {
        if !self.is_laid_out {
            let demands = self.eligible.most_asked(self.nodes.len());
            self.table = Table::new(&self.nodes, algorithm, facts, &demands, self.least_needed);
            self.eligible.forget_slots();
            self.is_laid_out = true;
        }
        self.table.column(algorithm, &self.nodes, facts)
    }

    /// The dense columns, and the nodes that they are made of. Of use after [`Self::column`] was called.
    pub(super) fn parts(&mut self) -> (&mut Table, &[NodeView]) {
        (&mut self.table, &self.nodes)
    }

    /// Which slots hold nodes that could take the task if they were empty. Of use after [`Self::column`] was called.
    pub(super) fn eligible_slots(&mut self, requirements: &Requirements) -> Arc<SlotMask> {
        self.eligible.by_slot(requirements, &self.nodes, &self.table)
    }

    /// Why a task that `special` filters have nothing to say on fits nowhere or only on some nodes.
    pub(super) fn summary(&mut self, requirements: &Requirements) -> String {
        let mask = self.eligible.by_node(requirements, &self.nodes);
        let needed = requirements.reservation;
        let (mut short, mut fitting) = ([0; 3], 0);
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.state == NodeState::Ready) {
            let free = node.free();
            short[0] += usize::from(needed.cpu_millis > free.cpu_millis);
            short[1] += usize::from(needed.memory_bytes > free.memory_bytes);
            short[2] += usize::from(needed.disk_bytes > free.disk_bytes);
            let is_eligible = mask.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0);
            fitting += usize::from(is_eligible && needed.fits_in(free));
        }
        let static_part = self.eligible.summary(requirements, &self.nodes);
        Summary::of_counts(requirements, static_part, short, fitting).to_string()
    }

    /// Which nodes could take the task if they were empty, by their place in the order of ids.
    pub(super) fn eligible_nodes(&mut self, requirements: &Requirements) -> Mask {
        self.eligible.by_node(requirements, &self.nodes)
    }

    /// Lays the table out anew when so much was placed that nodes of one block may not be alike any more. Whether it did.
    pub(super) fn relayout_if_worn(&mut self) -> bool {
        let worn = self.placed_since_layout >= (self.nodes.len() / 4).max(MIN_PLACED_BEFORE_LAYOUT);
        if worn {
            self.is_laid_out = false;
            self.placed_since_layout = 0;
        }
        worn
    }

    /// Seeded tie-breaks of all nodes.
    pub(super) fn ties(&mut self, seed: u64) -> Ties {
        let (table, nodes) = self.parts();
        Ties::new(table, |at| tie_break(seed, nodes[at].node_id))
    }

    /// Deducts one task from the node at a position.
    pub(super) fn reserve(&mut self, at: usize, requirements: &Requirements) {
        self.change(at, |node| node.reserve(requirements));
        self.last_placed = Some(self.nodes[at].node_id);
        self.placed_since_layout += 1;
    }

    /// Gives back one task that [`Self::reserve`] deducted.
    pub(super) fn release(&mut self, at: usize, requirements: &Requirements) {
        self.change(at, |node| node.release(requirements));
    }

    /// Keeps room on a node for a task that waits there for others to end; these victims are stopped for it.
    pub(super) fn claim(&mut self, node_id: NodeId, requirements: &Requirements, victims: &[TaskId]) {
        let Ok(at) = self.position(node_id) else { return };
        for task in self.nodes[at].tasks.iter_mut().filter(|task| victims.contains(&task.task_id)) {
            task.is_ending = true;
        }
        // What is told of the node counts both, until the victims have ended.
        self.change(at, |node| node.reserve(requirements));
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut NodeView)) {
        let node = &mut self.nodes[at];
        self.refusing -= usize::from(!node.refused.is_empty());
        change(node);
        self.refusing += usize::from(!node.refused.is_empty());
        self.facts = None;
        if self.is_laid_out {
            self.table.update(at, &self.nodes[at]);
        }
    }

    fn forget_shape(&mut self) {
        self.is_laid_out = false;
        self.placed_since_layout = 0;
        self.facts = None;
        self.eligible.clear();
    }

    fn position(&self, node_id: NodeId) -> Result<usize, usize> {
        self.nodes.binary_search_by_key(&node_id, |node| node.node_id)
    }
}

/// Whether the filters that placements don't change say the same of both.
fn has_same_nature(a: &NodeView, b: &NodeView) -> bool {
    (a.state, a.cordoned, &a.name, &a.os, &a.arch) == (b.state, b.cordoned, &b.name, &b.os, &b.arch)
        && a.runtimes == b.runtimes
        && a.labels == b.labels
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
