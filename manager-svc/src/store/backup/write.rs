//! Writes a backup, piece by piece.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use davit_core::file::{ConfigName, FileDigest};
use davit_core::id::{ClusterId, DeploymentId, JobId, NodeId, TaskId};
use davit_core::spec::TaskSpec;
use davit_proto::store_v1::backup_frame::Frame;
use davit_proto::store_v1::{BackupEnd, BackupEntry, BackupFrame, BackupHeader, BackupTable, StoreHead, StoreIdentity};
use jiff::Timestamp;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::super::SCHEMA;
use super::super::records::{
    SpecKey, config_name_key, config_to_record, deployment_key, deployment_to_record, job_key, job_to_record, node_key,
    node_to_record, request_to_record, spec_to_bytes, task_key, task_to_record, time_to, totals_to_record,
    volume_to_record,
};
use super::MAGIC;
use crate::state::ClusterState;

/// A piece ends with the frame that makes it so large.
const CHUNK_BYTES: usize = 64 * 1024;

/// The bytes of a backup, in pieces. Holds one version of the cluster, and the keys of its specs.
#[derive(Debug)]
pub struct BackupWriter {
    state: Arc<ClusterState>,
    next: Next,
    /// Keys of specs by where they are in memory, so that a spec which many tasks share is encoded once.
    known: HashMap<usize, SpecKey>,
    written: HashSet<SpecKey>,
    head: StoreHead,
    entry_count: u64,
    sum: Sha256,
    chunk: Vec<u8>,
}

/// What is written next.
#[derive(Debug, Clone)]
enum Next {
    Nodes(Option<NodeId>),
    Deployments(Option<DeploymentId>),
    Jobs(Option<JobId>),
    Configs(Option<ConfigName>),
    Contents(Option<FileDigest>),
    Tasks(Option<TaskId>),
    Volumes(String),
    Requests(usize),
    Nothing,
}

impl BackupWriter {
    /// Of a version of a cluster.
    #[must_use]
    pub fn new(state: Arc<ClusterState>, cluster: &str, cluster_id: ClusterId, now: Timestamp) -> Self {
        let revision = state.revision().0;
        let head = StoreHead {
            revision,
            compacted_revision: revision,
            totals: Some(totals_to_record(state.totals())),
            ..StoreHead::default()
        };
        let mut writer = Self {
            state,
            next: Next::Nodes(None),
            known: HashMap::new(),
            written: HashSet::new(),
            head,
            entry_count: 0,
            sum: Sha256::new(),
            chunk: MAGIC.to_vec(),
        };
        writer.frame(Frame::Header(BackupHeader {
            identity: Some(StoreIdentity {
                schema_version: SCHEMA,
                cluster: cluster.to_owned(),
                cluster_id: cluster_id.0.as_bytes().to_vec(),
            }),
            manager_version: env!("CARGO_PKG_VERSION").to_owned(),
            create_time: Some(time_to(now)),
            revision,
        }));
        writer
    }

    /// Writes the next record.
    fn step(&mut self) {
        let state = Arc::clone(&self.state);
        self.next = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nodes(last) => match state.node_after(last) {
                Some(node) => {
                    self.head.node_count += 1;
                    self.entry(BackupTable::Nodes, &node_key(node.node_id), node_to_record(node).encode_to_vec());
                    Next::Nodes(Some(node.node_id))
                }
                None => Next::Deployments(None),
            },
            Next::Deployments(last) => match state.deployment_after(last) {
                Some(deployment) => {
                    self.head.deployment_count += 1;
                    let specs: Vec<_> = deployment.task_specs().map(|spec| self.spec(spec)).collect();
                    let record = deployment_to_record(deployment, &specs);
                    let key = deployment_key(deployment.deployment_id);
                    self.entry(BackupTable::Deployments, &key, record.encode_to_vec());
                    Next::Deployments(Some(deployment.deployment_id))
                }
                None => Next::Jobs(None),
            },
            Next::Jobs(last) => match state.job_after(last) {
                Some(job) => {
                    self.head.job_count += 1;
                    let specs: Vec<_> = job.task_specs().map(|spec| self.spec(spec)).collect();
                    let record = job_to_record(job, &specs);
                    self.entry(BackupTable::Jobs, &job_key(job.job_id), record.encode_to_vec());
                    Next::Jobs(Some(job.job_id))
                }
                None => Next::Configs(None),
            },
            Next::Configs(last) => match state.configs_after(last.as_ref()).next() {
                Some(config) => {
                    self.head.config_count += 1;
                    let key = config_name_key(&config.name);
                    self.entry(BackupTable::Configs, &key, config_to_record(config).encode_to_vec());
                    Next::Configs(Some(config.name.clone()))
                }
                None => Next::Contents(None),
            },
            Next::Contents(last) => match state.content_after(last) {
                Some(content) => {
                    self.head.content_count += 1;
                    let digest = content.digest();
                    self.entry(BackupTable::Contents, digest.as_bytes(), content.reveal().to_vec());
                    Next::Contents(Some(digest))
                }
                None => Next::Tasks(None),
            },
            Next::Tasks(last) => match state.tasks_after(last).next() {
                Some(task) => {
                    self.head.task_count += 1;
                    let spec_key = self.spec(&task.spec);
                    let record = task_to_record(task, spec_key);
                    self.entry(BackupTable::Tasks, &task_key(task.task_id), record.encode_to_vec());
                    Next::Tasks(Some(task.task_id))
                }
                None => Next::Volumes(String::new()),
            },
            Next::Volumes(last) => match state.volumes_after(&last).next() {
                Some(home) => {
                    self.head.volume_count += 1;
                    let record = volume_to_record(home);
                    self.entry(BackupTable::Volumes, home.name.as_bytes(), record.encode_to_vec());
                    Next::Volumes(home.name.clone())
                }
                None => Next::Requests(0),
            },
            Next::Requests(index) => match state.requests().nth(index) {
                Some(request) => {
                    let number = self.head.next_request;
                    self.head.next_request += 1;
                    let record = request_to_record(request);
                    self.entry(BackupTable::Requests, &number.to_be_bytes(), record.encode_to_vec());
                    Next::Requests(index + 1)
                }
                None => {
                    self.end();
                    Next::Nothing
                }
            },
            Next::Nothing => Next::Nothing,
        };
    }

    /// Writes a spec unless it is there already.
    fn spec(&mut self, spec: &Arc<TaskSpec>) -> SpecKey {
        let address = Arc::as_ptr(spec).addr();
        if let Some(key) = self.known.get(&address) {
            return *key;
        }
        let bytes = spec_to_bytes(spec);
        let key = SpecKey::of(&bytes);
        self.known.insert(address, key);
        if self.written.insert(key) {
            self.head.spec_count += 1;
            self.entry(BackupTable::Specs, key.as_bytes(), bytes);
        }
        key
    }

    fn entry(&mut self, table: BackupTable, key: &[u8], value: Vec<u8>) {
        self.entry_count += 1;
        self.frame(Frame::Entry(BackupEntry { table: table.into(), key: key.to_vec(), value }));
    }

    fn end(&mut self) {
        self.frame(Frame::End(BackupEnd { entry_count: self.entry_count, head: Some(self.head) }));
        self.sum.update(&self.chunk);
        let sum = self.sum.clone().finalize();
        self.chunk.extend_from_slice(&sum);
    }

    fn frame(&mut self, frame: Frame) {
        let frame = BackupFrame { frame: Some(frame) };
        self.chunk.extend_from_slice(&frame.encode_length_delimited_to_vec());
    }
}

impl Iterator for BackupWriter {
    type Item = Vec<u8>;

    /// The next bytes.
    fn next(&mut self) -> Option<Vec<u8>> {
        while self.chunk.len() < CHUNK_BYTES && !matches!(self.next, Next::Nothing) {
            self.step();
        }
        let chunk = std::mem::take(&mut self.chunk);
        // Of the last one, which ends with the sum, nobody asks any more.
        self.sum.update(&chunk);
        (!chunk.is_empty()).then_some(chunk)
    }
}
