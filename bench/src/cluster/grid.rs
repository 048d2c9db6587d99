//! Which cells are measured.

use serde::Serialize;

use super::probe;
use crate::running::work::reservation;

/// The axes of the grid.
const NODES: [u32; 4] = [100, 1_000, 5_000, 10_000];
const TASKS: [u32; 3] = [10_000, 100_000, 1_000_000];
/// What a hollow node offers.
const NODE_CPU_MILLIS: u64 = 64_000;
const NODE_MEMORY_BYTES: u64 = 256 << 30;
/// So much of the room may be wanted, in percent: spreading needs no perfect packing, and stopped tasks give theirs back a little
/// later.
const FILL_PERCENT: u64 = 90;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Cell {
    pub(super) nodes: u32,
    pub(super) tasks: u32,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) cells: Vec<Cell>,
    /// Cells whose tasks the nodes have no room for.
    pub(super) without_room: Vec<Cell>,
}

impl Plan {
    /// One cell if both are given, one row of the grid if one is, else all of it.
    pub(super) fn new(nodes: Option<u32>, tasks: Option<u32>, shapes: u32) -> Self {
        let node_counts = nodes.map_or(NODES.to_vec(), |nodes| vec![nodes]);
        let task_counts = tasks.map_or(TASKS.to_vec(), |tasks| vec![tasks]);
        let all = node_counts.iter().flat_map(|&nodes| task_counts.iter().map(move |&tasks| Cell { nodes, tasks }));
        let (cells, without_room) = all.partition(|cell| has_room(*cell, shapes));
        Self { cells, without_room }
    }
}

/// Whether all fit when one node is dead.
fn has_room(Cell { nodes, tasks }: Cell, shapes: u32) -> bool {
    let room = |one: u64| u64::from(nodes.saturating_sub(1)) * one * FILL_PERCENT / 100;
    let tasks = u64::from(tasks) + 2 * probe::TASKS;
    let mean = |of: &dyn Fn(u32) -> u64| (0..shapes).map(of).sum::<u64>() / u64::from(shapes.max(1)) + 1;
    tasks * mean(&|shape| reservation(shape).cpu_millis) <= room(NODE_CPU_MILLIS)
        && tasks * mean(&|shape| reservation(shape).memory_bytes) <= room(NODE_MEMORY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_one_cell_and_one_is_a_row() {
        assert_eq!(Plan::new(Some(60), Some(2_000), 20).cells, [Cell { nodes: 60, tasks: 2_000 }]);
        let row: Vec<_> = TASKS.into_iter().map(|tasks| Cell { nodes: 5_000, tasks }).collect();
        assert_eq!(Plan::new(Some(5_000), None, 20).cells, row);
        assert_eq!(Plan::new(None, Some(10_000), 20).cells.len(), NODES.len());
    }

    #[test]
    fn of_the_grid_only_a_million_on_a_hundred_nodes_has_no_room() {
        let Plan { cells, without_room } = Plan::new(None, None, 20);
        assert_eq!(cells.len(), 11);
        assert_eq!(without_room, [Cell { nodes: 100, tasks: 1_000_000 }]);
    }
}
