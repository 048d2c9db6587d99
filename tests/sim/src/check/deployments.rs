//! Deployments as answered and as committed: their versions, and what is in their places at every revision. Promises 1 and 5.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{Deployment, DeploymentMode, OnRolloutFailure, UpdateOrder, Version};
use davit_core::id::{DeploymentId, TaskId};
use davit_core::state::TaskState;
use davit_core::task::{Slot, Task};
use jiff::Timestamp;
use manager_svc::state::{Batch, Change, Versions};

use super::{Violations, asked_for};
use crate::history::{Entry, Event};
use crate::model::Model;
use crate::workload::{Call, Outcome};

/// 1: a version that was answered is there for good, and so is its deployment unless a user deletes it.
pub(super) fn answered_versions_are_kept(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let model = Model::of(journal);
    let committed: BTreeSet<(DeploymentId, u32)> =
        deployments(journal).filter_map(|one| Some((one.deployment_id, one.current()?.number))).collect();
    let deleted: BTreeSet<&str> = entries.iter().filter_map(deleted_name).collect();
    for entry in entries {
        let Event::Answered { call, outcome: Outcome::Version { deployment_id, version }, durable } = &entry.event
        else {
            continue;
        };
        let (Call::CreateDeployment(name) | Call::ChangeDeployment { name, .. }) = call else { continue };
        let at = entry.at;
        if !durable {
            violations.add(1, format!("version {version} of {name} was answered at {at:?} before it was durable"));
        }
        let is_there = deleted.contains(name.as_str()) || model.deployments.contains_key(deployment_id);
        if !committed.contains(&(*deployment_id, *version)) || !is_there {
            violations.add(1, format!("version {version} of {name} was answered at {at:?} and is lost"));
        }
    }
}

fn deleted_name(entry: &Entry) -> Option<&str> {
    match &entry.event {
        Event::Answered { call: Call::DeleteDeployment(name), .. } => Some(name),
        _ => None,
    }
}

/// 1: versions are numbered from 1 without a gap and never altered, no two deployments have one name, and a deleted one stays
/// deleted.
pub(super) fn versions_go_forwards(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut newest: BTreeMap<DeploymentId, u32> = BTreeMap::new();
    let mut known: BTreeMap<(DeploymentId, u32), Arc<Version>> = BTreeMap::new();
    let (mut gone, mut model) = (BTreeSet::new(), Model::default());
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        model.apply_change(&change.versions);
        let revision = change.event.revision.0;
        let Versions::Deployment { before, after } = &change.versions else { continue };
        let Some(after) = after else {
            gone.extend(before.as_ref().map(|before| before.deployment_id));
            continue;
        };
        let (id, name) = (after.deployment_id, &after.name);
        if gone.contains(&id) {
            violations.add(1, format!("deployment {name} came back at revision {revision}"));
        }
        if model.deployments.values().any(|other| other.name == *name && other.deployment_id != id) {
            violations.add(1, format!("at revision {revision} there are two deployments {name}"));
        }
        let number = after.current().map_or(0, |version| version.number);
        let last = newest.insert(id, number).unwrap_or(0);
        if number != last + 1 && (number != last || last == 0) {
            violations.add(1, format!("version {number} of {name} came after {last}, at revision {revision}"));
        }
        for version in &after.versions {
            let first = known.entry((id, version.number)).or_insert_with(|| Arc::clone(version));
            if first.spec != version.spec || first.created_at != version.created_at {
                violations.add(1, format!("version {} of {name} is another at revision {revision}", version.number));
            }
        }
    }
}

/// 5: no place has more than two tasks that are to run, unless a user had one run again.
pub(super) fn no_place_has_three(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let restarted = asked_for(entries, |call| if let Call::Restart(task_id) = call { Some(*task_id) } else { None });
    let (mut model, mut told) = (Model::default(), BTreeSet::new());
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        model.apply_change(&change.versions);
        let Versions::Task { after: Some(task), .. } = &change.versions else { continue };
        let Some((of, slot)) = task.slot().filter(|_| task.holds_slot()) else { continue };
        let there = in_place(&model, of, slot).filter(|task| !restarted.contains(&task.task_id)).count();
        if there > 2 && told.insert((of, slot)) {
            let revision = change.event.revision.0;
            violations.add(5, format!("at revision {revision} {slot:?} of {} has {there} tasks", name_of(&model, of)));
        }
    }
}

/// 5: with start-first, unless it is to go on after failures, the task that serves in a place is not stopped for another one before
/// that has served for the monitor time or has done its work. Nor is, with whatever order, one of several in a place stopped that alone serves there.
pub(super) fn what_serves_is_replaced_by_what_serves(journal: &[Arc<Batch>], violations: &mut Violations) {
    let (mut model, mut served) = (Model::default(), Served::default());
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        model.apply_change(&change.versions);
        let now = change.event.time;
        served.note(change);
        let Versions::Task { before: Some(before), after } = &change.versions else { continue };
        let was_stopped = before.holds_slot() && !after.as_ref().is_some_and(|task| task.holds_slot());
        let Some((of, slot)) = before.slot().filter(|_| was_stopped && is_ready(before)) else { continue };
        let Some(deployment) = model.deployments.get(&of).filter(|one| is_wanted(one, slot)) else { continue };
        // As the manager says it in its plans for deployments.
        let message = &change.event.message;
        let is_excess = message.ends_with("has another task") || message.ends_with("serves in its place");
        let monitor = match kept_monitor(deployment) {
            Some(monitor) if message.ends_with("takes its place") => monitor,
            _ if is_excess => Duration::ZERO,
            _ => continue,
        };
        let mut others = in_place(&model, of, slot).filter(|task| task.task_id != before.task_id);
        // One that has done its work serves no longer, and is what was wanted of it.
        let suffices = |task: &Arc<Task>| {
            task.status.state == TaskState::Completed
                || (is_ready(task) && served.for_so_long(task.task_id, now, monitor))
        };
        if !others.any(suffices) {
            let (revision, name, key) = (change.event.revision.0, &deployment.name, before.key());
            let what = format!("{key} serves in {slot:?} of {name}, goes at revision {revision}");
            violations.add(5, format!("{what}, and no other has served there for {monitor:?}: {message}"));
        }
    }
}

/// Since when tasks serve, by the manager's clock.
#[derive(Debug, Default)]
struct Served {
    since: BTreeMap<TaskId, Timestamp>,
    last: Option<Timestamp>,
}

impl Served {
    fn note(&mut self, change: &Change) {
        let now = change.event.time;
        if self.last.is_some_and(|last| now < last) {
            // It was set back: how long something lasted can't be told from then on.
            self.since.values_mut().for_each(|since| *since = Timestamp::MIN);
        }
        self.last = Some(now);
        let Versions::Task { after, .. } = &change.versions else { return };
        match after.as_ref().filter(|task| is_ready(task)) {
            Some(task) => drop(self.since.entry(task.task_id).or_insert(now)),
            None => drop(change.event.task_id().and_then(|task_id| self.since.remove(&task_id))),
        }
    }

    fn for_so_long(&self, task_id: TaskId, now: Timestamp, time: Duration) -> bool {
        let since = self.since.get(&task_id);
        since.is_some_and(|since| since.checked_add(time).is_ok_and(|until| until <= now))
    }
}

/// How long a new task has to serve before the old one goes, where what serves stays until then.
fn kept_monitor(deployment: &Deployment) -> Option<Duration> {
    let policy = deployment.current()?.spec.policy(deployment.rollout.is_rollback);
    let keeps = policy.order == UpdateOrder::StartFirst && policy.on_failure != OnRolloutFailure::Continue;
    keeps.then_some(policy.monitor)
}

fn is_wanted(deployment: &Deployment, slot: Slot) -> bool {
    match (deployment.current().map(|version| version.spec.mode), slot) {
        (Some(DeploymentMode::Replicated { replicas }), Slot::Replica(number)) => number <= replicas,
        (Some(DeploymentMode::Global), Slot::Node(_)) => true,
        _ => false,
    }
}

fn is_ready(task: &Task) -> bool {
    task.status.state == TaskState::Running && task.status.ready
}

fn in_place(model: &Model, deployment_id: DeploymentId, slot: Slot) -> impl Iterator<Item = &Arc<Task>> {
    model.holding(deployment_id).filter(move |(in_slot, _)| *in_slot == slot).map(|(_, task)| task)
}

fn name_of(model: &Model, deployment_id: DeploymentId) -> String {
    model.deployments.get(&deployment_id).map_or_else(|| deployment_id.to_string(), |one| one.name.clone())
}

/// Every version of every deployment that the disk has.
fn deployments(journal: &[Arc<Batch>]) -> impl Iterator<Item = &Arc<Deployment>> {
    journal.iter().flat_map(|batch| &batch.changes).filter_map(|change| match &change.versions {
        Versions::Deployment { after, .. } => after.as_ref(),
        Versions::Node { .. } | Versions::Task { .. } | Versions::Job { .. } | Versions::Config { .. } => None,
    })
}

/// What of deployments is not as it is to be, once all is quiet.
pub(super) fn unsettled(model: &Model) -> Vec<String> {
    let is_left = |task: &&Arc<Task>| {
        let of = task.slot().map(|(of, _)| of);
        let is_orphan = of.is_some_and(|of| !model.deployments.contains_key(&of));
        is_orphan && (task.holds_slot() || !task.is_finished())
    };
    let left: Vec<TaskId> = model.tasks.values().filter(is_left).map(|task| task.task_id).collect();
    let left = left.into_iter().map(|task_id| format!("{task_id} is of a deployment that is gone"));
    left.chain(model.deployments.values().flat_map(|deployment| super::places::unsettled(model, deployment))).collect()
}
