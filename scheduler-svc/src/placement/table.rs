//! The nodes as dense columns, in blocks of 64, with the best of each block: what the search runs over.
//!
//! A slot is a node's place in the columns. Slots are ordered by the nodes' size, so that a block mostly holds nodes of one
//! size, and bits of a mask and blocks coincide. What is worked out of a node is kept per algorithm in use and brought up
//! to date with every placement; the best of a block only when it is asked for.

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use super::score::{Algorithm, ClusterFacts, Parts};

/// How many slots one block has: the bits of a word.
pub(super) const BLOCK: usize = 64;

/// Stands for a slot without a node.
const VACANT: u32 = u32::MAX;

/// Dense columns over the nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Which node a slot holds, by its place in the order of ids.
    node_of: Vec<u32>,
    /// Where a node is.
    slot_of: Vec<u32>,
    /// What is left of each node: cpu, memory, disk.
    free: [Vec<u64>; 3],
    /// Which of `sizes` the node has.
    size_of: Vec<u32>,
    /// What nodes offer, each size once; and the largest and smallest of mixed blocks.
    sizes: Vec<Resources>,
    blocks: Vec<Block>,
    /// One for each algorithm in use.
    columns: Vec<Column>,
}

/// What is known of 64 slots together.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    /// Index of the size that is at least as large as each, in every dimension.
    largest: u32,
    /// Index of the size that is at most as large as each.
    smallest: u32,
    /// What is left at most, each dimension by itself.
    max_free: [u64; 3],
    stale: bool,
}

/// The numbers of all nodes for one algorithm.
#[derive(Debug, Clone)]
struct Column {
    algorithm: &'static dyn Algorithm,
    facts: ClusterFacts,
    numbers: Vec<Parts>,
    /// The least numbers of each block, each by itself.
    least: Vec<Parts>,
    stale: Vec<bool>,
}

/// What is known of a block when it is searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockView {
    pub(super) largest: u32,
    pub(super) smallest: u32,
    pub(super) least: Parts,
}

impl Table {
    /// Columns over these nodes, which are in the order of their ids.
    pub(super) fn new(nodes: &[NodeView]) -> Self {
        let mut order: Vec<u32> = (0..).take(nodes.len()).collect();
        order.sort_by_key(|at| (nodes[*at as usize].allocatable, *at));
        let mut table = Self { slot_of: vec![0; nodes.len()], ..Self::default() };
        for (slot, at) in (0..).zip(&order) {
            table.slot_of[*at as usize] = slot;
        }
        table.node_of = order;
        table.node_of.resize(nodes.len().next_multiple_of(BLOCK), VACANT);
        let slots = table.node_of.len();
        table.free = [vec![0; slots], vec![0; slots], vec![0; slots]];
        table.size_of = vec![0; slots];
        table.blocks = vec![Block { stale: true, ..Block::default() }; slots / BLOCK];
        for (at, node) in nodes.iter().enumerate() {
            let slot = table.slot_of[at] as usize;
            table.size_of[slot] = table.size(node.allocatable);
            table.set_free(slot, node);
        }
        for block in 0..table.blocks.len() {
            table.set_block_sizes(block);
        }
        table
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
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
        needed.cpu_millis <= self.free[0][slot]
            && needed.memory_bytes <= self.free[1][slot]
            && needed.disk_bytes <= self.free[2][slot]
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
            column.stale[slot / BLOCK] = true;
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
        let (least, stale) = (vec![[0.0; 4]; self.blocks.len()], vec![true; self.blocks.len()]);
        self.columns.push(Column { algorithm, facts: *facts, numbers, least, stale });
        self.columns.len() - 1
    }

    /// The numbers of the node in a slot.
    #[inline]
    pub(super) fn numbers(&self, column: usize, slot: usize) -> &Parts {
        &self.columns[column].numbers[slot]
    }

    /// What is known of a block; `None` when no node in it has so much left.
    pub(super) fn block(&mut self, column: usize, block: usize, needed: Resources) -> Option<BlockView> {
        if self.blocks[block].stale {
            self.refresh_free(block);
        }
        let Block { largest, smallest, max_free, .. } = self.blocks[block];
        if needed.cpu_millis > max_free[0] || needed.memory_bytes > max_free[1] || needed.disk_bytes > max_free[2] {
            return None;
        }
        let held = self.held(block);
        let column = &mut self.columns[column];
        if column.stale[block] {
            let mut least = [f64::INFINITY; 4];
            for numbers in &column.numbers[block * BLOCK..block * BLOCK + held] {
                for (least, number) in least.iter_mut().zip(numbers) {
                    *least = least.min(*number);
                }
            }
            column.least[block] = least;
            column.stale[block] = false;
        }
        Some(BlockView { largest, smallest, least: column.least[block] })
    }

    /// How many slots of a block hold a node. They come first.
    fn held(&self, block: usize) -> usize {
        (self.slot_of.len() - block * BLOCK).min(BLOCK)
    }

    fn set_free(&mut self, slot: usize, node: &NodeView) {
        let free = node.free();
        for (column, free) in self.free.iter_mut().zip([free.cpu_millis, free.memory_bytes, free.disk_bytes]) {
            column[slot] = free;
        }
        self.blocks[slot / BLOCK].stale = true;
    }

    fn refresh_free(&mut self, block: usize) {
        let slots = block * BLOCK..(block + 1) * BLOCK;
        let free = &self.free;
        let max = |dimension: usize| free[dimension][slots.clone()].iter().copied().max().unwrap_or(0);
        let max_free = [max(0), max(1), max(2)];
        self.blocks[block].max_free = max_free;
        self.blocks[block].stale = false;
    }

    /// The index of a size.
    fn size(&mut self, size: Resources) -> u32 {
        // Nodes come ordered by size, so the last one is mostly it.
        if self.sizes.last() != Some(&size) {
            self.sizes.push(size);
        }
        u32::try_from(self.sizes.len() - 1).unwrap_or(u32::MAX)
    }

    fn set_block_sizes(&mut self, block: usize) {
        let slots = block * BLOCK..block * BLOCK + self.held(block);
        let sizes = || self.size_of[slots.clone()].iter().map(|size| self.sizes[*size as usize]);
        let by = |pick: fn(u64, u64) -> u64| {
            sizes().reduce(|a, b| Resources {
                cpu_millis: pick(a.cpu_millis, b.cpu_millis),
                memory_bytes: pick(a.memory_bytes, b.memory_bytes),
                disk_bytes: pick(a.disk_bytes, b.disk_bytes),
            })
        };
        let (Some(largest), Some(smallest)) = (by(u64::max), by(u64::min)) else { return };
        let first = self.size_of[slots.start];
        let index = |table: &mut Self, size| if table.sizes[first as usize] == size { first } else { table.size(size) };
        self.blocks[block].largest = index(self, largest);
        self.blocks[block].smallest = index(self, smallest);
    }
}
