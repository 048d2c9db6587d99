//! Which node a task could go to, were it not where it is. Pure.

use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::node::NodeStats;
use davit_core::placement::PlacementRequest;
use davit_core::task::Task;
use davit_proto::{convert, v1};
use jiff::Timestamp;

use super::node_views;
use crate::placer::Algorithms;
use crate::state::ClusterState;

/// Asks for the best node for a task that is on a node and is to leave it. Nobody is stopped for it.
///
/// # Errors
/// When the cluster's default algorithm is none of the scheduler's.
pub(crate) fn question_of_move(
    state: &ClusterState,
    stats: impl Fn(NodeId) -> Option<NodeStats>,
    task: &Arc<Task>,
    algorithms: &Algorithms,
    now: Timestamp,
) -> Result<v1::ExplainRequest, String> {
    let asked = PlacementRequest { may_preempt: false, ..state.placement_request(task, now) };
    let nodes = node_views(state, stats, Some(task));
    Ok(v1::ExplainRequest {
        group: Some(placement_group(asked, 1, false, algorithms)?),
        nodes: nodes.iter().map(convert::node_view_to_proto).collect(),
        seed: state.revision().0,
        max_nodes: 1,
    })
}

/// The group as the placer would ask for it.
///
/// # Errors
/// When it names no algorithm and the cluster's default is none of the scheduler's.
pub(crate) fn placement_group(
    mut request: PlacementRequest,
    count: u32,
    all_or_nothing: bool,
    algorithms: &Algorithms,
) -> Result<v1::PlacementGroup, String> {
    if request.algorithm.is_empty() {
        if let Some(problem) = algorithms.problem_of("") {
            return Err(problem);
        }
        algorithms.default_name().clone_into(&mut request.algorithm);
    }
    let group = convert::PlacementGroup { group_id: "0".to_owned(), request, count, all_or_nothing };
    Ok(convert::placement_group_to_proto(&group))
}
