//! A worker's data directory: whose it is, its cluster, its lease and its records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::NodeId;
use parking_lot::Mutex;
use worker_svc::identity::{self, Home, Membership};
use worker_svc::local_store::{self, Backend, Change, Entry, LOST_KEY};

use crate::gate::Gate;

/// The files of a worker. Clones are the same.
#[derive(Debug, Clone)]
pub struct Files {
    state: Arc<Mutex<FilesState>>,
}

#[derive(Debug)]
struct FilesState {
    node_id: NodeId,
    /// As which nodes workers were here before, oldest first.
    former_node_ids: Vec<NodeId>,
    membership: Option<Membership>,
    lease: Duration,
    /// As processes see them.
    cached: BTreeMap<Vec<u8>, Vec<u8>>,
    /// As the disk has them.
    synced: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl FilesState {
    fn of(node_id: NodeId) -> Self {
        let records = BTreeMap::new();
        let (former_node_ids, membership, lease) = (Vec::new(), None, Duration::ZERO);
        Self { node_id, former_node_ids, membership, lease, cached: records.clone(), synced: records }
    }

    /// They become other ones; whose containers are here is not forgotten.
    fn become_other(&mut self, other: Self) {
        let mut former = std::mem::take(&mut self.former_node_ids);
        former.push(self.node_id);
        former.retain(|node_id| *node_id != other.node_id);
        *self = Self { former_node_ids: former, ..other };
    }
}

impl Files {
    pub(super) fn of(node_id: NodeId) -> Self {
        Self { state: Arc::new(Mutex::new(FilesState::of(node_id))) }
    }

    /// What one worker process sees of them.
    pub(super) fn seen_by(&self, gate: &Gate) -> GatedFiles {
        GatedFiles { files: self.clone(), node_id: self.node_id(), gate: gate.clone() }
    }

    pub(super) fn node_id(&self) -> NodeId {
        self.state.lock().node_id
    }

    pub(super) fn former_node_ids(&self) -> Vec<NodeId> {
        self.state.lock().former_node_ids.clone()
    }

    /// Until which uptime the lease lasts.
    pub(super) fn lease(&self) -> Duration {
        self.state.lock().lease
    }

    /// All records are gone: the store is found empty, or cut below what was synced, which comes to the same.
    pub fn lose_records(&self) {
        let mut state = self.state.lock();
        // As the store on a real disk begins anew in the place of one that it has set aside.
        let knows_of_it = state.membership.is_some();
        state.cached = knows_of_it.then(|| (LOST_KEY.to_vec(), Vec::new())).into_iter().collect();
        state.synced = state.cached.clone();
    }

    /// Some records can't be read any more: those that `is_damaged` says so of. Tells how many.
    pub fn damage_records(&self, is_damaged: impl Fn() -> bool) -> usize {
        let mut state = self.state.lock();
        let damaged: Vec<Vec<u8>> =
            state.cached.keys().filter(|key| key.as_slice() != LOST_KEY && is_damaged()).cloned().collect();
        let count = damaged.len();
        state.cached.extend(damaged.into_iter().map(|key| (key, b"damaged".to_vec())));
        state.synced = state.cached.clone();
        count
    }

    /// All is gone, also whose it was: the next worker is a node of its own.
    pub fn empty(&self, next_node_id: NodeId) {
        self.state.lock().become_other(FilesState::of(next_node_id));
    }

    /// They become a copy of those of another machine, of whose boot no lease is here.
    pub fn copy_from(&self, other: &Self) {
        let copy = {
            let other = other.state.lock();
            let (cached, synced) = (other.cached.clone(), other.cached.clone());
            FilesState { membership: other.membership.clone(), cached, synced, ..FilesState::of(other.node_id) }
        };
        self.state.lock().become_other(copy);
    }

    /// The power fails: what was not synced is lost.
    pub(super) fn lose_power(&self) {
        let mut state = self.state.lock();
        state.cached = state.synced.clone();
        // A lease is of one boot.
        state.lease = Duration::ZERO;
    }
}

/// Files as one worker process sees them: a dead one changes nothing.
#[derive(Debug, Clone)]
pub(super) struct GatedFiles {
    files: Files,
    /// Known to the process since its start.
    node_id: NodeId,
    gate: Gate,
}

impl Home for GatedFiles {
    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn membership(&self) -> Result<Option<Membership>, identity::Error> {
        Ok(self.files.state.lock().membership.clone())
    }

    fn set_membership(&self, membership: &Membership) -> Result<(), identity::Error> {
        if !self.gate.is_closed() {
            self.files.state.lock().membership = Some(membership.clone());
        }
        Ok(())
    }

    fn store(&self, _: &str) -> Box<dyn Backend> {
        Box::new(self.clone())
    }

    fn lease(&self) -> Duration {
        self.files.state.lock().lease
    }

    fn renew_lease(&self, until: Duration) -> Result<(), identity::Error> {
        if !self.gate.is_closed() {
            self.files.state.lock().lease = until;
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), identity::Error> {
        Ok(())
    }
}

impl Backend for GatedFiles {
    fn blocks(&self) -> bool {
        false
    }

    fn load(&mut self) -> Result<Vec<Entry>, local_store::Error> {
        let state = self.files.state.lock();
        Ok(state.cached.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&mut self, changes: Vec<Change>, sync: bool) -> Result<(), local_store::Error> {
        if self.gate.is_closed() {
            let problem = "the process is dead".to_owned();
            return Err(local_store::Error::Unusable { path: "/nowhere".into(), problem });
        }
        let mut state = self.files.state.lock();
        for (key, value) in changes {
            match value {
                Some(value) => state.cached.insert(key, value),
                None => state.cached.remove(&key),
            };
        }
        if sync {
            state.synced = state.cached.clone();
        }
        Ok(())
    }
}
