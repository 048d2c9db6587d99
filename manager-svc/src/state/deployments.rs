//! Deployments, and what follows from their tasks. Which of them are to be looked at is kept up with every version of tasks and
//! nodes, so that nobody has to go over those at rest.

use std::sync::Arc;

use davit_core::deployment::{Deployment, DeploymentMode};
use davit_core::id::{DeploymentId, TaskId};
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{Slot, Task};
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use uuid::Uuid;

use super::ClusterState;
use super::agenda::Agenda;
use super::specs::SpecAddress;

/// Comes before all ids of tasks.
const FIRST_TASK: TaskId = TaskId(Uuid::nil());

/// All deployments.
#[derive(Debug, Clone, Default)]
pub(super) struct Deployments {
    by_id: OrdMap<DeploymentId, Arc<Deployment>>,
    by_name: OrdMap<String, DeploymentId>,
    /// The deployments of each app, by name.
    by_app: OrdMap<String, OrdSet<String>>,
    /// Which deployments wait for one of a name, that may not be there.
    waiters: OrdMap<String, OrdSet<DeploymentId>>,
    /// Those that have a task on each node.
    global: OrdSet<DeploymentId>,
    replicas: OrdMap<DeploymentId, Replicas>,
    /// Those that lacked tasks when they were looked at, because there were as many as there may be.
    without_room: OrdSet<DeploymentId>,
    agenda: Agenda<DeploymentId>,
}

/// The tasks of one deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// Those that fill a place of it, or have not ended.
    tasks: OrdSet<(Slot, TaskId)>,
    /// All others: they have ended and are kept to be looked at.
    past: OrdSet<TaskId>,
    /// Those of them that fill a place and are not ready.
    unready: OrdSet<TaskId>,
    /// How many fill a place.
    holding: u32,
    /// How many of those have done their work.
    completed: u32,
    /// How many of those have each spec.
    by_spec: OrdMap<SpecAddress, u32>,
}

impl Replicas {
    /// How many fill a place of the deployment.
    pub(crate) fn holding(&self) -> u32 {
        self.holding
    }

    /// How many of those are ready.
    pub(crate) fn ready(&self) -> u32 {
        self.holding.saturating_sub(u32::try_from(self.unready.len()).unwrap_or(u32::MAX))
    }

    /// How many of those have done their work: they ended well, and their restart policy leaves it at that.
    pub(crate) fn completed(&self) -> u32 {
        self.completed
    }

    /// How many of those have this very spec.
    pub(crate) fn holding_with(&self, spec: &TaskSpec) -> u32 {
        self.by_spec.get(&SpecAddress::of(spec)).copied().unwrap_or(0)
    }

    /// How many do not fill a place any more and have not ended.
    pub(crate) fn stopping(&self) -> u32 {
        u32::try_from(self.tasks.len()).unwrap_or(u32::MAX).saturating_sub(self.holding)
    }

    /// The last slot that has a task.
    pub(crate) fn last_slot(&self) -> Option<Slot> {
        self.tasks.get_max().map(|(slot, _)| *slot)
    }

    /// Whether a slot has a task.
    pub(crate) fn has_slot(&self, slot: Slot) -> bool {
        self.tasks.range((slot, FIRST_TASK)..).next().is_some_and(|(next, _)| *next == slot)
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.past.is_empty()
    }

    fn add(&mut self, slot: Slot, task: &Task) {
        if !task.holds_slot() {
            if task.is_finished() {
                self.past.insert(task.task_id);
            } else {
                self.tasks.insert((slot, task.task_id));
            }
            return;
        }
        self.tasks.insert((slot, task.task_id));
        self.holding += 1;
        self.completed += u32::from(task.status.state == TaskState::Completed);
        *self.by_spec.entry(SpecAddress::of(&task.spec)).or_default() += 1;
        if !is_ready(task) {
            self.unready.insert(task.task_id);
        }
    }

    fn remove(&mut self, slot: Slot, task: &Task) {
        self.past.remove(&task.task_id);
        self.tasks.remove(&(slot, task.task_id));
        if !task.holds_slot() {
            return;
        }
        self.holding = self.holding.saturating_sub(1);
        self.completed = self.completed.saturating_sub(u32::from(task.status.state == TaskState::Completed));
        let address = SpecAddress::of(&task.spec);
        if let Some(count) = self.by_spec.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_spec.remove(&address);
            }
        }
        self.unready.remove(&task.task_id);
    }
}

/// Whether a task serves.
pub(crate) fn is_ready(task: &Task) -> bool {
    task.status.ready && task.status.state == TaskState::Running
}

impl ClusterState {
    /// One deployment.
    #[must_use]
    pub fn deployment(&self, deployment_id: DeploymentId) -> Option<&Arc<Deployment>> {
        self.deployments.by_id.get(&deployment_id)
    }

    /// The deployment of this id or name.
    #[must_use]
    pub fn find_deployment(&self, id_or_name: &str) -> Option<&Arc<Deployment>> {
        let by_id = id_or_name.parse().ok().and_then(|id| self.deployment(id));
        by_id.or_else(|| self.deployment_by_name(id_or_name))
    }

    /// The deployment of this name.
    #[must_use]
    pub fn deployment_by_name(&self, name: &str) -> Option<&Arc<Deployment>> {
        self.deployment(*self.deployments.by_name.get(name)?)
    }

    /// How many deployments there are.
    #[must_use]
    pub fn deployment_count(&self) -> usize {
        self.deployments.by_id.len()
    }

    /// All deployments, in the order of their ids.
    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.deployments.by_id.values()
    }

    /// The first deployment, or the one after another, in the order of their ids.
    pub(crate) fn deployment_after(&self, after: Option<DeploymentId>) -> Option<&Arc<Deployment>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.deployments.by_id.range((start, Unbounded)).next().map(|(_, deployment)| deployment)
    }

    /// Deployments in the order of their names, those after this one.
    pub fn deployments_after(&self, name: &str) -> impl Iterator<Item = &Arc<Deployment>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.deployments.by_name.range::<_, str>((Excluded(name), Unbounded));
        after.filter_map(|(_, deployment_id)| self.deployments.by_id.get(deployment_id))
    }

    /// The names of apps after this one, in order.
    pub(crate) fn apps_after(&self, app: &str) -> impl Iterator<Item = &String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let with_deployments =
            self.deployments.by_app.range::<_, str>((Excluded(app), Unbounded)).map(|(name, _)| name);
        let mut with_jobs = self.apps_with_jobs_after(app).peekable();
        let mut with_deployments = with_deployments.peekable();
        std::iter::from_fn(move || match (with_deployments.peek(), with_jobs.peek()) {
            (Some(one), Some(other)) if one == other => {
                with_jobs.next();
                with_deployments.next()
            }
            (Some(one), Some(other)) if one > other => with_jobs.next(),
            (None, Some(_)) => with_jobs.next(),
            (Some(_) | None, _) => with_deployments.next(),
        })
    }

    /// The deployments of an app, in the order of their names.
    pub(crate) fn deployments_of_app(&self, app: &str) -> impl Iterator<Item = &Arc<Deployment>> {
        let names = self.deployments.by_app.get(app).into_iter().flatten();
        names.filter_map(|name| self.deployment_by_name(name))
    }

    /// What follows from the tasks of a deployment.
    pub(crate) fn replicas(&self, deployment_id: DeploymentId) -> Replicas {
        self.deployments.replicas.get(&deployment_id).cloned().unwrap_or_default()
    }

    /// The tasks of a deployment that fill a place of it or have not ended, slot by slot.
    pub(crate) fn tasks_of(&self, deployment_id: DeploymentId) -> impl Iterator<Item = (Slot, &Arc<Task>)> {
        let tasks = self.deployments.replicas.get(&deployment_id).into_iter().flat_map(|replicas| &replicas.tasks);
        self.visits.of_tasks(tasks.filter_map(|(slot, task_id)| Some((*slot, self.tasks.get(task_id)?))))
    }

    /// The tasks of a deployment that fill a place of it and are not ready.
    pub(crate) fn unready_of(&self, deployment_id: DeploymentId) -> impl Iterator<Item = &Arc<Task>> {
        let unready = self.deployments.replicas.get(&deployment_id).into_iter().flat_map(|replicas| &replicas.unready);
        self.visits.of_tasks(unready.filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Whether a task in this place of a deployment is ready.
    pub(crate) fn is_served(&self, deployment_id: DeploymentId, slot: Slot) -> bool {
        let in_slot = (slot, FIRST_TASK)..=(slot, TaskId(Uuid::max()));
        let replicas = self.deployments.replicas.get(&deployment_id);
        let mut tasks = replicas.into_iter().flat_map(|replicas| replicas.tasks.range(in_slot.clone()));
        tasks.any(|(_, task_id)| self.tasks.get(task_id).is_some_and(|task| is_ready(task)))
    }

    /// The tasks of a deployment that have ended and fill no place of it any more, in the order of their ids.
    pub(crate) fn past_tasks_of(&self, deployment_id: DeploymentId) -> impl Iterator<Item = &Arc<Task>> {
        let past = self.deployments.replicas.get(&deployment_id).into_iter().flat_map(|replicas| &replicas.past);
        self.visits.of_tasks(past.filter_map(|task_id| self.tasks.get(task_id)))
    }

    /// Deployments that are to be looked at by now, in the order of their ids.
    pub(crate) fn deployments_to_look_at(&self, now: Timestamp) -> Vec<DeploymentId> {
        self.deployments.agenda.due(now)
    }

    /// When time alone makes the next deployment due.
    pub(crate) fn next_deployment_look(&self) -> Option<Timestamp> {
        self.deployments.agenda.next()
    }

    /// A deployment was looked at, and is to be looked at again when something changes or at this time.
    pub(super) fn note_looked_at(&mut self, deployment_id: DeploymentId, next_look: Option<Timestamp>) {
        self.deployments.agenda.note_looked_at(deployment_id, next_look);
    }

    /// Whether a deployment lacks tasks because there are as many as there may be.
    pub(crate) fn lacks_room(&self, deployment_id: DeploymentId) -> bool {
        self.deployments.without_room.contains(&deployment_id)
    }

    pub(super) fn note_room(&mut self, deployment_id: DeploymentId, lacks_room: bool) {
        if lacks_room {
            self.deployments.without_room.insert(deployment_id);
        } else {
            self.deployments.without_room.remove(&deployment_id);
        }
    }

    /// Brings what follows from a deployment from one version of it to the next.
    pub(super) fn reindex_deployment(&mut self, before: Option<&Arc<Deployment>>, after: Option<&Arc<Deployment>>) {
        let Some(deployment_id) = after.or(before).map(|deployment| deployment.deployment_id) else { return };
        if let Some(name) = after.or(before).map(|deployment| deployment.name.clone()) {
            self.note_waiters(&name);
        }
        let deployments = &mut self.deployments;
        if let Some(before) = before
            && deployments.by_name.get(&before.name) == Some(&deployment_id)
        {
            deployments.by_name.remove(&before.name);
        }
        if let Some(before) = before {
            deployments.leave(before);
        }
        let Some(after) = after else {
            deployments.by_id.remove(&deployment_id);
            deployments.global.remove(&deployment_id);
            deployments.without_room.remove(&deployment_id);
            deployments.agenda.note_looked_at(deployment_id, None);
            return;
        };
        deployments.enter(after);
        deployments.by_name.insert(after.name.clone(), deployment_id);
        deployments.by_id.insert(deployment_id, Arc::clone(after));
        if after.current().is_some_and(|version| version.spec.mode == DeploymentMode::Global) {
            deployments.global.insert(deployment_id);
        } else {
            deployments.global.remove(&deployment_id);
        }
        deployments.agenda.note_change(deployment_id);
    }

    /// A node changed: deployments that have a task on each node may have to follow.
    pub(super) fn note_node_change(&mut self) {
        for deployment_id in &self.deployments.global {
            self.deployments.agenda.note_change(*deployment_id);
        }
    }

    /// Brings what follows from a task for its deployment from one version of it to the next.
    pub(super) fn reindex_replica(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let Some((deployment_id, slot)) = after.or(before).and_then(Task::slot) else { return };
        if let (Some(before), Some(after)) = (before, after)
            && looks_alike(before, after)
        {
            return;
        }
        let replicas = self.deployments.replicas.entry(deployment_id).or_default();
        if let Some(task) = before {
            replicas.remove(slot, task);
        }
        if let Some(task) = after {
            replicas.add(slot, task);
        }
        if replicas.is_empty() {
            self.deployments.replicas.remove(&deployment_id);
        }
        // One that is gone is looked at no more.
        if let Some(deployment) = self.deployments.by_id.get(&deployment_id).cloned() {
            self.deployments.agenda.note_change(deployment_id);
            self.note_waiters(&deployment.name);
        }
    }
}

impl Deployments {
    /// Has those looked at that wait for a deployment.
    pub(super) fn note_waiters(&mut self, name: &str) {
        if let Some(waiters) = self.waiters.get(name) {
            waiters.iter().for_each(|waiter| self.agenda.note_change(*waiter));
        }
    }

    /// Whether some wait for a deployment or job.
    pub(super) fn has_waiters(&self, name: &str) -> bool {
        self.waiters.contains_key(name)
    }

    /// Takes a deployment's app, and what it waits for, into account.
    fn enter(&mut self, deployment: &Deployment) {
        if let Some(app) = app_of(deployment) {
            self.by_app.entry(app.to_owned()).or_default().insert(deployment.name.clone());
        }
        for name in waited_for(deployment) {
            self.waiters.entry(name.to_owned()).or_default().insert(deployment.deployment_id);
        }
    }

    /// The contrary of [`Self::enter`].
    fn leave(&mut self, deployment: &Deployment) {
        if let Some(app) = app_of(deployment) {
            without(&mut self.by_app, app, &deployment.name);
        }
        for name in waited_for(deployment) {
            without(&mut self.waiters, name, &deployment.deployment_id);
        }
    }
}

fn app_of(deployment: &Deployment) -> Option<&str> {
    deployment.current().map(|version| version.spec.app.as_str()).filter(|app| !app.is_empty())
}

/// The names of those that it waits for now.
fn waited_for(deployment: &Deployment) -> impl Iterator<Item = &str> {
    let current = deployment.current().filter(|_| deployment.waits);
    current.into_iter().flat_map(|version| &version.spec.start_after).map(|dependency| dependency.deployment.as_str())
}

/// Takes a value out of a set of an index, and the set out of it when it is empty.
pub(super) fn without<T: Ord + Clone>(index: &mut OrdMap<String, OrdSet<T>>, key: &str, value: &T) {
    let Some(values) = index.get_mut(key) else { return };
    values.remove(value);
    if values.is_empty() {
        index.remove(key);
    }
}

/// Whether nothing differs for the deployment of a task.
fn looks_alike(before: &Task, after: &Task) -> bool {
    let view = |task: &Task| {
        let status = &task.status;
        let where_it_is = (status.attempt, status.state, status.ready, status.node_id, status.local_restarts);
        (task.desired_state, where_it_is, SpecAddress::of(&task.spec))
    };
    view(before) == view(after)
}
