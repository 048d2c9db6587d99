//! Nodes take turns.

use davit_core::placement::Requirements;

use crate::placement::score::{Algorithm, Candidate, ClusterFacts, Score};

/// Nodes take turns in the order of their ids; one that can't take the task is passed over.
///
/// The cost is how many turns away the node is: its distance from the node whose turn it is, plus one whole round for
/// every task of the group that it already got. So the cost of a node changes only when it is placed on.
#[derive(Debug, Clone, Copy)]
pub struct RoundRobin;

impl Algorithm for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn description(&self) -> &'static str {
        "nodes take turns in the order of their ids, whatever their load; cost = turns until it is the node's turn"
    }

    fn score(&self, _: &Requirements, candidate: &Candidate<'_>, facts: &ClusterFacts) -> Score {
        let round = facts.node_count.max(1);
        let turn = facts.turn % round;
        let position = candidate.position % round;
        let distance = if position >= turn { position - turn } else { round - turn + position };
        Score::sum_of([("rounds", f64::from(candidate.placed) * round as f64), ("distance", distance as f64)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::test_support::{node, requirements};

    #[test]
    fn the_node_whose_turn_it_is_is_the_cheapest_and_the_one_before_it_the_dearest() {
        let facts = ClusterFacts { node_count: 4, measured: false, turn: 2 };
        let cost = |position, placed| {
            RoundRobin.score(&requirements(), &Candidate { node: &node(1), position, placed }, &facts).cost()
        };
        assert_eq!([cost(2, 0), cost(3, 0), cost(0, 0), cost(1, 0)], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(cost(2, 1), 4.0);
    }
}
