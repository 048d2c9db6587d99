//! What a deployment has to do next: which tasks it lacks, which have to go, and how its rollout gets on.
//!
//! - A second look at what a plan made of the cluster finds nothing more to do, until something changes.
//! - Tasks may be given in any order.
//! - With start-first, no more than `parallelism` slots hold two tasks, beside canaries that wait to be promoted, and a task that
//!   serves is stopped only when the new one of its slot has served for the whole of `monitor`. With stop-first, no more than
//!   `parallelism` slots are without a task of theirs.
//! - Until what a deployment waits for has come, it has no task; after that it waits no more.
//! - Only a task that [`TaskSpec::must_replace`](davit_core::spec::TaskSpec::must_replace) tells apart, or whose node its constraints
//!   no longer allow, is replaced.

mod places;
mod rollout;
#[cfg(test)]
mod tests;
mod trouble;
mod waiting;

use std::sync::Arc;

use davit_core::deployment::{Deployment, DeploymentMode, Rollout, RolloutState, Version};
use davit_core::id::{NodeId, TaskId};
use davit_core::spec::TaskSpec;
use davit_core::task::{DesiredState, Slot, Task};
use jiff::Timestamp;

use self::places::Places;
use self::rollout::Progress;
pub use self::trouble::trouble_of;
use self::waiting::plan_wait;
pub(crate) use self::waiting::why_waiting;
use crate::state::ClusterState;

/// How many steps are taken at once, so that no change of the cluster holds up the others.
const MAX_STEPS: usize = 2_000;

/// One thing to do for a deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum DeploymentStep {
    /// A task is missing.
    Create {
        /// Where.
        slot: Slot,
        /// What it runs.
        spec: Arc<TaskSpec>,
        /// Why, for people.
        why: String,
    },
    /// A task has to go.
    Stop {
        /// Which.
        task_id: TaskId,
        /// Whether nothing of it is to stay to be looked at.
        remove: bool,
        /// Why, for people.
        why: String,
    },
    /// A task gets a newer spec, which changes nothing of what runs.
    TakeOver {
        /// Which.
        task_id: TaskId,
        /// The spec.
        spec: Arc<TaskSpec>,
    },
}

/// What is to be done for one deployment now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeploymentPlan {
    /// Tasks to create, stop and change.
    pub steps: Vec<DeploymentStep>,
    /// How far its rollout is after that, if that is something else, and what there is to say of it.
    pub rollout: Option<(Rollout, String)>,
    /// Its rollout has failed, and this version is to be the newest again.
    pub roll_back_to: Option<u32>,
    /// Whether some task of its newest version serves.
    pub has_run: bool,
    /// What its first tasks waited for has come.
    pub begins: bool,
    /// All that it was to do is done and it is being deleted: it can go.
    pub is_gone: bool,
    /// When it is to be looked at again if nothing changes before; at once, if there were too many steps.
    pub next_look: Option<Timestamp>,
}

/// Plans for one deployment.
#[must_use]
pub fn plan_deployment(state: &ClusterState, deployment: &Deployment, now: Timestamp) -> DeploymentPlan {
    let Some(current) = deployment.current() else { return DeploymentPlan::default() };
    let mut plan = if deployment.is_deleted {
        plan_end(state, deployment)
    } else if deployment.waits {
        plan_wait(state, deployment, current, now)
    } else if is_at_rest(state, deployment, current) {
        DeploymentPlan::default()
    } else {
        plan_tasks(state, deployment, current, now)
    };
    if plan.steps.len() > MAX_STEPS {
        plan.steps.truncate(MAX_STEPS);
        plan.next_look = Some(now);
    }
    plan
}

/// How many tasks a deployment is to have: its replicas, or the nodes that match.
#[must_use]
pub fn desired_tasks(state: &ClusterState, deployment: &Deployment) -> u32 {
    match deployment.current() {
        _ if deployment.is_deleted => 0,
        Some(current) => match current.spec.mode {
            DeploymentMode::Replicated { replicas } => replicas,
            DeploymentMode::Global => Places::of(state, deployment, current).wanted(),
        },
        None => 0,
    }
}

/// What is to be done with the tasks of a deployment, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskChanges {
    /// How many places have no task.
    pub created: u32,
    /// How many have a task that gives way to another.
    pub replaced: u32,
    /// How many tasks are stopped, and no other comes for them.
    pub stopped: u32,
}

/// What is to be done with the tasks of a deployment until it is as it is wanted.
#[must_use]
pub fn task_changes(state: &ClusterState, deployment: &Deployment) -> TaskChanges {
    let Some(current) = deployment.current() else { return TaskChanges::default() };
    if deployment.is_deleted {
        return TaskChanges { stopped: state.replicas(deployment.deployment_id).holding(), ..TaskChanges::default() };
    }
    Places::of(state, deployment, current).changes()
}

/// The tasks of a deployment that are not to stay.
pub(crate) fn outgoing_tasks(state: &ClusterState, deployment: &Deployment) -> Vec<TaskId> {
    match deployment.current() {
        Some(current) if !deployment.is_deleted => Places::of(state, deployment, current).outgoing(),
        _ => state.tasks_of(deployment.deployment_id).map(|(_, task)| task.task_id).collect(),
    }
}

/// The nodes on which a deployment with a task on each node lacks one.
pub(crate) fn lacking_nodes(state: &ClusterState, deployment: &Deployment) -> Vec<NodeId> {
    let Some(current) = deployment.current() else { return Vec::new() };
    Places::of(state, deployment, current).lacking()
}

/// Whether it is seen from what is counted that nothing is to be done: however many tasks there are, none is looked at.
fn is_at_rest(state: &ClusterState, deployment: &Deployment, current: &Version) -> bool {
    let DeploymentMode::Replicated { replicas } = current.spec.mode else { return false };
    let there = state.replicas(deployment.deployment_id);
    let rollout = &deployment.rollout;
    rollout.state == RolloutState::Complete
        && rollout.in_flight.is_empty()
        && there.holding() == replicas
        && there.holding_with(&current.spec.task) == replicas
        && there.last_slot().is_none_or(|last| last <= Slot::Replica(replicas))
}

fn plan_end(state: &ClusterState, deployment: &Deployment) -> DeploymentPlan {
    let present = state.tasks_of(deployment.deployment_id).map(|(_, task)| task);
    // What ended before goes as well: it would keep its containers, and with them the network of its app.
    let mut tasks = present.chain(state.past_tasks_of(deployment.deployment_id)).peekable();
    let is_gone = tasks.peek().is_none();
    let stop = |task: &Arc<Task>| {
        (task.desired_state != DesiredState::Removed).then(|| DeploymentStep::Stop {
            task_id: task.task_id,
            remove: true,
            why: format!("deployment {} is deleted", deployment.name),
        })
    };
    DeploymentPlan { steps: tasks.filter_map(stop).collect(), is_gone, ..DeploymentPlan::default() }
}

fn plan_tasks(state: &ClusterState, deployment: &Deployment, current: &Version, now: Timestamp) -> DeploymentPlan {
    let places = Places::of(state, deployment, current);
    let mut progress = Progress::new(deployment, current, &places, now);
    progress.watch();
    progress.judge();
    progress.begin();
    progress.carry_out();
    progress.fill();
    progress.finish();
    let has_run = places.by_slot.values().any(|place| place.fresh.is_some_and(|task| places.serves(task)));
    let Progress { rollout, message, steps: of_rollout, roll_back_to, next_look, .. } = progress;
    // First what is too many goes, so that no place ever has three. Then comes what the rollout does: it counts on it.
    let mut steps = places.excess(deployment);
    steps.extend(of_rollout);
    steps.extend(places.steps(deployment, current));
    let changed = rollout != deployment.rollout;
    let rollout = changed.then_some((rollout, message));
    DeploymentPlan { steps, rollout, roll_back_to, has_run, next_look, ..DeploymentPlan::default() }
}
