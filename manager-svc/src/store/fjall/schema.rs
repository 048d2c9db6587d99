//! Whose store it is and which schema its records have, and how a store of an older schema becomes one of this release's.

use std::path::Path;

use davit_core::id::ClusterId;
use davit_proto::store_v1::{EventBlock, EventRecord, StoreIdentity};
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use prost::Message as _;
use uuid::Uuid;

use super::super::Error;
use super::engine::{Engine, Problem, Table, Write};
use super::volumes;

/// The key of the identity in the table of such things.
pub(super) const IDENTITY_KEY: &[u8] = b"identity";
/// The key of the head.
pub(super) const HEAD_KEY: &[u8] = b"head";
/// What the keys of deployments begin with, of which there are few: before their ids.
const DEPLOYMENT_PREFIX: &[u8] = b"deployment/";

/// The key of a deployment, whose id has these bytes.
pub(super) fn deployment_key(id: &[u8]) -> Vec<u8> {
    [DEPLOYMENT_PREFIX, id].concat()
}

/// All keys of deployments begin with this.
pub(super) fn deployment_prefix() -> &'static [u8] {
    DEPLOYMENT_PREFIX
}

/// The same of jobs.
const JOB_PREFIX: &[u8] = b"job/";

/// The key of a job, whose id has these bytes.
pub(super) fn job_key(id: &[u8]) -> Vec<u8> {
    [JOB_PREFIX, id].concat()
}

/// All keys of jobs begin with this.
pub(super) fn job_prefix() -> &'static [u8] {
    JOB_PREFIX
}

/// What the keys of configs and secrets begin with.
const CONFIG_PREFIX: &[u8] = b"config/";
/// What the keys of their contents begin with, before the digests.
const CONTENT_PREFIX: &[u8] = b"content/";

/// The key of a config or a secret, whose own key has these bytes.
pub(super) fn config_key(key: &[u8]) -> Vec<u8> {
    [CONFIG_PREFIX, key].concat()
}

/// All keys of configs and secrets begin with this.
pub(super) fn config_prefix() -> &'static [u8] {
    CONFIG_PREFIX
}

/// The key of a content of this digest.
pub(super) fn content_key(digest: &[u8]) -> Vec<u8> {
    [CONTENT_PREFIX, digest].concat()
}

/// All keys of contents begin with this.
pub(super) fn content_prefix() -> &'static [u8] {
    CONTENT_PREFIX
}

/// The schema that this release writes. What changes the meaning of a field, or what is in a table, is a new one, and gets a
/// step in [`STEPS`].
pub(in crate::store) const SCHEMA: u32 = 4;

/// Turns a store of schema `from` into one of the next: all that has to be written for it.
pub(super) struct Step {
    pub(super) from: u32,
    pub(super) migrate: fn(&Engine) -> Result<Vec<Write>, Problem>,
}

/// - 1: each event is a record of its own.
/// - 2: knows no deployments.
/// - 3: knows no jobs, no configs and secrets, and not where volumes are.
const STEPS: &[Step] = &[
    Step { from: 1, migrate: events_into_blocks },
    Step { from: 2, migrate: |_| Ok(Vec::new()) },
    Step { from: 3, migrate: volumes::bind_those_of_tasks },
];

/// Each old record becomes a block of one event.
fn events_into_blocks(engine: &Engine) -> Result<Vec<Write>, Problem> {
    let mut writes = Vec::new();
    for guard in engine.iter(Table::Events) {
        let (key, value) = guard.into_inner()?;
        let event = EventRecord::decode(&*value).map_err(|problem| Problem::Damaged(problem.to_string()))?;
        let value = Some(EventBlock { events: vec![event] }.encode_to_vec());
        writes.push(Write { table: Table::Events, key: key.to_vec(), value });
    }
    Ok(writes)
}

/// What a store that is new says of itself.
pub(super) fn new_identity(cluster: &str) -> StoreIdentity {
    StoreIdentity {
        schema_version: SCHEMA,
        cluster: cluster.to_owned(),
        cluster_id: UuidV7Source.cluster_id().0.as_bytes().to_vec(),
    }
}

/// Makes sure that the store is of this cluster and schema, and answers the cluster's id. One of an older schema is migrated.
pub(super) fn check(engine: &Engine, cluster: &str, path: &Path) -> Result<ClusterId, Error> {
    check_with(engine, cluster, path, SCHEMA, STEPS)
}

pub(super) fn check_with(
    engine: &Engine,
    cluster: &str,
    path: &Path,
    schema: u32,
    steps: &[Step],
) -> Result<ClusterId, Error> {
    let corrupt = |problem: String| Error::Corrupt { path: path.to_owned(), problem };
    let unwritable = |problem: Problem| Error::Unavailable { problem: problem.to_string() };
    let stored = engine.get(Table::Meta, IDENTITY_KEY).map_err(|problem| corrupt(problem.to_string()))?;
    let Some(bytes) = stored else { return Err(corrupt("it does not say whose it is".to_owned())) };
    let mut identity = StoreIdentity::decode(bytes.as_slice())
        .map_err(|problem| corrupt(format!("whose it is can't be read: {problem}")))?;
    if identity.schema_version > schema {
        let path = path.to_owned();
        return Err(Error::NewerSchema { path, stored: identity.schema_version, known: schema });
    }
    if identity.cluster != cluster {
        let (path, configured) = (path.to_owned(), cluster.to_owned());
        return Err(Error::OtherCluster { path, stored: identity.cluster, configured });
    }
    let cluster_id = Uuid::from_slice(&identity.cluster_id)
        .map(ClusterId)
        .map_err(|problem| corrupt(format!("its cluster's id can't be read: {problem}")))?;
    while identity.schema_version < schema {
        let from = identity.schema_version;
        let Some(step) = steps.iter().find(|step| step.from == from) else {
            return Err(corrupt(format!("its schema {from} is none that there ever was")));
        };
        let mut writes = (step.migrate)(engine).map_err(|problem| corrupt(problem.to_string()))?;
        identity.schema_version += 1;
        writes.push(identity_write(&identity));
        engine.write(&writes).map_err(unwritable)?;
        tracing::info!(from, to = identity.schema_version, "the store's schema was migrated");
    }
    Ok(cluster_id)
}

pub(super) fn identity_write(identity: &StoreIdentity) -> Write {
    Write { table: Table::Meta, key: IDENTITY_KEY.to_vec(), value: Some(identity.encode_to_vec()) }
}
