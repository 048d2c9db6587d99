//! A machine that is nothing but memory, for workers on a [fake engine](crate::runtime::FakeEngine): what a worker keeps, and a
//! meter that always shows the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::NodeId;
use davit_core::node::NodeStats;
use davit_core::resources::Resources;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::identity::{self, Home, Membership};
use crate::local_store::{self, Backend, Change, Entry};
use crate::stats::{Measure, nothing};

/// The files of a worker, which outlive it. Clones are the same.
#[derive(Debug, Clone)]
pub struct MemoryHome {
    node_id: NodeId,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    membership: Option<Membership>,
    lease: Duration,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryHome {
    /// Those of a node that has joined no cluster yet.
    #[must_use]
    pub fn new(node_id: NodeId) -> Self {
        Self { node_id, kept: Arc::default() }
    }
}

impl Home for MemoryHome {
    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn membership(&self) -> Result<Option<Membership>, identity::Error> {
        Ok(self.kept.lock().membership.clone())
    }

    fn set_membership(&self, membership: &Membership) -> Result<(), identity::Error> {
        self.kept.lock().membership = Some(membership.clone());
        Ok(())
    }

    fn store(&self, _: &str) -> Box<dyn Backend> {
        Box::new(self.clone())
    }

    fn lease(&self) -> Duration {
        self.kept.lock().lease
    }

    fn renew_lease(&self, until: Duration) -> Result<(), identity::Error> {
        self.kept.lock().lease = until;
        Ok(())
    }

    fn check_room(&self) -> Result<(), identity::Error> {
        Ok(())
    }
}

impl Backend for MemoryHome {
    fn blocks(&self) -> bool {
        false
    }

    fn has_disk(&self) -> bool {
        false
    }

    fn load(&mut self) -> Result<Vec<Entry>, local_store::Error> {
        Ok(self.kept.lock().entries.clone().into_iter().collect())
    }

    fn write(&mut self, changes: Vec<Change>, _: bool) -> Result<(), local_store::Error> {
        let entries = &mut self.kept.lock().entries;
        for (key, value) in changes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }
}

/// A meter of a machine of this size, on which nothing is ever used.
#[derive(Debug, Clone, Copy)]
pub struct IdleMeter(pub Resources);

#[async_trait]
impl Measure for IdleMeter {
    fn capacity(&self) -> Resources {
        self.0
    }

    async fn measure(&self, now: Timestamp, running_tasks: u32) -> NodeStats {
        NodeStats { running_tasks, ..nothing(now) }
    }
}
