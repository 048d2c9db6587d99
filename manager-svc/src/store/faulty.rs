//! A store that fails on command, for tests of what the manager does then.

use std::sync::Arc;

use async_trait::async_trait;
use davit_core::id::Revision;
use parking_lot::Mutex;

use super::{Error, Snapshot, Store};
use crate::state::Batch;

/// The switch of a [`FaultyStore`]. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    problem: Arc<Mutex<Option<String>>>,
}

impl Fault {
    /// From now on nothing can be written, for this reason.
    pub fn set(&self, problem: impl Into<String>) {
        *self.problem.lock() = Some(problem.into());
    }

    /// From now on everything works.
    pub fn clear(&self) {
        *self.problem.lock() = None;
    }

    fn check(&self) -> Result<(), Error> {
        match &*self.problem.lock() {
            Some(problem) => Err(Error::Unavailable { problem: problem.clone() }),
            None => Ok(()),
        }
    }
}

/// Another store behind a switch.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    fault: Fault,
}

impl<S: Store> FaultyStore<S> {
    /// Puts a switch before a store.
    #[must_use]
    pub fn new(inner: S, fault: Fault) -> Self {
        Self { inner, fault }
    }
}

#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    async fn load(&self) -> Result<Snapshot, Error> {
        self.inner.load().await
    }

    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error> {
        self.fault.check()?;
        self.inner.commit(batch).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.fault.check()?;
        self.inner.check().await
    }
}
