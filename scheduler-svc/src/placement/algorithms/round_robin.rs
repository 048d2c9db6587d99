//! Nodes take turns.

use davit_core::placement::NodeView;
use davit_core::resources::Resources;

use crate::placement::score::{Algorithm, ClusterFacts, Form, Parts};

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

    fn form(&self) -> Form {
        Form::Turns
    }

    fn term_names(&self) -> &'static [&'static str] {
        &["distance"]
    }

    fn numbers(&self, _: &NodeView, _: &ClusterFacts) -> Parts {
        [0.0; 4]
    }

    fn factors(&self, _: Resources, _: Resources, _: &ClusterFacts) -> Parts {
        [0.0; 4]
    }

    /// As many rounds as there are nodes: turns know of no load that could outweigh what is preferred.
    fn unit(&self, _: Resources, facts: &ClusterFacts) -> f64 {
        let nodes = facts.node_count.max(1) as f64;
        nodes * nodes
    }
}

/// How many turns it is from the node whose turn it is to this one, both by their place in the order of ids.
pub(in crate::placement) fn distance(position: usize, turn: usize, node_count: usize) -> usize {
    let round = node_count.max(1);
    let (position, turn) = (position % round, turn % round);
    if position >= turn { position - turn } else { round - turn + position }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_whose_turn_it_is_is_the_nearest_and_the_one_before_it_the_farthest() {
        assert_eq!([2, 3, 0, 1].map(|position| distance(position, 2, 4)), [0, 1, 2, 3]);
        assert_eq!(distance(0, 0, 0), 0);
    }
}
