//! The first two steps alone, for whoever wants to see how a decision comes about.

use davit_core::id::NodeId;
use davit_core::placement::{Misfit, NodeView, PlacementRequest, Requirements, Summary, fits, misfits};

use super::algorithms::round_robin::distance;
use super::preferences::PreferenceTerms;
use super::score::{Algorithm, ClusterFacts, Form, Score, finite};

/// Which nodes could take a task, and why the others could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Those that could, in the order given.
    pub candidates: Vec<NodeId>,
    /// One for every node, in the order given.
    pub verdicts: Vec<Verdict>,
    /// One line for people.
    pub summary: String,
}

/// Whether one node could take a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The node.
    pub node_id: NodeId,
    /// Every reason why not; empty when it could.
    pub misfits: Vec<Misfit>,
}

impl Verdict {
    /// Whether it could.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.misfits.is_empty()
    }
}

/// What a node would cost.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeScore {
    /// The node.
    pub node_id: NodeId,
    /// Cost and terms.
    pub score: Score,
}

/// Step one: asks every node whether it could take the task.
#[must_use]
pub fn select_candidates(requirements: &Requirements, nodes: &[NodeView]) -> Selection {
    let verdicts: Vec<_> =
        nodes.iter().map(|node| Verdict { node_id: node.node_id, misfits: misfits(requirements, node) }).collect();
    let candidates = verdicts.iter().filter(|verdict| verdict.fits()).map(|verdict| verdict.node_id).collect();
    Selection { candidates, verdicts, summary: Summary::of(requirements, nodes).to_string() }
}

/// Step two: what every node would cost, in the order given. Nothing is filtered, but a node that could not take the task
/// gets a term `unfit` that puts it behind all that could: who forgets the first step still never gets a dead node.
///
/// Nothing is remembered between calls, so `round-robin` tells whose turn it is by how many tasks there are.
#[must_use]
pub fn score(algorithm: &dyn Algorithm, request: &PlacementRequest, nodes: &[NodeView]) -> Vec<NodeScore> {
    let facts = ClusterFacts::of(nodes);
    let tasks: u64 = nodes.iter().map(|node| u64::from(node.task_count)).sum();
    let turn = usize::try_from(tasks % nodes.len().max(1) as u64).unwrap_or(0);
    let mut ids: Vec<_> = nodes.iter().map(|node| node.node_id).collect();
    ids.sort_unstable();
    let preferences = PreferenceTerms::of(request, 1, nodes, algorithm, &facts);
    let score = |node: &NodeView| {
        let position = ids.partition_point(|id| *id < node.node_id);
        let turns = distance(position, turn, nodes.len());
        let score = full_score(algorithm, request, node, turns, preferences.as_ref(), &facts);
        let score = if fits(&request.requirements, node) { score } else { score.unfit() };
        NodeScore { node_id: node.node_id, score }
    };
    nodes.iter().map(score).collect()
}

/// The whole cost of one task on one node, with its terms by name. `turns` is how far away the node's turn is.
pub(super) fn full_score(
    algorithm: &dyn Algorithm,
    request: &PlacementRequest,
    node: &NodeView,
    turns: usize,
    preferences: Option<&PreferenceTerms<'_>>,
    facts: &ClusterFacts,
) -> Score {
    let numbers = algorithm.numbers(node, facts);
    let factors = algorithm.factors(request.requirements.reservation, node.allocatable, facts);
    let (cost, values) = match algorithm.form() {
        Form::Turns => (turns as f64, [turns as f64, 0.0, 0.0, 0.0]),
        form => (form.cost(&numbers, &factors), form.terms(&numbers, &factors)),
    };
    let terms = algorithm.term_names().iter().map(|name| (*name).to_owned()).zip(values);
    let Some(preferences) = preferences else { return Score::new(cost, terms) };
    // Summed up as groups are placed, not term by term: the last digits decide who wins.
    let cost = finite(cost + preferences.fixed_cost(node)) + preferences.spread_cost(&preferences.values_of(node));
    let preferred = preferences.fixed_terms(node).into_iter().chain(preferences.spread_terms(node));
    Score::new(cost, terms.chain(preferred))
}

/// The algorithm's cost of one task on one node.
#[cfg(test)]
pub(crate) fn score_of(
    algorithm: &dyn Algorithm,
    requirements: &Requirements,
    node: &NodeView,
    facts: &ClusterFacts,
) -> Score {
    let request = super::test_support::request(requirements.clone());
    full_score(algorithm, &request, node, 0, None, facts)
}

/// The sum of [`score_of`].
#[cfg(test)]
pub(crate) fn cost_of(
    algorithm: &dyn Algorithm,
    requirements: &Requirements,
    node: &NodeView,
    facts: &ClusterFacts,
) -> f64 {
    score_of(algorithm, requirements, node, facts).cost()
}

#[cfg(test)]
mod tests {
    use davit_core::node::NodeState;
    use proptest::prelude::*;

    use super::*;
    use crate::placement::algorithms;
    use crate::placement::pick::pick;
    use crate::placement::test_support::{any_cluster, any_requirements, node, node_id, request, requirements};

    fn winner(algorithm: &dyn Algorithm, requirements: &Requirements, nodes: &[NodeView]) -> Option<NodeId> {
        pick(
            score(algorithm, &request(requirements.clone()), nodes)
                .into_iter()
                .map(|one| (one.node_id, one.score.cost())),
            0,
        )
    }

    #[test]
    fn every_node_gets_a_verdict_with_every_reason() {
        let mut bad = node(2);
        bad.cordoned = true;
        bad.reserved.memory_bytes = bad.allocatable.memory_bytes;
        let selection = select_candidates(&requirements(), &[node(1), bad]);
        assert_eq!(selection.candidates, [node_id(1)]);
        assert!(selection.verdicts[0].fits());
        let reasons: Vec<_> = selection.verdicts[1].misfits.iter().map(ToString::to_string).collect();
        assert_eq!(reasons, ["cordoned", "memory: needs 64.0 MiB, 0 B free"]);
        assert_eq!(selection.summary, "fits 1 of 2 nodes: 1 is cordoned, 1 lacks memory");
    }

    /// In the book's code a dead node has no score, which reads as 0 and wins.
    #[test]
    fn a_dead_node_never_wins_even_when_it_was_not_filtered() {
        let mut dead = node(1);
        dead.state = NodeState::Down;
        let mut full = node(2);
        full.reserved = full.allocatable.saturating_sub(requirements().reservation);
        full.task_count = 500;
        for algorithm in algorithms::ALL {
            let nodes = [dead.clone(), full.clone()];
            assert_eq!(winner(algorithm, &requirements(), &nodes), Some(node_id(2)), "{}", algorithm.name());
        }
    }

    #[test]
    fn round_robin_without_memory_goes_on_with_every_task_that_is_added() {
        let mut nodes: Vec<_> = (0..3).map(node).collect();
        for turn in 0..7 {
            let won = winner(&algorithms::RoundRobin, &requirements(), &nodes).unwrap();
            assert_eq!(won, node_id(turn % 3));
            nodes.iter_mut().find(|node| node.node_id == won).unwrap().reserve(&requirements());
        }
    }

    proptest! {
        #[test]
        fn a_candidate_wins_whenever_there_is_one(requirements in any_requirements(), nodes in any_cluster(6)) {
            let candidates = select_candidates(&requirements, &nodes).candidates;
            for algorithm in algorithms::ALL {
                let won = winner(algorithm, &requirements, &nodes);
                prop_assert!(candidates.is_empty() || candidates.iter().any(|id| Some(*id) == won));
            }
        }

        #[test]
        fn the_order_of_nodes_does_not_matter(requirements in any_requirements(), nodes in any_cluster(6)) {
            let mut reversed = nodes.clone();
            reversed.reverse();
            for algorithm in algorithms::ALL {
                let mut scores = score(algorithm, &request(requirements.clone()), &reversed);
                scores.reverse();
                prop_assert_eq!(score(algorithm, &request(requirements.clone()), &nodes), scores);
            }
        }
    }
}
