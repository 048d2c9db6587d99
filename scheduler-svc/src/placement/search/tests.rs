//! That the search finds what asking every node would find, on clusters of many rows and several blocks.

use davit_core::placement::{NodeView, fits};
use davit_core::resources::Resources;
use proptest::prelude::*;

use super::*;
use crate::placement::algorithms::{self, Binpack, Epvm, EpvmClassic, LeastStranded, Spread};
use crate::placement::group::Placer;
use crate::placement::mirror::Mirror;
use crate::placement::pick::{mix, pick};
use crate::placement::pipeline::Group;
use crate::placement::steps::full_score;
use crate::placement::test_support::{group, node};

const SEARCHED: [&dyn Algorithm; 5] = [&Binpack, &Epvm, &EpvmClassic, &LeastStranded, &Spread];

/// Numbers that follow from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % end
    }
}

/// Nodes of a few sizes, or each of its own; partly in use, some with labels.
fn cluster(count: u64, sizes: u64, draw: &mut Draw) -> Vec<NodeView> {
    let one = |number: u64| {
        let mut node = node(number);
        let size = draw.below(sizes);
        node.allocatable = Resources {
            cpu_millis: 2000 + 1500 * (size % 40),
            memory_bytes: (4 << 30) + (3 << 30) * (size / 3 % 7) + size,
            disk_bytes: 100 << 30,
        };
        node.reserved.cpu_millis = draw.below(node.allocatable.cpu_millis * 5 / 4);
        node.reserved.memory_bytes = draw.below(node.allocatable.memory_bytes);
        node.task_count = u32::try_from(draw.below(8)).unwrap();
        let values = [("disk", draw.below(3)), ("zone", draw.below(4))];
        node.labels = values.map(|(key, value)| (key.to_owned(), value.to_string())).into_iter().collect();
        node
    };
    (0..count).map(one).collect()
}

fn tasks(count: u64, algorithm: &'static dyn Algorithm, draw: &mut Draw) -> Vec<Group> {
    let one = |number: u64| {
        let mut group = Group { group_id: number.to_string(), ..group(1, algorithm) };
        let requirements = &mut group.request.requirements;
        requirements.reservation = Resources {
            // Some need nothing of one or the other.
            cpu_millis: draw.below(900).saturating_sub(50),
            memory_bytes: draw.below(2 << 30).saturating_sub(100 << 20),
            disk_bytes: 0,
        };
        let expression = ["disk == 1", "zone != 2", "disk >= 1", "node.os == linux"][draw.below(4) as usize];
        requirements.constraints = vec![expression.parse().unwrap()];
        group
    };
    (0..count).map(one).collect()
}

/// The node that asking and scoring each would give.
fn by_asking_all(group: &Group, nodes: &[NodeView], facts: &ClusterFacts, seed: u64) -> Option<usize> {
    let candidates = nodes.iter().filter(|node| fits(&group.request.requirements, node));
    let costs = candidates.map(|node| {
        let score = full_score(group.algorithm, &group.request, node, 0, None, facts);
        (node.node_id, score.cost())
    });
    let best = pick(costs, seed)?;
    nodes.iter().position(|node| node.node_id == best)
}

#[test]
fn the_node_found_is_the_one_that_asking_all_would_give() {
    for (count, sizes) in [(700, 5), (300, 1000), (40, 3), (17, 100)] {
        for algorithm in SEARCHED {
            let mut draw = Draw(count);
            let mut mirror = Mirror::new(cluster(count, sizes, &mut draw));
            for seed in 0..3 {
                let groups = tasks(250, algorithm, &mut draw);
                let facts = mirror.facts();
                let mut placer = Placer::new(&mut mirror, facts, &groups, seed);
                for group in &groups {
                    let expected = by_asking_all(group, placer.mirror().nodes(), &facts, seed);
                    let found = placer.place(group).first().map(|run| run.at);
                    assert_eq!(found, expected, "{} of {count}: {:?}", algorithm.name(), group.request);
                }
            }
        }
    }
}

#[test]
fn amounts_beyond_the_digits_of_a_float_are_compared_to_the_last_byte() {
    let mut node = node(0);
    node.allocatable.memory_bytes = 1 << 60;
    let mut group = group(1, &Spread);
    group.request.requirements.reservation.memory_bytes = (1 << 60) + 1;
    let mut mirror = Mirror::new(vec![node]);
    let facts = mirror.facts();
    assert!(Placer::new(&mut mirror, facts, std::slice::from_ref(&group), 1).place(&group).is_empty());
    group.request.requirements.reservation.memory_bytes = 1 << 60;
    assert_eq!(Placer::new(&mut mirror, facts, std::slice::from_ref(&group), 1).place(&group).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever nodes a block holds, none of them costs less than the block's bound.
    #[test]
    fn no_node_of_a_block_costs_less_than_its_bound(
        sizes in prop::collection::vec((1..64_u64, 1..256_u64), 1..5),
        used in prop::collection::vec((0..5_usize, 0.0..1.0_f64, 0.0..1.0_f64, 0..50_u32), 1..8),
        (cpu_millis, memory) in (0..4000_u64, 0..32_u64),
    ) {
        let needed = Resources { cpu_millis, memory_bytes: memory << 30, disk_bytes: 0 };
        let sizes: Vec<_> = sizes
            .into_iter()
            .map(|(cores, gib)| Resources { cpu_millis: cores * 1000, memory_bytes: gib << 30, disk_bytes: 1 << 40 })
            .collect();
        let nodes: Vec<_> = used
            .into_iter()
            .map(|(size, cpu, memory, task_count)| {
                let mut node = node(0);
                node.allocatable = sizes[size % sizes.len()];
                node.reserved.cpu_millis = (node.allocatable.cpu_millis as f64 * cpu) as u64;
                node.reserved.memory_bytes = (node.allocatable.memory_bytes as f64 * memory) as u64;
                node.task_count = task_count;
                node
            })
            .filter(|node| needed.fits_in(node.free()))
            .collect();
        let facts = ClusterFacts::of(&nodes);
        for algorithm in algorithms::ALL {
            let numbers: Vec<_> = nodes.iter().map(|node| algorithm.numbers(node, &facts)).collect();
            let factors: Vec<_> = nodes.iter().map(|node| algorithm.factors(needed, node.allocatable, &facts)).collect();
            let each = |of: &[Parts], pick: fn(f64, f64) -> f64| -> Parts {
                std::array::from_fn(|at| of.iter().map(|parts| parts[at]).reduce(pick).unwrap_or(0.0))
            };
            let (least, most) = (each(&numbers, f64::min), each(&numbers, f64::max));
            let (low, high) = (each(&factors, f64::min), each(&factors, f64::max));
            let bound = match algorithm.form() {
                Form::Turns => f64::NEG_INFINITY,
                Form::Fill => Fill::bound(&least, &most, &low, &high),
                Form::Product => Product::bound(&least, &most, &low, &high),
                Form::Stranded => Stranded::bound(&least, &most, &low, &high),
            };
            for (numbers, factors) in numbers.iter().zip(&factors) {
                let cost = algorithm.form().cost(numbers, factors);
                prop_assert!(bound <= cost, "{}: {bound} > {cost}", algorithm.name());
            }
        }
    }
}
