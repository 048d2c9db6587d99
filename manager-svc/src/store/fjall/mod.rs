//! The store of a manager that outlives it: fjall, an LSM tree with a journal, in a directory of its own.
//!
//! - One batch is one atomic write and one fsync, on a thread that may block, so that the next batch gathers meanwhile.
//! - What a batch becomes is decided in [`plan`], purely; [`ledger`] is what has to be known for it of what is stored.
//! - A write that failed is settled before anything else is written ([`settle`]): it is in the store or it is not, and where
//!   it is, it is taken back, since callers were told that nothing changed.
//! - What is loaded is checked as a whole ([`load`]): every record is readable, none is missing, revisions have no gap, and none
//!   is missing at the end, which only the mark beside the store can tell ([`davit_svc_kit::mark`]).

mod directory;
mod engine;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod ledger;
mod load;
mod making;
mod plan;
mod restore;
mod schema;
mod settle;
#[cfg(test)]
mod tests;
mod volumes;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use davit_core::id::{ClusterId, Revision};
use davit_svc_kit::apart::give_way;
use parking_lot::Mutex;

use self::directory::Directory;
use self::engine::Engine;
use self::ledger::Ledger;
pub use self::restore::{RestoreError, restore};
pub(super) use self::schema::SCHEMA;
use self::settle::Unsettled;
use super::{Error, Snapshot, Store};
use crate::state::Batch;

/// A store in a directory. Held open, and locked against other processes, until it is dropped.
pub struct FjallStore {
    inner: Arc<Mutex<Inner>>,
    cluster_id: ClusterId,
}

struct Inner {
    // Dropped in this order: the engine ends before the lock is given back.
    engine: Option<Engine>,
    /// What is stored; unknown until it was loaded once.
    ledger: Option<Ledger>,
    /// A write whose outcome is not known yet.
    unsettled: Option<Unsettled>,
    directory: Directory,
}

impl FjallStore {
    /// Opens the store of a cluster, and makes it where there is none yet. Blocks.
    ///
    /// # Errors
    /// When the directory is in use, holds something else or another cluster's store, was written by a later release, is
    /// damaged, or can't be read and written.
    pub fn open(path: impl Into<PathBuf>, cluster: &str) -> Result<Self, Error> {
        let directory = Directory::open(path.into(), || schema::new_identity(cluster))?;
        let engine = directory.open_engine()?;
        let cluster_id = schema::check(&engine, cluster, directory.path())?;
        let inner = Inner { engine: Some(engine), ledger: None, unsettled: None, directory };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), cluster_id })
    }

    /// Runs something that blocks, off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        let write = move || {
            give_way();
            run(&mut inner.lock())
        };
        let done = tokio::task::spawn_blocking(write).await;
        done.unwrap_or_else(|broken| Err(Error::Unavailable { problem: format!("the store broke: {broken}") }))
    }
}

#[async_trait]
impl Store for FjallStore {
    async fn load(&self) -> Result<Snapshot, Error> {
        self.blocking(Inner::load).await
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        self.blocking(move |inner| inner.commit(&batch)).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.blocking(Inner::settle).await
    }

    fn cluster_id(&self) -> Option<ClusterId> {
        Some(self.cluster_id)
    }
}

impl Inner {
    fn load(&mut self) -> Result<Snapshot, Error> {
        self.settle()?;
        let (snapshot, ledger) = load::load(self.engine()?).map_err(|problem| self.directory.corrupt(problem))?;
        let marked = self.directory.marked();
        if ledger.revision() < marked {
            return Err(Error::Lost { path: self.directory.path().to_owned(), stored: ledger.revision(), marked });
        }
        self.ledger = Some(ledger);
        Ok(snapshot)
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, Error> {
        self.settle()?;
        if self.ledger.is_none() {
            self.load()?;
        }
        let (Some(ledger), Some(engine)) = (&mut self.ledger, &self.engine) else { return Err(settle::closed()) };
        let plan = plan::plan(ledger, batch)?;
        match engine.write(&plan.writes) {
            Ok(()) => {
                ledger.apply(plan.delta);
                let revision = ledger.revision();
                self.directory.mark(revision);
                Ok(revision)
            }
            Err(problem) => {
                let told = Error::Unavailable { problem: problem.to_string() };
                self.unsettled = Some(Unsettled::new(engine, &plan, problem));
                // Mostly that settles it at once, and what the caller is told is the whole truth.
                let _still_unsettled = self.settle();
                Err(told)
            }
        }
    }

    fn engine(&self) -> Result<&Engine, Error> {
        self.engine.as_ref().ok_or_else(settle::closed)
    }
}

impl fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallStore").finish_non_exhaustive()
    }
}
