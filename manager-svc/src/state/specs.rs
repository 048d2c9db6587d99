//! The specs of the tasks that there are, each content once: what they take together, and one value in memory for tasks that were
//! created alike at different times.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::spec::TaskSpec;
use imbl::HashMap;

use crate::store::{SpecKey, spec_to_bytes};

/// A spec, with what its content is known by.
#[derive(Debug, Clone)]
pub struct KeyedSpec {
    spec: Arc<TaskSpec>,
    key: SpecKey,
    bytes: u64,
}

impl KeyedSpec {
    /// Encodes a spec; that is work, so not for the writer's turn.
    #[must_use]
    pub fn new(spec: Arc<TaskSpec>) -> Self {
        let bytes = spec_to_bytes(&spec);
        Self::stored(spec, SpecKey::of(&bytes), bytes.len() as u64)
    }

    /// A spec whose encoded form a store has.
    pub(crate) fn stored(spec: Arc<TaskSpec>, key: SpecKey, bytes: u64) -> Self {
        Self { spec, key, bytes }
    }

    /// The spec.
    #[must_use]
    pub fn spec(&self) -> &Arc<TaskSpec> {
        &self.spec
    }

    /// What tells it from specs of other content.
    pub(crate) fn key(&self) -> SpecKey {
        self.key
    }
}

/// The specs that tasks refer to.
#[derive(Debug, Clone, Default)]
pub struct Specs {
    /// By where they are in memory, which is nobody else's place as long as the entry holds them.
    by_address: HashMap<usize, Entry>,
    by_key: HashMap<SpecKey, usize>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    spec: KeyedSpec,
    tasks: u64,
}

impl Specs {
    /// How many bytes they take, each encoded once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_address.len()
    }

    /// By how many bytes they grow when tasks of these specs are created.
    pub(crate) fn bytes_of_new<'a>(&self, specs: impl Iterator<Item = &'a KeyedSpec>) -> u64 {
        let new = specs.filter(|spec| !self.by_key.contains_key(&spec.key)).map(|spec| (spec.key, spec.bytes));
        new.collect::<BTreeMap<_, _>>().values().sum()
    }

    /// The spec for a new task: one of this content that is there already, or this one.
    pub(crate) fn shared(&self, spec: &KeyedSpec) -> Arc<TaskSpec> {
        let known = self.by_key.get(&spec.key).and_then(|address| self.by_address.get(address));
        Arc::clone(&known.map_or(spec, |entry| &entry.spec).spec)
    }

    /// Counts one task more. What the spec is known by is asked only if it is not there yet.
    pub(super) fn add(&mut self, spec: &Arc<TaskSpec>, keyed: impl FnOnce() -> KeyedSpec) {
        let address = address_of(spec);
        if let Some(entry) = self.by_address.get_mut(&address) {
            entry.tasks += 1;
            return;
        }
        let KeyedSpec { key, bytes, .. } = keyed();
        self.bytes += bytes;
        self.by_key.entry(key).or_insert(address);
        let spec = KeyedSpec { spec: Arc::clone(spec), key, bytes };
        self.by_address.insert(address, Entry { spec, tasks: 1 });
    }

    /// Counts one task less; a spec goes with its last task.
    pub(super) fn remove(&mut self, spec: &Arc<TaskSpec>) {
        let address = address_of(spec);
        let Some(entry) = self.by_address.get_mut(&address) else { return };
        entry.tasks -= 1;
        if entry.tasks > 0 {
            return;
        }
        let KeyedSpec { key, bytes, .. } = entry.spec;
        self.by_address.remove(&address);
        self.bytes -= bytes;
        if self.by_key.get(&key) == Some(&address) {
            self.by_key.remove(&key);
        }
    }
}

fn address_of(spec: &Arc<TaskSpec>) -> usize {
    Arc::as_ptr(spec).addr()
}
