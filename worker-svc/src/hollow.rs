//! Hollow nodes: real workers on [fake engines](FakeEngine), with what they keep in memory, many in one process. The manager can't
//! tell them from others; only what they are given does not run.

use std::sync::Arc;
use std::time::Duration;

use davit_core::resources::Resources;
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::memory::{IdleMeter, MemoryHome};
use crate::runtime::{FakeEngine, Habits, Owner, Runtime, RuntimeKind};
use crate::turns::Turns;
use crate::{Config, Error, Machine, RuntimeFactory};

/// What each has unless an offer says otherwise: room for a thousand small tasks.
const CAPACITY: Resources = Resources { cpu_millis: 64_000, memory_bytes: 256 << 30, disk_bytes: 1 << 40 };

/// So much their engines start at once at most, and at least. They share a process: what is begun beyond what it gets done would
/// only keep heartbeats waiting.
const STARTS_AT_ONCE: usize = 64;
const FEWEST_STARTS_AT_ONCE: usize = 2;

/// Between two looks at how late things are.
const CROWDING_LOOK: Duration = Duration::from_millis(50);
/// What is late by so much has fewer begun, and what is late by less than that has more begun.
const LATE: Duration = Duration::from_millis(100);
const IN_TIME: Duration = Duration::from_millis(30);
/// What is late by so much is told.
const CROWDED: Duration = Duration::from_millis(500);

/// How many there are, and how they behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hollow {
    /// How many.
    pub nodes: u32,
    /// What their engines do.
    pub habits: Habits,
}

/// One of them. Its engine and what it keeps outlive its worker, as those of a machine do. Clones are the same node.
#[derive(Debug, Clone)]
pub struct HollowNode {
    config: Config,
    home: MemoryHome,
    engine: FakeEngine,
    /// Whose turn it is to start something, among those of the same process.
    turns: Arc<Turns>,
}

impl HollowNode {
    /// A new node, which takes turns at starting with those of the same process.
    fn new(config: Config, habits: Habits, turns: Arc<Turns>) -> Self {
        let engine = FakeEngine::with_habits(Arc::new(SystemClock), habits, Arc::clone(&turns));
        Self { config, home: MemoryHome::new(UuidV7Source.node_id()), engine, turns }
    }

    /// Runs its worker until the shutdown. Dropped, it is gone as if it had been killed.
    ///
    /// # Errors
    /// When it can't start.
    pub async fn work(self, shutdown: Shutdown) -> Result<(), Error> {
        let engine = self.engine;
        let runtimes: RuntimeFactory = Arc::new(move |owner: &Owner| {
            vec![Arc::new(engine.runtime(owner.clone(), RuntimeKind::Docker)) as Arc<dyn Runtime>]
        });
        let machine = Machine { home: Arc::new(self.home), meter: Arc::new(IdleMeter(CAPACITY)), runtimes };
        crate::run_without_ports(machine, World::real(), self.config, shutdown).await
    }
}

/// So many nodes with this configuration, but for their names, which are its name with a number.
#[must_use]
pub fn nodes(config: &Config, hollow: Hollow) -> Vec<HollowNode> {
    let turns = Turns::new(STARTS_AT_ONCE);
    let node = |number| {
        let name = format!("{}-{number}", config.name);
        HollowNode::new(Config { name, ..config.clone() }, hollow.habits, Arc::clone(&turns))
    };
    (0..hollow.nodes).map(node).collect()
}

/// How many are to be started at once after so many, when what is to be done comes so late. Pure.
fn starts_at_once(before: usize, late: Duration) -> usize {
    if late >= LATE {
        (before / 2).max(FEWEST_STARTS_AT_ONCE)
    } else if late <= IN_TIME {
        (before + 2).min(STARTS_AT_ONCE)
    } else {
        before
    }
}

/// Keeps heartbeats in time: the more there is to do, the fewer are started at once. Says so when that does not suffice, and
/// heartbeats are late as those of no machine would be.
async fn keep_in_time(turns: Arc<Turns>) {
    let (mut at_once, mut crowded) = (STARTS_AT_ONCE, false);
    loop {
        tokio::time::sleep(CROWDING_LOOK).await;
        let began = Instant::now();
        tokio::task::yield_now().await;
        let late = began.elapsed();
        let next = starts_at_once(at_once, late);
        if next != at_once {
            turns.set_limit(next);
            at_once = next;
        }
        if late >= CROWDED && !crowded {
            tracing::warn!(late_ms = late.as_millis(), "this process has too much to do for so many nodes");
        }
        crowded = late >= CROWDED;
    }
}

/// Runs the workers of all these nodes until the shutdown.
///
/// # Errors
/// The first that can't start.
pub async fn run(nodes: Vec<HollowNode>, shutdown: Shutdown) -> Result<(), Error> {
    let turns = nodes.first().map(|node| Arc::clone(&node.turns));
    let _keeper = turns.map(|turns| AbortOnDropHandle::new(tokio::spawn(keep_in_time(turns))));
    let mut workers: JoinSet<_> = nodes.into_iter().map(|node| node.work(shutdown.clone())).collect();
    while let Some(worked) = workers.join_next().await {
        match worked {
            Ok(worked) => worked?,
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_things_are_the_fewer_are_begun_but_always_some() {
        let mut at_once = STARTS_AT_ONCE;
        for _ in 0..20 {
            at_once = starts_at_once(at_once, LATE);
        }
        assert_eq!(at_once, FEWEST_STARTS_AT_ONCE);
        assert_eq!(starts_at_once(10, (LATE + IN_TIME) / 2), 10);
        for _ in 0..100 {
            at_once = starts_at_once(at_once, IN_TIME);
        }
        assert_eq!(at_once, STARTS_AT_ONCE);
    }
}
