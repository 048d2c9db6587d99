//! Between what a store holds and domain types; the only place where both are seen.
//!
//! Writing takes domain types apart field by field, so that a new field can't be forgotten. Reading trusts nothing: a record
//! that can't be understood is an error that says what is wrong in it.

mod config;
mod deployment;
mod drain;
mod event;
mod job;
mod node;
mod spec;
mod task;
mod volume;

use davit_core::id::{DeploymentId, JobId, NodeId, Revision, TaskId};
use davit_core::validate::Violations;
use davit_proto::{convert, store_v1};
use jiff::Timestamp;
use prost_types::Timestamp as ProtoTimestamp;
use uuid::Uuid;

pub(super) use self::config::{config_from_record, config_name_key, config_to_record};
pub(super) use self::deployment::{deployment_from_record, deployment_to_record};
use self::deployment::{slot_from_record, slot_to_record};
pub(super) use self::event::{event_from_record, event_to_record};
pub(super) use self::job::{job_from_record, job_to_record};
pub(super) use self::node::{node_from_record, node_to_record};
pub(crate) use self::spec::{SpecKey, spec_to_bytes};
pub(super) use self::spec::{SpecSource, spec_from_bytes};
pub(super) use self::task::{task_from_record, task_to_record};
pub(super) use self::volume::{volume_from_record, volume_to_record};
use crate::state::{RequestRecord, Totals};

/// What is wrong in a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

impl From<prost::DecodeError> for Malformed {
    fn from(problem: prost::DecodeError) -> Self {
        Self(problem.to_string())
    }
}

fn malformed<T>(problem: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(problem.into()))
}

/// What was read, unless something was noted.
fn read<T>(value: Option<T>, violations: &Violations) -> Result<T, Malformed> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => malformed(violations.to_string()),
    }
}

/// Reads an id.
pub(super) fn uuid_from(bytes: &[u8], field: &str) -> Result<Uuid, Malformed> {
    match Uuid::from_slice(bytes) {
        Ok(uuid) => Ok(uuid),
        Err(_) => malformed(format!("{field} has {} bytes instead of 16", bytes.len())),
    }
}

fn optional_uuid_from(bytes: &[u8], field: &str) -> Result<Option<Uuid>, Malformed> {
    if bytes.is_empty() { Ok(None) } else { uuid_from(bytes, field).map(Some) }
}

/// Writes a time.
pub(super) fn time_to(time: Timestamp) -> ProtoTimestamp {
    convert::timestamp_to_proto(time)
}

/// Reads a time that must be there.
pub(super) fn time_from(time: Option<ProtoTimestamp>, field: &str) -> Result<Timestamp, Malformed> {
    match optional_time_from(time, field)? {
        Some(time) => Ok(time),
        None => malformed(format!("{field} is missing")),
    }
}

fn optional_time_from(time: Option<ProtoTimestamp>, field: &str) -> Result<Option<Timestamp>, Malformed> {
    let Some(time) = time else { return Ok(None) };
    match Timestamp::new(time.seconds, time.nanos) {
        Ok(time) => Ok(Some(time)),
        Err(_) => malformed(format!("{field} is not a time")),
    }
}

/// Writes what a create with a request id did.
pub(super) fn request_to_record(request: &RequestRecord) -> store_v1::RequestRecord {
    let RequestRecord { request_id, fingerprint, task_ids, revision } = request;
    store_v1::RequestRecord {
        request_id: request_id.clone(),
        fingerprint: *fingerprint,
        task_ids: task_ids.iter().map(|task_id| task_id.0.as_bytes().to_vec()).collect(),
        revision: revision.0,
    }
}

/// Reads what a create with a request id did.
pub(super) fn request_from_record(record: store_v1::RequestRecord) -> Result<RequestRecord, Malformed> {
    let store_v1::RequestRecord { request_id, fingerprint, task_ids, revision } = record;
    let task_ids = task_ids.iter().map(|bytes| uuid_from(bytes, "task_ids").map(TaskId)).collect::<Result<_, _>>()?;
    Ok(RequestRecord { request_id, fingerprint, task_ids, revision: Revision(revision) })
}

/// Writes counts.
pub(super) fn totals_to_record(totals: Totals) -> store_v1::Totals {
    let Totals { created, completed, failed, stopped, lost } = totals;
    store_v1::Totals { created, completed, failed, stopped, lost }
}

/// Reads counts.
pub(super) fn totals_from_record(record: store_v1::Totals) -> Totals {
    let store_v1::Totals { created, completed, failed, stopped, lost } = record;
    Totals { created, completed, failed, stopped, lost }
}

/// The key of a task's record.
pub(super) fn task_key(task_id: TaskId) -> [u8; 16] {
    task_id.0.into_bytes()
}

/// The key of a deployment's record.
pub(super) fn deployment_key(deployment_id: DeploymentId) -> [u8; 16] {
    deployment_id.0.into_bytes()
}

/// The key of a job's record.
pub(super) fn job_key(job_id: JobId) -> [u8; 16] {
    job_id.0.into_bytes()
}

/// The key of a node's record.
pub(super) fn node_key(node_id: NodeId) -> [u8; 16] {
    node_id.0.into_bytes()
}
