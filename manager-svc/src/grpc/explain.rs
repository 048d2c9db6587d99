//! Where a task could go and why not elsewhere: of a task that is there, and of a spec in a cluster as it might be.

use std::sync::Arc;

use davit_core::id::TaskId;
use davit_core::placement::PlacementRequest;
use davit_core::state::TaskState;
use davit_core::task::Task;
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, Deadline, ErrorKind};
use uuid::Uuid;

use super::errors::{no_task, refusal, scheduler_error};
use super::{Api, put_together};
use crate::commands::{self, Limits, NewTasks};
use crate::explainer::{self, NodeOverride, Turn};
use crate::state::{ClusterState, KeyedSpec};

/// How many tasks one question places at most.
const MAX_COUNT: u32 = 1_000_000;
/// How many nodes one question overrides at most.
const MAX_OVERRIDES: usize = 10_000;

/// Explains a task that is there.
pub(super) async fn explain_task(
    api: &Api,
    request: v1::ExplainTaskRequest,
    deadline: Option<Deadline>,
) -> Result<v1::ExplainTaskResponse, ApiError> {
    let mut violations = Violations::new();
    let task_id = convert::parse_task_id(&request.task_id, "task_id", &mut violations);
    let task_id = violations.finish(task_id)?;
    let turn = api.scheduler.turn(deadline).await.map_err(scheduler_error)?;
    let state = api.writer.state();
    let task = state.task(task_id).cloned().ok_or_else(|| no_task(task_id))?;
    let (asked_api, asked_of) = (api.clone(), Arc::clone(&task));
    let question = move || question_of_task(&asked_api, &state, &asked_of, request.max_nodes);
    let (turn, question) = put_together(turn, question).await?;
    let (explanation, placement) = ask(turn, question?).await?;
    let waits = task.status.state == TaskState::Pending;
    Ok(v1::ExplainTaskResponse {
        task: Some(convert::task_to_proto(&task)),
        explanation: Some(explanation),
        runs: placement.runs,
        unplaced_count: placement.unplaced_count,
        unplaced_reason: placement.unplaced_reason,
        preemptions: placement.preemptions,
        held_up_by: if waits { api.read_only_reason() } else { String::new() },
    })
}

fn question_of_task(
    api: &Api,
    state: &ClusterState,
    task: &Arc<Task>,
    max_nodes: u32,
) -> Result<v1::ExplainRequest, ApiError> {
    let now = api.world.clock.now();
    let mut nodes = api.node_views(state, Some(task));
    // What waits is asked for as the placer asks: with its gang, or with the tasks that may be stopped for it.
    let waits = task.status.state == TaskState::Pending && task.claim.is_none();
    let gang = task.gang_id().filter(|_| waits).map(|gang_id| state.waiting_of_gang(gang_id).count());
    let mut asked = state.placement_request(task, now);
    asked.may_preempt &= waits && gang.is_none();
    if asked.may_preempt {
        explainer::fill_preemptible(state, &mut nodes, asked.priority, now);
    }
    let count = gang.map_or(1, |members| u32::try_from(members).unwrap_or(u32::MAX));
    Ok(v1::ExplainRequest {
        group: Some(group(asked, count, gang.is_some(), api)?),
        nodes: nodes.iter().map(convert::node_view_to_proto).collect(),
        seed: state.revision().0,
        max_nodes,
    })
}

/// Explains tasks of a spec that are not created.
pub(super) async fn explain_placement(
    api: &Api,
    request: v1::ExplainPlacementRequest,
    deadline: Option<Deadline>,
) -> Result<v1::ExplainPlacementResponse, ApiError> {
    let turn = api.scheduler.turn(deadline).await.map_err(scheduler_error)?;
    let asked_api = api.clone();
    let (turn, question) = put_together(turn, move || question_of(&asked_api, request)).await?;
    let (explanation, placement) = ask(turn, question?).await?;
    Ok(v1::ExplainPlacementResponse {
        explanation: Some(explanation),
        runs: placement.runs,
        unplaced_count: placement.unplaced_count,
        unplaced_reason: placement.unplaced_reason,
        preemptions: placement.preemptions,
    })
}

fn question_of(api: &Api, request: v1::ExplainPlacementRequest) -> Result<v1::ExplainRequest, ApiError> {
    let mut violations = Violations::new();
    let spec = convert::required(request.spec, "spec", &mut violations)
        .and_then(|spec| convert::task_spec_from_proto(spec, "spec", &mut violations));
    if let Some(spec) = &spec {
        api.check_algorithm(spec, "spec", &mut violations);
    }
    if request.all_or_nothing && spec.as_ref().is_some_and(|spec| spec.placement.may_preempt) {
        violations.add("all_or_nothing", "is not for a spec that may preempt");
    }
    if request.count > MAX_COUNT {
        violations.add("count", format!("is at most {MAX_COUNT}"));
    }
    let overrides = overrides_from_proto(request.overrides, "overrides", &mut violations);
    // As if it were created: nodes then count the marks that this spec is the first to refer to.
    let mut trial = api.trial();
    let seed = trial.state().revision().0;
    let task_id = TaskId(Uuid::max());
    if let Some(spec) = spec {
        let groups = [NewTasks { spec: KeyedSpec::new(Arc::new(spec)), task_ids: vec![task_id], gang_id: None }];
        commands::create_tasks(&mut trial, &groups, None, Limits::NONE).map_err(|error| refusal(&error))?;
    }
    let state = trial.state();
    let mut nodes = explainer::what_if(api.node_views(state, None), &overrides, "overrides", &mut violations);
    let task = violations.finish(state.task(task_id))?;
    let now = api.world.clock.now();
    if task.spec.placement.may_preempt {
        explainer::fill_preemptible(state, &mut nodes, task.spec.placement.priority, now);
    }
    Ok(v1::ExplainRequest {
        group: Some(group(state.placement_request(task, now), request.count.max(1), request.all_or_nothing, api)?),
        nodes: nodes.iter().map(convert::node_view_to_proto).collect(),
        seed,
        max_nodes: request.max_nodes,
    })
}

/// The group as the placer would ask for it.
pub(super) fn group(
    request: PlacementRequest,
    count: u32,
    all_or_nothing: bool,
    api: &Api,
) -> Result<v1::PlacementGroup, ApiError> {
    explainer::placement_group(request, count, all_or_nothing, &api.scheduler.algorithms())
        .map_err(|problem| ApiError::new(ErrorKind::FailedPrecondition, "NO_DEFAULT_ALGORITHM", problem))
}

async fn ask(
    turn: Turn,
    question: v1::ExplainRequest,
) -> Result<(v1::PlacementExplanation, v1::GroupPlacement), ApiError> {
    let answer = turn.explain(question).await.map_err(scheduler_error)?;
    answer.explanation.zip(answer.placement).ok_or_else(|| {
        let problem = "it explains nothing or places nothing".to_owned();
        scheduler_error(explainer::Error::Nonsense { problem })
    })
}

fn overrides_from_proto(
    overrides: Vec<v1::NodeOverride>,
    path: &str,
    violations: &mut Violations,
) -> Vec<NodeOverride> {
    if overrides.len() > MAX_OVERRIDES {
        violations.add(path, format!("has at most {MAX_OVERRIDES} overrides, this has {}", overrides.len()));
        return Vec::new();
    }
    let read = |(index, given)| override_from_proto(given, &format!("{path}[{index}]"), violations);
    overrides.into_iter().enumerate().map(read).collect()
}

fn override_from_proto(given: v1::NodeOverride, path: &str, violations: &mut Violations) -> NodeOverride {
    let v1::NodeOverride { node, absent, state, cordoned, labels, allocatable, reserved } = given;
    let state = (state != i32::from(v1::NodeState::Unspecified))
        .then(|| convert::node_state_from_proto(state, &format!("{path}.state"), violations))
        .flatten();
    let labels_path = format!("{path}.labels");
    let labels = convert::labels_from_proto(labels, 2 * convert::MAX_LABELS, &labels_path, violations);
    let mut amounts = |given: Option<v1::Resources>, field: &str| {
        // One that is wrong is noted as that, and not as missing too.
        let path = format!("{path}.{field}");
        given.map(|given| convert::node_resources_from_proto(Some(given), &path, violations).unwrap_or_default())
    };
    let (allocatable, reserved) = (amounts(allocatable, "allocatable"), amounts(reserved, "reserved"));
    NodeOverride { node, absent, state, cordoned, labels: labels.unwrap_or_default(), allocatable, reserved }
}
