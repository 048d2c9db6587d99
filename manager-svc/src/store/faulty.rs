//! A store that fails or hangs on command, for tests of what the manager does then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::{ClusterId, Revision};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Error, Snapshot, Store};
use crate::state::Batch;

/// The switch of a [`FaultyStore`]. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    problem: Arc<Mutex<Option<String>>>,
    pace: watch::Sender<Pace>,
}

/// How long commits take beyond what they need.
#[derive(Debug, Clone, Copy, Default)]
enum Pace {
    #[default]
    Full,
    /// So long.
    Slow(Duration),
    /// Until it is another pace.
    Hanging,
}

impl Fault {
    /// From now on nothing can be written, for this reason.
    pub fn set(&self, problem: impl Into<String>) {
        *self.problem.lock() = Some(problem.into());
    }

    /// From now on no commit ends.
    pub fn hang(&self) {
        self.pace.send_replace(Pace::Hanging);
    }

    /// From now on every commit takes at least so long.
    pub fn slow_down(&self, by: Duration) {
        self.pace.send_replace(Pace::Slow(by));
    }

    /// From now on everything works, and what hangs goes on.
    pub fn clear(&self) {
        *self.problem.lock() = None;
        self.pace.send_replace(Pace::Full);
    }

    /// How many commits hang.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.pace.receiver_count()
    }

    async fn wait(&self) {
        let mut pace = self.pace.subscribe();
        // The sender lives in `self`, so the channel can't close.
        let settled = pace.wait_for(|pace| !matches!(pace, Pace::Hanging)).await.map(|pace| *pace);
        if let Ok(Pace::Slow(by)) = settled {
            tokio::time::sleep(by).await;
        }
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
        self.fault.wait().await;
        self.fault.check()?;
        self.inner.commit(batch).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.fault.check()?;
        self.inner.check().await
    }

    fn cluster_id(&self) -> Option<ClusterId> {
        self.inner.cluster_id()
    }
}
