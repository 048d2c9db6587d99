//! Nodes and tasks that a seed decides on: the same seed gives the same ones on any machine.

mod nodes;
mod rng;
mod tasks;

use davit_core::placement::NodeView;
use davit_core::resources::Resources;
use scheduler_svc::placement::Group;

pub(crate) use self::nodes::{labelled_node, nodes};
pub(crate) use self::rng::Rng;
use crate::options::Cell;

/// How much of a cluster is to be filled; of the nodes that satisfy the constraints, where there are some.
const FILLING: f64 = 0.6;
/// What part of the nodes satisfies the constraints.
const SATISFYING: f64 = 1.0 / 3.0;
/// The mean task lies between these, in cores: below, nodes are made larger; above, less of them is filled.
const MEAN_TASK_CORES: (f64, f64) = (0.1, 1.0);

/// What a cell places on what.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) batches: Vec<Vec<Group>>,
}

/// The nodes and tasks of a cell. All tasks have room.
pub(crate) fn generate(cell: &Cell, batch_size: u32, seed: u64) -> Workload {
    let mut rng = Rng::new(seed);
    let mut nodes = nodes(cell.nodes, &mut rng);
    let share = if cell.constraints { FILLING * SATISFYING } else { FILLING };
    let total = total(&nodes);
    let mut mean_cores = total.cpu_millis as f64 / 1000.0 * share / f64::from(cell.tasks);
    if mean_cores < MEAN_TASK_CORES.0 {
        let factor = (MEAN_TASK_CORES.0 / mean_cores).ceil();
        for node in &mut nodes {
            node.allocatable = scaled(node.allocatable, factor);
        }
        mean_cores = MEAN_TASK_CORES.0;
    }
    let bytes_per_core = total.memory_bytes as f64 * 1000.0 / total.cpu_millis as f64;
    let mean = tasks::Mean { cores: mean_cores.min(MEAN_TASK_CORES.1), bytes_per_core };
    let batches = tasks::batches(cell, batch_size, mean, &mut rng);
    Workload { nodes, batches }
}

fn total(nodes: &[NodeView]) -> Resources {
    nodes.iter().fold(Resources::ZERO, |sum, node| sum.saturating_add(node.allocatable))
}

fn scaled(amounts: Resources, factor: f64) -> Resources {
    let scale = |amount: u64| (amount as f64 * factor) as u64;
    Resources {
        cpu_millis: scale(amounts.cpu_millis),
        memory_bytes: scale(amounts.memory_bytes),
        disk_bytes: scale(amounts.disk_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Shapes, Transport};

    fn cell(shapes: Shapes, constraints: bool) -> Cell {
        Cell { nodes: 300, tasks: 5_000, shapes, algorithm: "spread", constraints, transport: Transport::InProcess }
    }

    #[test]
    fn the_same_seed_gives_the_same_workload() {
        let make = |seed| generate(&cell(Shapes::Hundred, true), 1_000, seed);
        let (a, b, c) = (make(7), make(7), make(8));
        assert_eq!(a.nodes, b.nodes);
        assert_ne!(a.nodes, c.nodes);
        let requests =
            |workload: &Workload| workload.batches.iter().flatten().map(|g| g.request.clone()).collect::<Vec<_>>();
        assert_eq!(requests(&a), requests(&b));
    }

    #[test]
    fn every_task_is_in_one_batch() {
        for shapes in [Shapes::Like, Shapes::Hundred, Shapes::All] {
            let workload = generate(&cell(shapes, false), 1_500, 1);
            let tasks: u32 = workload.batches.iter().flatten().map(|group| group.count).sum();
            assert_eq!(tasks, 5_000);
            assert_eq!(workload.batches.len(), 4);
        }
    }

    #[test]
    fn shapes_are_as_many_as_asked_for() {
        for (shapes, expected) in [(Shapes::Like, 1), (Shapes::Hundred, 100), (Shapes::All, 5_000)] {
            let workload = generate(&cell(shapes, true), 1_000, 1);
            let mut requests: Vec<_> = workload.batches.iter().flatten().map(|group| &group.request).collect();
            requests.sort();
            requests.dedup();
            assert_eq!(requests.len(), expected, "{shapes:?}");
        }
    }

    #[test]
    fn about_a_third_of_the_nodes_satisfies_each_constraint() {
        let workload = generate(&cell(Shapes::Hundred, true), 10_000, 1);
        for group in &workload.batches[0] {
            let constraints = &group.request.requirements.constraints;
            assert_eq!(constraints.len(), 1);
            let good = workload.nodes.iter().filter(|node| constraints[0].is_satisfied_by(node.attributes())).count();
            assert!((80..125).contains(&good), "{} holds on {good} of 300", constraints[0]);
        }
    }

    #[test]
    fn the_cluster_is_filled_to_about_60_percent() {
        for tasks in [5_000, 100_000] {
            let cell = Cell { tasks, ..cell(Shapes::All, false) };
            let workload = generate(&cell, 10_000, 1);
            let asked: u64 =
                workload.batches.iter().flatten().map(|g| g.request.requirements.reservation.cpu_millis).sum();
            let filled = asked as f64 / total(&workload.nodes).cpu_millis as f64;
            assert!((0.4..0.7).contains(&filled), "{filled} with {tasks} tasks");
        }
    }
}
