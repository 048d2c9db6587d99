//! What placement needs to know of tasks and nodes.

use std::cmp::Reverse;
use std::sync::Arc;

use davit_core::id::{NodeId, TaskId};
use davit_core::node::{Node, NodeStats};
use davit_core::placement::{
    MAX_RECENT_FAILURES, Mark, NodeView, PlacedTask, PlacementRequest, Preferences, RecentFailures, Requirements,
};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::Task;
use jiff::{SignedDuration, Timestamp};

use super::ClusterState;
use super::usage::is_stopping;

/// How long a node on which an attempt failed is avoided.
const FAILURES_COUNT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What a view of a node leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeftOut<'a> {
    /// Room that is kept for this task.
    pub claim_of: Option<TaskId>,
    /// Tasks on the node, as if they had ended.
    pub tasks: &'a [Arc<Task>],
}

impl ClusterState {
    /// Changes when the marks that some task's placement refers to do, or where volumes and groups are, and so what is asked for tasks.
    #[must_use]
    pub fn requests_epoch(&self) -> u64 {
        self.mentions.epoch() + self.homes.epoch
    }

    /// What the node of a task of this spec must have. Of what the task carries, only what some task's placement refers to.
    #[must_use]
    pub fn requirements_of(&self, spec: &TaskSpec) -> Requirements {
        Requirements { marks: self.mentions.mentioned_of(spec), ..spec.requirements_without_marks() }
    }

    /// What a task's attempt holds on its node: ports that it was given are certain ones now.
    #[must_use]
    pub fn held_by(&self, task: &Task) -> Requirements {
        let mut held = self.requirements_of(&task.spec);
        held.dynamic_ports = 0;
        held.host_ports.extend(task.given_ports.iter().map(|port| (port.protocol, port.host_port)));
        held.host_ports.sort_unstable();
        held.host_ports.dedup();
        held
    }

    /// All that the scheduler is asked of a task.
    #[must_use]
    pub fn placement_request(&self, task: &Task, now: Timestamp) -> PlacementRequest {
        let policy = &task.spec.placement;
        PlacementRequest {
            requirements: self.placement_requirements_of(task),
            preferences: Preferences {
                affinities: policy.affinities.clone(),
                spread: policy.spread.clone(),
                spread_set: (!policy.spread.is_empty()).then(|| Mark::of_name(&task.spec.name)),
                recent_failures: recent_failures([task], now),
            },
            algorithm: policy.algorithm.clone(),
            priority: policy.priority,
            may_preempt: policy.may_preempt,
        }
    }

    /// What placement needs to know of a node. Room that is kept for tasks counts as taken.
    #[must_use]
    pub fn node_view(&self, node: &Node, stats: Option<NodeStats>) -> NodeView {
        self.node_view_without(node, stats, LeftOut::default())
    }

    /// As [`Self::node_view`], leaving something out.
    #[must_use]
    pub fn node_view_without(&self, node: &Node, stats: Option<NodeStats>, left_out: LeftOut<'_>) -> NodeView {
        let usage = self.usage(node.node_id);
        let mut view = NodeView {
            node_id: node.node_id,
            name: node.description.name.clone(),
            os: node.description.os.clone(),
            arch: node.description.arch.clone(),
            labels: node.labels().into(),
            state: node.state,
            cordoned: node.cordoned,
            runtimes: node.description.runtimes.clone(),
            allocatable: node.description.allocatable,
            reserved: usage.reserved,
            host_ports: usage.host_ports.clone(),
            port_range: node.description.port_range,
            promised_ports: 0,
            task_count: usage.task_count(),
            marks: usage.marks.clone(),
            refused: usage.refused.clone(),
            stats,
            tasks: Vec::new(),
        };
        for task in left_out.tasks {
            view.release(&self.held_by(task));
        }
        let others = usage.claims.iter().filter(|task_id| Some(**task_id) != left_out.claim_of);
        for task in others.filter_map(|task_id| self.tasks.get(task_id)) {
            view.reserve(&self.requirements_of(&task.spec));
        }
        view
    }

    /// Tasks on a node that matter least, at most `limit`: the lowest priority first, then those that run shortest. Only
    /// those of a priority below `below`. And all that are being stopped, whatever their priority.
    #[must_use]
    pub fn placed_tasks(&self, node_id: NodeId, below: Option<i32>, limit: usize, now: Timestamp) -> Vec<PlacedTask> {
        let matters_less = |task: &&Arc<Task>| below.is_none_or(|below| task.spec.placement.priority < below);
        let mut tasks: Vec<(i32, u64, &Arc<Task>)> = self
            .tasks_on(node_id)
            .filter(|task| !is_stopping(task))
            .filter(matters_less)
            .map(|task| (task.spec.placement.priority, running_secs(task, now), task))
            .collect();
        tasks.sort_unstable_by_key(|(priority, running_secs, task)| (*priority, *running_secs, task.task_id));
        let ending = self.ending_on(node_id).map(|task| (task.spec.placement.priority, 0, task));
        let placed = |(priority, running_secs, task): (i32, u64, &Arc<Task>)| PlacedTask {
            task_id: task.task_id,
            requirements: self.held_by(task),
            priority,
            running_secs,
            is_ending: is_stopping(task),
            algorithm: String::new(),
            affinities: Vec::new(),
        };
        tasks.into_iter().take(limit).chain(ending).map(placed).collect()
    }

    /// Tasks on a node that are being stopped: their room becomes free.
    pub fn ending_on(&self, node_id: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_on(node_id).filter(|task| is_stopping(task))
    }
}

/// Where attempts of these tasks failed a short while ago; by node.
pub(crate) fn recent_failures<'a>(tasks: impl IntoIterator<Item = &'a Task>, now: Timestamp) -> Vec<RecentFailures> {
    let mut failures: Vec<RecentFailures> = Vec::new();
    for status in tasks.into_iter().flat_map(|task| &task.past_attempts) {
        let recent = status.finished_at.is_some_and(|at| now.duration_since(at) < FAILURES_COUNT_FOR);
        let Some(node_id) = status.node_id.filter(|_| recent && status.state == TaskState::Failed) else { continue };
        match failures.iter_mut().find(|known| known.node_id == node_id) {
            Some(known) => known.count += 1,
            None => failures.push(RecentFailures { node_id, count: 1 }),
        }
    }
    // Where most failed counts most; the rest of very many nodes is not worth telling.
    failures.sort_unstable_by_key(|one| (Reverse(one.count), one.node_id));
    failures.truncate(MAX_RECENT_FAILURES);
    failures.sort_unstable();
    failures
}

fn running_secs(task: &Task, now: Timestamp) -> u64 {
    let ran_for = task.status.started_at.map(|since| now.duration_since(since).as_secs());
    ran_for.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
}
