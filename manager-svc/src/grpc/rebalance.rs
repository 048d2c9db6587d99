//! Moves that even the cluster out, and one move at a time.

use std::sync::Arc;

use davit_core::id::Attempt;
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, Deadline};

use super::errors::{scheduler_error, to_api_error};
use super::{Api, put_together};
use crate::commands;
use crate::explainer::{self, Error};
use crate::state::{ClusterState, Draft};

const DEFAULT_MAX_MOVES: u32 = 100;
const MAX_MOVES: u32 = 1000;
const DEFAULT_MIN_GAIN: f64 = 0.01;
const MAX_REASON_BYTES: usize = 256;

/// Proposes moves.
pub(super) async fn plan(
    api: &Api,
    request: v1::PlanRebalanceRequest,
    deadline: Option<Deadline>,
) -> Result<v1::PlanRebalanceResponse, ApiError> {
    let mut violations = Violations::new();
    if request.max_moves > MAX_MOVES {
        violations.add("max_moves", format!("is at most {MAX_MOVES}"));
    }
    if !(0.0..=1.0).contains(&request.min_gain) {
        violations.add("min_gain", "is a share of a node: 0 to 1");
    }
    violations.finish(Some(()))?;
    let max_moves = if request.max_moves == 0 { DEFAULT_MAX_MOVES } else { request.max_moves };
    let min_gain = if request.min_gain == 0.0 { DEFAULT_MIN_GAIN } else { request.min_gain };

    let turn = api.scheduler.turn(deadline).await.map_err(scheduler_error)?;
    let state = api.writer.state();
    let (asked_api, asked_of) = (api.clone(), Arc::clone(&state));
    let question = move || question(&asked_api, &asked_of, max_moves, min_gain);
    let (turn, question) = put_together(turn, question).await?;
    let answer = turn.plan_moves(question).await.map_err(scheduler_error)?;
    let moves = answer.moves.into_iter().map(|planned| task_move(&state, planned)).collect::<Result<Vec<_>, Error>>();
    Ok(v1::PlanRebalanceResponse {
        moves: moves.map_err(scheduler_error)?,
        imbalance_before: answer.imbalance_before,
        imbalance_after: answer.imbalance_after,
        more: answer.more,
        revision: state.revision().0,
        note: answer.note,
    })
}

fn question(api: &Api, state: &ClusterState, max_moves: u32, min_gain: f64) -> v1::PlanMovesRequest {
    let mut nodes = api.node_views(state, None);
    let algorithms = api.scheduler.algorithms();
    explainer::fill_movable(state, &mut nodes, algorithms.default_name(), api.world.clock.now());
    v1::PlanMovesRequest { nodes: nodes.iter().map(convert::node_view_to_proto).collect(), max_moves, min_gain }
}

/// A move as users are told of it. The scheduler knows neither attempts nor names of tasks.
fn task_move(state: &ClusterState, planned: v1::PlannedMove) -> Result<v1::TaskMove, Error> {
    let mut violations = Violations::new();
    let task_id = convert::parse_task_id(&planned.task_id, "task_id", &mut violations);
    let from = convert::parse_node_id(&planned.from_node_id, "from_node_id", &mut violations);
    let to = convert::parse_node_id(&planned.to_node_id, "to_node_id", &mut violations);
    let (task_id, (from, to)) = violations.finish(task_id.zip(from.zip(to)))?;
    let unknown = || Error::Nonsense { problem: format!("it moves task {task_id} from node {from} to node {to}") };
    let task = state.task(task_id).filter(|task| task.status.node_id == Some(from)).ok_or_else(unknown)?;
    let (from, to) = state.node(from).zip(state.node(to)).ok_or_else(unknown)?;
    Ok(v1::TaskMove {
        task_id: planned.task_id,
        attempt: task.status.attempt.0,
        task_name: task.spec.name.clone(),
        from_node_id: planned.from_node_id,
        from_node_name: from.description.name.clone(),
        to_node_id: planned.to_node_id,
        to_node_name: to.description.name.clone(),
        gain: planned.gain,
        reason: planned.reason,
    })
}

/// Moves one task.
pub(super) async fn move_task(api: &Api, request: v1::MoveTaskRequest) -> Result<v1::Task, ApiError> {
    let v1::MoveTaskRequest { task_id, node, attempt, reason } = request;
    let mut violations = Violations::new();
    let task_id = convert::parse_task_id(&task_id, "task_id", &mut violations);
    if node.is_empty() {
        violations.add("node", "is needed: the id or the name of a node");
    }
    if reason.len() > MAX_REASON_BYTES {
        violations.add("reason", format!("has at most {MAX_REASON_BYTES} bytes, this has {}", reason.len()));
    } else if reason.chars().any(char::is_control) {
        violations.add("reason", "has only characters that can be printed");
    }
    let task_id = violations.finish(task_id)?;
    let attempt = (attempt != 0).then_some(Attempt(attempt));
    let command = move |draft: &mut Draft| {
        let node_id = draft.state().find_node(&node).map(|node| node.node_id);
        // It comes from outside and may be of any length.
        let unknown = || commands::Error::NodeNotFound { node: node.chars().take(64).collect() };
        let node_id = node_id.ok_or_else(unknown)?;
        commands::move_task(draft, task_id, node_id, attempt, &reason)
    };
    let task = api.writer.write(command).await.map_err(to_api_error)?;
    Ok(convert::task_to_proto(&task))
}
