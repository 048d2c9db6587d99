//! What an algorithm is: a cost for one task on one node.

use std::fmt;

use davit_core::node::NodeState;
use davit_core::placement::{NodeView, Requirements};

/// The most terms that a cost is made of.
const MAX_TERMS: usize = 4;

/// Stands for a cost that is not a number or not finite. Above every real cost, so that a hole in the data never wins.
const WORST: f64 = 1e200;

/// A way to score nodes. The lowest cost is the best.
///
/// Within one group the facts stay the same and only the node that was just placed on changes, so a cost may depend on
/// nothing but the arguments. More load on a node must never lower its cost.
pub trait Algorithm: Send + Sync + fmt::Debug {
    /// What requests call it.
    fn name(&self) -> &'static str;

    /// What it prefers, and its formula.
    fn description(&self) -> &'static str;

    /// What placing one more task on the candidate costs.
    fn score(&self, requirements: &Requirements, candidate: &Candidate<'_>, facts: &ClusterFacts) -> Score;
}

/// A node that is scored.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The node, with all that was placed on it so far.
    pub node: &'a NodeView,
    /// Its place among all nodes in the order of their ids.
    pub position: usize,
    /// How many tasks of the same group were placed on it just now.
    pub placed: u32,
}

/// What an algorithm knows of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterFacts {
    /// How many nodes there are, whether they can take tasks or not.
    pub node_count: usize,
    /// Whether anything was measured on any ready node. If so, a node without measurements counts as fully busy.
    pub measured: bool,
    /// Position of the node whose turn it is, for algorithms that take turns.
    pub turn: usize,
}

impl ClusterFacts {
    /// Gathers the facts of the given nodes.
    #[must_use]
    pub fn of(nodes: &[NodeView], turn: usize) -> Self {
        let measured = nodes.iter().any(|node| node.state == NodeState::Ready && node.stats.is_some());
        Self { node_count: nodes.len(), measured, turn }
    }
}

/// The cost of one task on one node: the sum of its terms. Always finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    cost: f64,
    // Inline, since a score is made for every task that is placed.
    terms: [(&'static str, f64); MAX_TERMS],
    len: usize,
}

impl Score {
    /// Adds up the terms. A term that is not finite counts as worse than any real one.
    #[must_use]
    pub fn sum_of<const N: usize>(terms: [(&'static str, f64); N]) -> Self {
        const { assert!(N < MAX_TERMS, "one term is kept for `unfit`") };
        let mut score = Self { cost: 0.0, terms: [("", 0.0); MAX_TERMS], len: 0 };
        for (name, value) in terms {
            score.push(name, value);
        }
        score
    }

    /// The same with a term that puts it behind every node that fits.
    pub(crate) fn unfit(mut self) -> Self {
        self.push("unfit", WORST);
        self
    }

    fn push(&mut self, name: &'static str, value: f64) {
        let value = if value.is_finite() { value.clamp(-WORST, WORST) } else { WORST };
        if let Some(slot) = self.terms.get_mut(self.len) {
            *slot = (name, value);
            self.len += 1;
            self.cost += value;
        }
    }

    /// The lowest is the best.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.cost
    }

    /// What the cost is made of: names and values.
    #[must_use]
    pub fn terms(&self) -> &[(&'static str, f64)] {
        &self.terms[..self.len]
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_the_sum_of_its_terms() {
        let score = Score::sum_of([("cpu", 1.5), ("memory", 2.0)]);
        assert_eq!(score.cost(), 3.5);
        assert_eq!(score.terms(), [("cpu", 1.5), ("memory", 2.0)]);
    }

    #[test]
    fn a_missing_number_is_the_worst_cost_and_not_the_best() {
        for hole in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let score = Score::sum_of([("cpu", hole), ("memory", 1.0)]);
            assert!(score.cost().is_finite());
            assert!(score.cost() > Score::sum_of([("cpu", 1e100)]).cost());
        }
    }

    #[test]
    fn a_share_of_nothing_is_all_of_it() {
        assert_eq!(share(0, 0), 0.0);
        assert_eq!(share(1, 0), 1.0);
        assert_eq!(share(1, 4), 0.25);
    }
}
