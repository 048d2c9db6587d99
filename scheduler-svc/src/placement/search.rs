//! The best node for one task: branch and bound over the table's blocks and rows.
//!
//! For every block a cost is known that none of its nodes can be below. The most promising block is searched first, and then
//! only those that could still hold a better node; of these, in the same way, the most promising row first. So a task looks
//! at the bounds of all blocks, of the rows of a few of them, and at the nodes of a few rows; and still gets exactly the node
//! that asking all of them would give.

use davit_core::resources::Resources;

use super::eligible::SlotMask;
use super::lanes::{Lanes, WIDTH, amounts, bits, lane};
use super::score::{Algorithm, ClusterFacts, Fill, Form, Parts, Product, Searched, Stranded, finite};
use super::table::{BLOCK, Of, ROW, SizeRange, Table};

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
    /// The least of each row.
    of_row: Vec<u64>,
    /// The least of each block.
    of_block: Vec<u64>,
}

impl Ties {
    pub(super) fn new(table: &Table, tie_of: impl Fn(usize) -> u64) -> Self {
        let of_slot: Vec<u64> = table.nodes().map(|at| at.map_or(u64::MAX, &tie_of)).collect();
        let least = |width| of_slot.chunks(width).map(|part| part.iter().copied().min().unwrap_or(u64::MAX)).collect();
        Self { of_row: least(ROW), of_block: least(BLOCK), of_slot }
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

    #[inline(always)]
    pub(super) fn of(&mut self, table: &Table, size: u32) -> Parts {
        match self.by_size.get(size as usize) {
            Some(Some(known)) => *known,
            _ => self.work_out(table, size as usize),
        }
    }

    #[cold]
    #[inline(never)]
    fn work_out(&mut self, table: &Table, size: usize) -> Parts {
        if self.by_size.len() <= size {
            self.by_size.resize(table.sizes().len().max(size + 1), None);
        }
        *self.by_size[size].insert(self.algorithm.factors(self.needed, table.sizes()[size], self.facts))
    }

    /// Between which the factors are on nodes of such sizes. Each depends on one dimension of the size, and only ever rises or
    /// falls with it.
    #[inline(always)]
    fn between(&mut self, table: &Table, sizes: SizeRange) -> (Parts, Parts) {
        let one = self.of(table, sizes.largest);
        if sizes.largest == sizes.smallest {
            return (one, one);
        }
        let other = self.of(table, sizes.smallest);
        let each = |pick: fn(f64, f64) -> f64| std::array::from_fn(|at| pick(one[at], other[at]));
        (each(f64::min), each(f64::max))
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
    pub(super) mask: &'a SlotMask,
    /// Decide between equal costs.
    pub(super) ties: &'a Ties,
}

/// A block, and what none of its nodes costs less than.
pub(super) type Bound = (f64, usize);

/// Finds the best node among those in the mask that have room and that `admits` lets pass, which also looks at the room to
/// the last byte. `bounds` only saves allocations.
pub(super) fn best(
    table: &mut Table,
    query: &Query<'_>,
    factors: &mut Factors<'_>,
    bounds: &mut Vec<Bound>,
    admits: impl Fn(usize) -> bool,
) -> Option<Found> {
    table.sum_up();
    let needed = amounts(factors.needed);
    let mut search = Search { table, query, factors, needed, admits, found: None };
    match query.form {
        // Whose turn it is, is not a question of costs.
        Form::Turns => {}
        Form::Fill => search.all::<Fill>(bounds),
        Form::Product => search.all::<Product>(bounds),
        Form::Stranded => search.all::<Stranded>(bounds),
    }
    search.found
}

struct Search<'s, 'f, A> {
    table: &'s Table,
    query: &'s Query<'s>,
    factors: &'s mut Factors<'f>,
    needed: [f64; 3],
    admits: A,
    found: Option<Found>,
}

impl<A: Fn(usize) -> bool> Search<'_, '_, A> {
    fn all<F: Searched>(&mut self, bounds: &mut Vec<Bound>) {
        let Query { mask, ties, .. } = *self.query;
        bounds.clear();
        let mut first: Option<(f64, u64, usize)> = None;
        for (side, blocks) in mask.blocks.iter().enumerate().filter(|(_, blocks)| **blocks != 0) {
            let of_side = self.bounds::<F>(Of::Blocks, side, *blocks);
            for block in bits(*blocks) {
                let (bound, block) = (of_side[block], side * WIDTH + block);
                if bound == f64::INFINITY {
                    continue;
                }
                bounds.push((bound, block));
                let tie = ties.of_block[block];
                if first.is_none_or(|(least, other, _)| bound.total_cmp(&least).then(tie.cmp(&other)).is_lt()) {
                    first = Some((bound, tie, block));
                }
            }
        }
        let Some((_, _, first)) = first else { return };
        self.block::<F>(first);
        bounds.retain(|(bound, block)| *block != first && self.could_be_better(*bound, ties.of_block[*block]));
        bounds.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        for (bound, block) in bounds.iter().copied() {
            if self.could_be_better(bound, ties.of_block[block]) {
                self.block::<F>(block);
            }
        }
    }

    fn block<F: Searched>(&mut self, block: usize) {
        let Query { mask, ties, .. } = *self.query;
        let mut left = mask.rows[block];
        let bounds = self.bounds::<F>(Of::Rows, block, left);
        let tie = |row: usize| ties.of_row[block * WIDTH + row];
        loop {
            let mut first: Option<usize> = None;
            for row in bits(left) {
                if !self.could_be_better(bounds[row], tie(row)) {
                    left &= !(1 << row);
                } else if first.is_none_or(|first| {
                    bounds[row].total_cmp(&bounds[first]).then_with(|| tie(row).cmp(&tie(first))).is_lt()
                }) {
                    first = Some(row);
                }
            }
            let Some(row) = first else { return };
            left &= !(1 << row);
            self.row::<F>(block * WIDTH + row);
        }
    }

    fn row<F: Searched>(&mut self, row: usize) {
        let Self { table, query, .. } = *self;
        let (numbers, room) = table.row(query.column, row);
        let sizes = table.sizes_of_row(row);
        let which = query.mask.slots[row] & room.holding(self.needed);
        let mut least = self.found.map_or(f64::MAX, |found| found.cost);
        let costs: Lanes = if sizes.largest == sizes.smallest {
            let factors = self.factors.of(table, sizes.largest);
            std::array::from_fn(|at| F::cost(&lane(numbers, at), &factors))
        } else {
            let mut costs = [f64::INFINITY; WIDTH];
            for at in bits(which) {
                let factors = self.factors.of(table, table.size_of(row * ROW + at));
                costs[at] = F::cost(&lane(numbers, at), &factors);
            }
            costs
        };
        for at in bits(which) {
            if costs[at] <= least {
                let slot = row * ROW + at;
                let cost = finite(costs[at]) + 0.0;
                let candidate = Found { cost, tie: query.ties.of_slot(slot), at: table.node_of(slot) };
                if self.found.is_none_or(|found| candidate.is_before(&found)) && (self.admits)(candidate.at) {
                    least = candidate.cost;
                    self.found = Some(candidate);
                }
            }
        }
    }

    /// What the nodes of some rows or blocks cost at least; infinite where nothing has room. Of those that can't hold a better
    /// node than was found, less than that may be told, but still too much.
    #[inline]
    fn bounds<F: Searched>(&mut self, of: Of, index: usize, which: u16) -> Lanes {
        let side = self.table.side(self.query.column, of, index);
        let mut bounds = [f64::INFINITY; WIDTH];
        for at in bits(which & side.room.holding(self.needed)) {
            let (low, high) = self.factors.between(self.table, side.sizes[at]);
            let least = lane(&side.extent.least, at);
            let floor = F::floor(&least, &high);
            bounds[at] = if self.could_be_better(floor, 0) {
                F::bound(&least, &lane(&side.extent.most, at), &low, &high)
            } else {
                floor
            };
        }
        bounds
    }

    fn could_be_better(&self, bound: f64, tie: u64) -> bool {
        bound < f64::INFINITY && self.found.is_none_or(|found| Found { cost: bound, tie, at: 0 }.is_before(&found))
    }
}

#[cfg(test)]
mod tests;
