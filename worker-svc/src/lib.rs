//! The Davit worker: runs the tasks that the manager assigns to one node and reports what becomes of them.
//!
//! [`run`] is a whole worker, also beside others in one process. The session with the manager feeds the [`agent`], the
//! agent drives the [`runtime`]s; each may fail without the next noticing more than silence.

pub mod agent;
pub mod collect;
pub mod config;
pub mod engine_turns;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod grpc;
mod health;
pub mod hollow;
pub mod identity;
pub mod lease;
pub mod local_store;
pub mod memory;
mod node;
pub mod reexec;
pub mod runtime;
mod session;
pub mod stats;
#[cfg(test)]
mod test_support;
pub mod turns;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use davit_core::resources::{HumanBytes, HumanCpus};
use davit_proto::v1::worker_service_server::WorkerServiceServer;
use davit_svc_kit::grpc::{GrpcServer, MAX_REQUEST_BYTES, server::ServeError};
use davit_svc_kit::http;
use davit_svc_kit::ids::UuidV7Source;
use davit_svc_kit::net::Listener;
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub use self::config::Config;
use self::identity::{DataDir, Home};
use self::node::Node;
use self::runtime::{Owner, Runtime};
use self::stats::{Measure, Meter};

/// The worker's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes the runtimes of an owner, at most one of a kind. Called anew when the worker joins a cluster for the first time;
/// before that the owner's cluster is empty, and the runtimes are only asked whether they work.
pub type RuntimeFactory = Arc<dyn Fn(&Owner) -> Vec<Arc<dyn Runtime>> + Send + Sync>;

/// What is beneath one worker.
#[derive(Clone)]
pub struct Machine {
    /// What it keeps between two lives.
    pub home: Arc<dyn Home>,
    /// Measures what it has.
    pub meter: Arc<dyn Measure>,
    /// Makes what runs its attempts.
    pub runtimes: RuntimeFactory,
}

impl Machine {
    /// This machine, with an open data directory.
    #[must_use]
    pub fn real(data_dir: DataDir, runtimes: RuntimeFactory) -> Self {
        let meter = Arc::new(Meter::new(data_dir.path()));
        Self { home: Arc::new(data_dir), meter, runtimes }
    }
}

/// For killing what did not stop.
const KILL_TIME: Duration = Duration::from_secs(1);
/// For telling the manager the last statuses.
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// For removing what ended attempts left, when the worker was told to stop its tasks.
const REMOVE_TIME: Duration = Duration::from_secs(5);
/// For the goodbye.
const SESSION_END_TIME: Duration = Duration::from_secs(2);

/// A worker could not start, or broke.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its data directory can't be used.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// What an earlier worker left can't be taken up.
    #[error("can't take up what an earlier worker left: {problem}")]
    TakeUp {
        /// Why.
        problem: String,
    },
    /// Its gRPC server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] ServeError),
    /// Its side port failed.
    #[error("the side port failed")]
    SidePort(#[source] io::Error),
}

/// Runs a worker until the shutdown. Containers and processes are left running then, unless the configuration says
/// otherwise.
///
/// # Errors
/// When it can't start or one of its servers breaks.
pub async fn run(
    world: World,
    config: Config,
    runtimes: RuntimeFactory,
    listener: impl Listener,
    http_listener: Option<TcpListener>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let data_dir = open_data_dir(&config)?;
    run_on(Machine::real(data_dir, runtimes), world, config, listener, http_listener, shutdown).await
}

/// Opens the data directory of this configuration: a program does so before it binds its ports.
///
/// # Errors
/// When it holds something else, another worker has it open, or it can't be used.
pub fn open_data_dir(config: &Config) -> Result<DataDir, Error> {
    Ok(DataDir::open(&config.data_dir, &UuidV7Source)?)
}

/// As [`run`], on a machine that is there already.
///
/// # Errors
/// When it can't start or one of its servers breaks.
pub async fn run_on(
    machine: Machine,
    world: World,
    config: Config,
    listener: impl Listener,
    http_listener: Option<TcpListener>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let node = open(world, config, machine).await?;
    let served = serve(&node, listener, http_listener, &shutdown);
    work(Arc::clone(&node), served, shutdown.clone()).await
}

/// As [`run_on`], without a port: whether it is ready, and what it measures, nobody can ask.
///
/// # Errors
/// When it can't start.
pub async fn run_without_ports(
    machine: Machine,
    world: World,
    config: Config,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let node = open(world, config, machine).await?;
    let served = async {
        shutdown.triggered().await;
        Ok(())
    };
    work(node, served, shutdown.clone()).await
}

async fn open(world: World, config: Config, machine: Machine) -> Result<Arc<Node>, Error> {
    let node = Node::open(world, config, machine).await;
    let node = node.map_err(|error| Error::TakeUp { problem: error.to_string() })?;
    let allocatable = node.allocatable();
    tracing::info!(
        node_id = %node.node_id(), name = node.config.name, manager = node.config.manager,
        cpus = %HumanCpus(allocatable.cpu_millis), memory = %HumanBytes(allocatable.memory_bytes),
        disk = %HumanBytes(allocatable.disk_bytes), "worker"
    );
    Ok(Arc::new(node))
}

/// Works until the shutdown, or until what serves breaks.
async fn work(
    node: Arc<Node>,
    served: impl Future<Output = Result<(), Error>>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let ending = session::Ending::default();
    let _watching = AbortOnDropHandle::new(tokio::spawn(health::watch(Arc::clone(&node))));
    let _collecting = AbortOnDropHandle::new(tokio::spawn(collect::run(Arc::clone(&node))));
    // Also ends when this future is dropped: then the worker is gone at once, as if it had been killed.
    let session = AbortOnDropHandle::new(tokio::spawn(session::run(Arc::clone(&node), ending.clone())));
    // A server that breaks stops the worker in good order too.
    let stopping = async {
        shutdown.triggered().await;
        if let Some(limit) = node.config.drain_on_shutdown {
            drain(&node, &ending, limit).await;
        }
        if node.config.stop_tasks_on_shutdown {
            ending.leaves.cancel();
        }
        close(&node).await;
        ending.stop.cancel();
        if tokio::time::timeout(SESSION_END_TIME, session).await.is_err() {
            tracing::info!("the session did not end in time and was dropped");
        }
        if let Some(agent) = node.agent() {
            agent.shut_down().await;
            let leaves = node.config.stop_tasks_on_shutdown;
            if leaves && tokio::time::timeout(REMOVE_TIME, agent.remove_ended()).await.is_err() {
                tracing::warn!("not all that ended attempts left could be removed in time");
            }
        }
    };
    let (served, ()) = tokio::join!(
        async {
            let served = served.await;
            shutdown.trigger();
            served
        },
        stopping
    );
    served
}

async fn serve(
    node: &Arc<Node>,
    listener: impl Listener,
    http_listener: Option<TcpListener>,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let readiness: Readiness = node.readiness.clone();
    let service = WorkerServiceServer::new(grpc::Worker::new(Arc::clone(node)));
    let grpc = GrpcServer::builder()
        .descriptor_set(davit_proto::FILE_DESCRIPTOR_SET)
        .service(service.max_decoding_message_size(MAX_REQUEST_BYTES))
        .readiness(readiness.clone())
        .serve(listener, shutdown.clone());
    let side_port = async {
        match http_listener {
            Some(listener) => http::serve(listener, readiness, shutdown.clone()).await.map_err(Error::SidePort),
            None => Ok(()),
        }
    };
    tokio::try_join!(async { grpc.await.map_err(Error::from) }, side_port).map(drop)
}

/// Has the manager move all tasks to other nodes, and waits until none is left, or the time is up.
async fn drain(node: &Node, ending: &session::Ending, limit: Duration) {
    ending.drains.cancel();
    let Some(agent) = node.agent() else { return };
    tracing::info!(limit_s = limit.as_secs(), "waiting until the node is drained");
    match tokio::time::timeout(limit, agent.emptied()).await {
        Ok(()) => tracing::info!("the node is drained"),
        Err(_) => tracing::warn!("the node could not be drained in time; stopping with tasks on it"),
    }
}

/// Begins nothing new, stops what is to stop with the worker, and tells the manager.
async fn close(node: &Node) {
    let Some(agent) = node.agent() else { return };
    let all = node.config.stop_tasks_on_shutdown;
    if tokio::time::timeout(node.config.stop_tasks_within, agent.close(all)).await.is_err() {
        let killed = async {
            agent.kill().await;
            agent.close(all).await;
        };
        if tokio::time::timeout(KILL_TIME, killed).await.is_err() {
            tracing::warn!("some tasks could not be stopped");
        }
    }
    if node.link().connected && tokio::time::timeout(FLUSH_TIME, agent.flushed()).await.is_err() {
        tracing::info!("the manager did not take the last statuses in time");
    }
}
