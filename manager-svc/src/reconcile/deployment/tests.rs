//! Deployments on a cluster that does what it is told at once, and on one to which anything happens.

mod global;
mod properties;
mod rollouts;
mod slots;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{
    DEFAULT_KEPT_VERSIONS, Deployment, DeploymentMode, DeploymentSpec, RolloutState, UpdateOrder, UpdatePolicy,
};
use davit_core::id::{DeploymentId, NodeId, TaskId};
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{ContainerSpec, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Task};
use uuid::Uuid;

use crate::commands::test_support::{Cluster, keyed, node_id, status, task_id};
use crate::commands::{
    Limits, Named, NewDeployment, Placement, Wanted, commit_placements, create_deployment, has_ripe_claim,
    reconcile_deployment, settle_claims, update_deployment,
};
use crate::state::{ClusterState, Versions};

const ID: DeploymentId = DeploymentId(Uuid::from_u128(0xD));

/// A deployment on a cluster.
struct Rig {
    cluster: Cluster,
    /// How many tasks were made.
    made: u64,
}

fn image(version: u32) -> TaskSpec {
    let container = ContainerSpec::new(format!("web:{version}").parse().unwrap());
    let restart = RestartPolicy { mode: RestartMode::Always, ..RestartPolicy::default() };
    TaskSpec { restart, ..TaskSpec::new("web", RuntimeSpec::Container(container)) }
}

fn policy(order: UpdateOrder, parallelism: u32) -> UpdatePolicy {
    UpdatePolicy { order, parallelism, ..UpdatePolicy::default() }
}

fn spec(replicas: u32, task: TaskSpec, update: UpdatePolicy) -> DeploymentSpec {
    DeploymentSpec {
        labels: BTreeMap::new(),
        mode: DeploymentMode::Replicated { replicas },
        task: Arc::new(task),
        update,
        rollback: None,
        kept_versions: DEFAULT_KEPT_VERSIONS,
        app: String::new(),
        start_after: Vec::new(),
    }
}

fn wanted(spec: DeploymentSpec) -> Wanted {
    let task = keyed(TaskSpec::clone(&spec.task));
    Wanted { spec, task, author: "someone".to_owned() }
}

fn named() -> Named {
    Named { deployment: "web".to_owned(), etag: String::new() }
}

impl Rig {
    /// One that was just created, and nothing done for it.
    fn new(nodes: u64, spec: DeploymentSpec) -> Self {
        let mut rig = Self { cluster: Cluster::new(nodes), made: 0 };
        let new = NewDeployment { deployment_id: ID, name: "web".to_owned(), wanted: wanted(spec), request: None };
        rig.cluster.run(|draft| create_deployment(draft, new, Limits::NONE)).unwrap();
        rig
    }

    /// One of which all runs.
    fn running(nodes: u64, spec: DeploymentSpec) -> Self {
        let mut rig = Self::new(nodes, spec);
        rig.settle();
        assert_eq!(rig.state(), RolloutState::Complete, "{:?}", rig.deployment().rollout);
        rig
    }

    fn deployment(&self) -> &Arc<Deployment> {
        self.cluster.state.deployment(ID).unwrap()
    }

    fn state(&self) -> RolloutState {
        self.deployment().rollout.state
    }

    fn update(&mut self, spec: DeploymentSpec) {
        self.cluster.run(|draft| update_deployment(draft, &named(), wanted(spec), Limits::NONE)).unwrap();
    }

    /// Looks at it until nothing is to be done at this time.
    fn look(&mut self) {
        for _ in 0..100 {
            let due = self.cluster.state.deployments_to_look_at(self.cluster.now);
            if due.is_empty() {
                return;
            }
            let made = self.made;
            let mut numbers = made..;
            let before = self.cluster.state.clone();
            self.cluster.run(|draft| {
                let mut ids = numbers.by_ref().map(|number| task_id(1_000_000 + number));
                due.iter().for_each(|id| reconcile_deployment(draft, *id, &mut ids, Limits::NONE));
            });
            self.made = numbers.start;
            self.check_places(&before);
        }
        panic!("it is never at rest: {:?}", self.cluster.state.deployment(ID));
    }

    /// That at no revision of the last change a place got a third task.
    fn check_places(&self, before: &ClusterState) {
        let batch = &self.cluster.last_batch;
        if batch.is_empty() {
            return;
        }
        let slot_of = |task: &Arc<Task>| task.slot().filter(|(of, _)| *of == ID && task.holds_slot());
        let mut there = BTreeMap::new();
        before.tasks().filter_map(slot_of).for_each(|(_, slot)| *there.entry(slot).or_insert(0) += 1);
        for change in &batch.changes {
            let Versions::Task { before, after } = &change.versions else { continue };
            if let Some((_, slot)) = before.as_ref().and_then(slot_of) {
                *there.entry(slot).or_insert(0) -= 1;
            }
            if let Some((_, slot)) = after.as_ref().and_then(slot_of) {
                let there = there.entry(slot).or_insert(0);
                *there += 1;
                assert!(*there <= 2 || before.is_some(), "{slot:?} has {there}: {}", change.event.message);
            }
        }
    }

    fn tasks(&self) -> Vec<Arc<Task>> {
        self.cluster.state.tasks_of(ID).map(|(_, task)| Arc::clone(task)).collect()
    }

    /// Tasks that fill a place, with the number in their image and whether they are ready.
    fn holding(&self) -> Vec<(u32, bool)> {
        let tasks = self.tasks();
        let mut holding: Vec<_> =
            tasks.iter().filter(|task| task.holds_slot()).map(|task| (version_of(task), task.status.ready)).collect();
        holding.sort_unstable();
        holding
    }

    fn report(&mut self, task_id: TaskId, state: TaskState, ready: bool) {
        let Some(task) = self.cluster.state.task(task_id).cloned() else { return };
        let Some(on) = task.status.node_id else { return };
        let sequence = task.status.sequence + 1;
        let reported = AttemptStatus { ready, sequence, ..status(task.status.attempt, state) };
        self.cluster.run(|draft| crate::commands::apply_reports(draft, on, vec![(task_id, reported)]));
    }

    /// Gives every task that waits a node.
    fn place(&mut self) {
        let nodes: Vec<NodeId> = self.cluster.state.nodes().map(|node| node.node_id).collect();
        let waiting: Vec<_> = self.cluster.state.placeable(self.cluster.now).map(|task| task.key()).collect();
        for (nth, key) in waiting.into_iter().enumerate() {
            for shift in 0..nodes.len() {
                let placement = Placement { key, node_id: nodes[(nth + shift) % nodes.len()] };
                if self.cluster.run(|draft| commit_placements(draft, &[placement])).committed == 1 {
                    break;
                }
            }
        }
        if has_ripe_claim(&self.cluster.state, self.cluster.now) {
            self.cluster.run(settle_claims);
        }
    }

    /// Does what workers do: starts what is to run, ends what is to stop. `ready`: whether what starts serves.
    fn work(&mut self, ready: impl Fn(&Task) -> bool) {
        self.place();
        for task in self.tasks() {
            let is_on_node = task.status.state.is_on_node();
            if !task.wants_current_attempt() && is_on_node {
                self.report(task.task_id, TaskState::Stopped, false);
            } else if is_on_node && (task.status.state != TaskState::Running || task.status.ready != ready(&task)) {
                self.report(task.task_id, TaskState::Running, ready(&task));
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.cluster.advance(Duration::from_secs(seconds));
    }

    /// Lets everything come to its end, with all that runs healthy.
    fn settle(&mut self) {
        for _ in 0..500 {
            let before = self.cluster.state.revision();
            self.look();
            self.work(|_| true);
            self.look();
            if self.cluster.state.revision() == before {
                let Some(at) = self.cluster.state.next_deployment_look() else { return };
                self.cluster.now = self.cluster.now.max(at);
            }
        }
        panic!("it does not settle: {:?}", self.deployment().rollout);
    }
}

fn version_of(task: &Task) -> u32 {
    let RuntimeSpec::Container(container) = &task.spec.runtime else { return 0 };
    container.image.to_string().rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
