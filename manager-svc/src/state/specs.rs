//! The specs of the tasks that there are, each content once: what they take together, and one value in memory for tasks that were
//! created alike at different times. Also those of which only events still tell: they are there again for the next task.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;

use davit_core::id::Revision;
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

/// Where a spec is in memory, which is nobody else's place as long as something holds it: what tells it from others most cheaply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SpecAddress(usize);

impl SpecAddress {
    pub(super) const MIN: Self = Self(usize::MIN);
    pub(super) const MAX: Self = Self(usize::MAX);

    pub(super) fn of(spec: &TaskSpec) -> Self {
        Self(ptr::from_ref(spec).addr())
    }
}

/// The specs that tasks refer to, and those that only events keep.
#[derive(Debug, Clone, Default)]
pub struct Specs {
    by_address: HashMap<SpecAddress, Entry>,
    by_key: HashMap<SpecKey, SpecAddress>,
    /// Bytes of those that tasks refer to.
    bytes: u64,
    /// Bytes of those that only events keep.
    ended_bytes: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    spec: KeyedSpec,
    holders: Holders,
}

/// What keeps a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holders {
    /// So many tasks; at least one.
    Tasks(u64),
    /// Events, of which this one, of the end of its last task, is the newest.
    EventsUpTo(Revision),
}

impl Specs {
    /// How many bytes the specs of tasks take, each encoded once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes the specs take that only events keep.
    pub(super) fn ended_bytes(&self) -> u64 {
        self.ended_bytes
    }

    /// How many specs tasks have.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.by_address.values().filter(|entry| matches!(entry.holders, Holders::Tasks(_))).count()
    }

    /// By how many bytes those of tasks grow when tasks of these specs are created.
    pub(crate) fn bytes_of_new<'a>(&self, specs: impl Iterator<Item = &'a KeyedSpec>) -> u64 {
        let of_tasks = |spec: &KeyedSpec| {
            let entry = self.by_key.get(&spec.key).and_then(|address| self.by_address.get(address));
            entry.is_some_and(|entry| matches!(entry.holders, Holders::Tasks(_)))
        };
        let new = specs.filter(|spec| !of_tasks(spec)).map(|spec| (spec.key, spec.bytes));
        new.collect::<BTreeMap<_, _>>().values().sum()
    }

    /// The spec for a new task: one of this content that is there already, or this one.
    pub(crate) fn shared(&self, spec: &KeyedSpec) -> Arc<TaskSpec> {
        let known = self.by_key.get(&spec.key).and_then(|address| self.by_address.get(address));
        Arc::clone(&known.map_or(spec, |entry| &entry.spec).spec)
    }

    /// The spec at an address.
    pub(super) fn at(&self, address: SpecAddress) -> Option<&TaskSpec> {
        self.by_address.get(&address).map(|entry| &*entry.spec.spec)
    }

    /// Counts one task more. What the spec is known by is asked only if it is not there yet.
    pub(super) fn add(&mut self, spec: &Arc<TaskSpec>, keyed: impl FnOnce() -> KeyedSpec) {
        match self.by_address.get_mut(&SpecAddress::of(spec)) {
            Some(Entry { holders: Holders::Tasks(count), .. }) => *count += 1,
            Some(entry) => {
                entry.holders = Holders::Tasks(1);
                let bytes = entry.spec.bytes;
                self.ended_bytes = self.ended_bytes.saturating_sub(bytes);
                self.bytes += bytes;
            }
            None => self.bytes += self.insert(spec, keyed(), Holders::Tasks(1)),
        }
    }

    /// Counts one task less. The spec of the last one is kept by events up to that of its end.
    pub(super) fn remove(&mut self, spec: &Arc<TaskSpec>, end: Revision) {
        let Some(entry) = self.by_address.get_mut(&SpecAddress::of(spec)) else { return };
        match &mut entry.holders {
            Holders::Tasks(count) if *count > 1 => *count -= 1,
            Holders::Tasks(_) => {
                entry.holders = Holders::EventsUpTo(end);
                let bytes = entry.spec.bytes;
                self.bytes = self.bytes.saturating_sub(bytes);
                self.ended_bytes += bytes;
            }
            Holders::EventsUpTo(_) => {}
        }
    }

    /// Notes the event of a task's end, when they are gone through from the newest: it is the last one that keeps the spec, if
    /// nothing does yet.
    pub(super) fn keep_ended(&mut self, spec: &Arc<TaskSpec>, end: Revision, keyed: impl FnOnce() -> KeyedSpec) {
        if !self.by_address.contains_key(&SpecAddress::of(spec)) {
            self.ended_bytes += self.insert(spec, keyed(), Holders::EventsUpTo(end));
        }
    }

    /// Says that the event of a task's end is no longer kept; its spec goes if nothing else keeps it.
    pub(super) fn forget(&mut self, spec: &Arc<TaskSpec>, end: Revision) {
        let address = SpecAddress::of(spec);
        let Some(entry) = self.by_address.get(&address) else { return };
        if entry.holders != Holders::EventsUpTo(end) {
            return;
        }
        let KeyedSpec { key, bytes, .. } = entry.spec;
        self.by_address.remove(&address);
        self.ended_bytes = self.ended_bytes.saturating_sub(bytes);
        if self.by_key.get(&key) == Some(&address) {
            self.by_key.remove(&key);
        }
    }

    /// Says how many bytes it has.
    fn insert(&mut self, spec: &Arc<TaskSpec>, keyed: KeyedSpec, holders: Holders) -> u64 {
        let (address, KeyedSpec { key, bytes, .. }) = (SpecAddress::of(spec), keyed);
        self.by_key.entry(key).or_insert(address);
        let spec = KeyedSpec { spec: Arc::clone(spec), key, bytes };
        self.by_address.insert(address, Entry { spec, holders });
        bytes
    }
}
