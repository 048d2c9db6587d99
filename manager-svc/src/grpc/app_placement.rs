//! Where the tasks of a planned app would be placed: the scheduler is asked about one deployment after the other, on a draft in
//! which those before it are placed.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{Deployment, DeploymentMode, UpdateOrder};
use davit_core::id::{NodeId, TaskId};
use davit_core::placement::misfits;
use davit_core::spec::TaskSpec;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, Deadline};
use uuid::Uuid;

use super::errors::scheduler_error;
use super::{Api, put_together};
use crate::commands::{self, AppChange, Limits, NewTasks, Placement, commit_placements};
use crate::explainer;
use crate::reconcile::{lacking_nodes, outgoing_tasks};
use crate::state::{Draft, KeyedSpec};

/// About so many deployments the scheduler is asked.
const MAX_QUESTIONS: usize = 64;
/// So many tasks are placed or taken away in the draft; what is beyond is not taken into account for those that follow.
const MAX_TASKS: usize = 10_000;
/// So many nodes, and ways to make room, are named.
const MAX_TOLD: usize = 100;

/// Fills in where tasks would be placed. Says why it could not be, for some or all; empty: it could.
pub(super) async fn place(
    api: &Api,
    trial: Draft,
    changes: &[AppChange],
    planned: &mut [v1::PlannedDeployment],
    deadline: Option<Deadline>,
) -> String {
    let mut trial = Trial { draft: trial, next_task: 0 };
    let removed = changes.iter().filter(|change| change.after.is_deleted);
    for change in removed {
        trial.take_away(&change.after);
    }
    let mut questions = 0;
    for (change, planned) in changes.iter().zip(planned) {
        let deployment = Arc::clone(&change.after);
        let Some(current) = deployment.current().cloned().filter(|_| !deployment.is_deleted) else { continue };
        if planned.created_tasks == 0 && planned.replaced_tasks == 0 {
            continue;
        }
        let is_first = current.spec.update.order == UpdateOrder::StopFirst;
        if is_first {
            trial.take_away(&deployment);
        }
        if current.spec.mode == DeploymentMode::Global {
            planned.placement = Some(trial.on_each_node(api, &deployment, &current.spec.task));
            continue;
        }
        if questions == MAX_QUESTIONS {
            return format!("the scheduler was asked about the first {MAX_QUESTIONS} deployments only");
        }
        questions += 1;
        let under_way = u32::try_from(current.spec.update.max_in_flight()).unwrap_or(u32::MAX);
        let replaced = if is_first { planned.replaced_tasks } else { planned.replaced_tasks.min(under_way) };
        let count = planned.created_tasks.saturating_add(replaced);
        let asked = Box::pin(ask(api, trial, Arc::clone(&current.spec.task), count, deadline)).await;
        match asked {
            Ok((given_back, placement)) => {
                trial = given_back;
                planned.placement = Some(placement);
            }
            Err(problem) => return problem.message,
        }
        if !is_first {
            trial.take_away(&deployment);
        }
    }
    String::new()
}

async fn ask(
    api: &Api,
    trial: Trial,
    spec: Arc<TaskSpec>,
    count: u32,
    deadline: Option<Deadline>,
) -> Result<(Trial, v1::PlannedPlacement), ApiError> {
    let turn = api.scheduler.turn(deadline).await.map_err(scheduler_error)?;
    let (asked_api, asked_spec) = (api.clone(), Arc::clone(&spec));
    let together = put_together(turn, move || {
        let mut trial = trial;
        let question = trial.question(&asked_api, &asked_spec, count);
        (trial, question)
    });
    let (turn, (mut trial, question)) = together.await?;
    let answer = turn.explain(question?).await.map_err(scheduler_error)?;
    let placement = answer.placement.unwrap_or_default();
    let shown = trial.settle(&spec, placement);
    Ok((trial, shown))
}

/// The cluster as it would be.
struct Trial {
    draft: Draft,
    /// How many tasks were made or taken away.
    next_task: u64,
}

impl Trial {
    fn task_id(&mut self) -> TaskId {
        self.next_task += 1;
        TaskId(Uuid::from_u64_pair(u64::MAX, self.next_task))
    }

    fn has_room(&self) -> bool {
        self.next_task < MAX_TASKS as u64
    }

    /// Takes away the tasks of a deployment that go.
    fn take_away(&mut self, deployment: &Deployment) {
        for task_id in outgoing_tasks(self.draft.state(), deployment) {
            if !self.has_room() {
                return;
            }
            self.next_task += 1;
            self.draft.remove_task(task_id, "");
        }
    }

    fn create(&mut self, spec: &Arc<TaskSpec>, task_ids: Vec<TaskId>) -> Result<(), ApiError> {
        let groups = [NewTasks { spec: KeyedSpec::new(Arc::clone(spec)), task_ids, gang_id: None }];
        let created = commands::create_tasks(&mut self.draft, &groups, None, Limits::NONE);
        created.map(|_| ()).map_err(|error| super::errors::refusal(&error))
    }

    /// As the placer would ask.
    fn question(&mut self, api: &Api, spec: &Arc<TaskSpec>, count: u32) -> Result<v1::ExplainRequest, ApiError> {
        let task_id = self.task_id();
        self.create(spec, vec![task_id])?;
        let state = self.draft.state();
        let now = api.world.clock.now();
        let mut nodes = api.node_views(state, None);
        if spec.placement.may_preempt {
            explainer::fill_preemptible(state, &mut nodes, spec.placement.priority, now);
        }
        let group = state
            .task(task_id)
            .map(|task| super::explain::group(state.placement_request(task, now), count, false, api));
        let question = v1::ExplainRequest {
            group: group.transpose()?,
            nodes: nodes.iter().map(convert::node_view_to_proto).collect(),
            seed: state.revision().0,
            max_nodes: 1,
        };
        self.draft.remove_task(task_id, "");
        Ok(question)
    }

    /// Places tasks as they would be, and tells where.
    fn settle(&mut self, spec: &Arc<TaskSpec>, placement: v1::GroupPlacement) -> v1::PlannedPlacement {
        let mut by_node: BTreeMap<String, u32> = BTreeMap::new();
        for run in placement.runs {
            let Ok(node_id) = run.node_id.parse::<NodeId>() else { continue };
            *by_node.entry(self.name_of(node_id)).or_default() += run.count;
            let room = usize::try_from(run.count).unwrap_or(usize::MAX).min(MAX_TASKS);
            let task_ids: Vec<TaskId> = (0..room).map_while(|_| self.has_room().then(|| self.task_id())).collect();
            if self.create(spec, task_ids.clone()).is_ok() {
                let key = |task_id: &TaskId| self.draft.state().task(*task_id).map(|task| task.key());
                let placements: Vec<Placement> =
                    task_ids.iter().filter_map(key).map(|key| Placement { key, node_id }).collect();
                commit_placements(&mut self.draft, &placements);
            }
        }
        let preemptions = placement.preemptions.into_iter().take(MAX_TOLD).map(|preemption| preemption.reason);
        v1::PlannedPlacement {
            nodes: most_first(by_node),
            unplaced_count: placement.unplaced_count,
            unplaced_reason: placement.unplaced_reason,
            preemptions: preemptions.collect(),
        }
    }

    /// Where the tasks of a deployment with one on each node would be: nobody chooses.
    fn on_each_node(&mut self, api: &Api, deployment: &Deployment, spec: &Arc<TaskSpec>) -> v1::PlannedPlacement {
        let state = self.draft.state();
        let (mut by_node, mut full) = (BTreeMap::new(), Vec::new());
        let mut unplaced_count = 0;
        for node_id in lacking_nodes(state, deployment) {
            let Some(node) = state.node(node_id) else { continue };
            let view = state.node_view(node, api.contacts.stats(node_id));
            let name = node.description.name.clone();
            let why: Vec<String> =
                misfits(&spec.requirements_without_marks(), &view).iter().map(ToString::to_string).collect();
            if why.is_empty() {
                by_node.insert(name, 1);
                continue;
            }
            unplaced_count += 1;
            if full.len() < 3 {
                full.push(format!("{name}: {}", why.join(", ")));
            }
        }
        let unplaced_reason = full.join("; ");
        v1::PlannedPlacement { nodes: most_first(by_node), unplaced_count, unplaced_reason, preemptions: Vec::new() }
    }

    fn name_of(&self, node_id: NodeId) -> String {
        let node = self.draft.state().node(node_id);
        node.map_or_else(|| node_id.to_string(), |node| node.description.name.clone())
    }
}

fn most_first(by_node: BTreeMap<String, u32>) -> Vec<v1::PlannedNode> {
    let mut nodes: Vec<_> = by_node.into_iter().map(|(node, count)| v1::PlannedNode { node, count }).collect();
    nodes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.node.cmp(&b.node)));
    nodes.truncate(MAX_TOLD);
    nodes
}
