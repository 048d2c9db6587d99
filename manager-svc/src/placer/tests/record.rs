//! What was committed, version by version, and what nodes hold in each: counted from the tasks' specs alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use davit_core::id::{NodeId, Revision, TaskId};
use davit_core::node::Node;
use davit_core::resources::Resources;
use davit_core::spec::{Port, RuntimeSpec};
use davit_core::state::TaskState;
use davit_core::task::{PortBinding, Task};
use parking_lot::Mutex;

use crate::state::{Batch, Versions};
use crate::store::{Error, MemoryStore, Snapshot, Store};

/// A store that remembers every batch.
#[derive(Debug, Default)]
pub(super) struct RecordingStore {
    inner: MemoryStore,
    batches: Mutex<Vec<Arc<Batch>>>,
}

#[async_trait]
impl Store for RecordingStore {
    async fn load(&self) -> Result<Snapshot, Error> {
        self.inner.load().await
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        self.batches.lock().push(Arc::clone(&batch));
        self.inner.commit(batch).await
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl RecordingStore {
    pub(super) fn batches(&self) -> Vec<Arc<Batch>> {
        self.batches.lock().clone()
    }

    /// Goes through every version there was. Answers what nodes hold in the last.
    ///
    /// # Panics
    /// Where a node holds more than it has.
    pub(super) fn check_every_version(&self) -> BTreeMap<NodeId, Held> {
        let mut nodes: BTreeMap<NodeId, Held> = BTreeMap::new();
        for change in self.batches().iter().flat_map(|batch| &batch.changes) {
            match &change.versions {
                Versions::Node { after: Some(node), .. } => {
                    nodes.entry(node.node_id).or_default().node = Some(Arc::clone(node));
                }
                Versions::Task { before, after } => {
                    if let Some((node_id, task)) = before.as_ref().and_then(on_node) {
                        nodes.entry(node_id).or_default().tasks.remove(&task.task_id);
                    }
                    if let Some((node_id, task)) = after.as_ref().and_then(on_node) {
                        let held = nodes.entry(node_id).or_default();
                        held.tasks.insert(task.task_id, Arc::clone(task));
                        held.check(change.event.revision);
                    }
                }
                Versions::Node { after: None, .. } => panic!("no node leaves"),
                Versions::Deployment { .. } | Versions::Job { .. } | Versions::Config { .. } => {}
            }
        }
        nodes
    }

    /// How often a task was given a node.
    pub(super) fn placements(&self) -> usize {
        let batches = self.batches();
        let changes = batches.iter().flat_map(|batch| &batch.changes);
        let placed = |versions: &Versions| match versions {
            Versions::Task { before, after: Some(after) } => {
                let was = before.as_ref().map(|before| before.status.state);
                was == Some(TaskState::Pending) && after.status.state == TaskState::Scheduled
            }
            Versions::Task { .. }
            | Versions::Node { .. }
            | Versions::Deployment { .. }
            | Versions::Job { .. }
            | Versions::Config { .. } => false,
        };
        changes.filter(|change| placed(&change.versions)).count()
    }
}

/// The node on which a task is; it holds its room from the moment that it was chosen until the attempt has ended.
fn on_node(task: &Arc<Task>) -> Option<(NodeId, &Arc<Task>)> {
    let holds = matches!(
        task.status.state,
        TaskState::Scheduled | TaskState::Preparing | TaskState::Running | TaskState::Stopping
    );
    task.status.node_id.filter(|_| holds).map(|node_id| (node_id, task))
}

/// What a node holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    node: Option<Arc<Node>>,
    tasks: BTreeMap<TaskId, Arc<Task>>,
}

impl Held {
    pub(super) fn allocatable(&self) -> Resources {
        self.node.as_ref().expect("a node that joined").description.allocatable
    }

    pub(super) fn reserved(&self) -> Resources {
        let mut sum = Resources::ZERO;
        for one in self.tasks.values().map(|task| task.spec.resources.reservation) {
            sum.cpu_millis += one.cpu_millis;
            sum.memory_bytes += one.memory_bytes;
            sum.disk_bytes += one.disk_bytes;
        }
        sum
    }

    fn check(&self, revision: Revision) {
        let (has, holds) = (self.allocatable(), self.reserved());
        let node = self.node.as_ref().expect("a node that joined");
        let name = &node.description.name;
        assert!(holds.cpu_millis <= has.cpu_millis, "revision {revision}: {name} has {has:?} and holds {holds:?}");
        assert!(holds.memory_bytes <= has.memory_bytes, "revision {revision}: {name} has {has:?} and holds {holds:?}");
        assert!(holds.disk_bytes <= has.disk_bytes, "revision {revision}: {name} has {has:?} and holds {holds:?}");
        let range = node.description.port_range.expect("a range");
        let mut taken = BTreeSet::new();
        for task in self.tasks.values() {
            let (asked, got) = (ports(task), &task.status.ports);
            assert_eq!(asked.len(), got.len(), "revision {revision}: {task:?}");
            for (asked, PortBinding { protocol, host_port, .. }) in asked.iter().zip(got) {
                let is_right = asked.host_port.map_or(range.contains(*host_port), |fixed| fixed == *host_port);
                assert!(is_right, "revision {revision}: {host_port} was given for {asked:?}");
                assert!(taken.insert((*protocol, *host_port)), "revision {revision}: {name} gave {host_port} twice");
            }
        }
    }
}

fn ports(task: &Task) -> &[Port] {
    match &task.spec.runtime {
        RuntimeSpec::Container(container) => &container.ports,
        RuntimeSpec::Process(_) => &[],
    }
}
