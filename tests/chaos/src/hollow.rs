//! Hollow nodes: real workers on a fake runtime, with what they keep in memory, many in one process. SIGUSR1 restarts the
//! workers as if they had been killed, while the instances on their engines go on.

use std::sync::Arc;

use davit_core::resources::Resources;
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use worker_svc::memory::{IdleMeter, MemoryHome};
use worker_svc::runtime::{FakeEngine, Owner, Runtime, RuntimeKind};
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
    home: MemoryHome,
    engine: FakeEngine,
}

impl Hollow {
    fn new(name: String) -> Self {
        let home = MemoryHome::new(UuidV7Source.node_id());
        Self { name, home, engine: FakeEngine::new(Arc::new(SystemClock)) }
    }

    async fn work(self, manager: String) {
        let config = Config::new(manager, &self.name, "/nowhere");
        let engine = self.engine;
        let runtimes: worker_svc::RuntimeFactory = Arc::new(move |owner: &Owner| {
            vec![Arc::new(engine.runtime(owner.clone(), RuntimeKind::Docker)) as Arc<dyn Runtime>]
        });
        let machine = Machine { home: Arc::new(self.home), meter: Arc::new(IdleMeter(CAPACITY)), runtimes };
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
