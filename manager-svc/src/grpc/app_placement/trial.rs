//! The cluster as it would be: tasks are placed and taken away in a draft.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::Deployment;
use davit_core::id::{NodeId, TaskId};
use davit_core::job::Job;
use davit_core::placement::misfits;
use davit_core::spec::TaskSpec;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::ApiError;
use uuid::Uuid;

use super::super::Api;
use crate::commands::{self, Limits, NewTasks, Placement, commit_placements};
use crate::explainer;
use crate::reconcile::{lacking_nodes, outgoing_tasks};
use crate::state::{Draft, KeyedSpec};

/// So many tasks are placed or taken away in the draft; what is beyond is not taken into account for those that follow.
const MAX_TASKS: usize = 10_000;
/// So many nodes, and ways to make room, are named.
const MAX_TOLD: usize = 100;

/// The cluster as it would be.
pub(super) struct Trial {
    draft: Draft,
    /// How many tasks were made or taken away.
    next_task: u64,
}

/// What came of a question.
pub(super) struct Settled {
    /// How many were placed on each node, by its name.
    pub(super) by_node: BTreeMap<String, u32>,
    /// Why others were not.
    pub(super) unplaced_reason: String,
    /// How room would be made for them.
    pub(super) preemptions: Vec<String>,
}

impl Trial {
    /// From what would be if nothing had been placed yet.
    pub(super) fn new(draft: Draft) -> Self {
        Self { draft, next_task: 0 }
    }

    fn task_id(&mut self) -> TaskId {
        self.next_task += 1;
        TaskId(Uuid::from_u64_pair(u64::MAX, self.next_task))
    }

    fn has_room(&self) -> bool {
        self.next_task < MAX_TASKS as u64
    }

    /// Takes away the tasks of a deployment that go.
    pub(super) fn take_away(&mut self, deployment: &Deployment) {
        self.remove(outgoing_tasks(self.draft.state(), deployment));
    }

    /// Takes away all tasks of a job.
    pub(super) fn take_away_job(&mut self, job: &Job) {
        self.remove(self.draft.state().tasks_of_job(job.job_id).map(|(_, task)| task.task_id).collect());
    }

    fn remove(&mut self, task_ids: Vec<TaskId>) {
        for task_id in task_ids {
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
        created.map(|_| ()).map_err(|error| super::super::errors::refusal(&error))
    }

    /// As the placer would ask.
    pub(super) fn question(
        &mut self,
        api: &Api,
        spec: &Arc<TaskSpec>,
        count: u32,
    ) -> Result<v1::ExplainRequest, ApiError> {
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
            .map(|task| super::super::explain::group(state.placement_request(task, now), count, false, api));
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
    pub(super) fn settle(&mut self, spec: &Arc<TaskSpec>, placement: v1::GroupPlacement) -> Settled {
        let mut by_node: BTreeMap<String, u32> = BTreeMap::new();
        for run in placement.runs {
            let Ok(node_id) = run.node_id.parse::<NodeId>() else { continue };
            let there = by_node.entry(self.name_of(node_id)).or_default();
            *there = there.saturating_add(run.count);
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
        Settled { by_node, unplaced_reason: placement.unplaced_reason, preemptions: preemptions.collect() }
    }

    /// Where the tasks of a deployment with one on each node would be: nobody chooses.
    pub(super) fn on_each_node(
        &self,
        api: &Api,
        deployment: &Deployment,
        spec: &Arc<TaskSpec>,
    ) -> v1::PlannedPlacement {
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
        v1::PlannedPlacement { nodes: most_first(&by_node), unplaced_count, unplaced_reason, preemptions: Vec::new() }
    }

    fn name_of(&self, node_id: NodeId) -> String {
        let node = self.draft.state().node(node_id);
        node.map_or_else(|| node_id.to_string(), |node| node.description.name.clone())
    }
}

/// Nodes with most tasks first, as many as are named.
pub(super) fn most_first(by_node: &BTreeMap<String, u32>) -> Vec<v1::PlannedNode> {
    let node = |(node, count): (&String, &u32)| v1::PlannedNode { node: node.clone(), count: *count };
    let mut nodes: Vec<_> = by_node.iter().map(node).collect();
    nodes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.node.cmp(&b.node)));
    nodes.truncate(MAX_TOLD);
    nodes
}
