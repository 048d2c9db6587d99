//! What an algorithm is: a cost for one task on one node, split so that most of it is worked out once.
//!
//! A cost is made of four **numbers** of the node, which change only when something is placed on it, and four **factors**
//! of the task, which depend on the node's size alone and so are worked out once for each size there is. What is left to
//! do for a pair of task and node is a few additions and multiplications: the [`Form`].

use std::fmt;

use davit_core::node::NodeState;
use davit_core::placement::NodeView;
use davit_core::resources::Resources;

/// A node's side or a task's side of a cost.
pub type Parts = [f64; 4];

/// Stands for a cost that is not a number or not finite. Above every real cost, so that a hole in the data never wins.
const WORST: f64 = 1e200;

/// A way to score nodes. The lowest cost is the best.
pub trait Algorithm: Send + Sync + fmt::Debug {
    /// What requests call it.
    fn name(&self) -> &'static str;

    /// What it prefers, and its formula.
    fn description(&self) -> &'static str;

    /// How numbers and factors make a cost.
    fn form(&self) -> Form;

    /// What the terms of its cost are called, in the form's order. Their sum is the cost.
    fn term_names(&self) -> &'static [&'static str];

    /// The node's side: what it holds, whatever is placed.
    fn numbers(&self, node: &NodeView, facts: &ClusterFacts) -> Parts;

    /// The task's side on a node of this size.
    fn factors(&self, needed: Resources, allocatable: Resources, facts: &ClusterFacts) -> Parts;

    /// Whether it fills nodes rather than evens them out, so that the order of tasks decides how many nodes are needed.
    fn packs(&self) -> bool {
        false
    }

    /// By how much a full node is dearer than an empty one to this task: what a preference of weight 100 is worth, so that
    /// preferences mean the same whatever the algorithm.
    fn unit(&self, needed: Resources, facts: &ClusterFacts) -> f64;
}

/// How a cost is made of the numbers `n` of a node and the factors `f` of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nodes take turns: `rounds · nodes + distance`; numbers and factors are not looked at.
    Turns,
    /// `max(n0 + f0, n1 + f1, n2 + f2)`. Of that, `n3 + f3` is told as a term of its own.
    Fill,
    /// `n0 · f0`, `n1 · f1`, `n2 · f2` and `n3 · f3`.
    Product,
    /// What a typical task (`f2`, `f3`) and one more of this task (`f0`, `f1`) could not use of what is left of `n0` and
    /// `n1`, and a share of all that is left; see [`super::algorithms::LeastStranded`].
    Stranded,
}

impl Form {
    /// The terms. A form has at most four.
    pub(super) fn terms(self, n: &Parts, f: &Parts) -> Parts {
        match self {
            Self::Turns => [0.0; 4],
            Self::Fill => [Fill::cost(n, f) - (n[3] + f[3]), n[3] + f[3], 0.0, 0.0],
            Self::Product => [n[0] * f[0], n[1] * f[1], n[2] * f[2], n[3] * f[3]],
            Self::Stranded => Stranded::terms(n, f),
        }
    }

    /// The cost: the sum of the terms, but for the last digits.
    #[inline]
    pub(super) fn cost(self, n: &Parts, f: &Parts) -> f64 {
        match self {
            Self::Turns => 0.0,
            Self::Fill => Fill::cost(n, f),
            Self::Product => Product::cost(n, f),
            Self::Stranded => Stranded::cost(n, f),
        }
    }
}

/// A form that costs are searched by. Types, so that the search is compiled for each of them.
pub(super) trait Searched {
    /// What a node with numbers `n` costs a task with factors `f`.
    fn cost(n: &Parts, f: &Parts) -> f64;

    /// No node whose numbers are between `least` and `most`, and the task's factors on it between `low` and `high`, costs
    /// less than this.
    fn bound(least: &Parts, most: &Parts, low: &Parts, high: &Parts) -> f64;

    /// Something that the bound is not below, and that is quick to work out: where it is enough to pass a block over, the bound
    /// need not be known.
    fn floor(_least: &Parts, _high: &Parts) -> f64 {
        f64::NEG_INFINITY
    }
}

/// [`Form::Fill`].
pub(super) struct Fill;

impl Searched for Fill {
    #[inline(always)]
    fn cost(n: &Parts, f: &Parts) -> f64 {
        (n[0] + f[0]).max(n[1] + f[1]).max(n[2] + f[2])
    }

    #[inline(always)]
    fn bound(least: &Parts, _: &Parts, low: &Parts, _: &Parts) -> f64 {
        Self::cost(least, low)
    }
}

/// [`Form::Product`]. No number of a node is negative.
pub(super) struct Product;

impl Searched for Product {
    #[inline(always)]
    fn cost(n: &Parts, f: &Parts) -> f64 {
        n[0] * f[0] + n[1] * f[1] + n[2] * f[2] + n[3] * f[3]
    }

    #[inline(always)]
    fn bound(least: &Parts, _: &Parts, low: &Parts, _: &Parts) -> f64 {
        Self::cost(least, low)
    }
}

/// [`Form::Stranded`].
pub(super) struct Stranded;

/// How much of what is left counts beside what is stranded: enough to fill a node before the next is begun.
const LEFT_WEIGHT: f64 = 0.5;

/// Above what the rounding in the two ways to work out what is stranded may differ by.
const ROUNDING: f64 = 1e-8;

impl Stranded {
    #[inline(always)]
    fn terms(n: &Parts, f: &Parts) -> Parts {
        let left = [n[0] - f[0], n[1] - f[1]];
        let stranded = (stranded(left, [f[0], f[1]]) + stranded(left, [f[2], f[3]])) / 2.0;
        [stranded, LEFT_WEIGHT * (left[0] + left[1]), 0.0, 0.0]
    }
}

impl Searched for Stranded {
    #[inline(always)]
    fn cost(n: &Parts, f: &Parts) -> f64 {
        let terms = Self::terms(n, f);
        terms[0] + terms[1]
    }

    #[inline(always)]
    fn bound(least: &Parts, most: &Parts, low: &Parts, high: &Parts) -> f64 {
        let left_least = [least[0] - high[0], least[1] - high[1]];
        let left_most = [most[0] - low[0], most[1] - low[1]];
        let of = |size: usize| {
            let (low, high) = ([low[size], low[size + 1]], [high[size], high[size + 1]]);
            least_stranded(left_least, left_most, low, high)
        };
        (of(0) + of(2)) / 2.0 + Self::floor(least, high)
    }

    /// Nothing stranded.
    #[inline(always)]
    fn floor(least: &Parts, high: &Parts) -> f64 {
        LEFT_WEIGHT * ((least[0] - high[0]) + (least[1] - high[1])) - ROUNDING
    }
}

/// What tasks of a size can't use of what is left, both as shares of the node.
#[inline(always)]
fn stranded(left: [f64; 2], size: [f64; 2]) -> f64 {
    let Some(times) = times(left, size) else { return 0.0 };
    let whole = whole(times);
    (left[0] - whole * size[0]).max(0.0) + (left[1] - whole * size[1]).max(0.0)
}

/// How often a size fits into what is left; `None` for a size of nothing.
#[inline(always)]
fn times(left: [f64; 2], size: [f64; 2]) -> Option<f64> {
    // What is left is not divided, nor does it decide on anything: this is worked out for many nodes side by side.
    let times = |of: usize| if size[of] > 0.0 { left[of] * (1.0 / size[of]) } else { f64::MAX };
    // A hair is added, since a share that is used up to the last byte may come out as 2.9999999.
    (size[0] > 0.0 || size[1] > 0.0).then(|| times(0).min(times(1)) + 1e-9)
}

/// The whole number below. Nothing below zero; above 2^50, where it makes no difference any more, just that.
#[inline(always)]
fn whole(number: f64) -> f64 {
    const MOST: f64 = (1_u64 << 50) as f64;
    // Numbers of this size have no digits behind the point, so that adding it rounds. (`floor` is a call on some machines.)
    const NO_FRACTION: f64 = (1_u64 << 52) as f64;
    let number = number.clamp(0.0, MOST);
    let near = (number + NO_FRACTION) - NO_FRACTION;
    if near > number { near - 1.0 } else { near }
}

/// What tasks of a size between `low` and `high` can't use, at least, of anything between `least` and `most`. Two things are
/// certain: whatever fits into the dimension of which there is least, the other one has more left; and no more of them fit
/// than of the smallest into the most.
#[inline(always)]
fn least_stranded(least: [f64; 2], most: [f64; 2], low: [f64; 2], high: [f64; 2]) -> f64 {
    let Some(times) = times(most, low) else { return 0.0 };
    let whole = whole(times);
    let beyond = |of: usize, other: usize| {
        if low[other] > 0.0 { least[of] - most[other].max(0.0) * high[of] * (1.0 / low[other]) } else { 0.0 }
    };
    let after = |of: usize| (least[of] - whole * high[of]).max(0.0);
    beyond(0, 1).max(beyond(1, 0)).max(after(0) + after(1))
}

/// What an algorithm knows of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusterFacts {
    /// How many nodes there are, whether they can take tasks or not.
    pub node_count: usize,
    /// Whether anything was measured on any ready node. If so, a node without measurements counts as fully busy.
    pub measured: bool,
    /// What an average node offers to tasks.
    pub mean_allocatable: Resources,
    /// The least that any node offers, each dimension by itself; of nodes that offer something.
    pub least_allocatable: Resources,
    /// What an average task on the nodes has reserved; nothing while there is none.
    pub typical_task: Resources,
}

impl ClusterFacts {
    /// Gathers the facts of the given nodes.
    #[must_use]
    pub fn of(nodes: &[NodeView]) -> Self {
        let measured = nodes.iter().any(|node| node.state == NodeState::Ready && node.stats.is_some());
        let mean = |amount: fn(&NodeView) -> u64, count: u64| {
            let sum: u128 = nodes.iter().map(|node| u128::from(amount(node))).sum();
            u64::try_from(sum / u128::from(count.max(1))).unwrap_or(u64::MAX)
        };
        let least = |amount: fn(&Resources) -> u64| {
            nodes.iter().map(|node| amount(&node.allocatable)).filter(|amount| *amount > 0).min().unwrap_or(0)
        };
        let tasks = nodes.iter().map(|node| u64::from(node.task_count)).sum();
        let nodes_count = nodes.len() as u64;
        Self {
            node_count: nodes.len(),
            measured,
            mean_allocatable: Resources {
                cpu_millis: mean(|node| node.allocatable.cpu_millis, nodes_count),
                memory_bytes: mean(|node| node.allocatable.memory_bytes, nodes_count),
                disk_bytes: mean(|node| node.allocatable.disk_bytes, nodes_count),
            },
            least_allocatable: Resources {
                cpu_millis: least(|size| size.cpu_millis),
                memory_bytes: least(|size| size.memory_bytes),
                disk_bytes: least(|size| size.disk_bytes),
            },
            typical_task: Resources {
                cpu_millis: mean(|node| node.reserved.cpu_millis, tasks),
                memory_bytes: mean(|node| node.reserved.memory_bytes, tasks),
                disk_bytes: mean(|node| node.reserved.disk_bytes, tasks),
            },
        }
    }
}

/// The cost of one task on one node: the sum of its terms, but for the last digits. Always finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    cost: f64,
    terms: Vec<(String, f64)>,
}

impl Score {
    /// What an algorithm says, with its terms.
    #[must_use]
    pub fn new(cost: f64, terms: impl IntoIterator<Item = (String, f64)>) -> Self {
        let terms = terms.into_iter().map(|(name, value)| (name, finite(value))).collect();
        Self { cost: finite(cost), terms }
    }

    /// The same with further terms. A term that is not finite counts as worse than any real one.
    #[must_use]
    pub fn with(mut self, terms: impl IntoIterator<Item = (String, f64)>) -> Self {
        for (name, value) in terms {
            let value = finite(value);
            self.cost += value;
            self.terms.push((name, value));
        }
        self
    }

    /// The same with a term that puts it behind every node that fits.
    pub(crate) fn unfit(self) -> Self {
        self.with([("unfit".to_owned(), WORST)])
    }

    /// The lowest is the best.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.cost
    }

    /// What the cost is made of: names and values.
    #[must_use]
    pub fn terms(&self) -> &[(String, f64)] {
        &self.terms
    }
}

/// A cost that can be compared: what is no number is the worst.
pub(super) fn finite(value: f64) -> f64 {
    if value.is_finite() { value.clamp(-WORST, WORST) } else { WORST }
}

/// Part of a whole, without a division by zero: something of nothing is all of it.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    match (part, whole) {
        (0, _) => 0.0,
        (_, 0) => 1.0,
        _ => part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests;
