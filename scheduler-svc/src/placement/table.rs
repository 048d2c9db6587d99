//! The nodes as dense columns, with the best of every row and block: what the search runs over.
//!
//! A slot is a node's place in the columns. [`WIDTH`] slots are a row, and as many rows a block; slots are ordered so that
//! rows and blocks hold nodes that are alike. What is worked out of a node is kept for each algorithm in use and brought up to
//! date with every placement; what is known of rows and blocks only when it is asked for.

use std::collections::BTreeMap;

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use super::eligible::Mask;
use super::lanes::{self, NOTHING, Numbers, Room, WIDTH, amounts};
use super::layout;
use super::score::{Algorithm, ClusterFacts, Parts};

/// How many slots a row has.
pub(super) const ROW: usize = WIDTH;
/// How many slots a block has.
pub(super) const BLOCK: usize = ROW * WIDTH;

/// Stands for a slot without a node.
pub(super) const VACANT: u32 = u32::MAX;

/// Dense columns over the nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Which node a slot holds, by its place in the order of ids.
    node_of: Vec<u32>,
    /// Where a node is.
    slot_of: Vec<u32>,
    /// Which of `sizes` the node in a slot has.
    size_of: Vec<u32>,
    /// What nodes offer, each size once; and the largest and smallest of rows and blocks whose nodes differ.
    sizes: Vec<Resources>,
    size_index: BTreeMap<Resources, u32>,
    /// What is left of each node, by row.
    room: Vec<Room>,
    rows: Level,
    blocks: Level,
    /// One for each algorithm in use.
    columns: Vec<Column>,
    /// Rows of which something changed since they were summed up.
    stale: Vec<u32>,
    is_stale: Vec<bool>,
    /// Every task that comes needs at least so much. What has less left has no say in what is known of rows and blocks.
    least_needed: [f64; 3],
}

/// What is known of all rows, or of all blocks, whatever the algorithm; [`WIDTH`] of them side by side.
#[derive(Debug, Clone, Default)]
struct Level {
    /// What is left at most in any of its nodes.
    room: Vec<Room>,
    /// Indexes of the sizes that are at least as large as each node, and at most.
    sizes: Vec<[SizeRange; WIDTH]>,
}

/// Between which sizes nodes are, each dimension by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SizeRange {
    pub(super) largest: u32,
    pub(super) smallest: u32,
}

/// The numbers of all nodes for one algorithm.
#[derive(Debug, Clone)]
struct Column {
    algorithm: &'static dyn Algorithm,
    facts: ClusterFacts,
    /// By row.
    numbers: Vec<Numbers>,
    rows: Vec<Extent>,
    blocks: Vec<Extent>,
}

/// Between which the numbers of nodes are, each by itself; of [`WIDTH`] rows or blocks side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) least: Numbers,
    pub(super) most: Numbers,
}

/// What of the search's two upper steps is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The rows of one block.
    Rows,
    /// [`WIDTH`] blocks.
    Blocks,
}

/// Rows or blocks side by side, as the search looks at them.
pub(super) struct Side<'a> {
    pub(super) extent: &'a Extent,
    pub(super) sizes: &'a [SizeRange; WIDTH],
    pub(super) room: &'a Room,
}

impl Table {
    /// Columns over these nodes, which are in the order of their ids, laid out for one algorithm and for tasks that demand
    /// what these masks tell. Others find the same nodes, only less fast.
    pub(super) fn new(
        nodes: &[NodeView],
        algorithm: &dyn Algorithm,
        facts: &ClusterFacts,
        demands: &[Mask],
        least_needed: Resources,
    ) -> Self {
        let node_of = layout::slots(nodes, algorithm, facts, demands);
        let rows = node_of.len() / ROW;
        let mut table = Self {
            slot_of: vec![0; nodes.len()],
            size_of: vec![0; node_of.len()],
            node_of,
            room: vec![Room::NONE; rows],
            rows: Level::of(rows),
            blocks: Level::of(rows.div_ceil(WIDTH)),
            is_stale: vec![false; rows],
            least_needed: amounts(least_needed),
            ..Self::default()
        };
        for (slot, at) in (0..).zip(&table.node_of) {
            if *at != VACANT {
                table.slot_of[*at as usize] = slot;
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            let slot = table.slot_of(at);
            table.size_of[slot] = table.size(node.allocatable);
            table.set_room(slot, node);
        }
        table.sum_up_sizes();
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

    /// Takes over a node of which something changed. `false` when its size is new, so that the table has to be made anew.
    pub(super) fn update(&mut self, at: usize, node: &NodeView) -> bool {
        let slot = self.slot_of(at);
        if self.sizes[self.size_of[slot] as usize] != node.allocatable {
            return false;
        }
        self.set_room(slot, node);
        for column in &mut self.columns {
            let numbers = column.algorithm.numbers(node, &column.facts);
            lanes::set_lane(&mut column.numbers[slot / ROW], slot % ROW, numbers);
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
        let mut column = Column::of(algorithm, *facts, self.room.len());
        for (at, node) in nodes.iter().enumerate() {
            let slot = self.slot_of(at);
            lanes::set_lane(&mut column.numbers[slot / ROW], slot % ROW, algorithm.numbers(node, facts));
        }
        self.columns.push(column);
        for row in 0..self.room.len() {
            self.mark_stale(row);
        }
        self.columns.len() - 1
    }

    /// The numbers of the node in a slot.
    #[inline]
    pub(super) fn numbers(&self, column: usize, slot: usize) -> Parts {
        lanes::lane(&self.columns[column].numbers[slot / ROW], slot % ROW)
    }

    /// The nodes of a row: their numbers, and what is left of them.
    #[inline]
    pub(super) fn row(&self, column: usize, row: usize) -> (&Numbers, &Room) {
        (&self.columns[column].numbers[row], &self.room[row])
    }

    /// What is left of the nodes of a row.
    #[inline]
    pub(super) fn room(&self, row: usize) -> &Room {
        &self.room[row]
    }

    /// Between which sizes the nodes of a row are.
    #[inline]
    pub(super) fn sizes_of_row(&self, row: usize) -> SizeRange {
        self.rows.sizes[row / WIDTH][row % WIDTH]
    }

    /// What is known of the rows of a block, or of some blocks. Of use after [`Self::sum_up`].
    #[inline]
    pub(super) fn side(&self, column: usize, of: Of, index: usize) -> Side<'_> {
        let column = &self.columns[column];
        let (extents, level) = match of {
            Of::Rows => (&column.rows, &self.rows),
            Of::Blocks => (&column.blocks, &self.blocks),
        };
        Side { extent: &extents[index], sizes: &level.sizes[index], room: &level.room[index] }
    }

    /// No task needs less than this until it is said again. Nodes that have less left are passed over.
    pub(super) fn set_least_needed(&mut self, least_needed: Resources) {
        let least_needed = amounts(least_needed);
        // A lower one than need be is kept: summing up all anew takes longer than some nodes that are not passed over.
        if least_needed.iter().zip(self.least_needed).any(|(now, before)| *now < before) {
            self.least_needed = least_needed;
            for row in 0..self.room.len() {
                self.mark_stale(row);
            }
        }
    }

    /// Gets what is known of rows and blocks up to date.
    pub(super) fn sum_up(&mut self) {
        for row in &self.stale {
            let row = *row as usize;
            self.is_stale[row] = false;
            let (side, lane) = (row / WIDTH, row % WIDTH);
            let room = &self.room[row];
            self.rows.room[side].set(lane, room.without_less_than(self.least_needed).most());
            for column in &mut self.columns {
                let mut numbers = column.numbers[row];
                for lanes in &mut numbers {
                    room.replace(lanes, self.least_needed, f64::NAN);
                }
                column.rows[side].set(lane, lanes::extent(&numbers));
            }
        }
        let mut last = None;
        for row in self.stale.drain(..) {
            let block = row as usize / WIDTH;
            if last == Some(block) {
                continue;
            }
            last = Some(block);
            let (side, lane) = (block / WIDTH, block % WIDTH);
            self.blocks.room[side].set(lane, self.rows.room[block].most());
            for column in &mut self.columns {
                let Extent { least, most } = &column.rows[block];
                column.blocks[side].set(lane, (lanes::extent(least).0, lanes::extent(most).1));
            }
        }
    }

    fn set_room(&mut self, slot: usize, node: &NodeView) {
        self.room[slot / ROW].set(slot % ROW, amounts(node.free()));
        self.mark_stale(slot / ROW);
    }

    fn mark_stale(&mut self, row: usize) {
        if !std::mem::replace(&mut self.is_stale[row], true) {
            self.stale.push(row as u32);
        }
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

    fn sum_up_sizes(&mut self) {
        for row in 0..self.room.len() {
            self.rows.sizes[row / WIDTH][row % WIDTH] = self.size_range(row * ROW, ROW);
        }
        for block in 0..self.rows.sizes.len() {
            self.blocks.sizes[block / WIDTH][block % WIDTH] = self.size_range(block * BLOCK, BLOCK);
        }
    }

    fn size_range(&mut self, start: usize, count: usize) -> SizeRange {
        let slots = start..(start + count).min(self.node_of.len());
        let sizes = || {
            let occupied = slots.clone().filter(|slot| self.node_of[*slot] != VACANT);
            occupied.map(|slot| self.sizes[self.size_of[slot] as usize])
        };
        let (Some(most), Some(least)) =
            (sizes().reduce(Resources::max_of_each), sizes().reduce(Resources::min_of_each))
        else {
            return SizeRange::default();
        };
        SizeRange { largest: self.size(most), smallest: self.size(least) }
    }
}

impl Level {
    fn of(count: usize) -> Self {
        let sides = count.div_ceil(WIDTH);
        Self { room: vec![Room::NONE; sides], sizes: vec![[SizeRange::default(); WIDTH]; sides] }
    }
}

impl Column {
    fn of(algorithm: &'static dyn Algorithm, facts: ClusterFacts, rows: usize) -> Self {
        let blocks = rows.div_ceil(WIDTH);
        let nothing = Extent { least: NOTHING, most: NOTHING };
        Self {
            algorithm,
            facts,
            numbers: vec![NOTHING; rows],
            rows: vec![nothing; blocks],
            blocks: vec![nothing; blocks.div_ceil(WIDTH)],
        }
    }
}

impl Extent {
    fn set(&mut self, lane: usize, (least, most): (Parts, Parts)) {
        lanes::set_lane(&mut self.least, lane, least);
        lanes::set_lane(&mut self.most, lane, most);
    }
}
