//! Where the cluster's state is kept. The manager is the only writer and all reads are from memory, so a store only loads
//! everything once and commits batches after that.

mod faulty;
mod memory;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use davit_core::id::Revision;
use davit_core::node::Node;
use davit_core::task::Task;

pub use self::faulty::{Fault, FaultyStore};
pub use self::memory::MemoryStore;
use crate::state::{Batch, Event, RequestRecord};

/// Everything that a store holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The revision of the last committed change.
    pub revision: Revision,
    /// All tasks, in any order.
    pub tasks: Vec<Arc<Task>>,
    /// All nodes, in any order.
    pub nodes: Vec<Arc<Node>>,
    /// The last events, oldest first, without a gap up to `revision`.
    pub events: Vec<Arc<Event>>,
    /// The last creates that had a request id, oldest first.
    pub requests: Vec<Arc<RequestRecord>>,
}

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A batch does not follow on what is stored: two writers, or a lost batch. Nothing was stored.
    #[error("a batch that begins with revision {got} can't follow revision {stored}")]
    Gap {
        /// The last revision stored.
        stored: Revision,
        /// The first revision of the batch.
        got: Revision,
    },
    /// The store can't be written or read now. Nothing of the batch was stored.
    #[error("the store can't be used: {problem}")]
    Unavailable {
        /// Why.
        problem: String,
    },
}

/// Keeps the cluster's state.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Everything that was committed.
    ///
    /// # Errors
    /// When it can't be read.
    async fn load(&self) -> Result<Snapshot, Error>;

    /// Makes all changes of a batch durable, or none. Answers the revision of its last change.
    ///
    /// # Errors
    /// When the batch does not follow on what is stored, or can't be written.
    async fn commit(&self, batch: Arc<Batch>) -> Result<Revision, Error>;

    /// Whether a commit could work now; asked again and again while commits fail.
    ///
    /// # Errors
    /// When it could not.
    async fn check(&self) -> Result<(), Error>;
}
