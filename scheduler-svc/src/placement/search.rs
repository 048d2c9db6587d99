//! The best node for one task: branch and bound over the table's blocks.
//!
//! For every block a cost is known that none of its nodes can be below. The most promising block is searched first, and
//! then only those that could still hold a better node. So a task looks at the bounds of all blocks and at the nodes of a
//! few, and still gets exactly the node that asking all of them would give.

use davit_core::resources::Resources;

use super::score::{Algorithm, ClusterFacts, Form, Parts, finite};
use super::table::{BLOCK, Table};

/// A node that could be chosen. The least is the best; no two are equal, since no two nodes are at the same place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) cost: f64,
    pub(super) tie: u64,
    /// Place in the order of ids.
    pub(super) at: usize,
}

impl Found {
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.cost.total_cmp(&other.cost).then_with(|| (self.tie, self.at).cmp(&(other.tie, other.at))).is_lt()
    }
}

/// Seeded tie-breaks of all nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Ties {
    /// By slot.
    of_slot: Vec<u64>,
    /// The least of each block.
    least: Vec<u64>,
}

impl Ties {
    pub(super) fn new(table: &Table, tie_of: impl Fn(usize) -> u64) -> Self {
        let of_slot: Vec<u64> = table.nodes().map(|at| at.map_or(u64::MAX, &tie_of)).collect();
        let least = of_slot.chunks(BLOCK).map(|block| block.iter().copied().min().unwrap_or(u64::MAX)).collect();
        Self { of_slot, least }
    }

    pub(super) fn of_slot(&self, slot: usize) -> u64 {
        self.of_slot[slot]
    }
}

/// The factors of one task for each size of node, worked out when first asked for.
#[derive(Debug)]
pub(super) struct Factors<'a> {
    algorithm: &'static dyn Algorithm,
    needed: Resources,
    facts: &'a ClusterFacts,
    by_size: &'a mut Vec<Option<Parts>>,
}

impl<'a> Factors<'a> {
    /// `scratch` only saves allocations.
    pub(super) fn new(
        algorithm: &'static dyn Algorithm,
        needed: Resources,
        facts: &'a ClusterFacts,
        scratch: &'a mut Vec<Option<Parts>>,
    ) -> Self {
        scratch.clear();
        Self { algorithm, needed, facts, by_size: scratch }
    }

    pub(super) fn of(&mut self, table: &Table, size: u32) -> Parts {
        let at = size as usize;
        if self.by_size.len() <= at {
            self.by_size.resize(table.sizes().len().max(at + 1), None);
        }
        if let Some(parts) = self.by_size[at] {
            return parts;
        }
        let parts = self.algorithm.factors(self.needed, table.sizes()[at], self.facts);
        self.by_size[at] = Some(parts);
        parts
    }
}

/// Where and by what the best node is searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    /// Index of the algorithm's columns.
    pub(super) column: usize,
    /// Its form.
    pub(super) form: Form,
    /// Which slots come into question.
    pub(super) mask: &'a [u64],
    /// Decide between equal costs.
    pub(super) ties: &'a Ties,
}

/// Finds the best node among those in the mask that have room and that `admits` lets pass. `bounds` only saves allocations.
pub(super) fn best(
    table: &mut Table,
    query: &Query<'_>,
    factors: &mut Factors<'_>,
    bounds: &mut Vec<(f64, usize)>,
    admits: impl Fn(usize) -> bool,
) -> Option<Found> {
    let Query { column, form, mask, ties } = *query;
    let needed = factors.needed;
    bounds.clear();
    let mut first: Option<(f64, u64, usize)> = None;
    for block in 0..table.block_count() {
        if mask[block] == 0 {
            continue;
        }
        let Some(view) = table.block(column, block, needed) else { continue };
        let bound = if view.largest == view.smallest {
            form.bound(&view.least, &factors.of(table, view.largest))
        } else {
            // Which of the two is cheaper depends on the form; the last digits of the two are not to be trusted.
            let largest = form.bound(&view.least, &factors.of(table, view.largest));
            let smallest = form.bound(&view.least, &factors.of(table, view.smallest));
            let least = largest.min(smallest);
            least - least.abs() * 1e-9
        };
        bounds.push((bound, block));
        let tie = ties.least[block];
        if first.is_none_or(|(cost, other, _)| bound.total_cmp(&cost).then(tie.cmp(&other)).is_lt()) {
            first = Some((bound, tie, block));
        }
    }
    let (_, _, first) = first?;
    let mut found = None;
    search_block(table, query, factors, first, &admits, &mut found);
    for (bound, block) in bounds.iter().copied().filter(|(_, block)| *block != first) {
        let best_possible = Found { cost: bound, tie: ties.least[block], at: 0 };
        if found.as_ref().is_none_or(|found| best_possible.is_before(found)) {
            search_block(table, query, factors, block, &admits, &mut found);
        }
    }
    found
}

fn search_block(
    table: &Table,
    query: &Query<'_>,
    factors: &mut Factors<'_>,
    block: usize,
    admits: &impl Fn(usize) -> bool,
    found: &mut Option<Found>,
) {
    let needed = factors.needed;
    let mut left = query.mask[block];
    while left != 0 {
        let slot = block * BLOCK + left.trailing_zeros() as usize;
        left &= left - 1;
        if !table.has_room(slot, needed) {
            continue;
        }
        let parts = factors.of(table, table.size_of(slot));
        let cost = finite(query.form.cost(table.numbers(query.column, slot), &parts)) + 0.0;
        let candidate = Found { cost, tie: query.ties.of_slot(slot), at: table.node_of(slot) };
        if found.as_ref().is_none_or(|found| candidate.is_before(found)) && admits(candidate.at) {
            *found = Some(candidate);
        }
    }
}
