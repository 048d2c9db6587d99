//! What only a store on a disk can get wrong.

mod damage;
mod errors;
mod full_disk;
mod histories;
mod kill;
mod making;
mod space;

use std::path::Path;
use std::sync::Arc;

use super::super::{Error, Snapshot, Store};
use super::FjallStore;
use crate::commands::test_support::Cluster;
use crate::state::Batch;

const CLUSTER: &str = "test";

fn open(path: &Path) -> FjallStore {
    FjallStore::open(path, CLUSTER).unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

fn load(store: &FjallStore) -> Result<Snapshot, Error> {
    wait(store.load())
}

fn commit(store: &FjallStore, batch: &Arc<Batch>) {
    let last = batch.changes.last().map(|change| change.event.revision);
    let stored = wait(store.commit(Arc::clone(batch)));
    match last {
        Some(last) => assert_eq!(stored, Ok(last)),
        None => assert!(stored.is_ok(), "{stored:?}"),
    }
}

/// A cluster of which every change is committed to a store.
struct Stored {
    cluster: Cluster,
    batches: Vec<Arc<Batch>>,
}

impl Stored {
    fn new() -> Self {
        Self { cluster: Cluster::new(0), batches: Vec::new() }
    }

    /// Commits the last change, if it was one.
    fn commit(&mut self, store: &FjallStore) {
        if !self.cluster.last_batch.is_empty() {
            commit(store, &self.cluster.last_batch);
            self.batches.push(Arc::clone(&self.cluster.last_batch));
        }
    }
}
