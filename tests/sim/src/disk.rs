//! The manager's disk: a journal of batches of which only a prefix is synced. A crash of the process loses nothing that was
//! written; a loss of power leaves the synced part and, of the rest, as much as happened to reach the disk: the record that
//! was torn and all after it are gone.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::{ClusterId, DeploymentId, JobId, Revision, TaskId};
use davit_svc_kit::bugs::{self, Bug};
use davit_svc_kit::ids::{IdSource as _, SeededSource};
use manager_svc::state::{Batch, Versions};
use manager_svc::store::{Error, MemoryStore, Snapshot, Store};
use parking_lot::Mutex;

use crate::gate::Gate;
use crate::history::{Event, History};
use crate::model::Model;
use crate::rng::Rng;

/// A write into the page cache, and a sync, as they usually are.
const WRITE_MICROS: (u64, u64) = (20, 200);
const SYNC_MICROS: (u64, u64) = (300, 3000);

/// The disk beneath the manager. Clones are the same.
#[derive(Debug, Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    /// Whose state it holds.
    cluster_id: ClusterId,
    history: History,
    rng: Rng,
}

#[derive(Debug, Default)]
struct State {
    journal: Vec<Arc<Batch>>,
    synced: usize,
    /// Tasks that the synced part ever held.
    held: BTreeSet<TaskId>,
    /// Versions of deployments that it ever held.
    held_versions: BTreeSet<(DeploymentId, u32)>,
    /// Jobs that it ever held.
    held_jobs: BTreeSet<JobId>,
    /// The cluster after so many batches of the journal.
    model: (usize, Model),
    is_full: bool,
    extra_sync_time: Duration,
}

impl State {
    fn sync_up_to(&mut self, length: usize) {
        let newly = self.journal.get(self.synced..length).unwrap_or_default();
        for change in newly.iter().flat_map(|batch| &batch.changes) {
            match &change.versions {
                Versions::Task { after: Some(task), .. } => {
                    self.held.insert(task.task_id);
                }
                Versions::Deployment { after: Some(deployment), .. } => {
                    let version = deployment.current().map(|version| (deployment.deployment_id, version.number));
                    self.held_versions.extend(version);
                }
                Versions::Job { after: Some(job), .. } => {
                    self.held_jobs.insert(job.job_id);
                }
                Versions::Task { .. }
                | Versions::Node { .. }
                | Versions::Deployment { .. }
                | Versions::Job { .. }
                | Versions::Config { .. } => {}
            }
        }
        self.synced = length;
    }
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(rng: Rng, history: History) -> Self {
        let cluster_id = SeededSource::new(rng.next()).cluster_id();
        Self { state: Arc::default(), cluster_id, history, rng }
    }

    /// What a process sees of it.
    #[must_use]
    pub fn store(&self, gate: Gate) -> DiskStore {
        DiskStore { disk: self.clone(), gate }
    }

    /// From now on nothing can be written, or everything.
    pub fn set_full(&self, is_full: bool) {
        self.state.lock().is_full = is_full;
    }

    /// From now on syncs take up to so much longer.
    pub fn set_slow(&self, extra: Duration) {
        self.state.lock().extra_sync_time = extra;
    }

    /// The power fails: what was not synced is lost, but for what happened to be written.
    pub fn lose_power(&self) -> usize {
        let mut state = self.state.lock();
        let unsynced = state.journal.len() - state.synced;
        let kept = usize::try_from(self.rng.below(unsynced as u64 + 1)).unwrap_or(0);
        let length = state.synced + kept;
        state.journal.truncate(length);
        state.sync_up_to(length);
        state.model = (0, Model::default());
        unsynced - kept
    }

    /// Whether the synced part holds a job, or did once.
    #[must_use]
    pub fn holds_job(&self, job_id: JobId) -> bool {
        self.state.lock().held_jobs.contains(&job_id)
    }

    /// Whether the synced part holds all these tasks, or did once.
    #[must_use]
    pub fn holds(&self, task_ids: &[TaskId]) -> bool {
        let state = self.state.lock();
        task_ids.iter().all(|task_id| state.held.contains(task_id))
    }

    /// Whether the synced part holds this version of a deployment, or did once.
    #[must_use]
    pub fn holds_version(&self, deployment_id: DeploymentId, version: u32) -> bool {
        self.state.lock().held_versions.contains(&(deployment_id, version))
    }

    /// All that was ever written and not lost.
    #[must_use]
    pub fn journal(&self) -> Vec<Arc<Batch>> {
        self.state.lock().journal.clone()
    }

    /// The cluster as all that was ever written and not lost tells it.
    #[must_use]
    pub fn model(&self) -> Model {
        let mut state = self.state.lock();
        let State { journal, model: (applied, model), .. } = &mut *state;
        for batch in journal.get(*applied..).unwrap_or_default() {
            model.apply(batch);
        }
        *applied = journal.len();
        model.clone()
    }

    fn sync_time(&self) -> Duration {
        let extra = self.state.lock().extra_sync_time;
        Duration::from_micros(self.rng.between(SYNC_MICROS.0, SYNC_MICROS.1)) + extra.mul_f64(self.rng.fraction())
    }
}

/// A manager's view of its disk.
pub struct DiskStore {
    disk: Disk,
    gate: Gate,
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").finish_non_exhaustive()
    }
}

fn full() -> Error {
    Error::Unavailable { problem: "the disk is full".to_owned() }
}

#[async_trait]
impl Store for DiskStore {
    async fn load(&self) -> Result<Snapshot, Error> {
        self.gate.pass().await;
        tokio::time::sleep(self.disk.sync_time()).await;
        self.gate.pass().await;
        let journal = {
            let mut state = self.disk.state.lock();
            // Whoever loads goes on from there, so it is synced first.
            let length = state.journal.len();
            state.sync_up_to(length);
            state.journal.clone()
        };
        let memory = MemoryStore::default();
        for batch in journal {
            memory.commit(batch).await?;
        }
        memory.load().await
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        self.gate.pass().await;
        let (low, high) = WRITE_MICROS;
        tokio::time::sleep(Duration::from_micros(self.disk.rng.between(low, high))).await;
        self.gate.pass().await;
        let last = batch.changes.last().map(|change| change.event.revision);
        let written = {
            let mut state = self.disk.state.lock();
            if state.is_full {
                return Err(full());
            }
            state.journal.push(batch);
            state.journal.len()
        };
        if bugs::is(Bug::AckBeforeCommit) {
            return Ok(last.unwrap_or_default());
        }
        tokio::time::sleep(self.disk.sync_time()).await;
        self.gate.pass().await;
        if !bugs::is(Bug::DroppedSync) {
            self.disk.state.lock().sync_up_to(written);
        }
        if let Some(last) = last {
            self.disk.history.note(Event::Synced { revision: last.0 });
        }
        Ok(last.unwrap_or_default())
    }

    fn cluster_id(&self) -> Option<ClusterId> {
        Some(self.disk.cluster_id)
    }

    async fn check(&self) -> Result<(), Error> {
        self.gate.pass().await;
        if self.disk.state.lock().is_full { Err(full()) } else { Ok(()) }
    }
}
