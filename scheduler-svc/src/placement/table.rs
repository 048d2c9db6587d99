//! The nodes as dense columns, in blocks, with the best of each block: what the search runs over.
//!
//! A slot is a node's place in the columns. Slots are ordered so that a block holds nodes that are alike. There are large
//! blocks of 64 slots, the bits of a mask's word, and small ones, four to a large one. What is worked out of a node is
//! kept per algorithm in use and brought up to date with every placement; the best of a block only when it is asked for.

use std::collections::BTreeMap;
use std::ops::Range;

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use super::layout;
use super::score::{Algorithm, ClusterFacts, Form, Parts};
use super::search::Factors;

/// How many slots a large block has: the bits of a word.
pub(super) const LARGE: usize = 64;
/// How many slots a small block has.
pub(super) const SMALL: usize = 16;

/// Stands for a slot without a node.
const VACANT: u32 = u32::MAX;

/// Dense columns over the nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Which node a slot holds, by its place in the order of ids.
    node_of: Vec<u32>,
    /// Where a node is.
    slot_of: Vec<u32>,
    /// What is left of each node.
    free: Vec<Resources>,
    /// Which of `sizes` the node has.
    size_of: Vec<u32>,
    /// What nodes offer, each size once; and the largest and smallest of mixed blocks.
    sizes: Vec<Resources>,
    size_index: BTreeMap<Resources, u32>,
    large: Vec<Block>,
    small: Vec<Block>,
    /// One for each algorithm in use.
    columns: Vec<Column>,
}

/// Large or small blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Of [`LARGE`] slots.
    Large,
    /// Of [`SMALL`] slots.
    Small,
}

impl Level {
    fn width(self) -> usize {
        match self {
            Self::Large => LARGE,
            Self::Small => SMALL,
        }
    }
}

/// What is known of the nodes of a block together.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    /// Index of the size that is at least as large as each, in every dimension.
    largest: u32,
    /// Index of the size that is at most as large as each.
    smallest: u32,
    /// What is left at most, each dimension by itself.
    max_free: Resources,
    stale: bool,
}

/// The numbers of all nodes for one algorithm.
#[derive(Debug, Clone)]
struct Column {
    algorithm: &'static dyn Algorithm,
    facts: ClusterFacts,
    numbers: Vec<Parts>,
    large: Vec<Extent>,
    small: Vec<Extent>,
}

/// Between which the numbers of a block's nodes are.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// The least, each by itself.
    least: Parts,
    /// The greatest, in the same way.
    most: Parts,
    stale: bool,
}

impl Extent {
    const UNKNOWN: Self = Self { least: [0.0; 4], most: [0.0; 4], stale: true };
}

impl Table {
    /// Columns over these nodes, which are in the order of their ids, laid out for one algorithm. Others find the same nodes,
    /// only less fast.
    pub(super) fn new(nodes: &[NodeView], algorithm: &dyn Algorithm, facts: &ClusterFacts) -> Self {
        let order = layout::order(nodes, algorithm, facts);
        let mut table = Self { slot_of: vec![0; nodes.len()], ..Self::default() };
        for (slot, at) in (0..).zip(&order) {
            table.slot_of[*at as usize] = slot;
        }
        table.node_of = order;
        table.node_of.resize(nodes.len().next_multiple_of(LARGE), VACANT);
        let slots = table.node_of.len();
        table.free = vec![Resources::ZERO; slots];
        table.size_of = vec![0; slots];
        table.large = vec![Block { stale: true, ..Block::default() }; slots / LARGE];
        table.small = vec![Block { stale: true, ..Block::default() }; slots / SMALL];
        for (at, node) in nodes.iter().enumerate() {
            let slot = table.slot_of[at] as usize;
            table.size_of[slot] = table.size(node.allocatable);
            table.set_free(slot, node);
        }
        for block in 0..slots / LARGE {
            table.set_block_sizes(Level::Large, block);
        }
        for block in 0..slots / SMALL {
            table.set_block_sizes(Level::Small, block);
        }
        table
    }

    /// Which node each slot holds, in order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Option<usize>> {
        self.node_of.iter().map(|at| (*at != VACANT).then_some(*at as usize))
    }

    pub(super) fn node_of(&self, slot: usize) -> usize {
        self.node_of[slot] as usize
    }

    pub(super) fn slot_of(&self, at: usize) -> usize {
        self.slot_of[at] as usize
    }

    pub(super) fn size_of(&self, slot: usize) -> u32 {
        self.size_of[slot]
    }

    pub(super) fn sizes(&self) -> &[Resources] {
        &self.sizes
    }

    /// Whether the node in the slot has so much left.
    #[inline]
    pub(super) fn has_room(&self, slot: usize, needed: Resources) -> bool {
        needed.fits_in(self.free[slot])
    }

    /// Takes over a node of which something changed. `false` when its size is new, so that the table has to be made anew.
    pub(super) fn update(&mut self, at: usize, node: &NodeView) -> bool {
        let slot = self.slot_of(at);
        if self.sizes[self.size_of[slot] as usize] != node.allocatable {
            return false;
        }
        self.set_free(slot, node);
        for column in &mut self.columns {
            column.numbers[slot] = column.algorithm.numbers(node, &column.facts);
            column.large[slot / LARGE].stale = true;
            column.small[slot / SMALL].stale = true;
        }
        true
    }

    /// Gets the columns of an algorithm ready; gives their index.
    pub(super) fn column(
        &mut self,
        algorithm: &'static dyn Algorithm,
        nodes: &[NodeView],
        facts: &ClusterFacts,
    ) -> usize {
        let known = self.columns.iter().position(|column| column.algorithm.name() == algorithm.name());
        if let Some(index) = known {
            let of = &self.columns[index].facts;
            // Numbers depend on nothing else of the cluster.
            if of.node_count == facts.node_count && of.measured == facts.measured {
                return index;
            }
            self.columns.swap_remove(index);
        }
        let mut numbers = vec![[0.0; 4]; self.node_of.len()];
        for (slot, at) in self.nodes().enumerate() {
            if let Some(at) = at {
                numbers[slot] = algorithm.numbers(&nodes[at], facts);
            }
        }
        let (large, small) = (vec![Extent::UNKNOWN; self.large.len()], vec![Extent::UNKNOWN; self.small.len()]);
        self.columns.push(Column { algorithm, facts: *facts, numbers, large, small });
        self.columns.len() - 1
    }

    /// The numbers of the node in a slot.
    #[inline]
    pub(super) fn numbers(&self, column: usize, slot: usize) -> &Parts {
        &self.columns[column].numbers[slot]
    }

    /// Gets what is known of a block up to date. Whether any node in it has so much left.
    #[inline]
    pub(super) fn prepare(&mut self, column: usize, level: Level, block: usize, needed: Resources) -> bool {
        let known = &self.blocks(level)[block];
        if known.stale {
            self.refresh_free(level, block);
        }
        if !needed.fits_in(self.blocks(level)[block].max_free) {
            return false;
        }
        if self.extents(column, level)[block].stale {
            self.refresh_extent(column, level, block);
        }
        true
    }

    /// What no node of a prepared block is below.
    #[inline]
    pub(super) fn bound(
        &self,
        column: usize,
        level: Level,
        block: usize,
        form: Form,
        factors: &mut Factors<'_>,
    ) -> f64 {
        let Block { largest, smallest, .. } = self.blocks(level)[block];
        let Extent { least, most, .. } = &self.extents(column, level)[block];
        let bound = form.bound(least, most, factors.of(self, largest));
        if largest == smallest {
            return bound;
        }
        // Which of the two is cheaper depends on the form; the last digits of the two are not to be trusted.
        let bound = bound.min(form.bound(least, most, factors.of(self, smallest)));
        bound - bound.abs() * 1e-9
    }

    /// The size of all nodes in a block, if they are of one size.
    pub(super) fn size_of_block(&self, level: Level, block: usize) -> Option<u32> {
        let Block { largest, smallest, .. } = self.blocks(level)[block];
        (largest == smallest).then_some(largest)
    }

    fn blocks(&self, level: Level) -> &[Block] {
        match level {
            Level::Large => &self.large,
            Level::Small => &self.small,
        }
    }

    fn extents(&self, column: usize, level: Level) -> &[Extent] {
        match level {
            Level::Large => &self.columns[column].large,
            Level::Small => &self.columns[column].small,
        }
    }

    fn refresh_free(&mut self, level: Level, block: usize) {
        let free = &self.free[self.slots(level, block)];
        let max_free = free.iter().copied().fold(Resources::ZERO, largest);
        let blocks = match level {
            Level::Large => &mut self.large,
            Level::Small => &mut self.small,
        };
        blocks[block].max_free = max_free;
        blocks[block].stale = false;
    }

    fn refresh_extent(&mut self, column: usize, level: Level, block: usize) {
        let slots = self.slots(level, block);
        let column = &mut self.columns[column];
        let mut extent = Extent { least: [f64::INFINITY; 4], most: [f64::NEG_INFINITY; 4], stale: false };
        for numbers in &column.numbers[slots] {
            for (dimension, number) in numbers.iter().enumerate() {
                extent.least[dimension] = extent.least[dimension].min(*number);
                extent.most[dimension] = extent.most[dimension].max(*number);
            }
        }
        match level {
            Level::Large => column.large[block] = extent,
            Level::Small => column.small[block] = extent,
        }
    }

    /// The slots of a block that hold a node. They come first.
    fn slots(&self, level: Level, block: usize) -> Range<usize> {
        let (start, nodes) = (block * level.width(), self.slot_of.len());
        start.min(nodes)..(start + level.width()).min(nodes)
    }

    fn set_free(&mut self, slot: usize, node: &NodeView) {
        self.free[slot] = node.free();
        self.large[slot / LARGE].stale = true;
        self.small[slot / SMALL].stale = true;
    }

    /// The index of a size.
    fn size(&mut self, size: Resources) -> u32 {
        let next = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let index = *self.size_index.entry(size).or_insert(next);
        if index == next {
            self.sizes.push(size);
        }
        index
    }

    fn set_block_sizes(&mut self, level: Level, block: usize) {
        let slots = self.slots(level, block);
        let sizes = || self.size_of[slots.clone()].iter().map(|size| self.sizes[*size as usize]);
        let (Some(most), Some(least)) = (sizes().reduce(largest), sizes().reduce(smallest)) else { return };
        let (most, least) = (self.size(most), self.size(least));
        let known = match level {
            Level::Large => &mut self.large[block],
            Level::Small => &mut self.small[block],
        };
        known.largest = most;
        known.smallest = least;
    }
}

fn largest(a: Resources, b: Resources) -> Resources {
    each(u64::max, a, b)
}

fn smallest(a: Resources, b: Resources) -> Resources {
    each(u64::min, a, b)
}

fn each(pick: fn(u64, u64) -> u64, a: Resources, b: Resources) -> Resources {
    Resources {
        cpu_millis: pick(a.cpu_millis, b.cpu_millis),
        memory_bytes: pick(a.memory_bytes, b.memory_bytes),
        disk_bytes: pick(a.disk_bytes, b.disk_bytes),
    }
}
