//! Fills a store as a manager does: commands on a draft, one commit for what they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, NodeId, TaskId};
use davit_core::node::NodeDescription;
use davit_core::placement::RuntimeKind;
use davit_core::resources::Resources;
use davit_core::spec::{ContainerSpec, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_svc_kit::clock::{Clock, SystemClock};
use davit_svc_kit::ids::{IdSource, UuidV7Source};
use manager_svc::commands::{
    Limits, NewTasks, Placement, Registration, apply_reports, commit_placements, create_tasks, register_node,
};
use manager_svc::state::{ClusterState, Draft, KeptEvents, KeyedSpec};
use manager_svc::store::{FjallStore, Store};
use tokio::time::Instant;

use crate::error::Error;

/// A cluster whose every change is committed to a store.
pub(super) struct Filler {
    state: ClusterState,
    store: FjallStore,
    specs: Vec<KeyedSpec>,
    nodes: Vec<NodeId>,
    /// How many tasks there are.
    count: usize,
}

/// How long commits took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// All of them, with what made them.
    pub(super) total: Duration,
    /// The slowest one in the store.
    pub(super) slowest: Duration,
}

impl Filler {
    /// A new store with nodes and no task.
    pub(super) async fn open(data_dir: &Path, nodes: u32, shapes: u32) -> Result<Self, Error> {
        let store = FjallStore::open(data_dir, "davit").map_err(broken)?;
        let specs = (0..shapes).map(spec).collect::<Result<_, _>>()?;
        let ids = || NodeId(UuidV7Source.next_uuid());
        let nodes: Vec<NodeId> = (0..nodes).map(|_| ids()).collect();
        let mut filler = Self { state: ClusterState::new(KeptEvents::default()), store, specs, nodes, count: 0 };
        let registrations: Vec<Registration> =
            filler.nodes.iter().enumerate().map(|(index, node_id)| registration(index, *node_id)).collect();
        filler
            .commit(|draft| {
                registrations
                    .into_iter()
                    .try_for_each(|each| register_node(draft, each, Duration::from_secs(10)).map(drop))
                    .map_err(broken)
            })
            .await?;
        Ok(filler)
    }

    /// Creates so many tasks so often; each is placed, and reported to run in a commit of its own.
    pub(super) async fn fill(&mut self, size: usize, commits: usize) -> Result<Times, Error> {
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        for _ in 0..commits {
            let task_ids: Vec<TaskId> = (0..size).map(|_| UuidV7Source.task_id()).collect();
            let node_of = |at: usize, this: &Self| this.nodes[(this.count + at) % this.nodes.len()];
            let spec = self.specs[self.count / size % self.specs.len()].clone();
            let placements: Vec<Placement> = (0..size)
                .map(|at| Placement {
                    key: AttemptKey { task_id: task_ids[at], attempt: Attempt(1) },
                    node_id: node_of(at, self),
                })
                .collect();
            let new = NewTasks { spec, task_ids, gang_id: None };
            let first = self
                .commit(|draft| {
                    create_tasks(draft, &[new], None, Limits::NONE).map_err(broken)?;
                    let report = commit_placements(draft, &placements);
                    if report.committed == size { Ok(()) } else { Err(broken("not all tasks were placed")) }
                })
                .await?;
            let second = self
                .commit(|draft| {
                    let now = draft.now();
                    for Placement { key, node_id } in &placements {
                        let status = AttemptStatus {
                            state: TaskState::Running,
                            node_id: Some(*node_id),
                            ready: true,
                            started_at: Some(now),
                            ..AttemptStatus::pending(key.attempt, "")
                        };
                        let counts = apply_reports(draft, *node_id, vec![(key.task_id, status)]);
                        if counts.applied != 1 {
                            return Err(broken("a report was not applied"));
                        }
                    }
                    Ok(())
                })
                .await?;
            slowest = slowest.max(first).max(second);
            self.count += size;
        }
        Ok(Times { total: began.elapsed(), slowest })
    }

    /// Closes the store. Says how many tasks it holds.
    pub(super) fn close(self) -> u64 {
        self.count as u64
    }

    /// Says how long the store took.
    async fn commit(&mut self, run: impl FnOnce(&mut Draft) -> Result<(), Error>) -> Result<Duration, Error> {
        let mut draft = Draft::new(self.state.clone(), SystemClock.now());
        run(&mut draft)?;
        let (state, batch) = draft.finish();
        let began = Instant::now();
        self.store.commit(Arc::new(batch)).await.map_err(broken)?;
        self.state = state;
        Ok(began.elapsed())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn broken(problem: impl ToString) -> Error {
    Error::WrongAnswer(problem.to_string())
}

fn spec(shape: u32) -> Result<KeyedSpec, Error> {
    let image = "registry.example/app:1.36".parse().map_err(broken)?;
    let mut spec = TaskSpec::new(format!("app-{shape}"), RuntimeSpec::Container(ContainerSpec::new(image)));
    spec.resources.reservation = Resources { cpu_millis: 10, memory_bytes: 16 << 20, disk_bytes: 0 };
    spec.labels = BTreeMap::from([("app".to_owned(), format!("app-{shape}")), ("team".to_owned(), "store".to_owned())]);
    Ok(KeyedSpec::new(Arc::new(spec)))
}

fn registration(index: usize, node_id: NodeId) -> Registration {
    let room = Resources { cpu_millis: 1_000_000, memory_bytes: 1 << 50, disk_bytes: 1 << 50 };
    let description = NodeDescription {
        name: format!("node-{index}"),
        address: "10.0.0.1".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: BTreeMap::from([("zone".to_owned(), format!("zone-{}", index % 3))]),
        allocatable: room,
        capacity: room,
        runtimes: BTreeSet::from([RuntimeKind::Docker]),
        port_range: None,
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Registration {
        node_id,
        registration_number: 1,
        worker_run: None,
        draining: false,
        takes_spec_numbers: true,
        description,
        runtime_problems: BTreeMap::new(),
        attempts: Vec::new(),
    }
}
