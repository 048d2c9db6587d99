//! The specs of the tasks that there are, each content once: what they take together, and one value in memory for tasks that were
//! created alike at different times. Also those of which only events still tell: they are there again for the next task.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;

use davit_core::id::Revision;
use davit_core::spec::TaskSpec;
use imbl::{HashMap, OrdSet};

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

    /// How many bytes it has, encoded.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
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

/// The specs that tasks and deployments refer to, and those that only events keep.
#[derive(Debug, Clone, Default)]
pub struct Specs {
    by_address: HashMap<SpecAddress, Entry>,
    by_key: HashMap<SpecKey, SpecAddress>,
    /// Those that only events keep, by the newest event that does.
    ended: OrdSet<(Revision, SpecAddress)>,
    /// Bytes of those that tasks and deployments refer to.
    bytes: u64,
    /// Bytes of those that only events keep.
    ended_bytes: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    spec: KeyedSpec,
    /// How many tasks and versions of deployments refer to it.
    users: u64,
    /// The newest event of those that no longer do. Once nobody does, the newest of all that tell of it.
    told_until: Revision,
}

impl Specs {
    /// How many bytes the specs of tasks and deployments take, each encoded once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes the specs take that only events keep.
    pub(super) fn ended_bytes(&self) -> u64 {
        self.ended_bytes
    }

    /// How many specs tasks and deployments have.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.by_address.values().filter(|entry| entry.users > 0).count()
    }

    /// By how many bytes those of tasks and deployments grow when some of these specs are created.
    pub(crate) fn bytes_of_new<'a>(&self, specs: impl Iterator<Item = &'a KeyedSpec>) -> u64 {
        let in_use = |spec: &KeyedSpec| self.known(spec).is_some_and(|entry| entry.users > 0);
        let new = specs.filter(|spec| !in_use(spec)).map(|spec| (spec.key, spec.bytes));
        new.collect::<BTreeMap<_, _>>().values().sum()
    }

    /// The spec for a new task: one of this content that is there already, or this one.
    pub(crate) fn shared(&self, spec: &KeyedSpec) -> Arc<TaskSpec> {
        Arc::clone(&self.known(spec).map_or(spec, |entry| &entry.spec).spec)
    }

    /// A spec that a task or a deployment has, with what its content is known by.
    pub(crate) fn keyed(&self, spec: &Arc<TaskSpec>) -> KeyedSpec {
        let known = self.by_address.get(&SpecAddress::of(spec));
        known.map_or_else(|| KeyedSpec::new(Arc::clone(spec)), |entry| entry.spec.clone())
    }

    /// The spec at an address.
    pub(super) fn at(&self, address: SpecAddress) -> Option<&TaskSpec> {
        self.by_address.get(&address).map(|entry| &*entry.spec.spec)
    }

    fn known(&self, spec: &KeyedSpec) -> Option<&Entry> {
        self.by_key.get(&spec.key).and_then(|address| self.by_address.get(address))
    }

    /// Counts one user more. What the spec is known by is asked only if it is not there yet. True when it is the first user.
    pub(super) fn add(&mut self, spec: &Arc<TaskSpec>, keyed: impl FnOnce() -> KeyedSpec) -> bool {
        let address = SpecAddress::of(spec);
        let Some(entry) = self.by_address.get_mut(&address) else {
            self.bytes += self.insert(spec, keyed(), 1, Revision::default());
            return true;
        };
        entry.users += 1;
        let is_first = entry.users == 1;
        if is_first {
            let (bytes, told_until) = (entry.spec.bytes, entry.told_until);
            self.ended.remove(&(told_until, address));
            self.ended_bytes = self.ended_bytes.saturating_sub(bytes);
            self.bytes += bytes;
        }
        is_first
    }

    /// Counts one user less, of which events tell up to this one. The spec of the last one is kept by events. True when it was the
    /// last.
    pub(super) fn remove(&mut self, spec: &Arc<TaskSpec>, told_until: Revision) -> bool {
        let address = SpecAddress::of(spec);
        let Some(entry) = self.by_address.get_mut(&address).filter(|entry| entry.users > 0) else { return false };
        entry.users -= 1;
        entry.told_until = entry.told_until.max(told_until);
        let was_last = entry.users == 0;
        if was_last {
            let (bytes, told_until) = (entry.spec.bytes, entry.told_until);
            self.ended.insert((told_until, address));
            self.bytes = self.bytes.saturating_sub(bytes);
            self.ended_bytes += bytes;
        }
        was_last
    }

    /// Notes an event that tells of a spec, when they are gone through from the newest: if nothing uses the spec, that event is the
    /// last one that keeps it.
    pub(super) fn note_told(&mut self, spec: &Arc<TaskSpec>, at: Revision, keyed: impl FnOnce() -> KeyedSpec) {
        match self.by_address.get_mut(&SpecAddress::of(spec)) {
            Some(entry) => entry.told_until = entry.told_until.max(at),
            None => {
                self.ended_bytes += self.insert(spec, keyed(), 0, at);
                self.ended.insert((at, SpecAddress::of(spec)));
            }
        }
    }

    /// Events up to this one are no longer kept; specs that nothing else keeps go.
    pub(super) fn forget_told(&mut self, until: Revision) {
        while let Some((_, address)) = self.ended.get_min().filter(|(told_until, _)| *told_until <= until).copied() {
            self.ended.remove_min();
            let Some(Entry { spec: KeyedSpec { key, bytes, .. }, .. }) = self.by_address.remove(&address) else {
                continue;
            };
            self.ended_bytes = self.ended_bytes.saturating_sub(bytes);
            if self.by_key.get(&key) == Some(&address) {
                self.by_key.remove(&key);
            }
        }
    }

    /// Says how many bytes it has.
    fn insert(&mut self, spec: &Arc<TaskSpec>, keyed: KeyedSpec, users: u64, told_until: Revision) -> u64 {
        let (address, KeyedSpec { key, bytes, .. }) = (SpecAddress::of(spec), keyed);
        self.by_key.entry(key).or_insert(address);
        let spec = KeyedSpec { spec: Arc::clone(spec), key, bytes };
        self.by_address.insert(address, Entry { spec, users, told_until });
        bytes
    }
}
