//! A store that lives as long as the process: for tests, for `davit dev`, and as the model for the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use davit_core::deployment::Deployment;
use davit_core::file::{Config, ConfigName, FileContent, FileDigest};
use davit_core::id::{DeploymentId, JobId, NodeId, Revision, TaskId};
use davit_core::job::Job;
use davit_core::node::Node;
use davit_core::task::Task;
use davit_core::volume::VolumeHome;
use parking_lot::Mutex;

use super::{Error, Snapshot, Store};
use crate::state::{Batch, Event, RequestRecord, Totals, Versions};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    stored: Mutex<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    revision: Revision,
    tasks: BTreeMap<TaskId, Arc<Task>>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    deployments: BTreeMap<DeploymentId, Arc<Deployment>>,
    jobs: BTreeMap<JobId, Arc<Job>>,
    configs: BTreeMap<ConfigName, Arc<Config>>,
    contents: BTreeMap<FileDigest, FileContent>,
    volumes: BTreeMap<String, Arc<VolumeHome>>,
    events: VecDeque<Arc<Event>>,
    requests: VecDeque<Arc<RequestRecord>>,
    totals: Totals,
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Snapshot, Error> {
        let stored = self.stored.lock();
        Ok(Snapshot {
            revision: stored.revision,
            tasks: stored.tasks.values().cloned().collect(),
            nodes: stored.nodes.values().cloned().collect(),
            deployments: stored.deployments.values().cloned().collect(),
            jobs: stored.jobs.values().cloned().collect(),
            configs: stored.configs.values().cloned().collect(),
            contents: stored.contents.values().cloned().collect(),
            volumes: stored.volumes.values().cloned().collect(),
            events: stored.events.iter().cloned().collect(),
            requests: stored.requests.iter().cloned().collect(),
            totals: stored.totals,
            specs: Vec::new(),
        })
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        let mut stored = self.stored.lock();
        let mut last = stored.revision;
        for change in &batch.changes {
            if change.event.revision != last.next() {
                return Err(Error::Gap { stored: last, got: change.event.revision });
            }
            last = change.event.revision;
        }
        for change in &batch.changes {
            stored.apply(&change.versions);
            stored.events.push_back(Arc::clone(&change.event));
        }
        for (digest, content) in &batch.contents {
            match content {
                Some(content) => stored.contents.insert(*digest, content.clone()),
                None => stored.contents.remove(digest),
            };
        }
        for change in &batch.volumes {
            match (&change.before, &change.after) {
                (_, Some(home)) => drop(stored.volumes.insert(home.name.clone(), Arc::clone(home))),
                (Some(home), None) => drop(stored.volumes.remove(&home.name)),
                (None, None) => {}
            }
        }
        let compacted = batch.compacted.unwrap_or_default();
        while stored.events.front().is_some_and(|event| event.revision <= compacted) {
            stored.events.pop_front();
        }
        stored.requests.extend(batch.requests.iter().cloned());
        let dropped = usize::try_from(batch.dropped_requests).unwrap_or(usize::MAX).min(stored.requests.len());
        stored.requests.drain(..dropped);
        stored.revision = last;
        stored.totals = batch.totals;
        Ok(last)
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Stored {
    fn apply(&mut self, versions: &Versions) {
        match versions {
            Versions::Task { after: Some(task), .. } => {
                self.tasks.insert(task.task_id, Arc::clone(task));
            }
            Versions::Task { before: Some(task), after: None } => {
                self.tasks.remove(&task.task_id);
            }
            Versions::Node { after: Some(node), .. } => {
                self.nodes.insert(node.node_id, Arc::clone(node));
            }
            Versions::Node { before: Some(node), after: None } => {
                self.nodes.remove(&node.node_id);
            }
            Versions::Deployment { after: Some(deployment), .. } => {
                self.deployments.insert(deployment.deployment_id, Arc::clone(deployment));
            }
            Versions::Deployment { before: Some(deployment), after: None } => {
                self.deployments.remove(&deployment.deployment_id);
            }
            Versions::Job { after: Some(job), .. } => {
                self.jobs.insert(job.job_id, Arc::clone(job));
            }
            Versions::Job { before: Some(job), after: None } => {
                self.jobs.remove(&job.job_id);
            }
            Versions::Config { after: Some(config), .. } => {
                self.configs.insert(config.name.clone(), Arc::clone(config));
            }
            Versions::Config { before: Some(config), after: None } => {
                self.configs.remove(&config.name);
            }
            Versions::Task { before: None, after: None }
            | Versions::Node { before: None, after: None }
            | Versions::Deployment { before: None, after: None }
            | Versions::Job { before: None, after: None }
            | Versions::Config { before: None, after: None } => {}
        }
    }
}
