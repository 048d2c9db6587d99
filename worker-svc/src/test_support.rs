//! A machine that is nothing but memory, for tests of large parts with paused time.

use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::resources::Resources;
use davit_svc_kit::clock::SystemClock;
use uuid::Uuid;

use crate::Machine;
use crate::memory::{IdleMeter, MemoryHome};
use crate::runtime::{FakeEngine, Owner, Runtime, RuntimeKind};

pub(crate) const NODE: NodeId = NodeId(Uuid::from_u128(1));

/// An engine, what it runs for the node, and the rest of the machine.
pub(crate) fn machine() -> (FakeEngine, Machine) {
    let engine = FakeEngine::new(Arc::new(SystemClock));
    let factory = engine.clone();
    let runtimes =
        move |owner: &Owner| vec![Arc::new(factory.runtime(owner.clone(), RuntimeKind::Docker)) as Arc<dyn Runtime>];
    let (home, meter) = (Arc::new(MemoryHome::new(NODE)), Arc::new(IdleMeter(Resources::ZERO)));
    (engine, Machine { home, meter, runtimes: Arc::new(runtimes) })
}
