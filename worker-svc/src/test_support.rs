//! A machine that is nothing but memory, for tests of large parts with paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::NodeId;
use davit_core::node::NodeStats;
use davit_core::resources::Resources;
use davit_svc_kit::clock::SystemClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::Machine;
use crate::identity::{self, Home, Membership};
use crate::local_store::{self, Backend, Change, Entry};
use crate::runtime::{FakeEngine, Owner, Runtime, RuntimeKind};
use crate::stats::Measure;

pub(crate) const NODE: NodeId = NodeId(Uuid::from_u128(1));

/// An engine, what it runs for the node, and the rest of the machine.
pub(crate) fn machine() -> (FakeEngine, Machine) {
    let engine = FakeEngine::new(Arc::new(SystemClock));
    let factory = engine.clone();
    let runtimes =
        move |owner: &Owner| vec![Arc::new(factory.runtime(owner.clone(), RuntimeKind::Docker)) as Arc<dyn Runtime>];
    let (home, meter) = (Arc::new(MemoryHome::default()), Arc::new(NoMeter));
    (engine, Machine { home, meter, runtimes: Arc::new(runtimes) })
}

/// The files of a worker. Clones are the same.
#[derive(Debug, Clone, Default)]
struct MemoryHome {
    membership: Arc<Mutex<Option<Membership>>>,
    entries: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl Home for MemoryHome {
    fn node_id(&self) -> NodeId {
        NODE
    }

    fn membership(&self) -> Result<Option<Membership>, identity::Error> {
        Ok(self.membership.lock().clone())
    }

    fn set_membership(&self, membership: &Membership) -> Result<(), identity::Error> {
        *self.membership.lock() = Some(membership.clone());
        Ok(())
    }

    fn store(&self, _: &str) -> Box<dyn Backend> {
        Box::new(self.clone())
    }

    fn lease(&self) -> Duration {
        Duration::MAX
    }

    fn renew_lease(&self, _: Duration) -> Result<(), identity::Error> {
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

    fn load(&mut self) -> Result<Vec<Entry>, local_store::Error> {
        Ok(self.entries.lock().clone().into_iter().collect())
    }

    fn write(&mut self, changes: Vec<Change>, _: bool) -> Result<(), local_store::Error> {
        let mut entries = self.entries.lock();
        for (key, value) in changes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }
}

#[derive(Debug)]
struct NoMeter;

#[async_trait]
impl Measure for NoMeter {
    fn capacity(&self) -> Resources {
        Resources::ZERO
    }

    async fn measure(&self, now: Timestamp, running_tasks: u32) -> NodeStats {
        NodeStats {
            measured_at: now,
            cpu_used_millis: 0,
            memory_used_bytes: 0,
            disk_used_bytes: 0,
            load_1m: 0.0,
            running_tasks,
        }
    }
}
