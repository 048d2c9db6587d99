//! The best node for one task: branch and bound over the table's blocks.
//!
//! For every block a cost is known that none of its nodes can be below. The most promising large block is searched first,
//! and then only those that could still hold a better node, and of these only such small blocks. So a task looks at the
//! bounds of all large blocks and at the nodes of a few small ones, and still gets exactly the node that asking all of them
//! would give.

use davit_core::resources::Resources;

use super::score::{Algorithm, ClusterFacts, Form, Parts, finite};
use super::table::{LARGE, Level, SMALL, Table};

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
    /// The least of each large block.
    large: Vec<u64>,
    /// The least of each small block.
    small: Vec<u64>,
}

impl Ties {
    pub(super) fn new(table: &Table, tie_of: impl Fn(usize) -> u64) -> Self {
        let of_slot: Vec<u64> = table.nodes().map(|at| at.map_or(u64::MAX, &tie_of)).collect();
        let least =
            |width| of_slot.chunks(width).map(|block| block.iter().copied().min().unwrap_or(u64::MAX)).collect();
        Self { large: least(LARGE), small: least(SMALL), of_slot }
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

    #[inline]
    pub(super) fn of(&mut self, table: &Table, size: u32) -> &Parts {
        let at = size as usize;
        if self.by_size.len() <= at {
            self.by_size.resize(table.sizes().len().max(at + 1), None);
        }
        let (algorithm, needed, facts) = (self.algorithm, self.needed, self.facts);
        self.by_size[at].get_or_insert_with(|| algorithm.factors(needed, table.sizes()[at], facts))
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
    let needed = factors.needed;
    bounds.clear();
    let mut first: Option<(f64, u64, usize)> = None;
    for (block, word) in query.mask.iter().enumerate() {
        if *word == 0 {
            continue;
        }
        if !table.prepare(query.column, Level::Large, block, needed) {
            continue;
        }
        let bound = table.bound(query.column, Level::Large, block, query.form, factors);
        bounds.push((bound, block));
        let tie = query.ties.large[block];
        if first.is_none_or(|(cost, other, _)| bound.total_cmp(&cost).then(tie.cmp(&other)).is_lt()) {
            first = Some((bound, tie, block));
        }
    }
    let (_, _, first) = first?;
    let mut found = None;
    search_large(table, query, factors, first, &admits, &mut found);
    bounds.retain(|(bound, block)| {
        *block != first && could_hold_better(*bound, query.ties.large[*block], found.as_ref())
    });
    bounds.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    for (bound, block) in bounds.iter().copied() {
        if could_hold_better(bound, query.ties.large[block], found.as_ref()) {
            search_large(table, query, factors, block, &admits, &mut found);
        }
    }
    found
}

fn could_hold_better(bound: f64, tie: u64, found: Option<&Found>) -> bool {
    found.is_none_or(|found| Found { cost: bound, tie, at: 0 }.is_before(found))
}

fn search_large(
    table: &mut Table,
    query: &Query<'_>,
    factors: &mut Factors<'_>,
    block: usize,
    admits: &impl Fn(usize) -> bool,
    found: &mut Option<Found>,
) {
    const EACH: usize = LARGE / SMALL;
    for small in block * EACH..(block + 1) * EACH {
        let mask = (query.mask[block] >> (small % EACH * SMALL)) & (u64::MAX >> (LARGE - SMALL));
        if mask == 0 {
            continue;
        }
        if !table.prepare(query.column, Level::Small, small, factors.needed) {
            continue;
        }
        let bound = table.bound(query.column, Level::Small, small, query.form, factors);
        if could_hold_better(bound, query.ties.small[small], found.as_ref()) {
            search_small(table, query, factors, small, mask, admits, found);
        }
    }
}

fn search_small(
    table: &Table,
    query: &Query<'_>,
    factors: &mut Factors<'_>,
    block: usize,
    mask: u64,
    admits: &impl Fn(usize) -> bool,
    found: &mut Option<Found>,
) {
    // Told apart here and not for each node.
    match query.form {
        Form::Turns => {}
        Form::Fill => scan(table, query, factors, block, mask, admits, found, |n, f| Form::Fill.cost(n, f)),
        Form::Product => scan(table, query, factors, block, mask, admits, found, |n, f| Form::Product.cost(n, f)),
        Form::Stranded => scan(table, query, factors, block, mask, admits, found, |n, f| Form::Stranded.cost(n, f)),
    }
}

#[inline]
#[expect(clippy::too_many_arguments, reason = "the innermost loop: its place in the search, and what it compares")]
fn scan(
    table: &Table,
    query: &Query<'_>,
    factors: &mut Factors<'_>,
    block: usize,
    mask: u64,
    admits: &impl Fn(usize) -> bool,
    found: &mut Option<Found>,
    cost_of: impl Fn(&Parts, &Parts) -> f64,
) {
    let needed = factors.needed;
    let size = table.size_of_block(Level::Small, block);
    let mut least = found.map_or(f64::INFINITY, |found| found.cost);
    let mut left = mask;
    while left != 0 {
        let slot = block * SMALL + left.trailing_zeros() as usize;
        left &= left - 1;
        let parts = factors.of(table, size.unwrap_or_else(|| table.size_of(slot)));
        let cost = cost_of(table.numbers(query.column, slot), parts);
        if cost > least || !table.has_room(slot, needed) {
            continue;
        }
        let candidate = Found { cost: finite(cost) + 0.0, tie: query.ties.of_slot(slot), at: table.node_of(slot) };
        if found.as_ref().is_none_or(|found| candidate.is_before(found)) && admits(candidate.at) {
            least = candidate.cost;
            *found = Some(candidate);
        }
    }
}
