//! Where named volumes are, in the table of what there is few of; and how a store that knew of none learns it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::spec::TaskSpec;
use davit_core::volume::VolumeHome;
use davit_proto::store_v1;
use prost::Message as _;

use super::super::records::{SpecKey, SpecSource, spec_from_bytes, task_from_record, volume_to_record};
use super::engine::{Engine, Problem, Table, Write};
use super::schema::HEAD_KEY;

/// What the keys of volumes begin with: before their names.
const PREFIX: &[u8] = b"volume/";

/// The key of a volume.
pub(super) fn key(name: &[u8]) -> Vec<u8> {
    [PREFIX, name].concat()
}

/// All keys of volumes begin with this.
pub(super) fn prefix() -> &'static [u8] {
    PREFIX
}

struct Specs(HashMap<SpecKey, Arc<TaskSpec>>);

impl SpecSource for Specs {
    fn spec(&self, key: SpecKey) -> Option<Arc<TaskSpec>> {
        self.0.get(&key).cloned()
    }
}

/// Volumes are where tasks that mount them are, or were last: their data is there. Of several nodes that of the first task which is on
/// one.
pub(super) fn bind_those_of_tasks(engine: &Engine) -> Result<Vec<Write>, Problem> {
    let damaged = |problem: String| Problem::Damaged(problem);
    let mut specs = Specs(HashMap::new());
    for guard in engine.iter(Table::Specs) {
        let (key, value) = guard.into_inner()?;
        let key = SpecKey::from_bytes(&key).map_err(|problem| damaged(problem.to_string()))?;
        let spec = spec_from_bytes(key, &value).map_err(|problem| damaged(problem.to_string()))?;
        specs.0.insert(key, Arc::new(spec));
    }
    let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
    for guard in engine.iter(Table::Nodes) {
        let (key, _) = guard.into_inner()?;
        nodes.extend(uuid::Uuid::from_slice(&key).ok().map(NodeId));
    }
    // Whether the task is there now, before it was.
    let mut homes: BTreeMap<String, (bool, VolumeHome)> = BTreeMap::new();
    for guard in engine.iter(Table::Tasks) {
        let (_, value) = guard.into_inner()?;
        let record = store_v1::TaskRecord::decode(&*value).map_err(|problem| damaged(problem.to_string()))?;
        let (task, _) = task_from_record(record, &specs).map_err(|problem| damaged(problem.to_string()))?;
        let last = || task.past_attempts.iter().rev().find_map(|attempt| attempt.node_id);
        let Some(node_id) = task.status.node_id.or_else(last).filter(|node_id| nodes.contains(node_id)) else {
            continue;
        };
        if task.pinned_to().is_some() {
            continue;
        }
        let is_there = task.status.state.is_on_node();
        for name in task.spec.volumes() {
            if homes.get(name).is_some_and(|(other_is_there, _)| *other_is_there || !is_there) {
                continue;
            }
            let home = VolumeHome {
                name: name.to_owned(),
                node_id,
                bound_at: task.created_at,
                // Before all that is still to come.
                revision: task.revision,
            };
            homes.insert(name.to_owned(), (is_there, home));
        }
    }
    if homes.is_empty() {
        return Ok(Vec::new());
    }
    let head = engine.get(Table::Meta, HEAD_KEY)?.unwrap_or_default();
    let mut head = store_v1::StoreHead::decode(head.as_slice()).map_err(|problem| damaged(problem.to_string()))?;
    head.volume_count = homes.len() as u64;
    let bound = homes.into_values().map(|(_, home)| Write {
        table: Table::Meta,
        key: key(home.name.as_bytes()),
        value: Some(volume_to_record(&home).encode_to_vec()),
    });
    let head = Write { table: Table::Meta, key: HEAD_KEY.to_vec(), value: Some(head.encode_to_vec()) };
    Ok(bound.chain([head]).collect())
}
