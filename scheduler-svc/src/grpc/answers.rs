//! From what the core decided to what the API says.

use davit_core::placement::FilterVerdict;
use davit_proto::v1;

use crate::placement::{
    Algorithm, Explanation, GroupPlacement, MovePlan, NodeExplanation, NodeScore, PlannedMove, Preemption, Score,
    Selection, Verdict, algorithms,
};

pub(super) fn selection(selection: Selection) -> v1::SelectCandidateNodesResponse {
    v1::SelectCandidateNodesResponse {
        candidate_node_ids: selection.candidates.iter().map(ToString::to_string).collect(),
        verdicts: selection.verdicts.iter().map(verdict).collect(),
        summary: selection.summary,
    }
}

fn verdict(verdict: &Verdict) -> v1::NodeVerdict {
    let failures = verdict
        .misfits
        .iter()
        .map(|misfit| v1::FilterFailure { filter: misfit.filter().name().to_owned(), reason: misfit.to_string() })
        .collect();
    v1::NodeVerdict { node_id: verdict.node_id.to_string(), fits: verdict.fits(), failures }
}

pub(super) fn scores(scores: &[NodeScore]) -> v1::ScoreResponse {
    let score = |one: &NodeScore| v1::NodeScore {
        node_id: one.node_id.to_string(),
        cost: one.score.cost(),
        terms: terms(&one.score),
    };
    v1::ScoreResponse { scores: scores.iter().map(score).collect() }
}

fn terms(score: &Score) -> Vec<v1::ScoreTerm> {
    let term = |(name, value): &(String, f64)| v1::ScoreTerm { name: name.clone(), value: *value };
    score.terms().iter().map(term).collect()
}

pub(super) fn explanation(explanation: Explanation) -> v1::ExplainResponse {
    let verdict = |verdict: FilterVerdict| v1::FilterVerdict {
        filter: verdict.filter.name().to_owned(),
        passes: verdict.passes,
        text: verdict.text,
    };
    let node = |node: NodeExplanation| v1::NodeExplanation {
        node_id: node.node_id.to_string(),
        node_name: node.name,
        fits: node.rank.is_some(),
        rank: node.rank.unwrap_or(0),
        verdicts: node.verdicts.into_iter().map(verdict).collect(),
        cost: node.score.cost(),
        terms: terms(&node.score),
    };
    let told = v1::PlacementExplanation {
        summary: explanation.summary,
        fitting_count: count(explanation.fitting),
        node_count: count(explanation.node_count),
        algorithm: explanation.algorithm.to_owned(),
        nodes: explanation.nodes.into_iter().map(node).collect(),
    };
    v1::ExplainResponse { explanation: Some(told), placement: Some(placement(explanation.placement)) }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn moves(plan: MovePlan) -> v1::PlanMovesResponse {
    let one = |one: PlannedMove| v1::PlannedMove {
        task_id: one.task_id.to_string(),
        from_node_id: one.from.to_string(),
        to_node_id: one.to.to_string(),
        gain: one.gain,
        reason: one.reason,
    };
    v1::PlanMovesResponse {
        moves: plan.moves.into_iter().map(one).collect(),
        imbalance_before: plan.imbalance_before,
        imbalance_after: plan.imbalance_after,
        more: plan.more,
        note: plan.note,
    }
}

pub(super) fn placement(placement: GroupPlacement) -> v1::GroupPlacement {
    let run =
        |(node_id, count): (davit_core::id::NodeId, u32)| v1::PlacementRun { node_id: node_id.to_string(), count };
    v1::GroupPlacement {
        group_id: placement.group_id,
        runs: placement.runs.into_iter().map(run).collect(),
        unplaced_count: placement.unplaced,
        unplaced_reason: placement.reason.unwrap_or_default(),
        preemptions: placement.preemptions.into_iter().map(preemption).collect(),
    }
}

fn preemption(preemption: Preemption) -> v1::Preemption {
    v1::Preemption {
        node_id: preemption.node_id.to_string(),
        victim_task_ids: preemption.victims.iter().map(ToString::to_string).collect(),
        reason: preemption.reason,
    }
}

pub(super) fn algorithms() -> v1::ListAlgorithmsResponse {
    let describe = |algorithm: &dyn Algorithm| v1::Algorithm {
        name: algorithm.name().to_owned(),
        description: algorithm.description().to_owned(),
    };
    v1::ListAlgorithmsResponse { algorithms: algorithms::ALL.into_iter().map(describe).collect() }
}
