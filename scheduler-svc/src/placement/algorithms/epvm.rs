//! Opportunity cost: the node that grows scarce the least.

use davit_core::node::NodeStats;
use davit_core::placement::{NodeView, Requirements};

use crate::placement::score::{Algorithm, Candidate, ClusterFacts, Score, share};

/// What a task without a cpu reservation is presumed to use.
const PRESUMED_CPU_MILLIS: u64 = 100;

/// What a task without a memory reservation is presumed to use.
const PRESUMED_MEMORY_BYTES: u64 = 200 << 20;

/// How many tasks count as a full node.
const TASKS_OF_FULL_NODE: f64 = 100.0;

/// From this use on the price grows along its tangent, not as a power, which would leave the range of numbers.
const MAX_EXPONENT: f64 = 2.0;

/// E-PVM, the enhanced PVM assignment of Yair Amir, Baruch Awerbuch, Amnon Barak, R. Sean Borgstrom and Arie Keren, "An
/// Opportunity Cost Approach for Job Assignment in a Scalable Computing Cluster", IEEE Transactions on Parallel and
/// Distributed Systems 11(7), 2000.
///
/// Every resource has the price `n^use`, where `n` is the number of nodes (at least 2) and `use` the used share of the
/// resource. A task costs by how much it raises the prices, and goes where that is least:
///
/// ```text
/// cost = Σ over cpu, memory, tasks:  n^(use after) − n^(use before)
/// use(cpu, memory) before = max(reserved, measured) / allocatable
/// use(cpu, memory) after  = before + needed / allocatable
/// use(tasks)              = tasks / 100
/// ```
///
/// - `needed` is the task's reservation; where it has none, it is presumed to be 0.1 core or 200 MiB, as Kubernetes does,
///   else a busy node would look as good as an idle one to it.
/// - `measured` counts where it is above what is reserved: then tasks without reservation use the difference. It is at
///   most all of the node.
/// - A node on which nothing was measured counts as fully used, if anything was measured on any other: a missing
///   number never makes a node look better. Without any measurements reservations alone decide.
/// - Above a use of 2 the power is continued by its tangent, so that costs stay finite and still grow.
///
/// Unlike in the book that made this algorithm known to many, cpu counts (there its two terms cancel), the base is the
/// paper's and not a constant, and no number that is missing is read as zero.
#[derive(Debug, Clone, Copy)]
pub struct Epvm;

impl Algorithm for Epvm {
    fn name(&self) -> &'static str {
        "epvm"
    }

    fn description(&self) -> &'static str {
        "least opportunity cost (E-PVM, Amir et al. 2000); cost = sum over cpu, memory and tasks of \
         n^(use after) - n^(use before), n = max(2, number of nodes), use = max(reserved, measured) / allocatable"
    }

    fn score(&self, requirements: &Requirements, candidate: &Candidate<'_>, facts: &ClusterFacts) -> Score {
        let node = candidate.node;
        let ln_base = (facts.node_count.max(2) as f64).ln();
        let needed = requirements.reservation;
        let cpu = price_rise(
            ln_base,
            used(node, facts, node.reserved.cpu_millis, node.allocatable.cpu_millis, |stats| stats.cpu_used_millis),
            share(or(needed.cpu_millis, PRESUMED_CPU_MILLIS), node.allocatable.cpu_millis),
        );
        let memory = price_rise(
            ln_base,
            used(node, facts, node.reserved.memory_bytes, node.allocatable.memory_bytes, |stats| {
                stats.memory_used_bytes
            }),
            share(or(needed.memory_bytes, PRESUMED_MEMORY_BYTES), node.allocatable.memory_bytes),
        );
        let tasks = price_rise(ln_base, f64::from(node.task_count) / TASKS_OF_FULL_NODE, 1.0 / TASKS_OF_FULL_NODE);
        Score::sum_of([("cpu", cpu), ("memory", memory), ("tasks", tasks)])
    }
}

fn or(amount: u64, presumed: u64) -> u64 {
    if amount == 0 { presumed } else { amount }
}

/// The used share of a resource before the task is placed.
fn used(
    node: &NodeView,
    facts: &ClusterFacts,
    reserved: u64,
    allocatable: u64,
    measured: impl Fn(&NodeStats) -> u64,
) -> f64 {
    let measured = match &node.stats {
        Some(stats) => share(measured(stats), allocatable).min(1.0),
        None if facts.measured => 1.0,
        None => 0.0,
    };
    share(reserved, allocatable).max(measured)
}

/// `n^(before + added) − n^before`, continued by the tangent above [`MAX_EXPONENT`].
fn price_rise(ln_base: f64, before: f64, added: f64) -> f64 {
    let after = before + added;
    // Written as n^before · (n^added − 1): the difference of two powers would lose the digits of a small task.
    let power = |from: f64, by: f64| (from * ln_base).exp() * (by * ln_base).exp_m1();
    let slope = (MAX_EXPONENT * ln_base).exp() * ln_base;
    if after <= MAX_EXPONENT {
        power(before, added)
    } else if before >= MAX_EXPONENT {
        slope * added
    } else {
        power(before, MAX_EXPONENT - before) + slope * (after - MAX_EXPONENT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::test_support::{node, requirements, stats};

    fn facts(nodes: &[NodeView]) -> ClusterFacts {
        ClusterFacts::of(nodes, 0)
    }

    fn score(node: &NodeView, facts: &ClusterFacts) -> Score {
        Epvm.score(&requirements(), &Candidate { node, position: 0, placed: 0 }, facts)
    }

    #[test]
    fn the_cost_is_the_formula() {
        let mut half = node(1);
        half.reserved.cpu_millis = half.allocatable.cpu_millis / 2;
        half.task_count = 10;
        let facts = ClusterFacts { node_count: 16, measured: false, turn: 0 };
        let expected = [
            ("cpu", 16_f64.powf(0.5 + 100.0 / 8000.0) - 16_f64.powf(0.5)),
            ("memory", 16_f64.powf(64.0 / 16384.0) - 1.0),
            ("tasks", 16_f64.powf(0.11) - 16_f64.powf(0.10)),
        ];
        let score = score(&half, &facts);
        for (actual, expected) in score.terms().iter().zip(expected) {
            assert_eq!(actual.0, expected.0);
            assert!((actual.1 - expected.1).abs() < 1e-12, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn one_node_has_the_base_of_two() {
        let one = ClusterFacts { node_count: 1, measured: false, turn: 0 };
        let two = ClusterFacts { node_count: 2, ..one };
        assert_eq!(score(&node(1), &one), score(&node(1), &two));
        assert!(score(&node(1), &one).cost() > 0.0);
    }

    /// The book's code adds and subtracts the same power of the cpu load.
    #[test]
    fn cpu_load_is_seen() {
        let (mut idle, mut busy) = (node(1), node(2));
        idle.stats = Some(stats(100, 1 << 30));
        busy.stats = Some(stats(7000, 1 << 30));
        let facts = facts(&[idle.clone(), busy.clone()]);
        assert!(score(&idle, &facts).cost() < score(&busy, &facts).cost());
        assert!(score(&idle, &facts).terms()[0].1 < score(&busy, &facts).terms()[0].1);
    }

    #[test]
    fn measured_load_counts_for_a_task_that_reserves_nothing() {
        let mut nothing = requirements();
        nothing.reservation = davit_core::resources::Resources::ZERO;
        let (mut idle, mut busy) = (node(1), node(2));
        idle.stats = Some(stats(100, 1 << 30));
        busy.stats = Some(stats(7000, 8 << 30));
        let facts = facts(&[idle.clone(), busy.clone()]);
        let cost = |node| Epvm.score(&nothing, &Candidate { node, position: 0, placed: 0 }, &facts).cost();
        assert!(cost(&idle) < cost(&busy));
    }

    #[test]
    fn measured_load_below_the_reservations_changes_nothing() {
        let mut reserved = node(1);
        reserved.reserved.cpu_millis = 4000;
        reserved.reserved.memory_bytes = 8 << 30;
        let mut measured = reserved.clone();
        measured.stats = Some(stats(1000, 1 << 30));
        let without = ClusterFacts { node_count: 3, measured: false, turn: 0 };
        assert_eq!(score(&reserved, &without), score(&measured, &without));
    }

    #[test]
    fn a_node_beyond_its_size_is_dearer_still() {
        let costs: Vec<_> = [0.5, 1.0, 1.9, 2.0, 3.0]
            .map(|times: f64| {
                let mut node = node(1);
                node.reserved.cpu_millis = (node.allocatable.cpu_millis as f64 * times) as u64;
                score(&node, &facts(&[])).cost()
            })
            .to_vec();
        assert!(costs.is_sorted(), "{costs:?}");
    }

    proptest! {
        /// What is missing is never read as zero, the best of all values.
        #[test]
        fn losing_its_measurements_never_makes_a_node_win(
            cpu in prop::collection::vec(0..9000_u64, 2..5),
            memory in prop::collection::vec(0..16_u64, 5),
        ) {
            let mut nodes: Vec<_> = (0..).map(node).take(cpu.len()).collect();
            for (at, node) in nodes.iter_mut().enumerate() {
                node.stats = Some(stats(cpu[at], memory[at] << 30));
            }
            let others = |nodes: &[NodeView]| {
                let facts = facts(nodes);
                nodes[1..].iter().map(|node| score(node, &facts).cost()).fold(f64::INFINITY, f64::min)
            };
            let with = score(&nodes[0], &facts(&nodes)).cost() - others(&nodes);
            nodes[0].stats = None;
            let without = score(&nodes[0], &facts(&nodes)).cost() - others(&nodes);
            prop_assert!(without >= with - 1e-9, "{without} < {with}");
        }
    }
}
