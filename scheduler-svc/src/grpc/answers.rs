//! From what the core decided to what the API says.

use davit_proto::v1;

use crate::placement::{Algorithm, GroupPlacement, NodeScore, Selection, Verdict, algorithms};

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
    let score = |one: &NodeScore| {
        let term = |(name, value): &(&str, f64)| v1::ScoreTerm { name: (*name).to_owned(), value: *value };
        let terms = one.score.terms().iter().map(term).collect();
        v1::NodeScore { node_id: one.node_id.to_string(), cost: one.score.cost(), terms }
    };
    v1::ScoreResponse { scores: scores.iter().map(score).collect() }
}

pub(super) fn placement(placement: GroupPlacement) -> v1::GroupPlacement {
    let run =
        |(node_id, count): (davit_core::id::NodeId, u32)| v1::PlacementRun { node_id: node_id.to_string(), count };
    v1::GroupPlacement {
        group_id: placement.group_id,
        runs: placement.runs.into_iter().map(run).collect(),
        unplaced_count: placement.unplaced,
        unplaced_reason: placement.reason.unwrap_or_default(),
    }
}

pub(super) fn algorithms() -> v1::ListAlgorithmsResponse {
    let describe = |algorithm: &dyn Algorithm| v1::Algorithm {
        name: algorithm.name().to_owned(),
        description: algorithm.description().to_owned(),
    };
    v1::ListAlgorithmsResponse { algorithms: algorithms::ALL.into_iter().map(describe).collect() }
}
