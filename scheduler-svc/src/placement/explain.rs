//! All that speaks for and against each node. Agrees with [`super::place`]: what has rank 1 is where the first task goes.

use davit_core::id::NodeId;
use davit_core::placement::{FilterVerdict, NodeView, Summary, fits, verdicts};

use super::algorithms::round_robin::distance;
use super::mirror::Mirror;
use super::pick::tie_break;
use super::pipeline::{Group, GroupPlacement, place_one};
use super::preferences::PreferenceTerms;
use super::score::{ClusterFacts, Score};
use super::steps::full_score;

/// Where a task could go, and why not elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// One line for people.
    pub summary: String,
    /// How many nodes could take it.
    pub fitting: usize,
    /// How many nodes there are.
    pub node_count: usize,
    /// The algorithm that scores them.
    pub algorithm: &'static str,
    /// The best first, then the others that fit, then those that don't, by name.
    pub nodes: Vec<NodeExplanation>,
    /// Where all tasks of the group would go.
    pub placement: GroupPlacement,
}

/// What speaks for and against one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeExplanation {
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// 1 is where the task would go; `None` when it does not fit.
    pub rank: Option<u32>,
    /// What each filter says that the task has something for.
    pub verdicts: Vec<FilterVerdict>,
    /// What the task would cost there.
    pub score: Score,
}

/// Explains where the first task of a group would go and places all of it for a try. At most `max_nodes` nodes are told
/// of, all if it is 0.
#[must_use]
pub fn explain(nodes: Vec<NodeView>, group: &Group, seed: u64, max_nodes: usize) -> Explanation {
    let mut mirror = Mirror::new(nodes);
    let (facts, turn) = (mirror.facts(), mirror.turn(seed));
    let nodes = mirror.nodes();
    let requirements = &group.request.requirements;
    let terms = PreferenceTerms::of(&group.request, group.count, nodes, group.algorithm, &facts);
    let score =
        |at: usize, node: &NodeView| score_of(group, node, distance(at, turn, nodes.len()), terms.as_ref(), &facts);

    let mut fitting: Vec<(&NodeView, Score)> = Vec::new();
    let mut unfit: Vec<(&NodeView, Score)> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let list = if fits(requirements, node) { &mut fitting } else { &mut unfit };
        list.push((node, score(at, node)));
    }
    let tie = |node: &NodeView| (tie_break(seed, node.node_id), node.node_id);
    fitting.sort_by(|(a, a_score), (b, b_score)| {
        let by_cost = (a_score.cost() + 0.0).total_cmp(&(b_score.cost() + 0.0));
        by_cost.then_with(|| tie(a).cmp(&tie(b)))
    });
    unfit.sort_by(|(a, _), (b, _)| (&a.name, a.node_id).cmp(&(&b.name, b.node_id)));

    let summary = Summary::of(requirements, nodes);
    let (fitting_count, node_count) = (fitting.len(), nodes.len());
    let ranked = (1_u32..).map(Some).zip(fitting);
    let told = ranked.chain(unfit.into_iter().map(|one| (None, one)));
    let explained = told.take(if max_nodes == 0 { usize::MAX } else { max_nodes }).map(|(rank, (node, score))| {
        let verdicts = verdicts(requirements, node);
        NodeExplanation { node_id: node.node_id, name: node.name.clone(), rank, verdicts, score }
    });
    let (nodes, summary) = (explained.collect(), summary.to_string());
    let algorithm = group.algorithm.name();
    let placement = place_one(&mut mirror, group, seed);
    Explanation { summary, fitting: fitting_count, node_count, algorithm, nodes, placement }
}

fn score_of(
    group: &Group,
    node: &NodeView,
    turns: usize,
    terms: Option<&PreferenceTerms<'_>>,
    facts: &ClusterFacts,
) -> Score {
    full_score(group.algorithm, &group.request, node, turns, terms, facts)
}
