//! What a deployment waits for before its first tasks are created. Once they were it waits for nothing any more.

use std::collections::BTreeSet;

use davit_core::deployment::{Dependency, DependencyCondition, Deployment, DeploymentMode, RolloutState, Version};
use davit_core::job::{Job, RunState};
use davit_core::state::TaskState;
use davit_core::task::Task;
use jiff::Timestamp;

use super::{DeploymentPlan, desired_tasks};
use crate::state::ClusterState;

/// How many of those that it waits for are named.
const MAX_NAMED: usize = 3;
/// How many deployments are looked at in search of a circle.
const MAX_FOLLOWED: usize = 1_000;

/// Sees whether the wait is over, and says what for it is if not. Its time does not run meanwhile.
pub(super) fn plan_wait(
    state: &ClusterState,
    deployment: &Deployment,
    current: &Version,
    now: Timestamp,
) -> DeploymentPlan {
    let why = why_waiting(state, &deployment.name, &current.spec.start_after);
    let mut rollout = deployment.rollout.clone();
    let is_told = rollout.state == RolloutState::InProgress;
    let Some(reason) = why else {
        rollout.progress_at = now;
        if is_told {
            rollout.reason = String::new();
        }
        let rollout = Some((rollout, "what it waited for has come: it begins".to_owned()));
        return DeploymentPlan { rollout, begins: true, ..DeploymentPlan::default() };
    };
    if !is_told || rollout.reason == reason {
        return DeploymentPlan::default();
    }
    rollout.reason.clone_from(&reason);
    DeploymentPlan { rollout: Some((rollout, reason)), ..DeploymentPlan::default() }
}

/// For what the deployment or job of this name waits, in words; `None` if all of it has come.
pub(crate) fn why_waiting(state: &ClusterState, name: &str, start_after: &[Dependency]) -> Option<String> {
    let open = |dependency: &Dependency| why_not_yet(state, name, dependency);
    let open: Vec<String> = start_after.iter().filter_map(open).collect();
    if open.is_empty() {
        return None;
    }
    let more = open.len().saturating_sub(MAX_NAMED);
    let mut reason = format!("waits for {}", open[..open.len() - more].join(", and for "));
    if more > 0 {
        reason.push_str(&format!(", and for {more} more"));
    }
    Some(reason)
}

/// `db to be healthy`; `None` if it has come so far.
fn why_not_yet(state: &ClusterState, waiting: &str, dependency: &Dependency) -> Option<String> {
    let Dependency { deployment: name, condition, required } = dependency;
    let Some(other) = state.deployment_by_name(name) else {
        return match state.job_by_name(name) {
            Some(job) => why_not_yet_of_job(job, *condition, *required),
            None => required.then(|| format!("{name}, which is not there")),
        };
    };
    if other.is_deleted {
        return required.then(|| format!("{name}, which is being deleted"));
    }
    if has_come(state, other, *condition) {
        return None;
    }
    let circle = if waits_for(state, other, waiting) {
        format!(", which waits for {waiting} itself: in this circle nothing begins")
    } else {
        String::new()
    };
    Some(format!("{name} {condition}{circle}"))
}

fn why_not_yet_of_job(job: &Job, condition: DependencyCondition, required: bool) -> Option<String> {
    let name = &job.name;
    if job.is_deleted {
        return required.then(|| format!("{name}, which is being deleted"));
    }
    let newest = job.runs.last();
    let has_come = newest.is_some_and(|run| match condition {
        DependencyCondition::Started | DependencyCondition::Healthy => run.next_index > 0,
        DependencyCondition::Completed => run.state == RunState::Completed,
    });
    let ended = newest.filter(|run| run.state.has_ended() && condition == DependencyCondition::Completed);
    let how = ended.map(|run| format!(", whose run {} is {}", run.number, run.state)).unwrap_or_default();
    (!has_come).then(|| format!("job {name} {condition}{how}"))
}

fn has_come(state: &ClusterState, other: &Deployment, condition: DependencyCondition) -> bool {
    if other.waits {
        return false;
    }
    let desired = desired_tasks(state, other);
    let is_global = other.current().is_some_and(|version| version.spec.mode == DeploymentMode::Global);
    if desired == 0 {
        // Of one with a task on each node there will be some when nodes join.
        return !is_global;
    }
    let all = |counts: fn(&Task) -> bool| {
        let tasks = state.tasks_of(other.deployment_id).filter(|(_, task)| task.holds_slot() && counts(task));
        let slots: BTreeSet<_> = tasks.map(|(slot, _)| slot).collect();
        u32::try_from(slots.len()).unwrap_or(u32::MAX) >= desired
    };
    let is_healthy = || state.replicas(other.deployment_id).ready() >= desired;
    match condition {
        DependencyCondition::Healthy => is_healthy(),
        DependencyCondition::Started => is_healthy() || all(was_started),
        DependencyCondition::Completed => all(|task| task.status.state == TaskState::Completed),
    }
}

fn was_started(task: &Task) -> bool {
    task.status.state == TaskState::Running
        || task.past_attempts.iter().chain([&task.status]).any(|status| status.started_at.is_some())
}

/// Whether a deployment that waits does so, over however many others, for one of this name.
fn waits_for(state: &ClusterState, from: &Deployment, name: &str) -> bool {
    let mut seen = BTreeSet::from([from.name.clone()]);
    let mut next = vec![from.clone()];
    while let Some(deployment) = next.pop() {
        let current = deployment.current().filter(|_| deployment.waits);
        for dependency in current.into_iter().flat_map(|version| &version.spec.start_after) {
            if dependency.deployment == name {
                return true;
            }
            if seen.len() < MAX_FOLLOWED
                && seen.insert(dependency.deployment.clone())
                && let Some(other) = state.deployment_by_name(&dependency.deployment)
            {
                next.push(Deployment::clone(other));
            }
        }
    }
    false
}
