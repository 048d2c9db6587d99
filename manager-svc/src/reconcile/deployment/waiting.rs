//! What a deployment waits for before its first tasks are created. Once they were it waits for nothing any more.

use std::collections::BTreeSet;

use davit_core::deployment::{
    Dependency, DependencyCondition, Deployment, DeploymentMode, Rollout, RolloutState, Version,
};
use davit_core::job::{Job, RunState};
use davit_core::state::TaskState;
use davit_core::task::Task;
use jiff::Timestamp;

use super::{DeploymentPlan, desired_tasks};
use crate::state::ClusterState;

/// How many of those that it waits for are named.
const MAX_NAMED: usize = 3;
/// How much another one's reason may be to be told as part of one's own.
const MAX_TOLD_BYTES: usize = 256;
/// How many of them are looked at in search of a circle.
const MAX_FOLLOWED: usize = 1_000;

/// What something waits for before its first tasks are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// For people.
    pub(crate) reason: String,
    /// Whether some of it can't come any more unless somebody does something about it.
    pub(crate) is_vain: bool,
}

/// Sees whether the wait is over, and says what for it is if not. Its time does not run meanwhile; what can't come has it fail, until it
/// can come again.
pub(super) fn plan_wait(
    state: &ClusterState,
    deployment: &Deployment,
    current: &Version,
    now: Timestamp,
) -> DeploymentPlan {
    let wait = why_waiting(state, &deployment.name, &current.spec.start_after);
    let mut rollout = deployment.rollout.clone();
    let is_told = matches!(rollout.state, RolloutState::InProgress | RolloutState::Failed);
    let Some(wait) = wait else {
        rollout.progress_at = now;
        if is_told {
            (rollout.state, rollout.finished_at) = (RolloutState::InProgress, None);
            rollout.reason = String::new();
        }
        let rollout = Some((rollout, "what it waited for has come: it begins".to_owned()));
        return DeploymentPlan { rollout, begins: true, ..DeploymentPlan::default() };
    };
    let fails = rollout.state == RolloutState::Failed;
    if !is_told || (rollout.reason == wait.reason && fails == wait.is_vain) {
        return DeploymentPlan::default();
    }
    if fails != wait.is_vain {
        let (next, finished_at) =
            if wait.is_vain { (RolloutState::Failed, Some(now)) } else { (RolloutState::InProgress, None) };
        (rollout.state, rollout.finished_at, rollout.progress_at) = (next, finished_at, now);
    }
    rollout.reason.clone_from(&wait.reason);
    DeploymentPlan { rollout: Some((rollout, wait.reason)), ..DeploymentPlan::default() }
}

/// For what the deployment or job of this name waits; `None` if all of it has come.
pub(crate) fn why_waiting(state: &ClusterState, name: &str, start_after: &[Dependency]) -> Option<Wait> {
    let open = |dependency: &Dependency| why_not_yet(state, name, dependency);
    let mut open: Vec<Wait> = start_after.iter().filter_map(open).collect();
    if open.is_empty() {
        return None;
    }
    let is_vain = open.iter().any(|wait| wait.is_vain);
    // What is in vain is what there is to know.
    open.sort_by_key(|wait| !wait.is_vain);
    let named: Vec<&str> = open.iter().map(|wait| wait.reason.as_str()).take(MAX_NAMED).collect();
    let mut reason = format!("waits for {}", named.join(", and for "));
    let more = open.len() - named.len();
    if more > 0 {
        reason.push_str(&format!(", and for {more} more"));
    }
    Some(Wait { reason, is_vain })
}

/// `db to be healthy`; `None` if it has come so far.
fn why_not_yet(state: &ClusterState, waiting: &str, dependency: &Dependency) -> Option<Wait> {
    let Dependency { deployment: name, condition, required } = dependency;
    let may_come = |reason: String| Wait { reason, is_vain: false };
    let Some(other) = state.deployment_by_name(name) else {
        return match state.job_by_name(name) {
            Some(job) => why_not_yet_of_job(state, waiting, job, *condition, *required),
            None => required.then(|| may_come(format!("{name}, which is not there"))),
        };
    };
    if other.is_deleted {
        return required.then(|| may_come(format!("{name}, which is being deleted")));
    }
    if has_come(state, other, *condition) {
        return None;
    }
    let obstacle = if other.waits {
        let vain = (other.rollout.state == RolloutState::Failed).then_some(other.rollout.reason.as_str());
        why_it_waits_on(state, name, waiting, vain)
    } else if let Some(task) = state.unready_of(other.deployment_id).find(|task| ended_in_vain(task, *condition)) {
        Some(format!(", of which a task has ended for good: {}", how_it_ended(task)))
    } else {
        why_it_was_given_up(other)
    };
    let is_vain = obstacle.is_some();
    Some(Wait { reason: format!("{name} {condition}{}", obstacle.unwrap_or_default()), is_vain })
}

/// Why nobody counts on a deployment any more until somebody does something about it, or it comes all the same.
fn why_it_was_given_up(other: &Deployment) -> Option<String> {
    let Rollout { state, reason, .. } = &other.rollout;
    let is_given_up = matches!(state, RolloutState::Failed | RolloutState::Paused);
    is_given_up.then(|| match reason.as_str() {
        reason if reason.is_empty() || reason.len() > MAX_TOLD_BYTES => format!(", whose rollout is {state}"),
        reason => format!(", whose rollout is {state}: {reason}"),
    })
}

/// Why one that waits itself never begins, if so. `vain`: what that in vain is for.
fn why_it_waits_on(state: &ClusterState, name: &str, waiting: &str, vain: Option<&str>) -> Option<String> {
    if waits_for(state, name, waiting) {
        return Some(format!(", which waits for {waiting} itself: in this circle nothing begins"));
    }
    vain.map(|reason| match reason {
        // A long chain of those that wait for each other is not told whole at each of its links.
        "" => ", which waits in vain itself".to_owned(),
        reason if reason.len() > MAX_TOLD_BYTES => ", which waits in vain itself".to_owned(),
        reason => format!(", which {reason}"),
    })
}

/// Whether a task has come to its end and so will never be what is waited for.
fn ended_in_vain(task: &Task, condition: DependencyCondition) -> bool {
    task.is_finished()
        && match condition {
            DependencyCondition::Healthy => true,
            DependencyCondition::Started => !was_started(task),
            DependencyCondition::Completed => task.status.state != TaskState::Completed,
        }
}

fn how_it_ended(task: &Task) -> String {
    let status = &task.status;
    if status.reason.is_empty() { format!("it is {}", status.state) } else { status.reason.clone() }
}

fn why_not_yet_of_job(
    state: &ClusterState,
    waiting: &str,
    job: &Job,
    condition: DependencyCondition,
    required: bool,
) -> Option<Wait> {
    let name = &job.name;
    if job.is_deleted {
        return required.then(|| Wait { reason: format!("{name}, which is being deleted"), is_vain: false });
    }
    let newest = job.runs.last();
    let has_come = newest.is_some_and(|run| match condition {
        DependencyCondition::Started | DependencyCondition::Healthy => run.next_index > 0,
        DependencyCondition::Completed => run.state == RunState::Completed,
    });
    if has_come {
        return None;
    }
    let ended = newest.filter(|run| run.state.has_ended());
    let obstacle = if let Some(run) = ended {
        // The next time of a schedule brings another run.
        let is_vain = job.spec.schedule.is_none();
        Some((format!(", whose run {} is {}", run.number, run.state), is_vain))
    } else if job.waits {
        let reason = newest.map(|run| run.reason.as_str()).unwrap_or_default();
        why_it_waits_on(state, name, waiting, job.waits_in_vain.then_some(reason)).map(|told| (told, true))
    } else {
        None
    };
    let (told, is_vain) = obstacle.unwrap_or_default();
    Some(Wait { reason: format!("job {name} {condition}{told}"), is_vain })
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
    matches!(task.status.state, TaskState::Running | TaskState::Completed)
        || task.past_attempts.iter().chain([&task.status]).any(|status| status.started_at.is_some())
}

/// Whether one that waits does so, over however many others, for one of this name.
fn waits_for(state: &ClusterState, from: &str, name: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(waiting) = next.pop() {
        for dependency in awaited_by(state, waiting) {
            if dependency.deployment == name {
                return true;
            }
            if seen.len() < MAX_FOLLOWED && seen.insert(&dependency.deployment) {
                next.push(&dependency.deployment);
            }
        }
    }
    false
}

/// What a deployment or job waits for; nothing, if it waits no more.
fn awaited_by<'a>(state: &'a ClusterState, name: &str) -> &'a [Dependency] {
    if let Some(deployment) = state.deployment_by_name(name) {
        let current = deployment.current().filter(|_| deployment.waits);
        return current.map_or(&[], |version| &version.spec.start_after);
    }
    let job = state.job_by_name(name).filter(|job| job.waits);
    job.map_or(&[], |job| &job.spec.start_after)
}
