//! Hollow nodes: real workers on a fake runtime, with what they keep in memory, many in one process. SIGUSR1 restarts the
//! workers as if they had been killed, while the instances on their engines go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::NodeId;
use davit_core::node::NodeStats;
use davit_core::resources::Resources;
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use worker_svc::identity::{self, Home, Membership};
use worker_svc::local_store::{self, Backend, Change, Entry};
use worker_svc::runtime::{FakeEngine, Owner, Runtime, RuntimeKind};
use worker_svc::stats::Measure;
use worker_svc::{Config, Machine};

use crate::error::{Result, io_at};

/// Room for anything: hollow nodes are never full.
const CAPACITY: Resources = Resources { cpu_millis: 64_000, memory_bytes: 256 << 30, disk_bytes: 1 << 40 };

/// Which hollow nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the manager is.
    #[arg(long)]
    manager: String,
    /// How their names begin; a number follows.
    #[arg(long)]
    name: String,
    /// How many.
    #[arg(long)]
    count: usize,
}

/// Runs them until this process is killed.
///
/// # Errors
/// When no signals can be had.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let nodes: Vec<Hollow> = (0..args.count).map(|number| Hollow::new(format!("{}{number}", args.name))).collect();
    let mut restarts = signal(SignalKind::user_defined1()).map_err(io_at("listen for", "signals".as_ref()))?;
    loop {
        let mut workers = JoinSet::new();
        for node in &nodes {
            workers.spawn(node.clone().work(args.manager.clone()));
        }
        restarts.recv().await;
        // Dropped in the middle of whatever they do, as a kill would.
        workers.shutdown().await;
    }
}

/// One node: its engine and files outlive its worker.
#[derive(Debug, Clone)]
struct Hollow {
    name: String,
    files: Files,
    engine: FakeEngine,
}

#[derive(Debug, Clone)]
struct Files {
    node_id: NodeId,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    membership: Option<Membership>,
    lease: Duration,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Hollow {
    fn new(name: String) -> Self {
        let files = Files { node_id: UuidV7Source.node_id(), kept: Arc::default() };
        Self { name, files, engine: FakeEngine::new(Arc::new(SystemClock)) }
    }

    async fn work(self, manager: String) {
        let config = Config::new(manager, &self.name, "/nowhere");
        let engine = self.engine;
        let runtimes: worker_svc::RuntimeFactory = Arc::new(move |owner: &Owner| {
            vec![Arc::new(engine.runtime(owner.clone(), RuntimeKind::Docker)) as Arc<dyn Runtime>]
        });
        let machine = Machine { home: Arc::new(self.files), meter: Arc::new(Fixed), runtimes };
        let worked = match TcpListener::bind("127.0.0.1:0").await {
            Ok(listener) => {
                let worker = worker_svc::run_on(machine, World::real(), config, listener, None, Shutdown::new());
                worker.await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = worked {
            eprintln!("{}: {error}", self.name);
        }
    }
}

impl Home for Files {
    fn node_id(&self) -> NodeId {
        self.node_id
    }

    fn membership(&self) -> std::result::Result<Option<Membership>, identity::Error> {
        Ok(self.kept.lock().membership.clone())
    }

    fn set_membership(&self, membership: &Membership) -> std::result::Result<(), identity::Error> {
        self.kept.lock().membership = Some(membership.clone());
        Ok(())
    }

    fn store(&self, _: &str) -> Box<dyn Backend> {
        Box::new(self.clone())
    }

    fn lease(&self) -> Duration {
        self.kept.lock().lease
    }

    fn renew_lease(&self, until: Duration) -> std::result::Result<(), identity::Error> {
        self.kept.lock().lease = until;
        Ok(())
    }

    fn check_room(&self) -> std::result::Result<(), identity::Error> {
        Ok(())
    }
}

impl Backend for Files {
    fn blocks(&self) -> bool {
        false
    }

    fn load(&mut self) -> std::result::Result<Vec<Entry>, local_store::Error> {
        Ok(self.kept.lock().store.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&mut self, changes: Vec<Change>, _sync: bool) -> std::result::Result<(), local_store::Error> {
        let store = &mut self.kept.lock().store;
        for (key, value) in changes {
            match value {
                Some(value) => store.insert(key, value),
                None => store.remove(&key),
            };
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Fixed;

#[async_trait]
impl Measure for Fixed {
    fn capacity(&self) -> Resources {
        CAPACITY
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
