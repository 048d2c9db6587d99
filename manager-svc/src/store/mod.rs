//! Where the cluster's state is kept. The manager is the only writer and all reads are from memory, so a store only loads
//! everything once and commits batches after that.

mod backup;
mod faulty;
mod fjall;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod memory;
mod records;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use davit_core::deployment::Deployment;
use davit_core::file::{Config, FileContent};
use davit_core::id::{ClusterId, Revision};
use davit_core::job::Job;
use davit_core::node::Node;
use davit_core::task::Task;
use davit_core::volume::VolumeHome;
use davit_svc_kit::apart::give_way;

pub use self::backup::{BackupError, BackupInfo, BackupWriter, REVISION_JUMP, check_backup};
pub use self::faulty::{Fault, FaultyStore};
use self::fjall::SCHEMA;
pub use self::fjall::{FjallStore, RestoreError, restore};
pub use self::memory::MemoryStore;
pub(crate) use self::records::{SpecKey, spec_to_bytes};
use crate::config::{self, StoreKind};
use crate::state::{Batch, Event, KeyedSpec, RequestRecord, Totals};

/// Everything that a store holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The revision of the last committed change.
    pub revision: Revision,
    /// All tasks, in any order.
    pub tasks: Vec<Arc<Task>>,
    /// All nodes, in any order.
    pub nodes: Vec<Arc<Node>>,
    /// All deployments, in any order.
    pub deployments: Vec<Arc<Deployment>>,
    /// All jobs, in any order.
    pub jobs: Vec<Arc<Job>>,
    /// All configs and secrets, in any order.
    pub configs: Vec<Arc<Config>>,
    /// What their versions hold, each content once, in any order.
    pub contents: Vec<FileContent>,
    /// Where named volumes are, in any order.
    pub volumes: Vec<Arc<VolumeHome>>,
    /// The last events, oldest first, without a gap up to `revision`.
    pub events: Vec<Arc<Event>>,
    /// The last creates that had a request id, oldest first.
    pub requests: Vec<Arc<RequestRecord>>,
    /// What happened since the cluster began.
    pub totals: Totals,
    /// Specs of tasks and events as the store knows them. Those that are missing are encoded once more.
    pub specs: Vec<KeyedSpec>,
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
    /// Another process has the store open.
    #[error("the store in {} is in use by {holder}; stop that first, or use another --data-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// The directory holds something that is no store.
    #[error("{} is no manager's store: {problem}; use another --data-dir", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is there.
        problem: String,
    },
    /// The store is another cluster's.
    #[error("the store in {} is of cluster `{stored}`, and this manager is of cluster `{configured}`", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster that the store is of.
        stored: String,
        /// The cluster that was to be opened.
        configured: String,
    },
    /// The store was written by a later release.
    #[error(
        "the store in {} has schema {stored} and this manager knows none above {known}: it takes a later release",
        path.display()
    )]
    NewerSchema {
        /// The directory.
        path: PathBuf,
        /// Its schema.
        stored: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Something in the store can't be read, or does not belong together.
    #[error("the store in {} is damaged: {problem}; restore a backup", path.display())]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What.
        problem: String,
    },
    /// The store once held more than it does now.
    #[error(
        "the store in {} ends with revision {stored}, but once held revision {marked}: something of it was lost; \
         restore a backup",
        path.display()
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// The last revision that is there.
        stored: Revision,
        /// A revision that was there.
        marked: Revision,
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

    /// The cluster's id, made with the store. `None`: it keeps none, and every start of a manager is a new cluster to workers.
    fn cluster_id(&self) -> Option<ClusterId> {
        None
    }
}

/// Opens the store that the configuration asks for.
///
/// # Errors
/// When it can't be opened; says what is in the way.
pub async fn open(config: &config::Config) -> Result<Arc<dyn Store>, Error> {
    match config.store {
        StoreKind::Memory => Ok(Arc::new(MemoryStore::default())),
        StoreKind::Fjall => {
            let (path, cluster) = (config.data_dir.clone(), config.cluster.clone());
            let open = move || {
                // So do the threads that the engine starts.
                give_way();
                FjallStore::open(path, &cluster)
            };
            let opened = tokio::task::spawn_blocking(open).await;
            let store = opened.unwrap_or_else(|broken| Err(Error::Unavailable { problem: broken.to_string() }))?;
            Ok(Arc::new(store))
        }
    }
}
