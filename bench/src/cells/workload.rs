//! The nodes of cells, and groups of tasks as many users would send them.

use davit_core::constraint::{Attribute, Constraint, Operator};
use davit_core::placement::{NodeView, PlacementRequest, Preferences, Requirements, RuntimeKind};
use davit_core::resources::Resources;
use scheduler_svc::placement::{Algorithm, Group};

use crate::quality::few_large_many_small;
use crate::workload::{Rng, nodes};

const SHAPES: usize = 200;
/// Group sizes: up to which share of the groups, and from how many tasks to how many. Most are small, and most tasks are in
/// large ones.
const SIZES: [(f64, f64, f64); 4] =
    [(0.4, 1.0, 10.0), (0.7, 10.0, 100.0), (0.95, 100.0, 1_000.0), (1.0, 1_000.0, 5_000.0)];
/// How many of the groups of up to [`GANG_LIMIT`] tasks are to be placed whole or not at all.
const GANGS: f64 = 0.05;
const GANG_LIMIT: u32 = 100;
/// Every third cell has GPUs, on one of so many nodes.
const NODES_A_GPU: usize = 5;

/// The nodes of one cell.
pub(super) fn nodes_of(cell: usize, count: u32, seed: u64) -> Vec<NodeView> {
    let mut rng = Rng::new(Rng::new(seed).next() ^ Rng::new(cell as u64).next());
    let mut nodes = nodes(count, &mut rng);
    for (at, node) in nodes.iter_mut().enumerate() {
        node.name = format!("cell-{cell}/{}", node.name);
        if cell.is_multiple_of(3) && at.is_multiple_of(NODES_A_GPU) {
            node.labels.insert("gpu".to_owned(), "yes".to_owned());
        }
    }
    nodes
}

/// Groups without end.
pub(super) struct Stream {
    rng: Rng,
    shapes: Vec<PlacementRequest>,
    algorithm: &'static dyn Algorithm,
    made: usize,
}

impl Stream {
    /// What the seed gives.
    pub(super) fn new(seed: u64, algorithm: &'static dyn Algorithm) -> Self {
        let mut rng = Rng::new(seed);
        let shapes = (0..SHAPES).map(|number| shape(number, algorithm, &mut rng)).collect();
        Self { rng, shapes, algorithm, made: 0 }
    }

    /// Groups of together so many tasks.
    pub(super) fn batch(&mut self, tasks: u32) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut left = tasks;
        while left > 0 {
            let count = self.size().min(left);
            left -= count;
            let is_gang = count > 1 && count <= GANG_LIMIT && self.rng.unit() < GANGS;
            let shape = (self.rng.unit() * SHAPES as f64) as usize;
            groups.push(self.group(shape, count, is_gang));
        }
        groups
    }

    /// One group of each shape, the largest first.
    pub(super) fn remainder(&mut self, count: u32) -> Vec<Group> {
        let mut order: Vec<usize> = (0..SHAPES).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.shapes[*at].requirements.reservation));
        order.into_iter().map(|shape| self.group(shape, count, false)).collect()
    }

    fn group(&mut self, shape: usize, count: u32, all_or_nothing: bool) -> Group {
        self.made += 1;
        Group {
            group_id: self.made.to_string(),
            request: self.shapes[shape].clone(),
            count,
            algorithm: self.algorithm,
            all_or_nothing,
        }
    }

    fn size(&mut self) -> u32 {
        let drawn = self.rng.unit();
        let (_, low, high) = SIZES.iter().find(|(upto, ..)| drawn < *upto).copied().unwrap_or(SIZES[0]);
        self.rng.between(low, high) as u32
    }
}

/// Of 20 shapes one needs a GPU, three an SSD and two one of two zones.
fn shape(number: usize, algorithm: &dyn Algorithm, rng: &mut Rng) -> PlacementRequest {
    let [cpu_millis, memory_bytes] = few_large_many_small(rng);
    let reservation = Resources { cpu_millis: cpu_millis as u64, memory_bytes: memory_bytes as u64, disk_bytes: 0 };
    let constraint = |key: &str, operator, values: &[&str]| Constraint {
        attribute: Attribute::Label(key.to_owned()),
        operator,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let constraints = match number % 20 {
        0 => vec![constraint("gpu", Operator::Equal, &["yes"])],
        1..=3 => vec![constraint("disk", Operator::Equal, &["ssd"])],
        4 | 5 => vec![constraint("zone", Operator::In, &["a", "b"])],
        _ => Vec::new(),
    };
    PlacementRequest {
        requirements: Requirements { reservation, constraints, ..Requirements::of_runtime(RuntimeKind::Docker) },
        preferences: Preferences::default(),
        algorithm: algorithm.name().to_owned(),
        priority: 0,
        may_preempt: false,
    }
}

#[cfg(test)]
mod tests {
    use scheduler_svc::placement::algorithms;

    use super::*;

    #[test]
    fn a_batch_has_as_many_tasks_as_asked_for_and_only_the_seed_decides_on_them() {
        let batch = |seed| Stream::new(seed, algorithms::DEFAULT).batch(100_000);
        let told =
            |groups: &[Group]| groups.iter().map(|group| (group.request.clone(), group.count)).collect::<Vec<_>>();
        let groups = batch(1);
        assert_eq!(groups.iter().map(|group| group.count).sum::<u32>(), 100_000);
        assert!(groups.iter().any(|group| group.all_or_nothing));
        assert_eq!(told(&groups), told(&batch(1)));
        assert_ne!(told(&groups), told(&batch(2)));
    }

    #[test]
    fn no_two_cells_have_a_node_in_common_and_a_third_of_them_have_gpus() {
        let cells: Vec<_> = (0..4).map(|cell| nodes_of(cell, 100, 1)).collect();
        let mut ids: Vec<_> = cells.iter().flatten().map(|node| node.node_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 400);
        let gpus = cells.iter().map(|nodes| nodes.iter().filter(|node| node.labels.get("gpu").is_some()).count());
        assert_eq!(gpus.collect::<Vec<_>>(), [20, 0, 0, 20]);
    }
}
