//! Opportunity cost: the node that grows scarce the least.

use davit_core::node::NodeStats;
use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use crate::placement::score::{Algorithm, ClusterFacts, Form, Parts, share};

/// What a task without a cpu reservation is presumed to use.
const PRESUMED_CPU_MILLIS: u64 = 100;

/// What a task without a memory reservation is presumed to use.
const PRESUMED_MEMORY_BYTES: u64 = 200 << 20;

/// How many tasks count as a full node.
const TASKS_OF_FULL_NODE: f64 = 100.0;

/// The largest use that is told apart, which keeps powers finite: twice the node.
const MAX_USE: f64 = 2.0;

/// Natural logarithm of 1.53960071783900203869, the constant base of the book: (4/3)^1.5, Lieb's square ice constant.
const LN_CLASSIC_BASE: f64 = 0.431_523_108_677_671_36;

/// E-PVM, the enhanced PVM assignment of Yair Amir, Baruch Awerbuch, Amnon Barak, R. Sean Borgstrom and Arie Keren, "An
/// Opportunity Cost Approach for Job Assignment in a Scalable Computing Cluster", IEEE Transactions on Parallel and
/// Distributed Systems 11(7), 2000.
///
/// Every resource has the price `n^use`, where `n` is the number of nodes (at least 2) and `use` the used share of the
/// resource. A task costs by how much it raises the prices, and goes where that is least:
///
/// ```text
/// cost = Σ over cpu, memory, tasks:  n^(use after) − n^(use before)  =  n^(use before) · (n^added − 1)
/// use(cpu, memory) before = max(reserved, measured) / allocatable
/// added(cpu, memory)      = needed / allocatable
/// use(tasks)              = tasks / 100,  added(tasks) = 1 / 100
/// ```
///
/// - `needed` is the task's reservation; where it has none, it is presumed to be 0.1 core or 200 MiB, as Kubernetes does,
///   else a busy node would look as good as an idle one to it.
/// - `measured` counts where it is above what is reserved: then tasks without reservation use the difference. It is at
///   most all of the node.
/// - A node on which nothing was measured counts as fully used, if anything was measured on any other: a missing
///   number never makes a node look better. Without any measurements reservations alone decide.
/// - A use or an addition above 2 counts as 2, so that costs stay finite.
///
/// Unlike in the book that made this algorithm known to many, cpu counts (there its two terms cancel), the base is the
/// paper's and not a constant, and no number that is missing is read as zero.
#[derive(Debug, Clone, Copy)]
pub struct Epvm;

/// [`Epvm`] with the book's constant base instead of the number of nodes, for comparison: prices rise much less steeply, so
/// that nodes are filled less evenly the more there are.
#[derive(Debug, Clone, Copy)]
pub struct EpvmClassic;

impl Algorithm for Epvm {
    fn name(&self) -> &'static str {
        "epvm"
    }

    fn description(&self) -> &'static str {
        "least opportunity cost (E-PVM, Amir et al. 2000); cost = sum over cpu, memory and tasks of \
         n^(use after) - n^(use before), n = max(2, number of nodes), use = max(reserved, measured) / allocatable, \
         use of tasks = tasks / 100; a task that reserves nothing counts for 0.1 core and 200 MiB"
    }

    fn form(&self) -> Form {
        Form::Product
    }

    fn term_names(&self) -> &'static [&'static str] {
        TERM_NAMES
    }

    fn numbers(&self, node: &NodeView, facts: &ClusterFacts) -> Parts {
        prices(ln_node_count(facts), node, facts)
    }

    fn factors(&self, needed: Resources, allocatable: Resources, facts: &ClusterFacts) -> Parts {
        rises(ln_node_count(facts), needed, allocatable)
    }

    fn unit(&self, needed: Resources, facts: &ClusterFacts) -> f64 {
        cost_of_full_node(ln_node_count(facts), needed, facts)
    }
}

impl Algorithm for EpvmClassic {
    fn name(&self) -> &'static str {
        "epvm-classic"
    }

    fn description(&self) -> &'static str {
        "as epvm, with the constant base 1.53960071783900203869 = (4/3)^1.5 instead of the number of nodes; for comparison"
    }

    fn form(&self) -> Form {
        Form::Product
    }

    fn term_names(&self) -> &'static [&'static str] {
        TERM_NAMES
    }

    fn numbers(&self, node: &NodeView, facts: &ClusterFacts) -> Parts {
        prices(LN_CLASSIC_BASE, node, facts)
    }

    fn factors(&self, needed: Resources, allocatable: Resources, _: &ClusterFacts) -> Parts {
        rises(LN_CLASSIC_BASE, needed, allocatable)
    }

    fn unit(&self, needed: Resources, facts: &ClusterFacts) -> f64 {
        cost_of_full_node(LN_CLASSIC_BASE, needed, facts)
    }
}

const TERM_NAMES: &[&str] = &["cpu", "memory", "tasks"];

// Powers are from `libm` and not from the system's library, whose last digits differ between machines: decisions are replayed.

fn ln_node_count(facts: &ClusterFacts) -> f64 {
    libm::log(facts.node_count.max(2) as f64)
}

/// The prices of cpu, memory and tasks on a node: `n^(use before)`.
fn prices(ln_base: f64, node: &NodeView, facts: &ClusterFacts) -> Parts {
    let price = |used: f64| libm::exp(used.min(MAX_USE) * ln_base);
    let (reserved, allocatable) = (node.reserved, node.allocatable);
    let cpu = used(node, facts, reserved.cpu_millis, allocatable.cpu_millis, |stats| stats.cpu_used_millis);
    let memory = used(node, facts, reserved.memory_bytes, allocatable.memory_bytes, |stats| stats.memory_used_bytes);
    [price(cpu), price(memory), price(f64::from(node.task_count) / TASKS_OF_FULL_NODE), 0.0]
}

/// By what each price rises: `n^added − 1`.
fn rises(ln_base: f64, needed: Resources, allocatable: Resources) -> Parts {
    // `exp_m1`, since the difference of two powers would lose the digits of a small task.
    let rise = |added: f64| libm::expm1(added.min(MAX_USE) * ln_base);
    [
        rise(share(or(needed.cpu_millis, PRESUMED_CPU_MILLIS), allocatable.cpu_millis)),
        rise(share(or(needed.memory_bytes, PRESUMED_MEMORY_BYTES), allocatable.memory_bytes)),
        rise(1.0 / TASKS_OF_FULL_NODE),
        0.0,
    ]
}

/// What the task costs on a full node of the smallest size: the most that it costs anywhere.
fn cost_of_full_node(ln_base: f64, needed: Resources, facts: &ClusterFacts) -> f64 {
    let [cpu, memory, tasks, _] = rises(ln_base, needed, facts.least_allocatable);
    libm::exp(ln_base) * (cpu + memory + tasks)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::score::Score;
    use crate::placement::steps::{cost_of, score_of};
    use crate::placement::test_support::{facts as facts_of_count, node, requirements, stats};

    fn facts(nodes: &[NodeView]) -> ClusterFacts {
        ClusterFacts::of(nodes)
    }

    fn score(node: &NodeView, facts: &ClusterFacts) -> Score {
        score_of(&Epvm, &requirements(), node, facts)
    }

    #[test]
    fn the_cost_is_the_formula() {
        let mut half = node(1);
        half.reserved.cpu_millis = half.allocatable.cpu_millis / 2;
        half.task_count = 10;
        let facts = facts_of_count(16);
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
        let one = facts_of_count(1);
        let two = facts_of_count(2);
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
        nothing.reservation = Resources::ZERO;
        let (mut idle, mut busy) = (node(1), node(2));
        idle.stats = Some(stats(100, 1 << 30));
        busy.stats = Some(stats(7000, 8 << 30));
        let facts = facts(&[idle.clone(), busy.clone()]);
        let cost = |node| cost_of(&Epvm, &nothing, node, &facts);
        assert!(cost(&idle) < cost(&busy));
    }

    #[test]
    fn measured_load_below_the_reservations_changes_nothing() {
        let mut reserved = node(1);
        reserved.reserved.cpu_millis = 4000;
        reserved.reserved.memory_bytes = 8 << 30;
        let mut measured = reserved.clone();
        measured.stats = Some(stats(1000, 1 << 30));
        let without = facts_of_count(3);
        assert_eq!(score(&reserved, &without), score(&measured, &without));
    }

    #[test]
    fn a_node_beyond_its_size_is_never_cheaper() {
        let costs: Vec<_> = [0.5, 1.0, 1.9, 2.0, 3.0]
            .map(|times: f64| {
                let mut node = node(1);
                node.reserved.cpu_millis = (node.allocatable.cpu_millis as f64 * times) as u64;
                score(&node, &facts(&[])).cost()
            })
            .to_vec();
        assert!(costs.is_sorted(), "{costs:?}");
    }

    #[test]
    fn the_classic_base_is_the_books() {
        assert!((LN_CLASSIC_BASE.exp() - 1.539_600_717_839_002).abs() < 1e-15);
        assert!((LN_CLASSIC_BASE.exp() - (4.0_f64 / 3.0).powf(1.5)).abs() < 1e-15);
        let mut half = node(1);
        half.reserved.cpu_millis = half.allocatable.cpu_millis / 2;
        let base = 1.539_600_717_839_002_f64;
        let score = score_of(&EpvmClassic, &requirements(), &half, &facts_of_count(500));
        assert!((score.terms()[0].1 - (base.powf(0.5 + 100.0 / 8000.0) - base.powf(0.5))).abs() < 1e-12);
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
